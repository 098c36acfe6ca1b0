"""Each rule of design 4.1 with the history that needs it; the names are those in the design's brackets."""

import pytest
from replicas import TIMINGS, World, instance

from artemis.cluster import Changes, Message, Renewals, Repair
from artemis.discovery import Catalog
from artemis.push import ChangeLog, read_cursor
from artemis.push.cursor import MESH, Cursor, encode_cursor
from artemis.registry import Dot, Origin, Reach, Record, Registry, merge
from artemis.registry.records import ZERO

A, B = Origin("a", 1), Origin("b", 1)


@pytest.fixture
def world() -> World:
    """Return two nodes that have exchanged what they know, with an instance registered at the first."""
    world = World()
    world.run(500)
    world["a"].registry.register(instance("i"), world.now)
    world.settle()
    return world


def lose(kind: type[Message]) -> object:
    """Return a rule that loses all messages of a kind."""
    return lambda *message: isinstance(message[2], kind)


def test_stamps() -> None:
    """A renewal is above all that its node has seen, so a node whose clock is behind still takes a lease over."""
    world = World()
    late = world.add("late", offset=-400)
    world.run(500)
    world["a"].registry.register(instance("i"), world.now)
    world.run(1_500)
    lease = late.registry.find("s", "i")
    before = lease.renewed
    late.registry.revive(lease, world.now)
    assert before < lease.renewed
    world.run(1_500)
    assert "late" == world["a"].registry.find("s", "i").renewed[1]


def test_product(world: World) -> None:
    """A renewal of an older version counts for the newer one: content and renewals merge each for itself."""
    world.part("a")
    world["a"].registry.register(instance("i", port=2), world.now)
    world.run(5_000, beats=[("b", "i")])
    world.heal()
    world.run(5_000)
    for peer in world.peers.values():
        lease = peer.registry.find("s", "i")
        assert (True, "b") == (b'"port":2' in lease.record.content, lease.renewed[1])


def test_tie() -> None:
    """Of equal versions the removed one wins, then the larger content, whoever merges what into what."""

    def record(content: bytes, *, removed: bool = False) -> Record:
        return Record(("r", "s", "i"), (5, "a"), removed, content, (5, "a"), ZERO, (5, "a"), ())

    small, large, gone = record(b"1"), record(b"2"), record(b"", removed=True)
    assert b"2" == merge(small, large).content == merge(large, small).content
    assert merge(large, gone).removed
    assert merge(gone, large).removed


def test_assertion(world: World) -> None:
    """A heartbeat on one side voids the expiry on the other, and says so with a change that moves cursors."""
    world.run(6_000, beats=[("a", "i")])
    world.part("a")
    world.run(16_000, beats=[("b", "i")])
    assert {} == world["a"].shows()
    assert ["i"] == list(world["b"].shows())
    seq = world["b"].registry.vector[B]
    world.heal()
    world.run(5_000, beats=[("b", "i")])
    assert ["i"] == list(world["a"].shows())
    assert world["b"].registry.vector[B] == world["a"].registry.vector[B] == seq + 1
    assert world.equal()


def test_in_order(world: World) -> None:
    """A change waits for those before it, and what never comes is repaired."""
    world.drop = lose(Changes)
    world["a"].registry.register(instance("j"), world.now)
    world.settle()
    world.drop = lose(Repair)
    world["a"].registry.register(instance("k"), world.now)
    world.settle()
    assert (["i"], 1) == (list(world["b"].shows()), world["b"].replica.held)
    world.drop = lambda *_: False
    world.run(6_000, beats=[("a", name) for name in "ijk"])
    assert (["i", "j", "k"], 0) == (list(world["b"].shows()), world["b"].replica.held)
    assert 3 == world["b"].registry.vector[A]


def test_dominate(world: World) -> None:
    """A cursor that names more than a node has applied is of no use to it: it never takes a step back."""
    a, b = world["a"].registry, world["b"].registry
    log = ChangeLog(Catalog(b, wall=0), b, wall=lambda: 0)
    world.part("a")
    a.unregister(instance("i"), world.now)
    ahead = read_cursor(encode_cursor(Cursor(kind=MESH, name="r", vector=dict(a.vector))))
    assert log.since("s", ahead).full


def test_dots(world: World) -> None:
    """A repaired record says which changes made it, so a cursor from before them misses nothing."""
    world.drop = lose(Changes)
    world["a"].registry.register(instance("j"), world.now)
    world.run(4_000, beats=[("a", "i"), ("a", "j")])
    assert (Dot(A, 2),) == world["b"].registry.find("s", "j").record.dots
    assert 2 == world["b"].registry.vector[A]
    assert [(A, 1), (A, 2)] == [(change.origin, change.seq) for change in world["b"].told]


def test_floor(world: World) -> None:
    """A node that copies another hears from which numbers on it may serve cursors: what was swept went before."""
    world["a"].registry.unregister(instance("i"), world.now)
    world.run(TIMINGS.lifetime + 1_000)
    assert {A: 2} == world["a"].registry.floor == world["b"].registry.floor
    world.add("c")
    world.run(1_000)
    assert {A: 2} == world["c"].registry.floor


def test_covered(world: World) -> None:
    """What died and was swept while a node stood still is not copied back from it."""
    world["a"].registry.register(instance("j"), world.now)
    world.run(1_000)
    world.asleep = {"b"}
    world["a"].registry.unregister(instance("i"), world.now)
    world.run(TIMINGS.lifetime + 1_000, beats=[("a", "j")])
    assert world["a"].registry.find("s", "i") is None
    assert ["i", "j"] == list(world["b"].shows())
    world.asleep = set()
    world.run(10_000, beats=[("a", "j")])
    assert ["j"] == list(world["a"].shows()) == list(world["b"].shows())
    assert "i" not in [change.record.key[2] for change in world["a"].told[3:] if change.visible]


def test_covered_lets_a_lease_that_is_heard_live(world: World) -> None:
    """A node gives nothing up that it hears because another has swept it: it says that it lives."""
    a, b = world["a"].registry, world["b"].registry
    lease = b.find("s", "i")
    b.revive(lease, world.now)
    theirs = Reach(dict(a.vector), {})
    assert [lease] == b.lacking([lease], theirs)
    b.restate(lease, world.now)
    assert (True, {A: 1, B: 1}) == (lease.live, b.vector)


def test_sweep(world: World) -> None:
    """Expired instances are forgotten like removed ones."""
    world.run(8_000 + TIMINGS.lifetime + 5_000)
    for peer in world.peers.values():
        assert (None, 0) == (peer.registry.find("s", "i"), peer.registry.dead)


def test_base(world: World) -> None:
    """A former life leaves all vectors and records a lifetime after its end, and the base says that it is included."""
    world.add("a", epoch=2)
    world.run(TIMINGS.lifetime + 5_000, beats=[("b", "i")])
    for peer in world.peers.values():
        assert {"a": 2} == peer.registry.base
        assert A not in peer.registry.vector
        assert () == tuple(dot for dot in peer.registry.find("s", "i").record.dots if dot.origin == A)
    assert ["i"] == list(world["a"].shows()) == list(world["b"].shows())


def test_bound_reply(world: World) -> None:
    """An answer to an earlier question brings nothing back."""
    world.connect("b")
    world.drop = lambda source, _, message: isinstance(message, Repair) and source == "a" and bool(message.rows)
    world["b"].registry.register(instance("j"), world.now)
    world["a"].registry.register(instance("k"), world.now)
    world.cut = {("a", "b")}
    world.settle()
    world.heal()
    world.run(200)
    (late,) = {message.request: message for _, _, message in world.kept if isinstance(message, Repair)}.values()
    world.drop = lambda *_: False
    world["a"].registry.unregister(instance("k"), world.now)
    world.run(TIMINGS.lifetime + 8_000, beats=[("a", "i")])
    assert world["b"].registry.find("s", "k") is None
    before = dict(world["b"].registry.vector)
    world["b"].replica.receive("a", late, world.now)
    assert (None, before) == (world["b"].registry.find("s", "k"), world["b"].registry.vector)


def test_own_dot() -> None:
    """What changes a view though no number beyond the vector says so becomes a change of the node's own."""
    registry = Registry(B, "r", timings=TIMINGS, now=0, wall=0)
    told = []
    registry.on_change(told.append)
    registry.rise(Reach({}, {}), {})
    record = Record(("r", "s", "i"), (5, "a"), False, b"{}", (5, "a"), ZERO, (5, "a"), ())
    registry.absorb(record, 100, Reach({}, {"a": 2}), {}, 1_000)
    assert [(B, 1, b"{}")] == [(change.origin, change.seq, change.visible) for change in told]


def test_a_repaired_change_is_told_with_its_own_number() -> None:
    """Callers see it before the vector covers it, and `ahead` says so until the vector rises."""
    registry = Registry(B, "r", timings=TIMINGS, now=0, wall=0)
    told, jumps = [], []
    registry.on_change(told.append)
    registry.on_jump(lambda before, after: jumps.append((dict(before), dict(after))))
    record = Record(("r", "s", "i"), (5, "a"), False, b"{}", (5, "a"), ZERO, (5, "a"), (Dot(A, 7),))
    theirs = Reach({A: 9}, {})
    registry.absorb(record, 100, theirs, {}, 1_000)
    assert [(A, 7)] == [(change.origin, change.seq) for change in told]
    assert ({B: 0}, {A: 7}) == (registry.vector, registry.ahead)
    registry.rise(theirs, {A: 3})
    assert ({B: 0, A: 9}, {}, {A: 3}) == (registry.vector, registry.ahead, registry.floor)
    assert [({B: 0}, {B: 0, A: 9})] == jumps


@pytest.mark.parametrize(("age", "live"), [(TIMINGS.ttl - 1, True), (TIMINGS.ttl, False)])
def test_aged(age: int, live: bool) -> None:
    """A renewal that comes late voids an expiry only while it is younger than the TTL."""
    registry = Registry(B, "r", timings=TIMINGS, now=0, wall=0)
    expired = Record(("r", "s", "i"), (5, "a"), False, b"{}", (5, "a"), (5, "a"), (5, "a"), ())
    registry.apply(A, 1, expired, 3 * TIMINGS.ttl, 1_000)
    renewed = Record(("r", "s", "i"), (5, "a"), False, b"{}", (9, "a"), ZERO, (5, "a"), ())
    registry.apply(A, 2, renewed, age, 1_000)
    record = registry.find("s", "i").record
    assert (live, 1) == (record.live, registry.vector[B])
    assert ((9, "a"), (5, "a")) == ((record.asserted, record.expired) if live else (record.expired, record.asserted))


def test_ranks() -> None:
    """When the owner is gone, one of the others gives the lease up for all, after the TTL and a grace."""
    world = World("abc")
    world.run(500)
    world["a"].registry.register(instance("i"), world.now)
    world.settle()
    world.asleep = {"a"}
    world.run(TIMINGS.ttl + TIMINGS.grace - 500)
    assert ["i"] == list(world["b"].shows()) == list(world["c"].shows())
    world.run(1_500)
    assert {} == world["b"].shows() == world["c"].shows()
    assert [0, 1] == sorted(world[name].registry.counters.expired for name in "bc")


def test_cap() -> None:
    """Leases that self-preservation holds go too, its time after the rest: nothing is held for ever."""
    world = World()
    world.run(500)
    for number in range(6):
        world["a"].registry.register(instance(str(number)), world.now)
    world.run(TIMINGS.ttl + TIMINGS.hold - 1_000)
    assert 6 == len(world["a"].shows()) == len(world["b"].shows())
    world.run(2_000)
    assert 0 == len(world["a"].shows()) == len(world["b"].shows())


def test_fresh() -> None:
    """When enough are heard again, those still silent get a whole TTL, at every node."""
    world = World()
    world.run(500)
    for number in range(8):
        world["a"].registry.register(instance(str(number)), world.now)
    world.run(TIMINGS.ttl + 1_000)
    assert world["b"].registry.self_preservation()[0].active
    world.run(TIMINGS.ttl, beats=[("a", str(number)) for number in range(7)])
    assert not world["b"].registry.self_preservation()[0].active
    assert 8 == len(world["a"].shows()) == len(world["b"].shows())
    world.run(TIMINGS.ttl, beats=[("a", str(number)) for number in range(7)])
    assert 7 == len(world["a"].shows()) == len(world["b"].shows())


def test_absent(world: World) -> None:
    """Unregistering at a node that has not heard of the instance removes it everywhere."""
    world.cut = {("a", "b")}
    world["a"].registry.register(instance("j"), world.now)
    world.run(1_000)
    world["b"].registry.unregister(instance("j"), world.now)
    world.heal()
    world.run(5_000)
    assert ["i"] == list(world["a"].shows()) == list(world["b"].shows())


def test_client(world: World) -> None:
    """A client that comes from a node that knows more must register, and its version is above the one it brings."""
    world.part("a")
    known = world["a"].registry.register(instance("i", port=2), world.now).record.version
    b = world["b"].registry
    assert b.heartbeat(instance("i", port=2), world.now, known) is None
    assert b.register(instance("i", port=2), world.now, known).record.version > known


def test_renewals_bring_no_removed_instance_back(world: World) -> None:
    """A batch of renewals that an unregister has overtaken revives nothing (defect 14)."""
    world.drop = lose(Renewals)
    world.run(2_000, beats=[("a", "i")])
    late = [(target, message) for _, target, message in world.kept if target == "b"]
    world.drop = lambda *_: False
    world["b"].registry.unregister(instance("i"), world.now)
    world.settle()
    for target, message in late:
        world[target].replica.receive("a", message, world.now)
    world.run(3_000)
    assert {} == world["a"].shows() == world["b"].shows()


def test_what_broke_off_half_way_and_was_swept_is_not_copied_again() -> None:
    """Two nodes with a dead record whose number no vector covers forget it, instead of copying it to each other."""
    registry = Registry(B, "r", timings=TIMINGS, now=0, wall=0)
    record = Record(("r", "s", "i"), (5, "a"), True, b"", (4, "a"), ZERO, (4, "a"), (Dot(A, 7),))
    theirs = Reach({A: 3}, {})
    assert registry.absorb(record, 100, theirs, {}, 1_000) is not None
    registry.tick(TIMINGS.lifetime + 1_001, 0, 10)
    assert registry.absorb(record, 100, theirs, {}, TIMINGS.lifetime + 1_002) is None
    assert 0 == registry.dead


def test_a_node_that_left_is_forgotten_a_lifetime_later() -> None:
    """Vectors do not grow with every node that there ever was; the latest of them leave a trace in the base."""
    world = World()
    world.run(500)
    for number in range(20):
        world.add(f"n{number:02}", epoch=number + 1)
        world[f"n{number:02}"].registry.register(instance(f"i{number}"), world.now)
        world.settle()
        world.remove(f"n{number:02}")
    world.run(TIMINGS.lifetime + 4_000, beats=[("a", f"i{number}") for number in range(20)])
    for peer in world.peers.values():
        assert {"a", "b"} == {origin.node for origin in peer.registry.vector}
        assert [f"n{number:02}" for number in range(4, 20)] == sorted(peer.registry.base)
    assert 20 == len(world["a"].shows()) == len(world["b"].shows())


def test_a_node_that_was_away_longer_than_it_is_remembered_begins_a_new_epoch() -> None:
    """What it was told meanwhile it says again in its new epoch, and nothing that is heard is lost."""
    world = World("abc")
    world.run(500)
    away = world.peers.pop("c")
    for peer in world.peers.values():
        peer.replica.disconnect("c")
        away.replica.disconnect(peer.name)
        peer.replica.set_members("ab")
    away.registry.register(instance("lonely"), world.now)
    world.run(TIMINGS.lifetime + 3_000)
    assert {"c": 2} == world["a"].registry.base
    world.peers["c"] = away
    world.beat("c", "lonely")
    world.connect("c")
    world.run(8_000, beats=[("c", "lonely")])
    assert 2 == away.registry.origin.epoch
    assert ["lonely"] == list(world["a"].shows()) == list(world["b"].shows()) == list(away.shows())
    assert world.equal()


def test_a_base_comes_over_with_the_last_part_of_an_answer() -> None:
    """Until then what a former life made may be lacking here, and must not be taken for what was swept here."""
    registry, former = Registry(B, "r", timings=TIMINGS, now=0, wall=0), Origin("x", 1)
    registry.expect(Reach({A: 1}, {"x": 2}))
    assert ({}, {"x": 2}) == (registry.base, registry.unnamed)
    record = Record(("r", "s", "i"), (5, "x"), False, b"{}", (5, "x"), ZERO, (5, "x"), (Dot(former, 4),))
    assert registry.absorb(record, 100, Reach({former: 4}, {}), dict(registry.base), 1_000) is not None
    registry.drop_epochs({"x": 2})
    assert ({"x": 2}, {}) == (registry.base, registry.unnamed)
