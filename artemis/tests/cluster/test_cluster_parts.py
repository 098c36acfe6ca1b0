"""What a replica is made of: digests, handles, changes that wait, ranks, epochs, times."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replicas import TIMINGS, World, instance

from artemis.cluster import ClusterTimings
from artemis.cluster.digests import BUCKETS, Digests, bucket_of
from artemis.cluster.epochs import DEPARTED, Epochs, superfluous
from artemis.cluster.handles import GROWTH, MAX_HANDLES, NAMES_AT_ONCE, Handles, PeerHandles, packed, unpacked
from artemis.cluster.held import MAX_HELD, HeldChanges
from artemis.cluster.ranks import Ranks
from artemis.registry import Lease, Origin, Record, Registry
from artemis.registry.records import ZERO

A, B = Origin("a", 1), Origin("b", 1)


def registry_of(*names: str) -> Registry:
    """Return a registry with these instances."""
    registry = Registry(A, "r", timings=TIMINGS, now=0, wall=0)
    for name in names:
        registry.register(instance(name), 0)
    return registry


def lease_of(name: str, owner: str = "a") -> Lease:
    """Return a live lease."""
    record = Record(("r", "s", name), (1, owner), False, b"{}", (1, owner), ZERO, (1, owner), ())
    return Lease(record, (1, owner), 0, live=True, legacy=False)


# -- digests


def digests_of(registry: Registry) -> Digests:
    """Return the digests of a registry, told of what changes from now on."""
    leases = [lease for service in registry.services.values() for lease in service.leases.values()]
    digests = Digests(leases, lambda _: None)
    registry.mark(digests)
    return digests


def fresh(registry: Registry) -> bytes:
    """Return the sums of a registry, made anew."""
    copy = [
        Lease(lease.record, lease.renewed, lease.heard, lease.live, lease.legacy)
        for service in registry.services.values()
        for lease in service.leases.values()
    ]
    digests = Digests(copy, lambda _: None)
    digests.refresh(len(copy))
    return digests.sums()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("rue."), st.sampled_from("ijk"), st.integers(1, 2)), max_size=20))
def test_sums_follow_every_change(steps: list[tuple[str, str, int]]) -> None:
    """Whatever changes, expires, is swept or comes back: the sums are those of what is there."""
    registry, now = registry_of("i"), 0
    digests = digests_of(registry)
    for what, name, port in steps:
        if what == "r":
            registry.register(instance(name, port=port), now)
        elif what == "u":
            registry.unregister(instance(name), now)
        elif what == "e":
            now += TIMINGS.lifetime * port // 2
            registry.tick(now, now, 10)
        else:
            digests.refresh(port)
    assert digests.refresh(100)
    assert fresh(registry) == digests.sums()


def test_a_renewal_changes_no_digest_and_everything_else_does() -> None:
    """Two registries that differ in the latest renewal only have nothing to repair."""
    registry = registry_of("i")
    digests = digests_of(registry)
    digests.refresh(1)
    before = digests.sums()
    registry.revive(registry.find("s", "i"), 100)
    assert (0, before) == (digests.dirty, digests.sums())
    registry.register(instance("i"), 200)
    assert 1 == digests.dirty
    digests.refresh(1)
    assert [bucket_of("s", "i")] == digests.differing(before)
    lease = registry.find("s", "i")
    assert {lease.digest: lease} == digests.bucket(bucket_of("s", "i"))
    told, buckets = [lease.digest, lease.digest ^ BUCKETS, 1, 2**64 - 1], range(BUCKETS)
    assert [lease] == list(digests.find(told, buckets))
    assert [] == list(digests.find(told, [number for number in buckets if number != bucket_of("s", "i")]))


@pytest.mark.parametrize("sums", [b"", b"1234567", bytes(8 * BUCKETS - 1)])
def test_sums_that_are_too_few_differ(sums: bytes) -> None:
    """A peer that says less than all gets what it has said nothing about."""
    digests = digests_of(registry_of())
    assert list(range(len(sums) // 8, BUCKETS)) == digests.differing(sums)
    assert [{}, {}, {}] == [digests.bucket(number) for number in (-1, BUCKETS, 2**70)]


def test_a_bucket_makes_the_digests_that_are_missing() -> None:
    """What changed since the sums were made is told as it is now."""
    registry = registry_of("i")
    digests = digests_of(registry)
    digests.refresh(1)
    before = registry.find("s", "i").digest
    registry.register(instance("i", port=2), 1)
    (now,) = digests.bucket(bucket_of("s", "i"))
    assert (True, 0) == (now != before, digests.dirty)
    assert [] == list(digests.find([before], range(BUCKETS)))
    assert fresh(registry) == digests.sums()


# -- handles


def test_names_come_with_the_first_use() -> None:
    """A handle is named once, in the message that uses it first."""
    handles, lease = Handles(), lease_of("i")
    assert [([(0, "s", "i")], packed([0]))] == list(handles.batches([lease]))
    assert [([], packed([0]))] == list(handles.batches([lease]))
    assert [] == list(handles.batches([]))


def test_a_batch_is_cut_into_messages() -> None:
    """However many leases are heard at once, no message gets large."""
    parts = list(Handles().batches([lease_of(str(number)) for number in range(2 * NAMES_AT_ONCE + 1)]))
    assert [NAMES_AT_ONCE, NAMES_AT_ONCE, 1] == [len(names) for names, _ in parts]
    assert list(range(2 * NAMES_AT_ONCE + 1)) == [number for _, numbers in parts for number in unpacked(numbers)]


def test_handles_without_names_are_told_apart_from_names_without_records() -> None:
    """The ones are asked for, the others show that a record is missing."""
    peer, registry = PeerHandles((1, 1)), registry_of("i")
    peer.learn([(0, "s", "i"), (2, "s", "unknown"), (MAX_HANDLES, "s", "i"), (-1, "s", "i")])
    found, nameless, lacking = peer.leases(array("I", [0, 1, 2, 3, MAX_HANDLES]), registry)
    assert ([registry.find("s", "i")], [1, 3, MAX_HANDLES], True) == (found, nameless, lacking)


def test_one_number_makes_no_large_table() -> None:
    """A handle far beyond all that were named is not noted at first, but after some messages."""
    peer = PeerHandles((1, 1))
    far = [(3 * GROWTH + 5, "s", "i")]
    assert [1, 1, 1, 0] == [peer.learn(far) for _ in range(4)]
    assert ([], [7], True) == peer.leases([7, far[0][0]], registry_of())


def test_names_of_nothing_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for which there is no record are kept up to a size; what is not kept is asked for again when it is used."""
    monkeypatch.setattr("artemis.cluster.handles.MOST_UNMET", 1_000)
    peer, registry = PeerHandles((1, 1)), registry_of("i")
    assert 1 == peer.learn([(number, "s", "x" * 100) for number in range(4)] + [(4, "s", "i")])
    assert ([], [4], True) == peer.leases([0, 4], registry)
    registry.register(instance("x" * 100), 1)
    assert ([registry.find("s", "x" * 100)], [], False) == peer.leases([0], registry)
    assert 0 == peer.learn([(4, "s", "i")])
    assert [registry.find("s", "i")] == peer.leases([4], registry)[0]


def test_a_handle_means_the_lease_that_is_there_now() -> None:
    """One that was swept and came back is another lease of the same name."""
    peer, registry = PeerHandles((1, 1)), registry_of("i")
    peer.learn([(0, "s", "i")])
    assert [registry.find("s", "i")] == peer.leases([0], registry)[0]
    registry.unregister(instance("i"), 1)
    registry.tick(TIMINGS.lifetime + 2, 0, 10)
    assert ([], [], True) == peer.leases([0], registry)
    registry.register(instance("i"), TIMINGS.lifetime + 3)
    assert ([registry.find("s", "i")], [], False) == peer.leases([0], registry)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 3_000), st.booleans()), max_size=8))
def test_handles_survive_compaction(steps: list[tuple[int, int, bool]]) -> None:
    """Whatever is forgotten and begun anew, what a batch means at the receiver is what the sender heard."""
    registry = Registry(A, "r", now=0, wall=0)
    for number in range(40):
        registry.register(instance(str(number)), 0)
    stable = [registry.find("s", str(number)) for number in range(40)]
    handles, peers = Handles(), {}
    for start, count, forget in steps:
        passing = [lease_of(f"x{start + number}") for number in range(count)]
        for leases in (passing, stable[start % 40 :]):
            handles.compact()
            peer = peers.setdefault(handles.generation, PeerHandles((1, handles.generation)))
            for names, numbers in handles.batches(leases):
                peer.learn(names)
                found, nameless, _ = peer.leases(unpacked(numbers), registry)
                assert [] == nameless
                assert set(found) <= set(leases)
            if leases is not passing:
                assert leases == sorted(found, key=lambda lease: int(lease.record.key[2]))
        for lease in passing if forget else ():
            handles.forget(lease)
    assert len(handles) <= 40 + sum(count for _, count, forget in steps if not forget)


def test_a_compaction_forgets_what_is_gone() -> None:
    """Most handles gone: a new generation begins, and old handles have no name in it."""
    handles = Handles()
    leases = [lease_of(str(number)) for number in range(1_500)]
    list(handles.batches(leases))
    for lease in leases[:1_200]:
        handles.forget(lease)
        handles.forget(lease)
    handles.compact()
    assert (2, 0, []) == (handles.generation, len(handles), handles.names([0, 1_400]))


@pytest.mark.parametrize("data", [b"", b"123", b"\1\0\0\0\2\0\0\0\3"])
def test_bytes_that_are_no_handle_are_left_out(data: bytes) -> None:
    """Whatever comes is read as far as it goes."""
    assert [1, 2][: len(data) // 4] == list(unpacked(data))


# -- changes that wait


def test_waiting_changes_are_bounded() -> None:
    """What does not fit is dropped and counted."""
    held = HeldChanges()
    held.hold(A, 2, [None] * (MAX_HELD + 5), 0)
    held.hold(B, 2, [None], 0)
    assert (MAX_HELD, 6, [A]) == (held.count, held.dropped, held.origins)


def test_waiting_changes_are_taken_dropped_and_expire() -> None:
    """Each waits until it is taken, known, too old, or of an epoch that is forgotten."""
    held = HeldChanges()
    held.hold(A, 2, [None, None], 10)
    held.hold(A, 3, [None, None], 20)
    held.hold(B, 7, [None], 20)
    assert (None, (None, 10), 3) == (held.take(A, 5), held.take(A, 2), held.count)
    held.reached(A, 3)
    held.reached(Origin("c", 1), 3)
    assert (2, [A, B]) == (held.count, held.origins)
    held.expire(20)
    assert (2, 0) == (held.count, held.dropped)
    held.drop(B)
    held.expire(21)
    assert (0, 1, []) == (held.count, held.dropped, held.origins)


# -- ranks


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from("abcdefg"), min_size=1), st.sampled_from("abcdefgx"), st.text(max_size=3))
def test_every_member_has_a_rank_of_its_own(members: set[str], owner: str, name: str) -> None:
    """The owner is first, the others follow one after the other; a node that has gone leaves its place empty."""
    lease = lease_of(name, owner)
    found = {}
    for member in members:
        ranks = Ranks(member)
        ranks.set_members(members)
        found[member] = ranks.of(lease)
    start = 0 if owner in members else 1
    assert list(range(start, start + len(members))) == sorted(found.values())
    assert found.get(owner, 0) == 0


def test_members_share_the_work() -> None:
    """Which member comes first after the owner differs from lease to lease."""
    ranks = Ranks("b")
    ranks.set_members("abcd")
    first = sum(ranks.of(lease_of(str(number))) == 1 for number in range(300))
    assert 70 < first < 130


# -- epochs


def test_an_epoch_is_closed_by_a_later_one_and_forgotten_a_lifetime_later() -> None:
    """Whether the later one is known from a change or from a sign of life."""
    epochs, later = Epochs(), Origin("a", 2)
    assert {} == epochs.due([A, B, later], (), "ab", lifetime=100, departure=100, now=0)
    assert {} == epochs.due([A, B, later], (), "ab", lifetime=100, departure=100, now=100)
    assert {"a": 2} == epochs.due([A, B, later], (), "ab", lifetime=100, departure=100, now=101)
    epochs.seen("b", 3)
    epochs.seen("b", 2)
    assert {} == epochs.due([B], (), "ab", lifetime=100, departure=100, now=200)
    assert {"b": 2} == epochs.due([B], (), "ab", lifetime=100, departure=100, now=301)


def test_a_node_that_returns_in_time_stays() -> None:
    """Only who is no member for a whole lifetime is forgotten."""
    epochs = Epochs()
    assert {} == epochs.due([A], (), "b", lifetime=100, departure=100, now=0)
    assert {} == epochs.due([A], (), "ab", lifetime=100, departure=100, now=99)
    assert {} == epochs.due([A], (), "b", lifetime=100, departure=100, now=150)
    assert {"a": 2} == epochs.due([A], (), "b", lifetime=100, departure=100, now=251)


def test_the_last_nodes_that_left_are_remembered_for_longer() -> None:
    """They may only be cut off, with others that have seen changes of theirs; not so if a later life is known."""
    epochs, times = Epochs(), {"lifetime": 100, "departure": 1_000}
    left = [Origin(f"n{number:02}", 7) for number in range(DEPARTED)]
    assert {} == epochs.due([*left, Origin("n00", 6)], (), "a", **times, now=0)
    assert {"n00": 7} == epochs.due([*left, Origin("n00", 6)], (), "a", **times, now=101)
    one_more = Origin("m", 1)
    assert {} == epochs.due([*left, one_more], (), "m", **times, now=150)
    assert {"n00": 8} == epochs.due([*left, one_more], (), "a", **times, now=151)
    assert {origin.node: 8 for origin in left[1:]} == epochs.due([*left[1:], one_more], (), "a", **times, now=1_001)


def test_what_is_stuck_beyond_the_vector_is_forgotten_a_lifetime_later() -> None:
    """Nobody who is left has the rest; what is on its way for a moment is no reason to forget a node at once."""
    epochs, times = Epochs(), {"lifetime": 100, "departure": 1_000}
    assert {} == epochs.due([A], (), "b", **times, now=0)
    assert {} == epochs.due([A], [A], "b", **times, now=500)
    assert {} == epochs.due([A], (), "b", **times, now=550)
    assert {} == epochs.due([A], [A], "b", **times, now=600)
    assert {} == epochs.due([A], [A], "b", **times, now=700)
    assert {"a": 2} == epochs.due([A], [A], "b", **times, now=701)


def test_the_bases_of_the_latest_departed_are_kept() -> None:
    """So all nodes keep the same ones, in whatever order they heard of them; members keep theirs."""
    base = {f"n{number}": number for number in range(DEPARTED + 3)}
    assert ["n0", "n2"] == superfluous(base, ["n1"])
    assert [] == superfluous({}, [])


@pytest.mark.parametrize("name", ClusterTimings.__struct_fields__)
def test_times_must_pass(name: str) -> None:
    """A time of no length is refused."""
    with pytest.raises(ValueError, match=f"{name} must be at least 1 ms, not 0"):
        ClusterTimings(**{name: 0})


def test_a_replica_says_how_it_stands() -> None:
    """For the status page and metrics."""
    world = World()
    world.run(500)
    world.cut = {("a", "b")}
    world["a"].registry.register(instance("i"), world.now)
    world.run(200)
    world.heal()
    world.drop = lambda *message: type(message[2]).__name__ == "Repair"
    world.run(1_200)
    state = world["b"].replica.state()
    assert (True, "a", 1) == (state.synced, state.exchanging, state.peers["a"].lag)
    assert (True, 0) == (state.peers["a"].connected, state.held)
