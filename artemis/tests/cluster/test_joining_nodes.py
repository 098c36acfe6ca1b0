"""Nodes with their doors and links on real sockets: how they find each other, start, and are shown."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import structlog
import structlog.testing

from artemis.cluster.standing import Switch
from artemis.server.app import NodeServer
from artemis.server.config import checked

INSTANCE = {"regionId": "r1", "zoneId": "z1", "serviceId": "orders", "instanceId": "1", "url": "http://x", "port": 1}
REGISTER = "/api/registry/register.json"
CLUSTER = "/api/status/cluster.json"


@asynccontextmanager
async def running(**options: object) -> AsyncIterator[NodeServer]:
    """A node of region r1 that hears quickly of what happens."""
    values = {"port": 0, "region": "r1", "zone": "z1", "peer_beat": 0.1, **options}
    server = NodeServer(checked(values, {}), structlog.get_logger())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, looking at it in turns of the loop that are not too frequent."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nodes have no event for whatever a test may wait for
            await asyncio.sleep(0.01)


async def call(http: aiohttp.ClientSession, server: NodeServer, path: str, body: object = None) -> dict[str, object]:
    """Ask a node; a GET without a body."""
    method = "GET" if body is None else "POST"
    async with http.request(method, server.url + path, json=body) as response:
        found: dict[str, object] = await response.json(content_type=None)
        return {"http": response.status, **found}


def status_of(server: NodeServer, other: NodeServer) -> str:
    """The status that a node shows of another one."""
    members = server.node.members
    assert members is not None
    found = {view.node: view.status for view in members.views(0)}
    return found.get(other.node.identity.node_id, "stranger")


async def test_nodes_find_each_other_by_a_file_and_are_handed_out_to_clients(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """Each reads the list with its own address in it; a name for it is found out at the handshake (defect 12)."""
    file = tmp_path / "peers"
    file.write_text("# nobody yet\n")
    async with running(peers_file=file) as a, running(peers_file=file, zone="z2") as b:
        await until(lambda: a.node.serving and b.node.serving)
        file.write_text(f"{a.url}\n{b.url}\nhttp://localhost:{a.address[1]}\nhttp://localhost:{b.address[1]}\n")
        await until(lambda: status_of(a, b) == status_of(b, a) == "up")
        for node, other in ((a, b), (b, a)):
            answer = await call(http, node, "/api/cluster/up-registry-nodes.json?regionId=r1&zoneId=z1")
            nodes = answer["nodes"]
            assert isinstance(nodes, list)
            assert [node.url, other.url] == [each["url"] for each in nodes]
            await until(lambda members=node.node.members: not members.unmet)
            shown = await call(http, node, CLUSTER)
            assert 2 == shown["nodeCount"]
        await until(lambda: a.node.age(int(asyncio.get_running_loop().time() * 1000)) < 1_000)
        file.write_text("")
        members = a.node.members
        assert members is not None
        await until(lambda: not members.addresses)


async def test_a_node_waits_for_others_refuses_clients_and_takes_part_in_replication(
    http: aiohttp.ClientSession,
) -> None:
    """`/health/ready` says for what; the list of peers can be mended while it waits, and then it copies and serves."""
    async with running(peers="http://127.0.0.1:1", join_timeout=0.0) as a:
        await call(http, a, REGISTER, {"instances": [INSTANCE]})
        async with running(peers="http://127.0.0.1:1", join_timeout=600.0) as b:
            ready = await call(http, b, "/health/ready")
            assert (503, "starting") == (ready["http"], ready["status"])
            assert "it waits for http://127.0.0.1:1" in str(ready["why"])
            refused = await call(http, b, REGISTER, {"instances": [INSTANCE]})
            assert "service-unavailable" == refused["responseStatus"]["errorCode"]  # type: ignore[index]
            other = {**INSTANCE, "instanceId": "2"}
            taken = await call(http, b, "/api/replication/registry/register.json", {"instances": [other]})
            assert "success" == taken["responseStatus"]["errorCode"]  # type: ignore[index]
            outcome = b.reconfigure(b.config.model_copy(update={"peers": (a.url,)}))
            assert ("peers",) == outcome.changed
            await until(lambda: b.node.serving)
            assert b.node.registry.find("orders", "1") is not None
            ready = await call(http, b, "/health/ready")
            assert {"http": 200, "status": "up"} == ready
            await until(lambda: a.node.registry.find("orders", "2") is not None)


async def test_nodes_that_start_together_serve_without_waiting_for_the_timeout() -> None:
    """Nobody serves yet, so they compare with each other (defect 11)."""
    async with (
        running(peers="http://127.0.0.1:1", join_timeout=600.0) as a,
        running(peers="http://127.0.0.1:1", join_timeout=600.0, zone="z2") as b,
    ):
        for node, other in ((a, b), (b, a)):
            node.reconfigure(node.config.model_copy(update={"peers": (node.url, other.url)}))
        await until(lambda: a.node.serving and b.node.serving)


async def test_a_node_that_ends_is_down_for_the_others_at_once(http: aiohttp.ClientSession) -> None:
    """It says farewell; nobody waits for its silence."""
    async with running(peers="http://127.0.0.1:1", join_timeout=0.0, peer_suspect=100.0, peer_down=200.0) as a:
        async with running(peers=a.url, join_timeout=600.0) as b:
            await until(lambda: b.node.serving and status_of(a, b) == "up")
        await until(lambda: status_of(a, b) == "down")
        shown = await call(http, a, "/api/cluster/up-discovery-nodes.json")
        assert 1 == len(shown["nodes"])  # type: ignore[arg-type]


async def test_nodes_find_each_other_by_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands for the addresses of all of them, each node's own included; they listen on the same port."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **kinds: int) -> list[object]:
        hosts = ("127.0.0.1", "127.0.0.2") if host == "artemis.test" else (host,)
        return [found for each in hosts for found in resolve(each, port, **kinds)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with (
        running(peers_dns="artemis.test", peers_refresh=0.1, join_timeout=0.0) as a,
        running(host="127.0.0.2", port=a.address[1], peers_dns="artemis.test", join_timeout=600.0) as b,
    ):
        await until(lambda: status_of(a, b) == status_of(b, a) == "up")


async def test_peers_wait_for_a_restart_where_there_is_no_cluster() -> None:
    """A node that stands alone has no links that could begin."""
    async with running() as server:
        outcome = server.reconfigure(server.config.model_copy(update={"peers": ("http://127.0.0.1:1",)}))
    assert ((), ("peers",)) == (outcome.changed, outcome.kept)


async def test_a_switch_works_over_http_and_its_answer_says_who(http: aiohttp.ClientSession) -> None:
    """And what is wrong with a request is an HTTP status with a sentence, as for all operations of our own."""
    async with running() as server:
        await until(lambda: server.node.serving)
        body = {"service": "registry", "force": "down", "operatorId": "alice"}
        answer = await call(http, server, "/api/v1/node/force", body)
        assert (200, False, True) == (
            answer["http"],
            answer["canServiceRegistry"],
            answer["canServiceDiscovery"],
        )
        shown = await call(http, server, "/api/v1/node/forced")
        assert "alice" == shown["registry"]["operatorId"]  # type: ignore[index]
        ready = await call(http, server, "/health/ready")
        assert (503, "registry is forced down by alice") == (ready["http"], ready["why"])
        refused = await call(http, server, "/api/v1/node/force", {"force": "sideways", "operatorId": "a"})
        assert 400 == refused["http"]


async def test_operators_alone_switch(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    """Everybody may look."""
    file = tmp_path / "token"
    file.write_text("letmein-please\n")
    async with running(admin_token_file=file) as server:
        body = {"force": "down", "operatorId": "alice"}
        denied = await call(http, server, "/api/v1/node/force", body)
        assert (401, True) == (denied["http"], server.node.serving)
        shown = await call(http, server, "/api/v1/node/forced")
        assert (200, None) == (shown["http"], shown["registry"])
        headers = {"Authorization": "Bearer letmein-please"}
        async with http.post(f"{server.url}/api/v1/node/force", json=body, headers=headers) as response:
            assert 200 == response.status
        assert "down" == server.node.status


async def test_what_operators_switch_is_logged() -> None:
    """When, by whom, and when it ends."""
    log = structlog.testing.LogCapture()
    server = NodeServer(checked({"port": 0}, {}), structlog.wrap_logger(None, processors=[log]))
    await server.start()
    try:
        server.node.force("registry", Switch("down", "alice", 1))
        await until(lambda: [entry for entry in log.entries if entry["event"] == "service switched by hand"])
        server.node.force("registry", None)
        await until(lambda: 2 == len([entry for entry in log.entries if entry["event"] == "service switched by hand"]))
    finally:
        await server.stop()
    told = [(each["service"], each["force"], each.get("operator")) for each in log.entries if "service" in each]
    assert [("registry", "down", "alice"), ("registry", "off", None)] == told
