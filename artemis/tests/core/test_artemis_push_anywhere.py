"""Cursors of other nodes: answered by what has touched the records, after a moment if the node lags (design 4.1)."""

import json

import pytest

from artemis.model import Instance, RegistryRequest, ToldRequest
from artemis.model.cursors import NOTHING, Cursor, Origin, decode_cursor, encode_cursor, read_cursor
from artemis.push import Dialect, Subscriber
from artemis.push import touches as touches_module
from artemis.push.log import RESUMED
from artemis.registry import Change
from artemis.registry.merging import Reach
from artemis.server.handlers.told import told
from artemis.server.node import Node, NodeIdentity

WALL = 1_700_000_000_000
SECOND = 1_000


class Pair:
    """Two nodes of one region; what one changes reaches the other when `deliver` is called, in order."""

    def __init__(self) -> None:
        self.now = 0
        self.nodes = [self._node(name) for name in ("a", "b")]
        self.queues: list[list[Change]] = [[], []]
        for at, node in enumerate(self.nodes):
            node.registry.on_change(lambda change, at=at: self._note(at, change))
        self.a, self.b = self.nodes

    def _node(self, name: str) -> Node:
        node = Node(NodeIdentity(node_id=name, epoch=1, region="r", zone="z", url="u"), now=0, wall=WALL)
        node.stream.catching_up.patience = SECOND
        node.tick(0, WALL)
        return node

    def _note(self, at: int, change: Change) -> None:
        if change.origin == self.nodes[at].registry.origin:
            self.queues[1 - at].append(change)

    def register(self, node: Node, *names: str, service: str = "s") -> None:
        """Register instances at a node."""
        instances = [
            Instance(region_id="r", zone_id="z", service_id=service, instance_id=name, url="u") for name in names
        ]
        assert node.register(RegistryRequest(instances=instances), self.now).response_status.ok

    def unregister(self, node: Node, name: str, service: str = "s") -> None:
        """Take an instance out at a node."""
        instance = Instance(region_id="r", zone_id="z", service_id=service, instance_id=name, url="u")
        assert node.unregister(RegistryRequest(instances=[instance]), self.now).response_status.ok

    def deliver(self, *nodes: Node) -> None:
        """Let nodes, both if none is named, take in what the other has changed."""
        for at, node in enumerate(self.nodes):
            if not nodes or node in nodes:
                changes, self.queues[at] = self.queues[at], []
                for change in changes:
                    assert node.registry.apply(change.origin, change.seq, change.record, 0, self.now)

    def tick(self, milliseconds: int = 0) -> None:
        """Let time pass."""
        self.now += milliseconds
        for node in self.nodes:
            node.tick(self.now, WALL + self.now)


class Follower:
    """A subscriber that has come with a cursor."""

    def __init__(self, node: Node, service: str, cursor: str, dialect: Dialect = Dialect.NATIVE) -> None:
        self.wakes = 0
        self.node = node
        self.service = service
        self.subscriber = Subscriber(dialect, self._wake)
        node.stream.attach(self.subscriber)
        subscribe = node.stream.subscribe if service else lambda one, _, at: node.stream.subscribe_all(one, at)
        assert subscribe(self.subscriber, service, read_cursor(cursor)) is None

    def _wake(self) -> None:
        self.wakes += 1

    def told(self) -> list[tuple[bool, list[tuple[str, str]]]]:
        """The messages there are: whether it is a full sync, and kind and id of each change."""
        messages = [json.loads(message) for message in self.subscriber.take(1 << 20)]
        return [
            (
                message["fullSync"],
                [(change["changeType"], change["instance"]["instanceId"]) for change in message["changes"]],
            )
            for message in messages
        ]


@pytest.fixture
def pair() -> Pair:
    """Two nodes."""
    return Pair()


def missed(node: Node, cursor: str, service: str = "s") -> tuple[bool, list[tuple[str, str]]]:
    """What the holder of a cursor missed."""
    found = node.log.since(service, read_cursor(cursor))
    return found.full, [(change.kind, json.loads(change.content)["instanceId"]) for change in found.changes]


def test_the_other_node_tells_what_was_missed(pair: Pair) -> None:
    """What is there comes as new, what is not as deleted; what nothing has touched is not told again."""
    pair.register(pair.a, "i1", "i2", "i3")
    pair.deliver()
    cursor = pair.a.cursor()
    pair.register(pair.b, "i4")
    pair.unregister(pair.a, "i1")
    pair.deliver()
    full, changes = missed(pair.b, cursor)
    assert (False, [("delete", "i1"), ("new", "i4")]) == (full, sorted(changes))
    assert (False, []) == missed(pair.b, pair.a.cursor())
    assert (False, []) == missed(pair.b, cursor, "other")


def test_a_change_that_made_no_difference_here_is_told_all_the_same(pair: Pair) -> None:
    """The log of a node knows what its own callers saw; others may have seen an end that never was one here."""
    pair.register(pair.a, "i1")
    pair.deliver()
    start = decode_cursor(pair.a.cursor())
    lease = pair.b.registry.find("s", "i1")
    assert lease is not None
    # Somebody saw it expire, by a change that this node has as well; here a renewal had voided that before it came.
    pair.b.registry.restate(lease, pair.now)
    entries = len(pair.b.log)
    assert (False, [("new", "i1")]) == missed(pair.b, encode_cursor(start))
    assert len(pair.b.log) == entries


def test_changes_that_a_caller_may_know_are_waited_for(pair: Pair) -> None:
    """A subscriber of a lost node is told nothing before his new one knows as much, and then exactly what he missed."""
    pair.register(pair.a, "i1")
    follower = Follower(pair.b, "s", pair.a.cursor())
    pair.register(pair.b, "i2")
    pair.tick()
    assert ([], False, False) == (follower.told(), follower.subscriber.current, follower.subscriber.pending)
    assert (1, 1) == pair.b.stream.reached("s")
    assert NOTHING == decode_cursor(pair.b.stream.position(follower.subscriber, ("s",)))
    assert pair.b.stream.resumable(follower.subscriber) is None
    pair.deliver(pair.b)
    pair.tick()
    assert [(False, [("new", "i2")])] == follower.told()
    assert (follower.subscriber.current, 1, 0) == (True, follower.wakes, pair.b.stream.counters.awaited_in_vain)


def test_who_has_waited_long_enough_is_told_everything(pair: Pair) -> None:
    """An explicit full sync, never less than he knows without saying so."""
    pair.register(pair.a, "i1")
    follower = Follower(pair.b, "s", pair.a.cursor())
    pair.register(pair.b, "i2")
    pair.tick()
    pair.tick(SECOND - 1)
    assert [] == follower.told()
    pair.tick(1)
    assert [(True, [("new", "i2")])] == follower.told()
    assert (1, 1, 0) == (
        pair.b.stream.counters.awaited,
        pair.b.stream.counters.awaited_in_vain,
        len(pair.b.stream.catching_up),
    )


def test_those_who_wait_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that a cursor is answered by everything at once, unless it is one that is waited with already."""
    monkeypatch.setattr("artemis.push.catching_up._HELD", 1)
    pair.register(pair.a, "i1")
    one = pair.a.cursor()
    pair.register(pair.a, "i2")
    pair.register(pair.b, "i3")
    followers = [Follower(pair.b, "s", cursor) for cursor in (one, one, pair.a.cursor())]
    assert [[], [], [(True, [("new", "i3")])]] == [follower.told() for follower in followers]
    pair.deliver(pair.b)
    pair.tick()
    missing = [(False, [("new", "i3"), ("new", "i2")])]
    assert [missing, missing] == [follower.told() for follower in followers[:2]]


def test_a_cursor_of_more_lives_than_there_can_be_is_of_no_use(pair: Pair) -> None:
    """Looking at it again and again would cost too much, and no node has given it."""
    vector = {Origin(f"x{number}", 1): 1 for number in range(100)}
    cursor = Cursor(kind="mesh", name="r", vector=vector)
    assert not pair.b.log.behind(cursor)
    assert (True, []) == missed(pair.b, encode_cursor(cursor))


def test_a_node_alone_waits_for_nobody(pair: Pair) -> None:
    """Nobody can bring it what it lacks."""
    pair.register(pair.a, "i1")
    pair.b.stream.catching_up.patience = 0
    follower = Follower(pair.b, "s", pair.a.cursor())
    pair.register(pair.b, "i2")
    assert [(True, [("new", "i2")])] == follower.told()


def test_changes_that_come_in_are_looked_at_in_the_next_turn(pair: Pair) -> None:
    """With a loop nobody waits for the tick; many who have the same cursor are looked at once."""
    turns: list[object] = []
    pair.b.stream.later = turns.append
    pair.register(pair.a, "i1")
    cursor = pair.a.cursor()
    followers = [Follower(pair.b, "s", cursor) for _ in range(3)]
    assert 1 == len(pair.b.stream.catching_up)
    pair.deliver(pair.b)
    pair.b.stream.catching_up.changed()
    assert [False] * 3 == [follower.subscriber.current for follower in followers]
    for turn in turns:
        turn()  # type: ignore[operator]
    assert [True] * 3 == [follower.subscriber.current for follower in followers]


def test_who_goes_away_waits_no_longer(pair: Pair) -> None:
    """An ended subscription, a lost session and a newer cursor each end the waiting."""
    pair.register(pair.a, "i1")
    cursor = pair.a.cursor()
    one, two, three = (Follower(pair.b, "s", cursor) for _ in range(3))
    assert pair.b.stream.unsubscribe(one.subscriber, "s")
    pair.b.stream.detach(two.subscriber)
    assert pair.b.stream.subscribe(three.subscriber, "s", read_cursor(pair.b.cursor())) is None
    pair.deliver(pair.b)
    pair.tick()
    assert ([], [], [(False, [("new", "i1")])]) == (one.told(), two.told(), three.told())
    assert 0 == len(pair.b.stream.catching_up)


def test_a_node_that_has_not_heard_of_a_change_has_told_nobody(pair: Pair) -> None:
    """Whoever wants to know whether all callers were told hands the cursor of the one node to the others."""
    followers = [Follower(node, "s", node.cursor()) for node in pair.nodes]
    pair.register(pair.a, "i1")
    followers[0].told()
    answer = told(pair.a, ToldRequest(service_id="s"), 0)
    assert (True, pair.a.cursor()) == (answer.told, answer.cursor)
    asked = ToldRequest(service_id="S", cursor=answer.cursor)
    states = []
    for _ in range(3):
        answer = told(pair.b, asked, 0)
        states.append((answer.subscribers, answer.waiting, answer.told))
        if len(states) == 1:
            pair.deliver(pair.b)
        else:
            followers[1].told()
    assert [(1, 1, False), (1, 1, False), (1, 0, True)] == states


def test_all_services_are_resumed_elsewhere(pair: Pair) -> None:
    """Each with what was touched, in one message; a Java client is told each for itself."""
    for service in ("s", "t", "u"):
        pair.register(pair.a, "i1", service=service)
    pair.deliver()
    cursor = pair.a.cursor()
    pair.register(pair.a, "i2", service="t")
    pair.unregister(pair.a, "i1", service="s")
    pair.deliver()
    (full, changes), *rest = Follower(pair.b, "", cursor).told()
    assert (False, [("delete", "i1"), ("new", "i2")], []) == (full, sorted(changes), rest)
    java = Follower(pair.b, "", cursor, Dialect.JAVA)
    kinds = sorted(json.loads(message)["changeType"] for message in java.subscriber.take(1 << 20))
    assert ["delete", "new"] == kinds


def test_too_much_of_all_services_is_a_reload(pair: Pair) -> None:
    """Beyond what is told one by one, it is cheaper to look everything up again."""
    pair.register(pair.a, "i0")
    pair.deliver()
    cursor = pair.a.cursor()
    pair.register(pair.a, *[f"i{number}" for number in range(1, 1_100)])
    pair.deliver()
    assert [(False, [("reload", "reload")])] == Follower(pair.b, "", cursor).told()


def test_a_change_after_the_answer_is_told_with_it(pair: Pair) -> None:
    """What was found for a cursor holds for all who come with it, together with what has happened since."""
    pair.register(pair.a, "i1")
    pair.deliver()
    cursor = pair.a.cursor()
    pair.register(pair.a, "i2")
    pair.deliver()
    assert (False, [("new", "i2")]) == missed(pair.b, cursor)
    pair.register(pair.b, "i3")
    pair.unregister(pair.b, "i1")
    assert (False, [("new", "i2"), ("new", "i3"), ("delete", "i1")]) == missed(pair.b, cursor)
    pair.register(pair.b, *[f"x{number}" for number in range(RESUMED)])
    assert RESUMED + 3 == len(missed(pair.b, cursor)[1])


def test_a_reload_meanwhile_is_a_full_sync(pair: Pair) -> None:
    """When the rules of a service changed, its instances alone do not say what was missed."""
    pair.register(pair.a, "i1")
    pair.deliver()
    cursor = pair.a.cursor()
    pair.b.catalog.reload("s")
    assert (True, [("new", "i1")]) == missed(pair.b, cursor)
    assert (True, [("new", "i1")]) == missed(pair.b, cursor)


def test_what_was_swept_since_costs_a_full_sync(pair: Pair) -> None:
    """Nobody knows any more what a cursor from before that lacks [floor]."""
    pair.register(pair.a, "i1")
    pair.deliver()
    cursor = pair.a.cursor()
    pair.unregister(pair.a, "i1")
    pair.deliver()
    assert (False, [("delete", "i1")]) == missed(pair.b, cursor)
    lifetime = pair.b.registry.timings.lifetime
    pair.tick(lifetime + 1)
    pair.tick(lifetime + 1)
    assert (True, []) == missed(pair.b, cursor)


def test_a_forgotten_epoch_costs_a_full_sync_and_a_known_one_is_waited_for(pair: Pair) -> None:
    """A cursor that is complete below an older epoch than the node may lack something; the other way round the node."""
    pair.register(pair.a, "i1")
    pair.deliver()
    cursor = decode_cursor(pair.a.cursor())
    pair.b.registry.drop_epochs({"c": 5})
    assert missed(pair.b, encode_cursor(cursor))[0]
    assert not pair.b.log.behind(cursor)
    assert pair.a.log.behind(decode_cursor(pair.b.cursor()))


def test_while_a_repair_is_taken_in_the_cursor_says_so(pair: Pair) -> None:
    """What is shown before its time is named, so that no other node takes itself for as far."""
    pair.register(pair.a, "i1", "i2")
    lease = pair.a.registry.find("s", "i2")
    assert lease is not None
    theirs = Reach(dict(pair.a.registry.vector), {})
    pair.b.registry.absorb(lease.record, 0, theirs, {}, 0)
    origin = pair.a.registry.origin
    cursor = decode_cursor(pair.b.cursor())
    assert ({origin: 2}, 0) == (cursor.ahead, cursor.vector.get(origin, 0))
    lagging = Cursor(kind="mesh", name="r", vector={origin: 1})
    assert not lagging.dominates(cursor)
    pair.b.registry.rise(theirs, {})
    assert not decode_cursor(pair.b.cursor()).ahead


def test_a_large_service_is_gone_through_in_steps(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody else waits; those who come meanwhile wait for the same search."""
    monkeypatch.setattr(touches_module, "SLICE", 10)
    monkeypatch.setattr("artemis.push.log.AT_ONCE", 20)
    turns: list[object] = []
    pair.b.stream.later = turns.append
    pair.register(pair.a, *[f"i{number}" for number in range(35)])
    pair.deliver()
    cursor = pair.a.cursor()
    pair.register(pair.a, "i7")
    pair.unregister(pair.a, "i8")
    pair.deliver()
    one, two = Follower(pair.b, "s", cursor), Follower(pair.b, "s", cursor)
    assert (False, False) == (one.subscriber.current, two.subscriber.current)
    pair.register(pair.b, "later")
    taken = 0
    while turns:
        turns.pop(0)()  # type: ignore[operator]
        taken += 1
    assert taken >= 3
    expected = [(False, [("new", "i7"), ("delete", "i8"), ("new", "later")])]
    assert (expected, expected) == (one.told(), two.told())


def test_a_cursor_of_when_nothing_was_known_is_of_use_everywhere(pair: Pair) -> None:
    """Its holder lacks all that there is, and nothing else."""
    cursor = pair.a.cursor()
    assert (False, []) == missed(pair.b, cursor)
    pair.register(pair.b, "i1", "i2")
    pair.unregister(pair.b, "i2")
    assert (False, [("delete", "i2"), ("new", "i1")]) == (missed(pair.b, cursor)[0], sorted(missed(pair.b, cursor)[1]))


def test_a_position_before_all_was_forgotten_is_none(pair: Pair) -> None:
    """It would look like one of when nothing was known, and its holder may show what is forgotten."""
    version = pair.a.catalog.version
    assert pair.a.log.cursor_at(version) is not None
    pair.a.registry.drop_epochs({"c": 5})
    assert pair.a.log.cursor_at(version) is None


def test_a_position_of_the_past_is_exact_here_and_safe_elsewhere(pair: Pair) -> None:
    """Who was not told everything goes on at another node from what the first one is sure that he knows."""
    follower = Follower(pair.a, "s", pair.a.cursor())
    for number in range(70):
        pair.register(pair.a, f"i{number}")
    follower.told()
    pair.deliver()
    for number in range(70, 140):
        pair.register(pair.a, f"i{number}")
    pair.deliver()
    cursor = pair.a.stream.resumable(follower.subscriber)
    assert cursor is not None
    assert [("new", f"i{number}") for number in range(70, 140)] == missed(pair.a, cursor)[1]
    elsewhere = dict.fromkeys(name for _, name in missed(pair.b, cursor)[1])
    assert {f"i{number}" for number in range(70, 140)} <= set(elsewhere)
    assert len(elsewhere) <= 140
    assert Origin("a", 1) in decode_cursor(cursor).ahead
    before = pair.a.catalog.version - 1
    pair.a.registry.drop_epochs({"c": 5})
    past = pair.a.log.cursor_at(before)
    assert past is not None
    # What its holder knows of the forgotten epochs cannot be told to others.
    assert ({}, before) == (past.vector, past.version)
