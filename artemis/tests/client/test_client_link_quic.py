"""A client of a node with a certificate: how it comes to QUIC, and what it does where UDP does not pass."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import pytest
from awaited import first
from link_peers import until
from udp_wire import Front, fronted

from artemis import ArtemisClient, ClientOptions, Instance, LinkChanged, LinkKind, NodeSwitched
from artemis.client import ClientEvent
from artemis.client.links.link import Link
from artemis.testing import RunningNode, running_node_sync
from artemis.testing.certificates import CertificateFiles, make_certificate
from msgtrans import QuicServerConfig, TlsClientConfig, TlsServerConfig, TransportServer

OPTIONS = ClientOptions(
    link_backoff=0.02,
    link_backoff_limit=0.1,
    confirm_interval=0.2,
    heartbeat_interval=0.3,
    address_interval=0.0,  # with the node's own address the client would go past what stands before it
)
PLACES = [f"127.{os.getpid() >> 8 & 127 | 64}.{os.getpid() & 255}.{number}" for number in range(1, 21)]
"""Addresses of this machine that are used by nothing else, one for each test."""
BLOCKED = replace(OPTIONS, link_timeout=2.0)
_used = count()


@asynccontextmanager
async def client_of(
    node: Front | RunningNode, files: CertificateFiles, options: ClientOptions = OPTIONS, **tls: str
) -> AsyncIterator[ArtemisClient]:
    """Open a client of the node, or of what stands before it."""
    async with ArtemisClient(
        servers=[node.url],
        region_id="local",
        zone_id="zone1",
        options=options,
        tls=TlsClientConfig(**{"ca_file": files.ca_file, **tls}),
    ) as client:
        yield client


async def moved(client: ArtemisClient, kind: LinkKind) -> list[ClientEvent]:
    """Use a service, and wait until the link is of a kind; return what happened meanwhile."""
    seen: list[ClientEvent] = []
    events = client.events()
    await client.service("orders")
    async with asyncio.timeout(30):
        while client.link is not kind:
            seen.append(await anext(events))
    return seen


def links(seen: list[ClientEvent]) -> list[tuple[LinkKind, LinkKind]]:
    """Return the changes of the link."""
    return [(event.old, event.new) for event in seen if isinstance(event, LinkChanged)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """Make a certificate for all places."""
    return make_certificate(tmp_path_factory.mktemp("tls"), ["127.0.0.1", *PLACES])


@pytest.fixture(scope="module")
def node(files: CertificateFiles) -> Iterator[RunningNode]:
    """Start a node that serves QUIC."""
    with running_node_sync(**files.options, self_preservation=False) as one:
        yield one


@pytest.fixture
async def front(node: RunningNode) -> AsyncIterator[Front]:
    """Stand before the node, at a place where nobody stood before."""
    async with fronted(node, PLACES[next(_used)]) as one:
        yield one


@pytest.fixture
async def mortal(node: RunningNode) -> AsyncIterator[RunningNode]:
    """Return the node, and start it again where a test has left it ended; while it is, its port refuses."""
    yield node
    if node.process.poll() is not None:
        await asyncio.to_thread(node.restart)


async def test_a_client_moves_to_quic_without_leaving_the_link_that_it_has(
    front: Front, files: CertificateFiles
) -> None:
    """It begins as at any node, and takes up what the node offers soon after; then calls and pushes go over QUIC."""
    async with client_of(front, files) as client:
        seen = await moved(client, LinkKind.QUIC)
        assert [(LinkKind.POLL, LinkKind.MSGTRANS), (LinkKind.MSGTRANS, LinkKind.QUIC)] == links(seen)
        await until(lambda: not client._live._parting)
        accepted, passed = front.tcp.accepted, front.udp.passed
        changes = aiter(client.watch("orders"))
        async with client.registered(Instance(service_id="orders", instance_id="i1", ip="127.0.0.1", port=9000)):
            change = await anext(changes)
            assert ("new", "i1") == (change.change_type, change.instance.instance_id)
            assert "up" == (await client.api.node_status()).status
        assert (accepted, LinkKind.QUIC) == (front.tcp.accepted, client.status.link)
        assert front.udp.passed > passed
        assert client._live.pushes[LinkKind.QUIC]


async def test_a_client_whose_address_changes_keeps_its_link(front: Front, files: CertificateFiles) -> None:
    """QUIC knows a connection by its id; nothing is made anew."""
    async with client_of(front, files) as client:
        await moved(client, LinkKind.QUIC)
        link, events = client._live.link, client.events()
        for _ in range(2):
            front.udp.move()
            for _ in range(3):
                assert "up" == (await client.api.node_status()).status
            assert (await _confirmed(client)) is link
        events.close()
        assert [] == [event async for event in events if isinstance(event, LinkChanged)]


def joined(whole: Path, *parts: str) -> str:
    """Write files into one, and return its name."""
    whole.write_bytes(b"".join([Path(part).read_bytes() for part in parts]))
    return str(whole)


async def _confirmed(client: ArtemisClient) -> Link | None:
    link = client._live.link
    assert link is not None
    assert (await link.confirm()).current
    return client._live.link


async def test_where_udp_is_blocked_the_client_stays_with_what_it_has(
    front: Front, files: CertificateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls go on, the log says why, and after a rest it is tried again."""
    caplog.set_level(logging.INFO, "artemis.client")
    front.udp.dead = True
    async with client_of(front, files, replace(BLOCKED, offer_rest=1.0)) as client:
        events = client.events()
        await moved(client, LinkKind.MSGTRANS)
        link = client._live.link
        await until(lambda: "is not reached over quic" in caplog.text)
        assert "up" == (await client.api.node_status()).status
        assert client._live.link is link
        front.udp.dead = False
        change = await first(events, LinkChanged, lambda event: event.new is not LinkKind.MSGTRANS)
        assert (LinkKind.MSGTRANS, LinkKind.QUIC) == (change.old, change.new)


async def test_udp_that_dies_leads_back_to_tcp_and_the_node_is_not_left(
    front: Front, files: CertificateFiles, node_url: str
) -> None:
    """Noticed as a dead path of TCP is; there is no other try before the rest is over, whatever the node offers.

    Nor do calls fail that are under way.
    """
    async with client_of(front, files, replace(OPTIONS, attempts=1)) as client:
        await moved(client, LinkKind.QUIC)
        client._contact.nodes.urls += (node_url,)
        events = client.events()
        front.udp.dead = True
        calls = [asyncio.ensure_future(client.api.node_status()) for _ in range(3)]
        lost = await first(events, LinkChanged)
        again = await first(events, LinkChanged)
        assert [LinkKind.POLL, LinkKind.MSGTRANS] == [lost.new, again.new]
        assert "no answer" in lost.reason
        assert front.url == again.node == client.server
        assert ["up"] * 3 == [status.status for status in await asyncio.gather(*calls)]
        front.udp.dead = False
        await until(lambda: client._live._ladder.quic_port(front.url) is not None)
        due = client._live._due(client._live.link)
        assert due is not None
        assert due > 100.0
        events.close()
        assert [] == [event async for event in events if isinstance(event, LinkChanged | NodeSwitched)]


async def test_udp_that_is_refused_leads_back_to_tcp_and_the_node_is_not_left(
    front: Front, files: CertificateFiles, node_url: str
) -> None:
    """That nobody listens at the port of UDP any more says nothing of the node, which another port may reach."""
    async with client_of(front, files, replace(OPTIONS, confirm_interval=20.0)) as client:
        await moved(client, LinkKind.QUIC)
        client._contact.nodes.urls += (node_url,)
        events = client.events()
        asyncio.get_running_loop().remove_reader(front.udp._near.fileno())
        front.udp._near.close()
        front.udp._near = front.udp._bound(("127.0.0.1", 0), front.udp._from_client)
        call = asyncio.ensure_future(client.api.node_status())
        lost = await first(events, LinkChanged)
        again = await first(events, LinkChanged)
        assert [LinkKind.POLL, LinkKind.MSGTRANS] == [lost.new, again.new]
        assert "nothing listens there any more" in lost.reason
        assert front.url == again.node == client.server
        assert "up" == (await call).status
        events.close()
        assert [] == [event async for event in events if isinstance(event, NodeSwitched)]


async def test_a_certificate_for_another_name_is_never_used(
    front: Front, files: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever answers on UDP has to prove the same as on TCP; the log says that he does not."""
    caplog.set_level(logging.INFO, "artemis.client")
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other", ["other.example"])
    tls = TlsServerConfig(certificate_file=other.certificate_file, key_file=other.key_file)
    asked: list[object] = []
    both = joined(tmp_path / "both.pem", files.ca_file, other.ca_file)
    async with TransportServer(quic=QuicServerConfig(bind_address="127.0.0.1:0", tls=tls)) as server:
        server.on_request(asked.append)
        front.udp.target = tuple(server.addresses[0])
        async with client_of(front, files, BLOCKED, ca_file=both) as client:
            await moved(client, LinkKind.MSGTRANS)
            await until(lambda: "is not reached over quic" in caplog.text)
            assert "certificate" in caplog.text
            assert LinkKind.MSGTRANS is client.link
    assert [] == asked


async def test_what_a_node_offered_says_nothing_of_what_it_offers_after_a_restart(
    mortal: RunningNode, files: CertificateFiles
) -> None:
    """The client comes back by way of TCP, and moves to QUIC only if the node says again that it serves it."""
    arguments = mortal._arguments
    async with client_of(mortal, files) as client:
        await moved(client, LinkKind.QUIC)
        events = client.events()
        await asyncio.to_thread(mortal.stop)
        assert LinkKind.POLL is (await first(events, LinkChanged)).new
        arguments.append("--no-quic")
        await asyncio.to_thread(mortal.restart)
        await first(events, LinkChanged, lambda event: event.new is LinkKind.MSGTRANS)
        assert "up" == (await client.api.node_status()).status
        assert (None, None) == (client._live._ladder.quic_port(mortal.url), client._live._due(client._live.link))
        await asyncio.to_thread(mortal.stop)
        arguments.remove("--no-quic")
        await asyncio.to_thread(mortal.restart)
        kinds = [LinkKind.POLL]
        while kinds[-1] is not LinkKind.QUIC:
            kinds.append((await first(events, LinkChanged)).new)
        assert LinkKind.MSGTRANS is kinds[-2]


async def test_a_node_that_is_killed_is_noticed_and_found_again(mortal: RunningNode, files: CertificateFiles) -> None:
    """It says no goodbye, so silence has to tell."""
    async with client_of(mortal, files, replace(OPTIONS, attempt_timeout=1.0)) as client:
        await moved(client, LinkKind.QUIC)
        events = client.events()
        await asyncio.to_thread(mortal.kill)
        assert LinkKind.POLL is (await first(events, LinkChanged)).new
        await asyncio.to_thread(mortal.restart)
        change = await first(events, LinkChanged, lambda event: event.new is not LinkKind.POLL)
        assert LinkKind.MSGTRANS is change.new


async def test_without_qh3_a_client_is_content_with_tcp(
    front: Front, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for those who look for the reason, however often the node offers it."""
    caplog.set_level(logging.DEBUG, "artemis.client")
    monkeypatch.setitem(sys.modules, "qh3", None)
    async with client_of(front, files) as client:
        await moved(client, LinkKind.MSGTRANS)
        for _ in range(3):
            await client.api.node_status()
        assert client._live._due(client._live.link) is None
    assert 1 == caplog.text.count("pip install 'artemis-registry[quic]'")


async def test_a_client_that_shows_a_certificate_is_content_with_tcp(
    front: Front, files: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """QUIC servers cannot ask for it, so the node could not know who it is."""
    caplog.set_level(logging.DEBUG, "artemis.client")
    own = {"certificate_file": files.certificate_file, "key_file": files.key_file}
    async with client_of(front, files, **own) as client:
        await moved(client, LinkKind.MSGTRANS)
        await client.api.node_status()
        assert client._live._due(client._live.link) is None
    assert "shows a certificate" in caplog.text


def test_clients_that_hear_of_quic_together_do_not_move_together() -> None:
    """They take their time at random, up to the limit of waits before connections."""
    waits = []
    for seed in range(200):
        live = ArtemisClient(servers=["https://node"], random=Random(seed))._live  # noqa: S311 - repeatable, no secret
        live.offered("https://node", 4433)
        due = live._ladder.better_at("https://node", LinkKind.MSGTRANS)
        assert due is not None
        waits.append(due - live.since)
    assert min(waits) < 1.0
    assert 14.0 < max(waits) < 16.0
