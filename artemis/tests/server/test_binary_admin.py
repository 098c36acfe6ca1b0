"""Operations of operators over MsgTrans: with the token in the ext header, and not for pages of other sites."""

import json

import msgspec
import pytest

from msgtrans import TransportClient, WebSocketClientConfig

OPERATE, NODE = 64, 32
PULL_OUT = {
    "instanceKey": {"regionId": "r1", "serviceId": "demo.orders", "instanceId": "10.0.0.7"},
    "operation": "out",
    "operationComplete": False,
    "operatorId": "alice",
}


async def asked(client: TransportClient, header: bytes = b"") -> tuple[str, str, str]:
    """Outcome of pulling an instance out: status, code, message."""
    answer = await client.request(json.dumps(PULL_OUT).encode(), biz_type=OPERATE, ext_header=header)
    status = json.loads(answer.payload)["responseStatus"]
    return status["status"], status["errorCode"], status["message"]


@pytest.fixture
async def guarded(start, tmp_path):
    """A node that asks for a token."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    async with start(admin_token_file=token) as server:
        yield server


@pytest.mark.parametrize("header", [b"", b"token=", b"token=other", b"format=json;token=s3cre", b"x=s3cret"])
async def test_without_the_token_it_is_denied(guarded, header):
    """No token, or another one, is no-permission, with what to do; everything else goes on without."""
    host, port = guarded.address
    async with TransportClient(f"tcp://{host}:{port}") as client:
        status, code, message = await asked(client, header)
        assert ("fail", "no-permission") == (status, code)
        assert "token=TOKEN in the ext header" in message
        answer = await client.request(b"{}", biz_type=NODE)
        assert "success" == json.loads(answer.payload)["responseStatus"]["status"]
    assert 1 == guarded.counters["msgtrans"]["denied"]


@pytest.mark.parametrize("header", [b"token=s3cret", b"format=json; token=s3cret"])
async def test_with_the_token_it_is_done(guarded, header):
    """The token stands among the other options."""
    host, port = guarded.address
    async with TransportClient(f"tcp://{host}:{port}") as client:
        assert "success" == (await asked(client, header))[0]


async def test_pages_of_other_sites_are_denied(server):
    """A browser lets any page open a WebSocket to this machine; only those of the node do what operators do."""
    host, port = server.address
    uri = f"ws://{host}:{port}/msgtrans"
    outcomes = []
    for headers in ({"Origin": "http://evil.example"}, {"Origin": f"http://{host}:{port}"}, {}):
        async with TransportClient(WebSocketClientConfig(target_url=uri, headers=headers)) as client:
            outcomes.append((await asked(client))[1])
    assert ["no-permission", "success", "success"] == outcomes


async def test_the_token_may_be_in_the_request(guarded):
    """As tools of the originals send it, in JSON and in MessagePack."""
    host, port = guarded.address
    async with TransportClient(f"tcp://{host}:{port}") as client:
        for token, expected in (("other", "no-permission"), ("s3cret", "success")):
            request = PULL_OUT | {"token": token}
            answer = await client.request(json.dumps(request).encode(), biz_type=OPERATE)
            assert expected == json.loads(answer.payload)["responseStatus"]["errorCode"]
            packed = msgspec.msgpack.encode(request)
            answer = await client.request(packed, biz_type=OPERATE, ext_header=b"format=msgpack")
            assert expected == msgspec.msgpack.decode(answer.payload)["responseStatus"]["errorCode"]
