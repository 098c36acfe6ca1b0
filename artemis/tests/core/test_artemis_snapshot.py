"""Snapshots of a registry and starting from them: exact at their moment, whole or not used, and clocks that jump."""

from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artemis.discovery import Catalog
from artemis.management import InstanceTarget, OperationRecord
from artemis.model import Instance, RegistryRequest
from artemis.model.cursors import decode_cursor
from artemis.registry import Cut, NodeLimits, NodeTimings, Origin, Registry, SnapshotError, read_snapshot
from artemis.registry.restore import KEPT_LIVES, read_header, restore
from artemis.registry.snapshot import FRAME, MAGIC
from artemis.server.node import Node, NodeIdentity
from artemis.server.pauses import Pauses

WALL = 1_700_000_000_000
TTL, LIFETIME = 20_000, 100_000
TIMINGS = NodeTimings(ttl=TTL, legacy_ttl=TTL, heartbeat=5_000, hold=10_000, lifetime=LIFETIME)


def registry(epoch: int = 1, now: int = 0, wall: int = WALL) -> Registry:
    return Registry(Origin("n1", epoch), "r1", timings=TIMINGS, now=now, wall=wall)


def make(number: int, port: int = 1, service: str = "s1", **fields: object) -> Instance:
    return Instance(region_id="r1", service_id=service, instance_id=f"i{number}", url="u", port=port, **fields)


def cut(source: Registry, now: int = 0, *, final: bool = True, version: int = 7) -> Cut:
    return Cut(source, version=version, now=now, wall=WALL + now, final=final)


def data_of(source: Registry, now: int = 0) -> bytes:
    return b"".join(cut(source, now).chunks())


def reborn(data: bytes, epoch: int = 2, now: int = 1_000_000, wall: int = WALL + 60_000) -> Registry:
    """A registry of the next life of the node that made the snapshot."""
    new = registry(epoch, now, wall)
    restore(new, read_snapshot(data, region="r1", node="n1", epoch=epoch, previous=epoch - 1), now, wall)
    return new


def known(source: Registry) -> dict[tuple[str, str, str], tuple[object, ...]]:
    return {
        record.key: (record.version, record.removed, record.content, record.expired, record.asserted, record.dots)
        for record in source.records()
    }


def shown(source: Registry) -> dict[str, bytes]:
    return {view.service_id: view.json for view in Catalog(source, wall=WALL).views()}


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["register", "heartbeat", "unregister", "wait", "other"]), st.integers(0, 6), st.integers(1, 3)
    ),
    max_size=25,
)


class Life:
    """A registry under random operations, and another node whose changes reach it."""

    def __init__(self) -> None:
        self.now = 0
        self.registry = registry()
        self.other = Registry(Origin("n2", 1), "r1", timings=TIMINGS, now=0, wall=WALL)
        self.other.on_change(
            lambda change: (
                self.registry.apply(change.origin, change.seq, change.record, 0, self.now)
                if change.origin.node == "n2"
                else None
            )
        )

    def act(self, action: str, number: int, port: int) -> None:
        if action == "wait":
            self.now += number * port * 5_000
            for each in (self.registry, self.other):
                while each.tick(self.now, WALL + self.now, 100):
                    pass
        elif action == "other":
            self.other.register(make(number, port, f"s{port}"), self.now)
        else:
            getattr(self.registry, action)(make(number, port, f"s{number % 3}"), self.now)


@settings(max_examples=150)
@given(ACTIONS, ACTIONS)
def test_a_snapshot_is_the_registry_of_its_beginning(
    before: list[tuple[str, int, int]], during: list[tuple[str, int, int]]
):
    """Whatever happens while it is written: records, vector and floor are those of the moment of the cut."""
    life = Life()
    for action in before:
        life.act(*action)
    expected = known(life.registry), dict(life.registry.vector), dict(life.registry.floor), shown(life.registry)
    dead, live = life.registry.dead, len(life.registry)
    taken = cut(life.registry, life.now)
    chunks = taken.chunks()
    parts = [next(chunks)]
    for action in during:
        life.act(*action)
        parts.extend(part for _, part in zip(range(1), chunks, strict=False))
    parts.extend(chunks)
    new = reborn(b"".join(parts))
    vector = {origin: seq for origin, seq in new.vector.items() if seq}
    assert expected == (known(new), vector | {origin: 0 for origin in expected[1] if not expected[1][origin]},
                        new.floor, shown(new))  # fmt: skip
    assert (dead, live, 0) == (new.dead, len(new), new.vector[Origin("n1", 2)])
    assert new.clock >= taken.header.clock


def test_many_records_make_many_chunks():
    """The work of one chunk is bounded, also within one service."""
    source = registry()
    for number in range(1_001):
        source.register(make(number), 0)
    chunks = list(cut(source).chunks())
    assert 8 == len(chunks)
    assert 1_001 == len(reborn(b"".join(chunks)))


def test_restored_leases_begin_a_fresh_ttl(make_instance: Callable[..., Instance]):
    """A node that comes back gives everyone the time to be heard; who stays silent expires as usual."""
    source = registry()
    for number in range(4):
        source.register(make(number), 0)
    new = reborn(data_of(source, 19_000), now=1_000_000)
    assert not new.tick(1_000_000 + TTL, WALL, 100)
    assert 4 == len(new)
    new.heartbeat(make(0), 1_000_000 + TTL)
    new.tick(1_000_001 + TTL, WALL, 100)
    assert 1 == len(new)


def test_self_preservation_does_not_count_restored_leases_as_silent():
    """Right after a restart all leases count as heard; the share is judged when the window has passed."""
    source = registry()
    for number in range(10):
        source.register(make(number), 0)
    new = reborn(data_of(source, 19_000), now=1_000_000)
    new.tick(1_000_100, WALL, 100)
    state, _ = new.self_preservation()
    assert (False, 10, 10) == (state.active, state.live, state.heard)


def test_dead_records_go_on_from_their_age():
    """A tombstone is swept a lifetime after it died, the time between the two lives not counted."""
    source = registry()
    source.register(make(1), 0)
    source.unregister(make(1), 0)
    source.register(make(2), 60_000)
    source.unregister(make(2), 60_000)
    new = reborn(data_of(source, 60_000), now=1_000_000)
    assert 2 == new.dead
    new.tick(1_000_000 + 40_001, WALL, 100)
    assert 1 == new.dead
    new.tick(1_000_000 + 100_001, WALL, 100)
    assert 0 == new.dead
    assert 0 < new.floor[Origin("n1", 1)]


def test_legacy_leases_stay_legacy():
    """The mark of old clients selects the longer TTL after a restart too."""
    source = Registry(Origin("n1", 1), "r1", now=0, wall=WALL)
    source.register(make(1, metadata={"java_registry": "1"}), 0)
    new = Registry(Origin("n1", 2), "r1", now=0, wall=WALL)
    restore(new, read_snapshot(data_of(source), region="R1", node="n1", epoch=2), 0, WALL)
    new.tick(60_000, WALL, 100)
    assert 1 == len(new)
    new.tick(90_001, WALL, 100)
    assert 0 == len(new)


def test_new_changes_are_of_the_new_life():
    """Loading makes no change; what follows is numbered from 1 in the new epoch and stamped above all before."""
    source = registry()
    source.register(make(1), 5_000)
    new = reborn(data_of(source, 5_000), wall=WALL - 3_600_000)
    seen = []
    new.on_change(seen.append)
    assert [] == seen
    old = next(new.records())
    new.register(make(1, port=2), 1_000_001)
    assert [(Origin("n1", 2), 1)] == [(change.origin, change.seq) for change in seen]
    assert seen[0].record.version > old.version
    assert old.content == seen[0].previous


def test_a_vector_names_a_bounded_number_of_lives():
    """After many restarts the oldest lives leave vector, floor and dots."""
    data, count = b"", KEPT_LIVES + 5
    for epoch in range(1, count + 1):
        new = registry(1) if epoch == 1 else reborn(data, epoch=epoch)
        new.register(make(epoch), 1_000_000)
        data = data_of(new)
    last = reborn(data, epoch=count + 1)
    assert KEPT_LIVES + 1 == len(last.vector)
    assert {"n1": min(origin.epoch for origin in last.vector)} == last.base
    assert count == len(last)
    assert {dot.origin for record in last.records() for dot in record.dots} <= set(last.vector)


DAMAGES = {
    "empty": lambda data: data[:0],
    "another file": lambda data: data[7:],
    "only its beginning": lambda data: data[: len(MAGIC)],
    "cut within a chunk": lambda data: data[:-100],
    "without its end": lambda data: data[: data.rindex(b"T") - FRAME.size + 1],
    "something behind": lambda data: data + b"x",
    "twice": lambda data: data + data[len(MAGIC) :],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_snapshots_are_refused(damage: str):
    """What is not whole is not used, and the reason is told."""
    source = registry()
    for number in range(300):
        source.register(make(number), 0)
    with pytest.raises(SnapshotError):
        read_snapshot(DAMAGES[damage](data_of(source)), region="r1", node="n1", epoch=2)


@given(st.integers(0, 5_000), st.integers(1, 255))
def test_a_flipped_byte_is_always_found(at: int, mask: int):
    """No single damaged byte goes unnoticed or raises anything else."""
    source = registry()
    for number in range(12):
        source.register(make(number), 0)
    data = bytearray(data_of(source))
    data[at % len(data)] ^= mask
    with pytest.raises(SnapshotError):
        read_snapshot(bytes(data), region="r1", node="n1", epoch=2)


@given(st.integers(0, 100_000))
def test_a_truncated_snapshot_is_always_found(size: int):
    """Wherever a write ended, what is there is not taken for a snapshot."""
    source = registry()
    for number in range(250):
        source.register(make(number), 0)
    data = data_of(source)
    with pytest.raises(SnapshotError):
        read_snapshot(data[: size % len(data)], region="r1", node="n1", epoch=2)


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        ({"region": "r2", "node": "n1", "epoch": 2}, "region 'r1'"),
        ({"region": "r1", "node": "n2", "epoch": 2}, "node 'n1'"),
        ({"region": "r1", "node": "n1", "epoch": 1}, "start 1"),
        ({"region": "r1", "node": "n1", "epoch": 2, "cluster": "two"}, "cluster 'one'"),
    ],
)
def test_foreign_snapshots_are_refused(identity: dict[str, object], says: str):
    """A snapshot of another region, node, later life or cluster is named as such."""
    data = b"".join(Cut(registry(), version=0, now=0, wall=WALL, cluster="one").chunks())
    with pytest.raises(SnapshotError) as caught:
        read_snapshot(data, **identity)
    assert says in str(caught.value)


@pytest.mark.parametrize(("before", "after"), [("", "one"), ("one", ""), ("one", "one")])
def test_a_node_may_enter_its_first_cluster_and_leave_it(before: str, after: str):
    """What was written without a cluster, or in the same one, is read."""
    data = b"".join(Cut(registry(), version=0, now=0, wall=WALL, cluster=before).chunks())
    assert before == read_snapshot(data, region="r1", node="n1", epoch=2, cluster=after).header.cluster


def test_the_header_tells_the_node_of_a_damaged_snapshot_too():
    """Which node it is of can be read as long as its beginning is whole."""
    data = data_of(registry())
    assert ("n1", 1) == ((header := read_header(data[:-10])).node, header.epoch)
    with pytest.raises(SnapshotError):
        read_header(data[:40])


def test_a_newer_format_is_refused_by_its_number(monkeypatch: pytest.MonkeyPatch):
    """Whatever else a later version wrote, this one says what it can read."""
    monkeypatch.setattr("artemis.registry.snapshot.FORMAT", 99)
    with pytest.raises(SnapshotError, match="format is 99, that of a later release; this one reads 2"):
        read_snapshot(data_of(registry()), region="r1", node="n1", epoch=2)


# -- a node that comes back


def node(epoch: int = 1, saved: bytes = b"", *, now: int = 0, wall: int = WALL, previous: int | None = None) -> Node:
    identity = NodeIdentity(node_id="n1", epoch=epoch, region="r1", zone="z1", url="http://127.0.0.1:8080")
    read = None
    if saved:
        before = epoch - 1 if previous is None else previous
        read = read_snapshot(saved, region="r1", node="n1", epoch=epoch, previous=before)
    made = Node(identity, timings=TIMINGS, limits=NodeLimits(), saved=read, now=now, wall=wall)
    made.tick(now, wall)
    return made


def register(where: Node, *numbers: int, now: int = 0, port: int = 1) -> None:
    request = RegistryRequest(instances=[make(number, port) for number in numbers])
    assert where.register(request, now).response_status.ok


def saved_node(where: Node, *, final: bool = True, now: int = 0) -> bytes:
    return b"".join(where.cut(now, WALL + now, final=final).chunks())


def test_after_a_graceful_restart_cursors_and_versions_hold():
    """Same view, same version, and a cursor given before misses exactly what comes after."""
    old = node()
    register(old, 1, 2)
    cursor, version = decode_cursor(old.cursor()), old.catalog.version
    new = node(2, saved_node(old), now=500, wall=WALL + 5_000)
    assert (version, old.catalog.view("s1").json) == (new.catalog.version, new.catalog.view("s1").json)
    missed = new.log.since("s1", cursor)
    assert (False, []) == (missed.full, missed.changes)
    register(new, 3, now=600)
    missed = new.log.since("s1", cursor)
    assert (False, 1) == (missed.full, len(missed.changes))
    assert b'"instanceId":"i3"' in missed.changes[0].content
    assert new.log.since("s1", decode_cursor(new.cursor())).changes == []


def test_older_cursors_get_what_was_touched_since_and_those_of_what_was_lost_everything():
    """Records say which changes made them, so the history need not be saved; what a crash has lost is lost."""
    old = node()
    register(old, 1)
    older = decode_cursor(old.cursor())
    register(old, 2)
    data = saved_node(old, final=False)
    register(old, 3)
    ahead = decode_cursor(old.cursor())
    new = node(2, data)
    missed = new.log.since("s1", older)
    assert (False, 1, True) == (missed.full, len(missed.changes), b'"instanceId":"i2"' in missed.changes[0].content)
    assert new.log.since("s1", ahead).full


def test_after_a_crash_versions_are_above_all_that_were_given():
    """A version given after the snapshot was taken is never taken for a later one of the new life."""
    old = node()
    register(old, 1)
    data = saved_node(old, final=False)
    register(old, 2)
    new = node(2, data, wall=WALL - 3_600_000)
    assert new.catalog.version > old.catalog.version


def test_a_final_snapshot_is_exact_only_for_the_next_life():
    """When a life between the two has left no snapshot, versions start above all that it may have given."""
    old = node()
    register(old, 1)
    data = saved_node(old)
    assert [True, False] == [
        node(epoch, data, previous=previous).catalog.version == old.catalog.version
        for epoch, previous in ((2, 1), (3, 2))
    ]


def test_the_age_of_what_was_saved_is_told_until_all_is_confirmed():
    """Answers say how old the data may be, until every lease was renewed or given up."""
    old = node()
    register(old, 1, 2)
    new = node(2, saved_node(old), now=1_000, wall=WALL + 60_000)
    assert 61_000 == new.age(2_000)
    new.heartbeat(RegistryRequest(instances=[make(1)]), 3_000)
    new.tick(3_000, WALL)
    assert 62_000 == new.age(3_000)
    new.heartbeat(RegistryRequest(instances=[make(2)]), 4_000)
    new.tick(4_000, WALL)
    assert 0 == new.age(4_000)


def test_waiting_for_confirmation_ends():
    """After TTL and hold nothing is left unconfirmed."""
    old = node()
    register(old, 1)
    new = node(2, saved_node(old), now=1_000)
    new.tick(1_000 + TTL + 1, WALL)
    assert (0, 0) == (len(new.registry), new.age(1_000 + TTL + 1))


def test_a_wall_clock_that_was_set_back_makes_no_negative_age():
    """The age of a snapshot from the future is 0 at least."""
    old = node()
    register(old, 1)
    new = node(2, saved_node(old), now=1_000, wall=WALL - 3_600_000)
    assert 500 == new.age(1_500)


def test_operator_state_survives():
    """What was pulled out stays out after a restart."""
    old = node()
    register(old, 1, 2)
    old.pullouts.operate(InstanceTarget("r1", "s1", "i1"), OperationRecord("deploy", "me", None), 0)
    new = node(2, saved_node(old))
    assert 1 == new.catalog.view("s1").instance_count
    assert ["deploy"] == new.operations.entry(InstanceTarget("r1", "s1", "i1")).names


def test_operators_decide_nothing_within_a_snapshot():
    """What is decided while a snapshot is written is not in it, as no cursor of it would tell."""
    old = node()
    register(old, 1, 2)
    cursor = decode_cursor(old.cursor())
    chunks = old.cut(0, WALL).chunks()
    begun = [next(chunks)]
    old.pullouts.operate(InstanceTarget("r1", "s1", "i1"), OperationRecord("deploy", "me", None), 0)
    new = node(2, b"".join([*begun, *chunks]))
    assert (False, []) == (new.log.since("s1", cursor).full, new.log.since("s1", cursor).changes)
    assert (2, 0) == (new.catalog.view("s1").instance_count, len(new.operations))


# -- clocks that jump


@pytest.mark.parametrize("jump", [-86_400_000 * 3_650, -3_600_000, 3_600_000, 86_400_000 * 3_650])
def test_a_wall_clock_that_is_set_changes_no_lease(make_node: Callable[..., Node], jump: int):
    """Hours or years forward or back: nobody expires, versions and stamps go on upward."""
    here = make_node(timings=TIMINGS)
    stamps, versions = [], []
    here.registry.on_change(lambda change: stamps.append(change.record.version))
    for step, wall in enumerate((WALL, WALL + jump, WALL, WALL + jump // 2)):
        now = step * 1_000
        here.tick(now, wall + now)
        register(here, 1, now=now, port=step + 1)
        versions.append(here.catalog.version)
    assert 1 == len(here.registry)
    assert all(a < b for a, b in pairwise(stamps))
    assert all(a < b for a, b in pairwise(versions))
    here.tick(3_000 + TTL + 1, WALL + jump)
    assert 0 == len(here.registry)


def test_a_pause_of_the_node_expires_nobody(make_node: Callable[..., Node]):
    """After an hour in which nothing ran, every lease begins a fresh TTL."""
    here, pauses = make_node(timings=TIMINGS), Pauses(0)
    register(here, *range(20))
    hour = 3_600_000
    assert hour == pauses.note(hour, TTL)
    here.pardon(hour)
    assert not here.tick(hour, WALL)
    assert 20 == len(here.registry)
    state = here.stats().self_preservation
    assert (False, 20) == (state.active, state.heard)
    register(here, 1, now=hour + 1_000)
    for late in range(100, TTL + 12_000, 100):
        assert 0 == pauses.note(hour + late, TTL)
        here.tick(hour + late, WALL)
    assert 1 == len(here.registry) or here.stats().self_preservation.active


def test_a_pause_ends_self_preservation_too(make_node: Callable[..., Node]):
    """Leases that were held as silent count as heard after a pause."""
    here = make_node(timings=TIMINGS)
    register(here, *range(20))
    here.tick(TTL - 1, WALL)
    assert here.stats().self_preservation.active
    here.pardon(3_600_000)
    here.tick(3_600_000, WALL)
    assert (False, 20) == (here.stats().self_preservation.active, len(here.registry))


def test_short_gaps_are_no_pauses():
    """A tick that is late by less than clients may be is an ordinary one; short leases make shorter pauses count."""
    pauses = Pauses(0)
    assert [0, 0, 3_001] == [pauses.note(at, TTL) for at in (100, 3_100, 6_101)]
    assert [500, 0] == [pauses.note(at, 1_000) for at in (6_601, 6_851)]
    assert 2 == pauses.count


def test_every_field_of_a_header_survives():
    """The header is read as it was written."""
    source = registry()
    source.register(make(1), 0)
    taken = cut(source, 5)
    header = read_snapshot(b"".join(taken.chunks()), region="r1", node="n1", epoch=2).header
    assert msgspec.structs.asdict(taken.header) == {
        **msgspec.structs.asdict(header),
        "vector": [tuple(part) for part in header.vector],
    }
