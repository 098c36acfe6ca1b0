"""What operators decide, in a cluster: records that merge, and what comes of them at every node (design 4.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replicas import TIMINGS, instance
from whole_nodes import NodeWorld

from artemis.cluster import Changes, Message, OperationRow, Repair
from artemis.cluster.messages import latest_stamp
from artemis.cluster.operations import decision_of, row_of
from artemis.management import Decision, InstanceTarget, OperationRecord, ServerTarget
from artemis.management.decisions import merge
from artemis.model.changes import DELETE
from artemis.model.cursors import read_cursor
from artemis.registry import Dot, Origin

TARGET = InstanceTarget("r", "s", "i1")
SERVER = ServerTarget("r", "10.0.0.1")
BEATS = [("a", "i1"), ("b", "i2")]


def by(operation: str, operator: str = "alice", token: str | None = None) -> OperationRecord:
    return OperationRecord(operation, operator, token)


@pytest.fixture
def world() -> NodeWorld:
    """Return two nodes that know two instances."""
    world = NodeWorld()
    world["a"].register(world, instance("i1", ip="10.0.0.1"))
    world["b"].register(world, instance("i2", ip="10.0.0.2"))
    world.settle()
    return world


def test_a_pull_out_at_one_node_hides_the_instance_at_all(world):
    """It takes one number of its origin, and is told everywhere as that very change."""
    a, b = world["a"], world["b"]
    before = a.registry.vector[a.registry.origin]
    told = []
    for node in (a, b):
        node.node.catalog.on_transition(lambda each: told.append((each.origin.node, each.seq, each.instance)))
    a.node.pullouts.operate(TARGET, by("Out"), world.now)
    world.settle()
    assert (["i2"], ["i2"]) == (a.seen(), b.seen())
    assert [("a", before + 1, "i1")] * 2 == told
    assert a.registry.vector == b.registry.vector
    b.node.pullouts.complete(TARGET, "out", world.now)
    world.settle()
    assert (["i1", "i2"], ["i1", "i2"]) == (a.seen(), b.seen())


def test_operators_see_the_same_at_every_node(world):
    """Names come in the order of recording and with their first spelling, whichever node is asked."""
    a, b = world["a"], world["b"]
    world.part("a")
    b.node.pullouts.operate(InstanceTarget("R", "S", "I1"), by("Second", "bob"), world.now + 2)
    a.node.pullouts.operate(TARGET, by("first"), world.now)
    a.node.pullouts.operate(TARGET, by("FIRST", "carol"), world.now + 1)
    world.settle()
    world.heal()
    world.run(6_000, BEATS)
    assert a.decided() == b.decided() == [(TARGET, [("first", "carol"), ("Second", "bob")])]


def test_a_server_is_pulled_out_at_every_node(world):
    """Each node brings it into effect with changes of its own, which all others know as numbers."""
    a, b = world["a"], world["b"]
    a.node.pullouts.operate(SERVER, by("out"), world.now)
    world.settle()
    assert (["i2"], ["i2"]) == (a.seen(), b.seen())
    assert a.registry.vector == b.registry.vector
    assert not b.registry.pending


def test_what_both_sides_of_a_partition_decide_comes_together(world):
    """The later word about an operation counts, also over one that the other side had never heard of."""
    a, b = world["a"], world["b"]
    world.part("a")
    a.node.pullouts.operate(TARGET, by("x"), world.now)
    a.node.pullouts.operate(SERVER, by("disk"), world.now)
    b.node.pullouts.complete(TARGET, "x", world.now + 50)
    b.node.pullouts.operate(InstanceTarget("r", "s", "i2"), by("y"), world.now)
    world.settle()
    assert (["i2"], ["i1"]) == (a.seen(), b.seen())
    world.heal()
    world.run(6_000, BEATS)
    assert ([], []) == (a.seen(), b.seen())
    assert a.decided() == b.decided()
    assert 2 == len(a.node.operations)


def test_a_pull_out_made_beside_a_node_that_was_cut_off_for_longer_than_a_lifetime_stays():
    """Who has not heard of a node for so long has not seen all that it did, and does not say so to others."""
    world = NodeWorld("abc", departure=10 * TIMINGS.lifetime)
    world["a"].register(world, instance("i1", ip="10.0.0.1"))
    world.settle()
    beats = [("a", "i1"), ("b", "i1")]
    world.cut = {("a", "b"), ("b", "a")}
    world["a"].replica.disconnect("b")
    world["a"].replica.set_members("ac")
    world.run(TIMINGS.lifetime // 2, beats)
    world.part("a")
    world["b"].node.pullouts.operate(TARGET, by("out"), world.now)
    world.run(TIMINGS.lifetime // 2 + 8_000, beats)
    world.cut = {("a", "b"), ("b", "a")}
    world.run(8_000, beats)
    assert [[], [], []] == [peer.seen() for peer in (world["a"], world["b"], world["c"])]
    assert world["a"].decided() == world["c"].decided() == [(TARGET, [("out", "alice")])]


@pytest.mark.parametrize("target", [TARGET, SERVER], ids=["instance", "server"])
def test_no_reconnect_failover_or_restart_undoes_it(world, target):
    """The instance stays hidden wherever its owner goes, through restarts with and without memory of every node."""
    world["a"].node.pullouts.operate(target, by("out"), world.now)
    world.settle()
    world["b"].register(world, instance("i1", ip="10.0.0.1", url="http://moved"))
    world.run(3_000, [("b", "i1"), ("b", "i2")])
    for name, remembers in (("a", False), ("b", True), ("a", True), ("b", False)):
        saved = world[name].save(world) if remembers else None
        world.restart(name, saved)
        world.run(6_000, [("b", "i1"), ("b", "i2")])
        assert (["i2"], ["i2"]) == (world["a"].seen(), world["b"].seen()), (name, remembers)
    world["b"].node.pullouts.complete(target, "out", world.now)
    world.run(3_000, [("b", "i1"), ("b", "i2")])
    assert (["i1", "i2"], ["i1", "i2"]) == (world["a"].seen(), world["b"].seen())


def test_a_pull_in_is_not_undone_by_a_node_that_was_away(world):
    """A node that comes back with its old memory, after all have forgotten the operation, ends it too [covered]."""
    world["a"].node.pullouts.operate(TARGET, by("out"), world.now)
    world.settle()
    old = world["b"].save(world)
    world.part("b")
    world["a"].node.pullouts.complete(TARGET, "out", world.now)
    world.run(TIMINGS.lifetime + 1_000, [("a", "i1"), ("a", "i2")])
    assert 0 == world["a"].node.operations.remembered
    world.restart("b", old)
    world.heal()
    world.run(12_000, [("a", "i1"), ("a", "i2")])
    assert (["i1", "i2"], ["i1", "i2"]) == (world["a"].seen(), world["b"].seen())
    assert [] == world["a"].decided() == world["b"].decided()


def test_a_pull_out_outlives_the_epoch_it_was_made_in(world):
    """Long after the node that recorded it began a new life, newcomers are told of it, and nobody ends it."""
    world["a"].node.pullouts.operate(TARGET, by("out"), world.now)
    world.settle()
    world.restart("a", None)
    world.run(TIMINGS.lifetime + 5_000, BEATS)
    assert {} != world["b"].registry.base
    world.add("c")
    world.run(12_000, BEATS)
    assert [["i2"]] * 3 == [world[name].seen() for name in "abc"]
    assert world["a"].decided() == world["b"].decided() == world["c"].decided()


def test_a_newcomer_whose_copy_breaks_off_ends_nothing(world):
    """It is not taken for one that knew an operation and forgot it, however often its exchanges break off."""
    for number in range(300):
        world["a"].node.pullouts.operate(ServerTarget("r", f"h{number}"), by("out"), world.now)
    world.settle()
    world.restart("a", None)
    world.run(TIMINGS.lifetime + 5_000, BEATS)
    world.drop = broken_off
    world.add("c")
    world.run(12_000, BEATS)
    assert (300, 300) == (len(world["a"].node.operations), len(world["b"].node.operations))
    world.drop = lambda *_: False
    world.run(12_000, BEATS)
    assert [300, 300, 300] == [len(world[name].node.operations) for name in "abc"]


def test_operations_that_ended_are_forgotten_after_a_lifetime(world):
    """Then nothing is left of them at any node, and cursors of before cost a full sync."""
    a = world["a"]
    cursor = read_cursor(a.node.cursor())
    a.node.pullouts.operate(TARGET, by("out"), world.now)
    a.node.pullouts.complete(TARGET, "out", world.now)
    a.node.pullouts.complete(SERVER, "never recorded", world.now)
    world.settle()
    assert [2, 2] == [world[name].node.operations.remembered for name in "ab"]
    world.run(TIMINGS.lifetime + 1_000, BEATS)
    assert [0, 0] == [world[name].node.operations.remembered for name in "ab"]
    assert [[], []] == [[*world[name].node.operations.decisions()] for name in "ab"]
    assert world["b"].node.log.since("s", cursor).full


def test_a_cursor_of_one_node_gets_the_decisions_of_another(world):
    """A pull-out beyond the cursor is told at any node, also at one that never showed the instance."""
    a, b = world["a"], world["b"]
    cursor = read_cursor(a.node.cursor())
    a.node.pullouts.operate(TARGET, by("out"), world.now)
    world.settle()
    missed = b.node.log.since("s", cursor)
    assert (False, [(DELETE, True)]) == (
        missed.full,
        [(each.kind, b'"instanceId":"i1"' in each.content) for each in missed.changes],
    )


@pytest.mark.parametrize("target", [InstanceTarget("r", "s", "late"), ServerTarget("r", "10.0.0.9")])
def test_a_cursor_that_saw_an_instance_before_its_pull_out_was_known_there(world, target):
    """The node that answers hid the instance from the beginning, so nothing changed for its own callers."""
    a, b = world["a"], world["b"]
    world.part("a")
    a.node.pullouts.operate(target, by("out"), world.now)
    b.register(world, instance("late", ip="10.0.0.9"))
    world.settle()
    cursor = read_cursor(b.node.cursor())
    assert "late" in b.seen()
    world.heal()
    world.run(6_000, [*BEATS, ("b", "late")])
    missed = a.node.log.since("s", cursor)
    assert not missed.full
    assert DELETE in [each.kind for each in missed.changes if b'"instanceId":"late"' in each.content]


def test_a_cursor_of_a_node_that_is_bringing_a_server_out_covers_no_more_than_it_shows(world):
    """While some instances are hidden and others not yet, the decision counts as ahead: other nodes tell it again."""
    a, b = world["a"], world["b"]
    for number in range(40):
        b.register(world, instance(f"x{number}", ip="10.0.0.1"))
    world.settle()
    b.node.pullouts.step_cost = 20
    a.node.pullouts.operate(SERVER, by("out"), world.now)
    world.settle()
    assert not b.node.pullouts.settled
    origin = a.registry.origin
    cursor = read_cursor(b.node.cursor())
    assert cursor.vector[origin] < b.registry.vector[origin] == cursor.ahead[origin]
    assert b.node.log.behind(read_cursor(a.node.cursor()))
    missed = a.node.log.since("s", cursor)
    told = {each.kind for each in missed.changes}
    assert (False, {DELETE}, 41) == (missed.full, told, len(missed.changes))
    while not b.node.pullouts.settled:
        b.node.pullouts.tick(world.now)
    world.settle()
    assert (["i2"], {}) == (b.seen(), b.registry.pending)
    assert not b.node.log.behind(read_cursor(a.node.cursor()))


def test_a_decision_that_changes_nothing_for_callers_is_a_number_for_all(world):
    """A second operation of a hidden instance moves the vector of every node alike, and tells nobody anything."""
    a, b = world["a"], world["b"]
    a.node.pullouts.operate(TARGET, by("x"), world.now)
    world.settle()
    version = b.node.catalog.version
    a.node.pullouts.operate(TARGET, by("y"), world.now)
    world.settle()
    assert a.registry.vector == b.registry.vector
    assert version == b.node.catalog.version
    rows = [row for _, _, message in world.sent if isinstance(message, Changes) for row in message.rows]
    assert ["x", "y"] == [row.operation for row in rows if row is not None and hasattr(row, "operation")]


def test_a_decision_of_no_time_is_counted_and_left_out(world):
    """Its stamp would leave no room for later ones; its number counts all the same."""
    b = world["b"]
    vector = b.registry.vector[Origin("a", 1)]
    latest = latest_stamp(b.registry.wall(world.now))
    strange = OperationRow("r", "s", "i1", "out", (1, "a"), (latest + 1, "a"), False, "x", None)
    b.replica.receive("a", Changes("a", 1, vector + 1, [strange]), world.now)
    assert (["i1", "i2"], vector + 1) == (b.seen(), b.registry.vector[Origin("a", 1)])
    assert 1 == b.replica.counters.strange
    assert b.registry.clock < latest


def broken_off(source: str, target: str, message: Message) -> bool:
    """Let all but the first part of an answer be lost."""
    return target == "c" and isinstance(message, Repair) and message.index > 0


NODES = st.sampled_from("ab")
STAMPS = st.tuples(st.integers(1, 3), NODES)
DECISIONS = st.builds(
    Decision,
    st.sampled_from([TARGET, InstanceTarget("R", "s", "i1")]),
    st.sampled_from(["out", "OUT"]),
    STAMPS,
    STAMPS,
    st.booleans(),
    st.sampled_from(["alice", "bob"]),
    st.sampled_from([None, "", "t"]),
    st.dictionaries(NODES, st.integers(1, 3)).map(
        lambda dots: tuple(Dot(Origin(node, 1), seq) for node, seq in sorted(dots.items()))
    ),
)


@given(DECISIONS, DECISIONS, DECISIONS)
def test_merging_decisions_is_a_join(a, b, c):
    """It is commutative, associative and idempotent, so all nodes come to the same whatever way they hear."""
    assert fields(merge(a, b)) == fields(merge(b, a))
    assert fields(merge(merge(a, b), c)) == fields(merge(a, merge(b, c)))
    assert fields(a) == fields(merge(a, a))


@given(DECISIONS)
def test_a_decision_travels_whole(decision):
    """What is made of its row is the decision."""
    assert fields(decision) == fields(decision_of(row_of(decision), decision.dots))


def fields(decision: Decision) -> tuple[object, ...]:
    return tuple(getattr(decision, name) for name in Decision.__struct_fields__)
