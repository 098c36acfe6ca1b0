"""What travels in an exchange, and when: only what differs, several parts at once, in pieces that hold nobody up."""

import itertools

import msgspec
import pytest
from replicas import WALL, Peer, World, instance

from artemis.cluster import Changes, Digest, Message, More, Renewals, Repair, changing, exchange, renewing
from artemis.cluster.exchange import AHEAD
from artemis.registry import Dot, NodeTimings, Origin

CALM = NodeTimings(ttl=600_000, legacy_ttl=600_000, heartbeat=2_000, lifetime=2_000_000)
"""Times in which nothing expires."""


def apart(count: int, rows: int = 200) -> World:
    """Return two nodes that know so many instances, and from now on hear nothing but questions and answers."""
    world = World(timings=CALM, rows=rows)
    world.run(500)
    for number in range(count):
        world["a"].registry.register(instance(f"i{number}"), world.now)
    world.run(6_000)
    world.drop = lambda _source, _target, message: isinstance(message, Changes | Renewals)
    world.sent.clear()
    return world


def told(world: World, kind: type[Message]) -> list[Message]:
    """Return all messages of a kind that came over."""
    return [message for _, _, message in world.sent if isinstance(message, kind)]


def test_only_records_that_differ_travel() -> None:
    """What both have stays where it is, also in a bucket with something that differs."""
    world = apart(3_000)
    for number in range(40):
        world["a"].registry.register(instance(f"i{number}", port=2), world.now)
        world["a"].registry.register(instance(f"a{number}"), world.now)
        world["b"].registry.register(instance(f"b{number}"), world.now)
        world["b"].registry.unregister(instance(f"i{100 + number}"), world.now)
    world.run(12_000)
    assert world["a"].shows() == world["b"].shows()
    assert world.equal()
    rows = [row.instance for message in told(world, Repair) for row in message.rows]
    assert 160 == len(set(rows))
    assert len(rows) <= 240, "what differs is told either way at most"


def test_a_record_that_differs_for_no_reason_is_repaired() -> None:
    """The same numbers of changes on both sides say nothing: the records are compared."""
    world = apart(50)
    lease = world["b"].registry.find("s", "i7")
    lease.record = msgspec.structs.replace(lease.record, content=lease.record.content.replace(b"x", b"y"))
    world["b"].replica._digests.changed(lease)
    world.run(12_000)
    contents = [world[name].registry.find("s", "i7").record.content for name in "ab"]
    assert contents[0] == contents[1]
    assert {"i7"} == {row.instance for message in told(world, Repair) for row in message.rows}


def test_what_one_side_has_swept_is_found_among_what_both_have() -> None:
    """A live record that the peer knew and lacks is said again, however many others are alike."""
    world = World(timings=CALM)
    world.run(500)
    names = [f"i{number}" for number in range(60)]
    for name in names:
        world["a"].registry.register(instance(name), world.now)
    world.run(1_000)
    world.part("a")
    world["a"].registry.unregister(instance("i9"), world.now)
    beats = [(node, name) for node in "ab" for name in names if (node, name) != ("a", "i9")]
    world.run(CALM.lifetime + 100_000, beats=beats, step=50_000)
    assert world["a"].registry.find("s", "i9") is None
    world.heal()
    world.run(10_000)
    assert 60 == len(world["a"].shows()) == len(world["b"].shows())
    assert (0, 1) == tuple(world[name].replica.counters.restated for name in "ab")


class Slow(World):
    """Links on which everything takes one round to arrive."""

    def rounds(self, most: int) -> int:
        """Let everything that is on its way arrive, once for each round, until nothing is; return how many it took."""
        for count in range(most):
            self.pass_by()
            way = [
                (name, to, message)
                for name, peer in self.peers.items()
                for one, message in peer.replica.take()
                for to in ([one] if one is not None else [other for other in self.peers if other != name])
            ]
            if not way:
                return count
            for source, to, message in self.order(way):
                self.carry(source, to, message)
        return most

    def pass_by(self) -> None:
        """Let time pass, or not."""

    def order(self, way: list[tuple[str, str, Message]]) -> list[tuple[str, str, Message]]:
        """Return what is on its way in the order in which it arrives."""
        return way


class Shuffled(Slow):
    """Links on which what was sent last arrives first, and everything twice."""

    def order(self, way: list[tuple[str, str, Message]]) -> list[tuple[str, str, Message]]:
        """Return what is on its way in the order in which it arrives."""
        return [*way[::-1], *way]

    def pass_by(self) -> None:
        """Let so much time pass that what waits for its turn has some."""
        self.now += 100
        for peer in self.peers.values():
            peer.replica._exchanges.tick(self.now)


def copied(kind: type[Slow], count: int) -> tuple[Slow, int]:
    """Let a node copy so many records in parts of ten, and return how many rounds that took."""
    world = kind("a", CALM, 10)
    for number in range(count):
        world["a"].registry.register(instance(f"i{number}"), world.now)
    world.settle()
    for _ in range(10):  # so that all digests are made
        world["a"].tick(world.now, WALL + world.now)
    world["a"].replica.take()
    world.add("c")
    world["c"].replica.want("a")
    world["a"].replica.partners = ()
    world.now += 100
    world["c"].tick(world.now, WALL + world.now)
    return world, world.rounds(1_000)


def test_parts_are_asked_for_ahead() -> None:
    """A copy takes as many round trips as it has parts, divided by those that are on their way at once, and a few."""
    world, rounds = copied(Slow, 3_000)
    assert 3_000 == len(world["c"].shows())
    assert rounds / 2 < 300 / AHEAD + AHEAD
    assert rounds / 2 > 300 / AHEAD


def test_parts_that_come_in_another_order_or_twice_count_once() -> None:
    """Each is taken in in its turn."""
    world, _ = copied(Shuffled, 500)
    assert world.equal()
    assert 500 == world["c"].replica.counters.rows_received
    assert 1 == world["c"].replica.counters.exchanges


def test_records_of_many_changes_travel_in_smaller_parts() -> None:
    """What a message costs its receiver depends on the changes that its records name, too."""
    world = apart(0)
    dots = tuple(Dot(Origin("z", epoch), 1) for epoch in range(1, 1_001))
    for number in range(30):
        world["a"].registry.register(instance(f"i{number}"), world.now)
        lease = world["a"].registry.find("s", f"i{number}")
        lease.record = msgspec.structs.replace(lease.record, dots=(*lease.record.dots, *dots))
    world["b"].replica.want("a")
    world.run(1_000)
    assert 3 == max(len(message.rows) for message in told(world, Repair))
    assert 30 == len(world["b"].shows())


def test_a_part_goes_through_so_many_digests_however_few_rows_come_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them may have to be made anew, and nobody else has a turn meanwhile."""
    monkeypatch.setattr(exchange, "_GONE_THROUGH", 20)
    world = apart(5_000)
    for number in range(0, 5_000, 10):
        world["a"].registry.register(instance(f"i{number}", port=2), world.now)
    world["b"].replica.want("a")
    world.run(1_000)
    through = [message.through for message in told(world, Repair) if message.through]
    assert 6 >= max(b - a for a, b in itertools.pairwise([0, *through]))
    assert world["a"].shows() == world["b"].shows()
    assert 0 == sum(world[name].replica.counters.exchanges_given_up for name in "ab")


def test_little_is_asked_for_in_vain() -> None:
    """A difference of a few records takes one question for parts."""
    world = apart(500)
    world["a"].registry.register(instance("new"), world.now)
    world["b"].replica.want("a")
    world.run(100)
    assert ["new"] == [row.instance for message in told(world, Repair) for row in message.rows]
    assert 1 == len(told(world, More))


def test_nodes_that_know_the_same_exchange_two_messages() -> None:
    """The sums, and that nothing differs."""
    world = apart(500)
    world["b"].replica.want("a")
    world.run(100)
    assert (1, 0) == (len(told(world, Digest)), len(told(world, More)))
    assert [True] == [message.last for message in told(world, Repair)]


# -- pieces


@pytest.fixture
def world() -> World:
    """Return two nodes with thirty instances, both heard everything."""
    world = World(timings=CALM)
    world.run(500)
    for number in range(30):
        world["a"].registry.register(instance(f"i{number:02}"), world.now)
    world.run(1_500)
    return world


def handles(world: World) -> list[int]:
    """Return how many renewals each message of the first node told."""
    found = [message for source, _, message in world.sent if isinstance(message, Renewals) and source == "a"]
    return [len(message.handles) // 4 for message in found]


def test_many_renewals_are_told_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tick tells so many; what was not told yet when it is heard again, ends or moves is told as it is then."""
    monkeypatch.setattr(renewing, "_AT_ONCE", 8)
    registry = world["a"].registry
    for number in range(30):
        registry.revive(registry.find("s", f"i{number:02}"), world.now)
    world.sent.clear()
    while not any(handles(world)):
        world.run(100)
    last = registry.find("s", "i00")
    assert last in world["a"].replica._renewing._waiting[0][1]
    registry.unregister(instance("i01"), world.now)
    world["b"].registry.register(instance("i02"), world.now)
    world.run(400)
    assert [8, 8, 8, 4] == [count for count in handles(world) if count]
    renewed = {name: world["b"].registry.find("s", name).renewed for name in ("i00", "i02", "i29")}
    assert (last.renewed, "b") == (renewed["i00"], renewed["i02"][1])
    assert renewed["i29"] < renewed["i00"]


def test_many_that_expired_come_back_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a change; those that wait and are removed meanwhile, or given up again, stay away."""
    monkeypatch.setattr(renewing, "_RETURNS", 4)
    monkeypatch.setattr(renewing, "_MOST_RETURNING", 9)
    world = World()
    world.run(500)
    for number in range(12):
        world["a"].registry.register(instance(f"i{number:02}"), world.now)
    world.run(2_000)
    b = world["b"]
    leases = [b.registry.find("s", f"i{number:02}") for number in range(12)]
    for lease in leases:
        b.registry._table(lease).discard(lease)
        b.registry._give_up(lease, world.now)
    b.replica._renewing._hear(leases, (WALL * 2_000, "a"), world.now)
    b.replica._renewing.go_on(world.now)
    assert (4, 3) == (len(b.shows()), b.replica.counters.returns_dropped)
    b.registry.unregister(instance("i04"), world.now)
    b.replica._renewing.go_on(world.now)
    assert ["i00", "i01", "i02", "i03", "i05", "i06", "i07"] == list(b.shows())
    b.replica._renewing.go_on(world.now)
    assert 8 == len(b.shows())


def test_many_changes_that_waited_are_applied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes meanwhile waits behind them, so the order stays."""
    monkeypatch.setattr(changing, "_RELEASED", 5)
    world = World(timings=CALM)
    world.run(500)
    world.cut = {("a", "b")}
    world["a"].registry.register(instance("first"), world.now)
    world.settle()
    world.cut = set()
    ((_, _, lost),) = [each for each in world.kept if isinstance(each[2], Changes)]
    for number in range(18):
        world["a"].registry.register(instance(f"i{number}"), world.now)
    world.settle()
    b: Peer = world["b"]
    b.replica.receive("a", lost, world.now)
    assert (6, 13) == (len(b.shows()), b.replica.held)
    world["a"].registry.register(instance("last"), world.now)
    world.settle()
    assert (6, 14) == (len(b.shows()), b.replica.held)
    for left in (9, 4, 0):
        b.tick(world.now, WALL + world.now)
        assert left == b.replica.held
    assert list(world["a"].shows()) == list(b.shows())
