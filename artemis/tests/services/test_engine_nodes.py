"""Nodes whose registries replicate over a bucket of a real nats-server."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import nats
import pytest
import structlog

from artemis.cluster import ClusterTimings
from artemis.cluster.engine.replica import EngineReplica
from artemis.cluster.nats.bucket import BucketOptions
from artemis.cluster.nats.carrier import Carrier, EngineOptions
from artemis.cluster.nats.servers import parse_servers
from artemis.cluster.nats.trouble import EngineState
from artemis.cluster.operations import ReplicatedOperations
from artemis.model import Instance
from artemis.registry import NodeTimings
from artemis.server.node import Node, NodeIdentity
from artemis.testing.nats_servers import NatsServer, nats_server

pytestmark = pytest.mark.skipif(nats_server() is None, reason="there is no nats-server")
NAMES = ("a", "b")


def now() -> int:
    return int(time.monotonic() * 1000)


def wall() -> int:
    return int(time.time() * 1000)


def instance(name: str) -> Instance:
    return Instance(region_id="r", service_id="s", instance_id=name, url="http://x")


class Whole:
    """A node, its replica and what carries that."""

    def __init__(self, name: str, url: str) -> None:
        identity = NodeIdentity(node_id=name, epoch=wall(), region="r", zone="z", url=f"http://{name}")
        self.node = Node(identity, timings=NodeTimings(), now=now(), wall=wall())
        self.registry = self.node.registry
        operators = ReplicatedOperations(self.node.pullouts, self.registry)
        self.replica = EngineReplica(self.registry, operators, ClusterTimings(), now=now(), wall=wall())
        self.replica.set_members(NAMES)
        self.carrier = Carrier(
            self.replica,
            EngineOptions(
                servers=parse_servers(url), bucket=BucketOptions(cluster="tests", region="r", max_entries=1_000)
            ),
            node=name,
            epoch=identity.epoch,
            heard=lambda *_: None,
            now=now,
            wall=wall,
            log=structlog.get_logger(),
        )
        self.registry.on_change(lambda *_: self.carrier.soon())

    def shows(self) -> set[str]:
        """Return the ids of what callers see."""
        return {name for name, _ in self.node.catalog.instances("s")}


@asynccontextmanager
async def two_nodes(url: str) -> AsyncIterator[tuple[Whole, Whole]]:
    """Two nodes, for which time passes."""
    both = Whole("a", url), Whole("b", url)

    async def ticks() -> None:
        while True:
            await asyncio.sleep(0.1)
            for each in both:
                each.node.tick(now(), wall())
                each.carrier.tick()

    for each in both:
        each.carrier.start()
    ticking = asyncio.get_running_loop().create_task(ticks())
    try:
        yield both
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
        for each in both:
            await each.carrier.stop()


async def until(condition: Callable[[], bool], both: tuple[Whole, Whole]) -> None:
    try:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - the registries of two nodes tell nobody
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError([(each.shows(), each.replica.state(), each.carrier.counters) for each in both]) from None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a server, which ends with the test."""
    one = NatsServer(tmp_path / "alone")
    one.start()
    yield one
    one.kill()


async def test_what_one_node_accepts_the_other_shows(server: NatsServer) -> None:
    """Registrations and removals at either node reach the other, and afterwards both know the same."""
    async with two_nodes(server.url) as both:
        a, b = both
        await until(lambda: a.replica.synced and b.replica.synced, both)
        a.registry.register(instance("at-a"), now())
        b.registry.register(instance("at-b"), now())
        await until(lambda: {"at-a", "at-b"} == a.shows() == b.shows(), both)
        b.registry.unregister(instance("at-a"), now())
        await until(lambda: {"at-b"} == a.shows() == b.shows(), both)
        await until(lambda: a.replica.digest == b.replica.digest is not None, both)
        assert [0, 0] == [each.carrier.counters["failures"] for each in both]


async def test_what_was_accepted_without_the_engine_comes_later(server: NatsServer) -> None:
    """While the server is gone both go on by themselves, and are one again when it is back."""
    async with two_nodes(server.url) as both:
        a, b = both
        await until(lambda: a.replica.synced and b.replica.synced, both)
        server.kill()
        await until(lambda: not a.carrier.state.open and not b.carrier.state.open, both)
        a.registry.register(instance("at-a"), now())
        b.registry.register(instance("at-b"), now())
        assert ({"at-a"}, {"at-b"}) == (a.shows(), b.shows())
        server.start()
        await until(lambda: {"at-a", "at-b"} == a.shows() == b.shows(), both)
        await until(lambda: a.replica.digest == b.replica.digest is not None, both)
        assert [0, 0] == [each.carrier.counters["failures"] for each in both]


async def test_a_node_is_compared_with_the_engine(server: NatsServer) -> None:
    """All that the bucket has is read beside what goes on, and reading it again changes nothing."""
    async with two_nodes(server.url) as both:
        a, b = both
        await until(lambda: a.replica.synced and b.replica.synced, both)
        empty = a.replica.inspect(now())
        a.carrier.soon()
        await until(lambda: empty.done, both)
        assert ("", 0, 0) == (empty.failed, empty.rows, empty.count)
        for number in range(300):
            b.registry.register(instance(f"i{number}"), now())
        await until(lambda: len(a.shows()) == 300, both)
        inspection = a.replica.inspect(now())
        a.carrier.soon()
        await until(lambda: inspection.done, both)
        assert ("", True, 300, 0) == (inspection.failed, inspection.complete, inspection.rows, inspection.count)
        passes = a.replica.counters.exchanges
        assert a.replica.reread(now())
        a.carrier.soon()
        await until(lambda: a.replica.counters.exchanges > passes, both)
        await until(lambda: not a.replica.dirty and a.replica.digest == b.replica.digest is not None, both)
        assert [0, 0] == [each.carrier.counters["failures"] for each in both]


async def test_a_bucket_that_was_put_back_is_another_one_for_all(server: NatsServer, tmp_path: Path) -> None:
    """Servers that come back with what they had earlier lose nothing that was accepted, however soon a node has put as
    much as there was, and who reads on from there finds that it is another bucket."""
    async with two_nodes(server.url) as both:
        a, b = both
        await until(lambda: a.replica.synced and b.replica.synced, both)
        a.registry.register(instance("early"), now())
        await until(lambda: {"early"} == b.shows() and not a.replica.dirty, both)
        server.kill()
        shutil.copytree(server.folder / "jetstream", tmp_path / "copy")
        server.start()
        await until(lambda: a.carrier.state.open and b.carrier.state.open, both)
        for number in range(20):
            a.registry.register(instance(f"i{number}"), now())
        await until(lambda: len(b.shows()) == 21 and not a.replica.dirty, both)
        before = [each.replica.position for each in both]
        server.kill()
        shutil.rmtree(server.folder / "jetstream")
        shutil.copytree(tmp_path / "copy", server.folder / "jetstream")
        b.registry.register(instance("late"), now())
        server.start()
        await until(lambda: len(a.shows()) == len(b.shows()) == 22, both)
        await until(lambda: not a.replica.dirty and not b.replica.dirty and not a.replica.passing, both)
        after = [each.replica.position for each in both]
        assert before[0] is not None
        assert after[0] is not None
        assert after[1] is not None
        assert before[0].identity != after[0].identity == after[1].identity
        inspection = a.replica.inspect(now())
        a.carrier.soon()
        await until(lambda: inspection.done, both)
        assert ("", 22, 0) == (inspection.failed, inspection.rows, inspection.count)


async def test_a_bucket_that_falls_back_again_and_again_is_said_to_be_broken(
    server: NatsServer, tmp_path: Path
) -> None:
    """As of servers that do not keep the same: each node has all read it anew once, and then says what to do."""
    async with two_nodes(server.url) as both:
        a, b = both

        def broken() -> bool:
            return all("delete it" in each.carrier.why for each in both)

        def anew(before: str) -> bool:
            ready = all(each.carrier.state.open and not each.replica.dirty for each in both)
            return ready and before not in {getattr(each.replica.position, "identity", before) for each in both}

        await until(lambda: a.replica.synced and b.replica.synced, both)
        for turn in range(1, 4):
            server.kill()
            shutil.copytree(server.folder / "jetstream", tmp_path / str(turn))
            server.start()
            await until(lambda: a.carrier.state.open and b.carrier.state.open, both)
            for number in range(20):
                a.registry.register(instance(f"i{turn}-{number}"), now())
            await until(lambda turn=turn: len(b.shows()) == 20 * turn and not a.replica.dirty, both)
            position = a.replica.position
            assert position is not None
            identity = position.identity
            server.kill()
            shutil.rmtree(server.folder / "jetstream")
            shutil.copytree(tmp_path / str(turn), server.folder / "jetstream")
            server.start()
            await until(lambda identity=identity: broken() or anew(identity), both)
            if broken():
                break
        assert broken()
        shown = len(a.shows())
        connection = await nats.connect(server.url)
        await connection.jetstream().delete_stream("KV_artemis_tests")
        await connection.close()
        await until(lambda: all(each.carrier.state.open and not each.replica.dirty for each in both), both)
        assert [shown, shown] == [len(each.shows()) for each in both]


async def test_who_is_brought_less_than_there_is_asks_other_servers_and_says_so(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where servers do not keep the same, and each says that it has all; other entries that come hide that from
    nobody, and nothing is lost meanwhile."""
    async with two_nodes(server.url) as both:
        a, b = both
        await until(lambda: a.replica.synced and b.replica.synced, both)
        session = b.carrier._session
        assert session is not None
        session._checking = True  # nobody but the test looks

        async def more() -> tuple[int, bool]:
            return 10**6, True

        async def look(expected: int = 0) -> None:
            await until(lambda: session._consumer._stretch.all and not b.replica.passing, both)
            session._consumer._expected = expected
            await session._check()
            session._checking = True

        with monkeypatch.context() as patched:
            patched.setattr(session._bucket, "look", more)  # as if another one led
            patched.setattr(session, "_compare", lambda _: None)  # that brings no own puts either
            for number in range(10):
                a.registry.register(instance(f"i{number}"), now())
                await until(lambda number=number: f"i{number}" in b.shows(), both)
                await look(10**6)
        assert (EngineState.BEHIND, 10) == (b.carrier.state, b.carrier.counters["lags"])
        assert "delete it" in b.carrier.why
        assert 6 == b.replica.counters.exchanges  # the first, and as often as that is of use
        b.registry.register(instance("own"), now())
        await until(lambda: not b.replica.dirty, both)
        await look()
        assert (EngineState.READY, "") == (b.carrier.state, b.carrier.why)
        assert (11, 1) == (len(b.shows()), b.carrier.counters["openings"])


async def test_who_reads_an_own_put_elsewhere_than_it_was_answered_reads_all_anew(server: NatsServer) -> None:
    """As at a server that has other numbers than the one that leads, which may hide some of what was put."""
    async with two_nodes(server.url) as both:
        a, b = both
        await until(lambda: a.replica.synced and b.replica.synced, both)
        a.registry.register(instance("i"), now())
        await until(lambda: {"i"} == b.shows(), both)
        session = b.carrier._session
        assert session is not None
        before = b.replica.counters.exchanges
        for number in range(1, 1_000):
            session._numbering.read(number, 10**6)
        b.registry.register(instance("own"), now())
        await until(lambda: b.replica.counters.exchanges > before and not b.replica.dirty, both)
        await until(lambda: {"i", "own"} == a.shows(), both)
        assert (1, 1) == (b.carrier.counters["strays"], b.carrier.counters["openings"])


async def test_who_ends_has_told_the_others_of_all_that_it_put(server: NatsServer) -> None:
    """Also of changes of which there is no entry, as there was one after them at once."""
    async with two_nodes(server.url) as both:
        a, b = both
        await until(lambda: a.replica.synced and b.replica.synced, both)
        for number in range(4):
            a.registry.register(msgspec.structs.replace(instance("i"), url=f"http://x/{number}"), now())
        await a.carrier.stop()
        assert not a.replica.untold
        await until(lambda: b.registry.vector.get(a.registry.origin) == 4, both)
