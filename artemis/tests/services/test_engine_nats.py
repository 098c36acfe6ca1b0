"""The engine over real nats-servers, which are killed, halted, filled, set back, and not ours."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import pytest
from engine_cores import Make, carried, in_state, ready
from nats.js.api import StreamConfig, StreamInfo

from artemis.cluster.engine.port import AskLast, Get, Opening, Purge, Read, Stored, Tell
from artemis.cluster.nats.bucket import Bucket, BucketOptions
from artemis.cluster.nats.clock import EngineClock
from artemis.cluster.nats.connection import Connection, ConnectionTimings
from artemis.cluster.nats.login import Login
from artemis.cluster.nats.names import Names
from artemis.cluster.nats.trouble import EngineState
from artemis.testing.nats_servers import NatsServer, nats_cluster, nats_server

pytestmark = pytest.mark.skipif(nats_server() is None, reason="there is no nats-server")
STREAM = "KV_artemis_tests"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Give a cluster of three servers, which ends with the test."""
    servers = nats_cluster(tmp_path)
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.kill()


def urls(servers: list[NatsServer]) -> str:
    return "nats://" + ",".join(server.address for server in servers)


async def leader_of(servers: list[NatsServer]) -> NatsServer:
    """Return the server that leads the bucket."""
    client = await nats.connect([each.url for each in servers])
    async with asyncio.timeout(30):
        info = await client.jetstream().stream_info(STREAM)
    await client.close()
    assert info.cluster is not None
    return next(each for each in servers if each.folder.name == info.cluster.leader)


# -- one server


async def test_entries_and_words_reach_other_nodes(make: Make) -> None:
    """What one node puts, another one reads, with its age; what it says is heard, by all or by one."""
    server = make()
    async with carried(server.url, node="a") as a, carried(server.url, node="b") as b:
        await ready(a)
        await ready(b)
        await a.puts(["i.x", "m.a"])
        await b.until(lambda: {"i.x", "m.a"} == b.core.entries.keys())
        assert (1, 2) == (b.core.entries["i.x"].sequence, b.core.entries["m.a"].sequence)
        assert 0 <= b.core.entries["i.x"].lain < 60_000
        stored = Stored("a", 1, 2, 3, "one")
        a.core.give(Tell(None, stored), Tell("b", stored), Tell("c", stored))
        a.carrier.turn()
        a.carrier.say(b"here I am")
        await b.until(lambda: bool(b.core.beats))
        assert [("a", stored), ("a", stored)] == b.core.told
        assert [("a", 1, b"here I am")] == b.core.beats
        assert [] == a.core.told


async def test_outcomes_of_puts(make: Make) -> None:
    """A put is stored, or in conflict with a later one, or refused with words; each is told once."""
    server = make()
    async with carried(server.url) as one:
        await ready(one)
        numbers = [
            one.core.put("i.x", b"1"),
            one.core.put("i.x", b"2"),
            one.core.put("i.x", b"3", 1),
            one.core.put("i.>", b"4"),
            one.core.put("i.y", b""),
            one.core.put("i.y", b"5" * 1_048_576),
        ]
        one.carrier.turn()
        await one.until(lambda: len(one.core.outcomes) == len(numbers))
        outcomes = [one.core.outcomes[number].split(":")[0] for number in numbers]
        assert ["stored", "conflicted", "stored", "refused", "refused", "refused"] == outcomes


async def test_single_questions(make: Make) -> None:
    """The last number, one entry, and the disappearance of an entry of a certain revision only."""
    server = make()
    async with carried(server.url) as one:
        await ready(one)
        await one.puts(["i.x", "i.y"])
        one.core.give(Purge("i.x", 1), Purge("i.y", 1), AskLast(), Get("i.x"), Get("i.y"))
        one.carrier.turn()
        await one.until(lambda: len(one.core.gotten) == 2)
        (_, gone), (_, there) = one.core.gotten
        assert gone is None
        assert there is not None
        assert (2, [2]) == (there.sequence, one.core.lasts)


async def test_a_new_node_gets_the_members_first(make: Make) -> None:
    """With the opening come all entries of members, and no others."""
    server = make()
    async with carried(server.url, node="a") as a:
        await ready(a)
        await a.puts([f"m.{n}" for n in range(150)] + ["i.x"])
        async with carried(server.url, node="b") as b:
            await ready(b)
            assert {f"m.{n}" for n in range(150)} == {each.key for each in b.core.openings[0].members}
            assert 151 == b.core.openings[0].last


async def test_a_hundred_thousand_entries_are_read_and_resumed(make: Make) -> None:
    """A node reads all there is in order, each once, and goes on later with what is new."""
    server = make()
    async with carried(server.url, node="a") as a:
        await ready(a)
        keys = [f"i.k{n}" for n in range(100_000)]
        await a.puts(keys)
        async with carried(server.url, node="b") as b:
            await b.until(lambda: b.core.read_up_to >= 100_000)
            assert list(range(1, 100_001)) == b.core.sequences
            server.kill()
            await b.until(lambda: bool(b.core.losses))
            server.start()
            await a.puts(["i.more"])
            await b.until(lambda: b.core.read_up_to >= 100_001)
            assert list(range(1, 100_002)) == b.core.sequences


async def test_the_end_is_told_where_the_last_entry_disappeared(make: Make) -> None:
    """What was purged is brought by nobody; that it was the last is told all the same."""
    server = make()
    async with carried(server.url) as one:
        await ready(one)
        await one.puts(["i.x", "i.y"])
        one.core.give(Purge("i.y", 2))
        one.carrier.turn()
        await one.until(lambda: one.carrier.counters["purged"] == 1)
        one.core.read_up_to = 0
        one.core.give(Read(0))
        one.carrier.turn()
        await one.until(lambda: one.core.read_up_to >= 2)


async def test_puts_outlive_a_killed_server(make: Make) -> None:
    """Under puts without end the server is killed and started: whatever was stored is read, each put has an outcome."""
    server = make()
    async with carried(server.url, node="a") as a, carried(server.url, node="b") as b:
        await ready(a)
        putting = asyncio.create_task(a.puts([f"i.k{n}" for n in range(20_000)]))
        await b.until(lambda: len(b.core.entries) > 1_000)
        server.kill()
        await a.until(lambda: bool(a.core.losses))
        server.start()
        await putting
        await b.until(lambda: len(b.core.entries) == 20_000)
        assert sorted(b.core.sequences) == b.core.sequences
        assert len(set(b.core.sequences)) == len(b.core.sequences)


async def test_a_halted_server_is_noticed(make: Make) -> None:
    """A server that stands still is left within seconds, and found again when it goes on; ending is not held up."""
    server = make()
    async with carried(server.url) as one:
        await ready(one)
        server.halt()
        numbers = [one.core.put(f"i.k{n}", b"v" * 10_000) for n in range(3_000)]
        one.carrier.turn()
        await in_state(one, EngineState.CONNECTING, "")
        assert not one.core.stored_all(numbers)
        server.go_on()
        await ready(one)
        await one.puts(["i.x"])
        server.halt()
        [one.core.put(f"i.j{n}", b"v" * 10_000) for n in range(3_000)]
        one.carrier.turn()
    server.go_on()


async def test_a_bucket_made_anew_is_noticed(make: Make) -> None:
    """Whoever deletes the bucket while nodes work gets a new one, and nodes are told that it is another."""
    server = make()
    async with carried(server.url, node="a") as a, carried(server.url, node="b") as b:
        await ready(a)
        await ready(b)
        await a.puts(["i.x", "i.y"])
        await b.until(lambda: len(b.core.entries) == 2)
        client = await nats.connect(server.url)
        await client.jetstream().delete_stream(STREAM)
        await client.close()
        await b.until(lambda: len(b.core.openings) == 2)
        assert b.core.openings[0].identity != b.core.openings[1].identity
        await a.until(lambda: len(a.core.openings) == 2)
        assert a.core.openings[1].identity == b.core.openings[1].identity
        await a.puts(["i.z"])
        await b.until(lambda: {"i.z"} == b.core.entries.keys())


async def test_a_bucket_that_is_gone_is_not_created_at_once(make: Make) -> None:
    """Its server may be deleting the files still; who has waited takes what another node has created meanwhile."""
    server = make()
    connection = Connection(server.url, Login(), name="tests", ca_file=None, timings=ConnectionTimings())
    await connection.open()

    def bucket(entries: int, known: Callable[[], tuple[str, int]]) -> Bucket:
        options = BucketOptions(cluster="tests", region="here", max_entries=entries)
        return Bucket(connection, Names.of("tests"), options, EngineClock(), lambda: 0, known, lambda: True)

    def gone() -> tuple[str, int]:
        others.append(asyncio.ensure_future(bucket(200, lambda: ("", 0)).open()))
        return "a former one", 7

    others: list[asyncio.Future[Opening]] = []
    opening = await bucket(100, gone).open()
    assert opening.identity == (await others[0]).identity
    assert 200 == (await info_of(server)).config.max_msgs
    await asyncio.gather(*others)
    await connection.close()


async def test_bytes_that_a_lost_server_does_not_take_are_no_error(make: Make) -> None:
    """What ends the connection has nobody who would hear of one; that it is lost is seen all the same."""
    server = make()
    connection = Connection(server.url, Login(), name="tests", ca_file=None, timings=ConnectionTimings())
    await connection.open()
    client = connection._client
    client._pending, client._pending_data_size = [b"PUB x 1\r\nx\r\n"], 12
    client.abort()
    await client._process_op_err(ConnectionResetError())
    connection.check()
    assert "the server has ended the connection" == connection.lost.result()
    await connection.close()


async def info_of(server: NatsServer) -> StreamInfo:
    """Return what a server says of the bucket."""
    client = await nats.connect(server.url)
    found = await client.jetstream().stream_info(STREAM)
    await client.close()
    return found


async def test_a_full_bucket_takes_no_new_keys(make: Make) -> None:
    """What is there can be put again, and when room is made nodes are ready without being asked."""
    server = make()
    async with carried(server.url, max_entries=5) as one:
        await ready(one)
        numbers = [one.core.put(f"i.k{n}", b"v") for n in range(6)]
        one.carrier.turn()
        await one.until(lambda: len(one.core.outcomes) == 6)
        assert ["stored"] * 5 + ["full"] == [one.core.outcomes[number] for number in numbers]
        assert EngineState.FULL is one.carrier.state
        again = one.core.put("i.k0", b"w", 1)
        one.carrier.turn()
        await one.until(lambda: one.core.outcomes.get(again) == "stored")
        one.core.give(Purge("i.k1", 2))
        one.carrier.turn()
        await ready(one)
        assert [] == one.core.losses


# -- servers that are not for us


async def test_somebody_elses_stream_is_left_alone(make: Make) -> None:
    """A stream of our bucket's name that no node has created is not touched, and what it is said in words."""
    server = make()
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(StreamConfig(name=STREAM, subjects=["theirs.>"]))
    async with carried(server.url) as one:
        await in_state(one, EngineState.FOREIGN, "somebody else's")
        assert [] == one.core.openings
        await client.jetstream().delete_stream(STREAM)
        await client.jetstream().add_stream(StreamConfig(name="other", subjects=["$KV.artemis_tests.x"]))
        await in_state(one, EngineState.FOREIGN, "another stream")
    await client.close()


async def test_another_region_is_refused(make: Make) -> None:
    """The bucket belongs to the region that created it."""
    server = make()
    async with carried(server.url, region="eu") as eu, carried(server.url, region="us") as us:
        await eu.until(lambda: EngineState.FOREIGN in (eu.carrier.state, us.carrier.state))
        await eu.until(lambda: EngineState.READY in (eu.carrier.state, us.carrier.state))


async def test_a_server_without_jetstream(make: Make) -> None:
    """Nothing can be kept there, and what to do is said."""
    server = make(jetstream=False)
    async with carried(server.url) as one:
        await in_state(one, EngineState.REFUSED, "enable it")


async def test_an_account_without_room(make: Make) -> None:
    """An account that has no room for a record is full from the beginning."""
    server = make(config="accounts { A { users: [{user: u, password: p}]\njetstream: {max_file: 10} } }")
    file = server.folder / "login"
    file.write_text("u\np\n")
    async with carried(server.url, login=Login(password=file)) as one:
        await ready(one)
        one.core.put("i.x", b"v" * 300)
        one.carrier.turn()
        await one.until(lambda: one.carrier.state is EngineState.FULL)
        assert {0: "full"} == one.core.outcomes


# -- three servers


async def test_a_killed_leader_is_replaced(three: list[NatsServer]) -> None:
    """Puts go on when the two that are left have agreed, and nothing that was stored is missing."""
    async with carried(urls(three), node="a") as a, carried(urls(three), node="b") as b:
        await ready(a)
        await ready(b)
        await a.puts([f"i.before{n}" for n in range(500)])
        leader = await leader_of(three)
        putting = asyncio.create_task(a.puts([f"i.during{n}" for n in range(2_000)]))
        leader.kill()
        await putting
        await b.until(lambda: len(b.core.entries) == 2_500)
        leader.start()
        await a.puts([f"i.after{n}" for n in range(10)])
        await b.until(lambda: len(b.core.entries) == 2_510)
        assert sorted(set(b.core.sequences)) == b.core.sequences
        assert {a.core.openings[0].identity} == {each.identity for each in a.core.openings + b.core.openings}


async def test_a_halted_leader_is_replaced(three: list[NatsServer]) -> None:
    """It is as if it were killed, but for how it is noticed."""
    async with carried(urls(three), node="a") as a, carried(urls(three), node="b") as b:
        await ready(a)
        await ready(b)
        leader = await leader_of(three)
        leader.halt()
        await a.puts([f"i.k{n}" for n in range(1_000)])
        await b.until(lambda: len(b.core.entries) == 1_000)
        leader.go_on()
        await a.puts(["i.after"])
        await b.until(lambda: len(b.core.entries) == 1_001)


async def test_without_a_quorum_words_are_still_heard(three: list[NatsServer]) -> None:
    """Two of three servers are gone: nothing is kept, nodes hear each other, and all goes on when one is back."""
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(carried(urls(three), node=name)) for name in "ab"]
        await ready(a)
        await ready(b)
        await a.puts(["i.before"])
        for server in three[:2]:
            server.kill()
        a.core.put("i.x", b"v")
        a.carrier.turn()
        await in_state(a, EngineState.NO_QUORUM, "")
        for number in itertools.count():
            a.carrier.say(b"%d" % number)
            b.core.changed.clear()
            await b.core.changed.wait()
            if b.core.beats:
                break
        three[0].start()
        await ready(a)
        await a.puts(["i.after"])
        await b.until(lambda: "i.after" in b.core.entries)
