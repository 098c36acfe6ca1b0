"""How a client learns the nodes of the cluster, and goes to the better one."""

import asyncio
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from awaited import PATIENCE, first

from artemis import ArtemisClient, ClientOptions, Instance
from artemis.client.calls.transport import HttpTransport, Reply, TransportFailure
from artemis.client.events import NodesChanged, NodeSwitched
from artemis.client.nodes import addresses
from artemis.testing import running_node_sync

DISCOVERY, REGISTRY = "cluster/up-discovery-nodes.json", "cluster/up-registry-nodes.json"
Answers = dict[str, dict[str, object]]
NONE_THERE: dict[str, object] = {"responseStatus": {"status": "fail", "errorCode": "data-not-found", "message": "none"}}
NOWHERE = "http://127.0.0.1:1"
OPTIONS = ClientOptions(heartbeat_interval=0.3, address_interval=0.05, attempts=3, backoff=0.01, node_rest=0.05)


def naming(*nodes: tuple[str, str]) -> dict[str, object]:
    """Return an answer that names nodes, each by its URL and its zone."""
    named = [{"url": url, "zone": {"regionId": "local", "zoneId": zone}} for url, zone in nodes]
    return {"nodes": named, "responseStatus": {"status": "success", "errorCode": "success"}}


class Cluster:
    """Goes to real nodes, which must answer; but what they say of each other comes from ``answers``, by path.

    Being no `HttpTransport` it is the only way to the nodes: no link carries the calls past it.
    """

    def __init__(self, answers: Answers) -> None:
        self._http = HttpTransport(max_answer_bytes=1 << 20)
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.changed = asyncio.Condition()

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as its base
        """See `Transport.call`."""
        reply = await self._http.call(node, path, body, timeout)
        if not path.startswith("cluster/"):
            return reply
        async with self.changed:
            self.asked.append((node, path))
            self.changed.notify_all()
        if path not in self.answers:
            raise TransportFailure("HTTP 404")
        return Reply(json.dumps(self.answers[path]).encode())

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._http.close()

    async def asked_again(self, times: int) -> None:
        """Wait for so many further questions."""
        async with asyncio.timeout(PATIENCE), self.changed:
            enough = len(self.asked) + times
            await self.changed.wait_for(lambda: len(self.asked) >= enough)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[str, str]]:
    """Run two nodes that know nothing of each other."""
    with ExitStack() as stack:
        one, other = (stack.enter_context(running_node_sync(self_preservation=False)) for _ in range(2))
        yield one.url, other.url


def client_of(cluster: Cluster | None, *servers: str, options: ClientOptions = OPTIONS) -> ArtemisClient:
    """Make a client in zone1."""
    return ArtemisClient(servers=servers, region_id="local", zone_id="zone1", options=options, transport=cluster)


async def test_a_real_node_names_itself(node_url: str) -> None:
    """A configured name gives way to the address under which the node says that it is reached."""
    name = node_url.replace("127.0.0.1", "localhost")
    async with client_of(None, name) as client:
        events = client.events()
        await client.service("orders")
        assert (await first(events, NodesChanged)).nodes == (node_url, name)
        switch = await first(events, NodeSwitched)
        assert (switch.old, switch.new) == (name, node_url)
        assert switch.reason == f"the registry does not name {name}"


async def test_a_client_that_makes_one_call_does_not_ask(pair: tuple[str, str]) -> None:
    """Who uses no service and holds no lease has no need of other nodes."""
    cluster = Cluster({})
    async with client_of(cluster, pair[0]) as client:
        await client.api.lookup(["orders"])
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert cluster.asked == []


async def test_only_nodes_that_serve_what_the_client_does_are_taken(pair: tuple[str, str]) -> None:
    """Who finds and registers asks for both lists, and takes what is on both."""
    home, other = pair
    named = {
        DISCOVERY: naming((home, "zone1"), (other, "zone1"), ("http://127.0.0.1:2", "zone1")),
        REGISTRY: naming((home, "zone1"), (NOWHERE, "zone1"), (other, "zone1")),
    }
    cluster = Cluster(named)
    async with client_of(cluster, home) as client:
        events = client.events()
        async with client.registered(Instance(service_id="both", ip="127.0.0.1", port=1)):
            assert (await first(events, NodesChanged)).nodes == (home, NOWHERE, other)
            assert {path for _, path in cluster.asked} == {REGISTRY}
            await client.service("both")
            assert (await first(events, NodesChanged)).nodes == (home, other)


async def test_errors_and_empty_lists_change_nothing(pair: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """A registry that cannot say who is there is not believed to be gone, and it is no trouble that it names nobody."""
    home, other = pair
    cluster = Cluster({DISCOVERY: naming((home, "zone1"), (other, "zone1"))})
    async with client_of(cluster, home) as client:
        events = client.events()
        await client.service("orders")
        await first(events, NodesChanged)
        answers: list[Answers] = [{DISCOVERY: NONE_THERE}, {}, {DISCOVERY: {}}, {DISCOVERY: naming()}]
        for nothing in answers:
            cluster.answers = nothing
            await cluster.asked_again(2)
        cluster.answers = {DISCOVERY: naming((home, "zone1"))}
        assert (await first(events, NodesChanged)).nodes == (home,)
        assert client.server == home
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_nonsense_is_left_out_and_logged_once(pair: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """Addresses that cannot be used are dropped one by one; the others count."""
    home, other = pair
    cluster = Cluster({DISCOVERY: naming(("nonsense", "zone1"), ("", ""), (other, "zone2"), (home, "zone1"))})
    with caplog.at_level(logging.WARNING, "artemis.client"):
        async with client_of(cluster, home) as client:
            events = client.events()
            await client.service("orders")
            assert (await first(events, NodesChanged)).nodes == (other, home)
            await cluster.asked_again(3)
    assert len(caplog.records) == 1
    assert "names the node 'nonsense', which is not used" in caplog.text


async def test_a_client_away_from_home_goes_back_when_its_zone_answers(pair: tuple[str, str]) -> None:
    """At a refresh, and only to a node that answers: the own zone is preferred, not believed in."""
    away, home = pair
    cluster = Cluster({DISCOVERY: naming((away, "zone2"), (NOWHERE, "ZONE1"))})
    async with client_of(cluster, away) as client:
        events = client.events()
        await client.service("orders")
        await first(events, NodesChanged)
        await cluster.asked_again(5)
        assert client.server == away
        cluster.answers = {DISCOVERY: naming((away, "zone2"), (NOWHERE, "ZONE1"), (home, "Zone1"))}
        switch = await first(events, NodeSwitched)
        assert (switch.old, switch.new, switch.reason) == (away, home, "it is in the own zone")


async def test_after_a_loss_the_new_node_is_asked_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the end of the interval: its list is younger than the one that the lost node gave."""
    monkeypatch.setattr(addresses, "SOON", 0.05)
    options = ClientOptions(heartbeat_interval=0.1, poll_interval=0.1, address_interval=60, attempts=3, backoff=0.01)
    with running_node_sync() as doomed, running_node_sync() as spare:
        cluster = Cluster({DISCOVERY: naming((doomed.url, "zone1"), (spare.url, "zone1"))})
        async with client_of(cluster, doomed.url, options=options) as client:
            events = client.events()
            await client.service("orders")
            await first(events, NodesChanged)
            cluster.answers = {DISCOVERY: naming((spare.url, "zone1"), (NOWHERE, "zone1"))}
            await asyncio.to_thread(doomed.kill)
            assert (await first(events, NodeSwitched)).new == spare.url
            assert (await first(events, NodesChanged)).nodes == (spare.url, NOWHERE, doomed.url)


async def test_an_interval_of_zero_asks_never(pair: tuple[str, str]) -> None:
    """Then the configured addresses are all there are."""
    cluster = Cluster({DISCOVERY: naming((pair[1], "zone1"))})
    options = ClientOptions(poll_interval=0.02, address_interval=0)
    async with client_of(cluster, pair[0], options=options) as client:
        watch = client.watch("zero")
        async with client.registered(Instance(service_id="zero", ip="127.0.0.1", port=1)):
            await anext(watch)
    assert cluster.asked == []


async def test_every_address_of_a_name_is_tried(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a dead machine and a live one works, whichever comes first."""
    resolved: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with client_of(None, f"http://registry.example:{urlsplit(pair[0]).port}") as client:
        assert (await client.api.node_status()).status == "up"
    assert resolved == ["registry.example"]
