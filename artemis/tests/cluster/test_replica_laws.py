"""The laws of replication over random histories (design 4.1): order, convergence, and what a vector means.

The laws of the merge itself are in the tests of records, those under faults of every kind in the simulation.
"""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replicas import Peer, World, instance

from artemis.cluster import Changes, Message, Repair
from artemis.registry import Change, NodeTimings, Origin, Registry

NAMES = "ij"
CALM = NodeTimings(ttl=600_000, legacy_ttl=600_000, heartbeat=2_000, lifetime=2_000_000)
"""Times in which nothing expires."""

LAWS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

operations = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("ruhx"), st.sampled_from(NAMES), st.integers(1, 3)), max_size=14
)


def operate(registry: Registry, what: str, name: str, port: int, now: int) -> None:
    """Do what a client asks: register, unregister, heartbeat, or, as the node, give up."""
    lease = registry.find("s", name)
    if what == "r":
        registry.register(instance(name, port=port), now)
    elif what == "u":
        registry.unregister(instance(name), now)
    elif lease is not None and not lease.record.removed:
        if what == "h":
            registry.revive(lease, now)
        elif lease.live:
            registry._table(lease).discard(lease)
            registry._give_up(lease, now)


def facts(registry: Registry) -> list[tuple[object, ...]]:
    """Return what a registry knows, without the latest renewals, in the order of the keys."""
    return sorted(
        (record.key, record.version, record.removed, record.content, record.expired, record.asserted, record.live)
        for record in registry.records()
    )


@LAWS
@given(operations, st.lists(st.integers(0, 2), max_size=60), st.lists(st.booleans(), max_size=30))
def test_changes_in_any_order_make_the_same(
    steps: list[tuple[str, str, str, int]], order: list[int], again: list[bool]
) -> None:
    """Whatever comes first and whatever comes twice: if each origin's changes keep their order, all know the same."""
    told: dict[str, list[Change]] = {"a": [], "b": [], "c": []}
    origins = {name: Registry(Origin(name, 1), "r", timings=CALM, now=0, wall=0) for name in told}
    for name, registry in origins.items():
        registry.on_change(told[name].append)
    for now, (name, what, key, port) in enumerate(steps):
        operate(origins[name], what, key, port, now)
    reached = []
    for turns in (order, order[::-1], []):
        registry = Registry(Origin("z", 1), "r", timings=CALM, now=0, wall=0)
        left = {name: list(changes) for name, changes in told.items()}
        doubled = iter(again)
        for turn in [*turns, *[0, 1, 2] * len(steps)]:
            changes = left["abc"[turn]]
            if changes:
                change = changes[0] if next(doubled, False) else changes.pop(0)
                registry.apply(change.origin, change.seq, change.record, 0, 100)
        for changes in left.values():
            for change in changes:
                registry.apply(change.origin, change.seq, change.record, 0, 100)
        reached.append(registry)
    first = reached[0]
    for other in reached[1:]:
        assert [(lease[0], lease[3], lease[-1]) for lease in facts(first)] == [
            (lease[0], lease[3], lease[-1]) for lease in facts(other)
        ]
        assert {name: first.vector.get(Origin(name, 1), 0) for name in told} == {
            name: other.vector.get(Origin(name, 1), 0) for name in told
        }


class Meanings:
    """What every vector was seen to show: a node that reaches the same shows the same."""

    def __init__(self) -> None:
        self._shown: dict[object, dict[str, bytes]] = {}

    def look(self, peer: Peer) -> None:
        """Judge what a node shows now; between two parts of an answer it shows more than its vector says."""
        registry = peer.registry
        if not registry.ahead:
            position = frozenset((origin, seq) for origin, seq in registry.vector.items() if seq)
            assert self._shown.setdefault(position, peer.shows()) == peer.shows()


@LAWS
@given(steps=operations, lost=st.sets(st.integers(0, 40), max_size=15), rows=st.integers(1, 3), repairs=st.booleans())
def test_an_exchange_makes_nodes_equal(
    steps: list[tuple[str, str, str, int]], lost: set[int], rows: int, *, repairs: bool
) -> None:
    """Whatever was lost: afterwards all know the same, by the same vector; and a vector never means two things."""
    world, meanings = World("abc", CALM, rows), Meanings()
    count = 0

    def drop(_: str, target: str, message: Message) -> bool:
        nonlocal count
        meanings.look(world[target])
        count += isinstance(message, (Changes, Repair) if repairs else Changes)
        return count in lost and isinstance(message, Changes | Repair)

    world.run(300)
    world.drop = drop
    for name, what, key, port in steps:
        operate(world[name].registry, what, key, port, world.now)
        meanings.look(world[name])
        if port > 1:
            world.run(100 * port)
    lost.clear()
    world.run(25_000, step=500)
    first = world["a"]
    for peer in world.peers.values():
        meanings.look(peer)
        assert facts(first.registry) == facts(peer.registry)
        assert first.replica._digests.sums() == peer.replica._digests.sums()
        assert (0, {}) == (peer.replica.held, peer.registry.ahead)
    assert world.equal()
