"""`Artemis-Cursor` and `Artemis-Age-Ms`: answers that show data say which, and how old it may be (design 6)."""

import json
from collections.abc import Callable

import pytest
from doors import Wire, get, instance, post

from artemis.push import decode_cursor

LOOKUP = {"discoveryConfigs": [{"serviceId": "demo.orders"}], "regionId": "r1", "zoneId": "z1"}
ONE = {"discoveryConfig": {"serviceId": "demo.orders"}, "regionId": "r1", "zoneId": "z1"}
REQUESTS = {
    "lookup": post("/api/discovery/lookup.json", json.dumps(LOOKUP).encode()),
    "lookup, v2 path": post("/artemis/api/discovery/lookup.json", json.dumps(LOOKUP).encode()),
    "lookup, packed answer": post("/api/discovery/lookup.json", json.dumps(LOOKUP).encode(), "Accept-Encoding: gzip"),
    "lookup, last one": post("/api/discovery/lookup.json", json.dumps(LOOKUP).encode(), "Connection: close"),
    "lookup, body in steps": post("/api/discovery/lookup.json", json.dumps(LOOKUP).encode() + b" " * 70_000),
    "service": post("/api/discovery/service.json", json.dumps(ONE).encode()),
    "service by query": get("/api/discovery/service.json?serviceId=demo.orders&regionId=r1&zoneId=z1"),
    "services, streamed": post("/api/discovery/services.json", b"{}"),
    "services by query": get("/api/discovery/services.json"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS.keys())
async def test_answers_that_show_data_say_which(server: object, wire: Wire, request_: bytes) -> None:
    """The cursor is that of the node when the answer was made; on a lone node the data is never old."""
    await wire.post("/api/registry/register.json", {"instances": [instance(n) for n in range(60)]})
    await wire.send(request_)
    status, fields, _ = await wire.answer()
    assert status == 200
    assert fields["artemis-cursor"] == server.node.cursor()  # type: ignore[attr-defined]
    assert fields["artemis-age-ms"] == "0"


async def test_the_head_of_an_answer_changes_with_the_data(wire: Wire) -> None:
    """Each registration moves the cursor on; without one it stays."""
    seen = []
    for number in (1, 1, 2):
        await wire.post("/api/registry/register.json", {"instances": [instance(number)]})
        for _ in range(2):
            await wire.send(REQUESTS["lookup"])
            seen.append(decode_cursor((await wire.answer())[1]["artemis-cursor"]))
    assert seen[0] == seen[1]
    assert seen[4] == seen[5]
    assert seen[4].dominates(seen[2])
    assert seen[2].dominates(seen[0])
    assert not seen[0].dominates(seen[4])


async def test_data_that_waits_to_be_confirmed_has_an_age(server: object, wire: Wire) -> None:
    """After a warm restart answers say how old what they show may be."""
    node = server.node  # type: ignore[attr-defined]
    node.stale_since = -(10**9)
    for name in ("lookup", "services, streamed"):
        await wire.send(REQUESTS[name])
        assert int((await wire.answer())[1]["artemis-age-ms"]) > 10**9
    node.stale_since = None
    await wire.send(REQUESTS["lookup"])
    assert (await wire.answer())[1]["artemis-age-ms"] == "0"


@pytest.mark.parametrize(
    "request_",
    [
        post("/api/registry/heartbeat.json", b'{"instances":[]}'),
        get("/api/status/node.json"),
        get("/health/ready"),
        post("/api/discovery/lookup.json", b"{}"),
        post("/api/discovery/lookup.json", b"no json"),
        post("/api/discovery/lookup.json", b'{"discoveryConfigs":[{"serviceId":"a"}],"regionId":"elsewhere"}'),
        get("/api/discovery/service.json?serviceId=a&regionId=elsewhere"),
        get("/api/discovery/service.json"),
        get("/api/discovery/lookup.json", method="OPTIONS"),
    ],
)
async def test_what_shows_no_data_has_no_cursor(wire: Wire, request_: bytes) -> None:
    """A caller that went on from the cursor of a failure would miss what he was not shown."""
    await wire.send(request_)
    _, fields, _ = await wire.answer()
    assert "artemis-cursor" not in fields
    assert "artemis-age-ms" not in fields


async def test_a_node_that_drains_gives_no_cursor(start: Callable, connect: Callable) -> None:
    """The list of all services is refused while the node stops, hot and streamed answers alike."""
    async with start() as server:
        wire = await connect(server)
        server.node.drain(0)
        for name in ("lookup", "services, streamed"):
            await wire.send(REQUESTS[name])
            status, fields, body = await wire.answer()
            assert (status, json.loads(body)["responseStatus"]["errorCode"]) == (200, "service-unavailable")
            assert "artemis-cursor" not in fields
