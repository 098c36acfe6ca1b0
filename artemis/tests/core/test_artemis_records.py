"""Records and their merge: design 4.1."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from artemis.registry import Dot, Origin, Record, merge
from artemis.registry.clock import HybridClock

STAMPS = st.tuples(st.integers(0, 3), st.sampled_from(["a", "b"]))
ORIGINS = st.builds(Origin, st.sampled_from(["a", "b"]), st.integers(1, 2))
DOTS = st.dictionaries(ORIGINS, st.integers(1, 3), max_size=3).map(
    lambda dots: tuple(Dot(*dot) for dot in sorted(dots.items()))
)
RECORDS = st.builds(
    Record,
    key=st.just(("r", "s", "i")),
    version=STAMPS,
    removed=st.booleans(),
    content=st.sampled_from([b"", b"x", b"y"]),
    renewed=STAMPS,
    expired=STAMPS,
    asserted=STAMPS,
    dots=DOTS,
)
fields = msgspec.structs.astuple


@given(RECORDS, RECORDS)
def test_merge_is_commutative(a: Record, b: Record):
    """The order of two records does not matter."""
    assert fields(merge(a, b)) == fields(merge(b, a))


@given(RECORDS, RECORDS, RECORDS)
def test_merge_is_associative(a: Record, b: Record, c: Record):
    """The order of three records does not matter."""
    assert fields(merge(merge(a, b), c)) == fields(merge(a, merge(b, c)))


@given(RECORDS, RECORDS)
def test_merge_is_idempotent(a: Record, b: Record):
    """Merging the same again changes nothing."""
    assert fields(a) == fields(merge(a, a))
    joined = merge(a, b)
    assert fields(joined) == fields(merge(joined, b))


@given(RECORDS, RECORDS)
def test_merge_never_goes_back(a: Record, b: Record):
    """Every part of the result is at least that of either side."""
    joined = merge(a, b)
    for side in (a, b):
        assert (joined.version, joined.removed, joined.content) >= (side.version, side.removed, side.content)
        assert joined.renewed >= side.renewed
        assert joined.expired >= side.expired
        assert joined.asserted >= side.asserted
        reached = {dot.origin: dot.seq for dot in joined.dots}
        assert all(reached[dot.origin] >= dot.seq for dot in side.dots)


@given(RECORDS)
def test_live_and_visible(record: Record):
    """A record is live iff it is not removed and its renewal is above its expiry; only then its content is visible."""
    live = not record.removed and record.renewed > record.expired
    assert live == record.live
    assert (record.content if live else None) == record.visible


def test_clock_follows_the_wall_and_never_goes_back():
    """Stamps are microseconds of the wall clock and grow even when that is set back."""
    clock = HybridClock("n", now=0, wall=1_000)
    first = clock.next(5)
    assert (1_005_000, "n") == first
    clock.adjust(5, 10)
    assert (1_005_001, "n") == clock.next(6)


def test_clock_shares_the_stamp_of_a_millisecond():
    """Within a millisecond the latest stamp is given again, until another is seen."""
    clock = HybridClock("n", now=0, wall=1_000)
    stamp = clock.current(1)
    assert stamp == clock.current(1)
    assert clock.next(1) == clock.current(1) > stamp
    clock.observe((9_000_000, "x"))
    assert (9_000_001, "n") == clock.current(1)
    clock.observe((1, "x"))
    assert (9_000_001, "n") == clock.current(1)


def test_the_wall_clock_does_not_wobble():
    """Two clocks that are cut to milliseconds differ by one now and then; only more than that is a clock that moved."""
    clock = HybridClock("n1", 0, 1_000)
    shown = []
    for now, wall in ((10, 1_010), (20, 1_021), (30, 1_030), (40, 1_039)):
        clock.adjust(now, wall)
        shown.append(clock.wall(5))
    assert [1_005] * 4 == shown
    for now, wall in ((50, 1_052), (60, 1_061), (70, 1_073)):
        clock.adjust(now, wall)
        shown.append(clock.wall(5))
    assert [1_007] * 3 == shown[4:]
    clock.adjust(80, 500)
    assert 425 == clock.wall(5)
