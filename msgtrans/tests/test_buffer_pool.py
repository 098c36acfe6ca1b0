"""The pool of buffers: classes, limits, statistics, pressure, commands and events (case 26)."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from msgtrans import ConfigurationError
from msgtrans.pool.allocation import (
    AdjustLimits,
    AllocationCommand,
    BufferAllocated,
    BufferClass,
    BufferLimits,
    BufferReturned,
    CacheEviction,
    CacheHit,
    CacheMiss,
    ClearCache,
    GetStats,
    MemoryPressure,
    Preallocate,
    SetLimits,
)
from msgtrans.pool.buffers import LARGEST, REMEMBERED, BufferPool

SMALL, MEDIUM, LARGE = BufferClass
LIMITS = {SMALL: 500, MEDIUM: 200, LARGE: 50}


@pytest.mark.parametrize("kind", BufferClass)
def test_each_class_has_its_capacity_and_its_limit(kind: BufferClass) -> None:
    """Buffers of 1024, 8192 and 65 536 bytes; 500, 200 and 50 of them are kept, others dropped (case 26)."""
    pool = BufferPool()
    buffers = [pool.get(kind) for _ in range(LIMITS[kind] + 3)]
    assert {kind.value} == set(map(len, buffers))
    kept = [pool.release(buffer) for buffer in buffers]
    assert [True] * LIMITS[kind] + [False] * 3 == kept
    shelf = getattr(pool.stats(), kind.name.lower())
    assert (LIMITS[kind], LIMITS[kind], 3) == (shelf.cached, shelf.returned, shelf.dropped)


@given(st.integers(1, LARGE))
def test_sizes_get_the_smallest_class_that_holds_them(size: int) -> None:
    """A size in bytes stands for the smallest class that holds it (case 26)."""
    assert min(kind.value for kind in BufferClass if kind >= size) == len(BufferPool().get(size))


@pytest.mark.parametrize("size", [-1, 0, LARGE + 1])
def test_sizes_without_a_class_are_refused(size: int) -> None:
    """No bytes, less than none, or more than the largest class holds: an error that says what to use."""
    with pytest.raises(ConfigurationError, match="use 1 to 65536 bytes"):
        BufferPool().get(size)


@pytest.mark.parametrize("size", [0, SMALL - 1, LARGEST + 1])
def test_buffers_that_serve_nobody_are_refused(size: int) -> None:
    """Empty ones, others below the least class, and those above 10 MiB are refused and counted (case 26)."""
    pool = BufferPool()
    with pytest.raises(ConfigurationError, match="are taken back"):
        pool.release(bytearray(size))
    assert (1, 0, 0.0) == (pool.stats().refused, pool.stats().return_operations, pool.stats().total_memory_cached_mb)


def test_buffers_of_other_lengths_join_the_class_that_they_serve() -> None:
    """Up to 10 MiB a buffer serves the largest class that it is long enough for, and its real length is counted."""
    pool = BufferPool()
    for size in (LARGEST, LARGE - 1, MEDIUM - 1):
        assert pool.release(bytearray(size))
    stats = pool.stats()
    assert (MEDIUM - 1, LARGE - 1, LARGEST) == tuple(each.cached_bytes for each in stats.classes)
    assert [LARGEST, LARGE - 1, MEDIUM - 1] == [len(pool.get(kind)) for kind in (LARGE, MEDIUM, SMALL)]


def test_a_second_release_is_refused() -> None:
    """The same buffer twice would be lent to two (case 26)."""
    pool = BufferPool()
    buffer = pool.get(LARGE)
    pool.release(buffer)
    with pytest.raises(ConfigurationError, match="released already"):
        pool.release(buffer)
    assert (1, 1) == (pool.stats().large.cached, pool.stats().refused)


def test_statistics_of_hits_and_misses() -> None:
    """The rates are of what was asked for; without traffic none was hit, and efficiency is cached by allocated."""
    pool = BufferPool()
    idle = pool.stats()
    assert (0.0, 1.0, 0.0, 0) == (
        idle.cache_hit_rate,
        idle.cache_miss_rate,
        idle.memory_efficiency,
        idle.total_operations,
    )
    first, second = pool.get(LARGE), pool.get(LARGE)
    pool.release(first)
    assert pool.get(LARGE) is first
    pool.release(second)
    pool.get(SMALL)
    stats = pool.stats()
    assert (0.25, 0.75) == (stats.cache_hit_rate, stats.cache_miss_rate)
    assert (4, 2, 6) == (stats.get_operations, stats.return_operations, stats.total_operations)
    allocated, cached = 2 * LARGE + SMALL, LARGE
    assert (allocated / 2**20, cached / 2**20) == (stats.total_memory_allocated_mb, stats.total_memory_cached_mb)
    assert cached / allocated == stats.memory_efficiency


def test_preallocated_buffers_are_kept_and_not_counted_as_allocated() -> None:
    """A pool can begin with buffers, as many as its limits allow (case 26)."""
    pool = BufferPool.with_preallocation(small=3, medium=2, large=60)
    stats = pool.stats()
    assert [(3, 0), (2, 0), (50, 0)] == [(each.cached, each.allocated) for each in stats.classes]
    assert 65 - 10 == sum(each.preallocated for each in stats.classes)
    pool.get(MEDIUM)
    assert 1.0 == pool.stats().cache_hit_rate
    assert 54 == pool.clear()
    assert 0 == pool.clear()


def test_pressure_lowers_the_limits_and_relief_restores_them() -> None:
    """Above the threshold each limit shrinks to 0.8 and the rest goes; at half of it they grow again (case 26)."""
    pool = BufferPool.with_preallocation(500, 200, 50)
    assert BufferLimits(small=400, medium=160, large=40) == pool.adjust_limits(5.0)
    assert [100, 40, 10] == [each.evicted for each in pool.stats().classes]
    assert BufferLimits(small=320, medium=128, large=32) == pool.adjust_limits(4.0)
    between = pool.stats().total_memory_cached_mb
    assert BufferLimits(small=320, medium=128, large=32) == pool.adjust_limits(between)
    assert BufferLimits(small=400, medium=160, large=40) == pool.adjust_limits(between * 2)
    for _ in range(3):
        pool.adjust_limits(100.0)
    assert BufferLimits() == pool.limits


def test_limits_that_pressure_brought_to_nothing_grow_again() -> None:
    """However long the pressure lasts, relief leads back to what was configured."""
    pool = BufferPool(BufferLimits(small=3, medium=0, large=1))
    pool.release(bytearray(LARGE))
    pool.adjust_limits(0.01)
    assert BufferLimits(small=2, medium=0, large=0) == pool.limits
    for _ in range(3):
        pool.adjust_limits(1.0)
    assert BufferLimits(small=3, medium=0, large=1) == pool.limits


@pytest.mark.parametrize(
    ("command", "cached"),
    [
        (Preallocate(small=2), (6, 4, 4)),
        (ClearCache(), (0, 0, 0)),
        (AdjustLimits(0.1), (4, 4, 4)),
        (SetLimits(BufferLimits(small=1, medium=0, large=9)), (1, 0, 4)),
        (GetStats(), (4, 4, 4)),
    ],
)
def test_commands_act_and_answer_with_statistics(command: AllocationCommand, cached: tuple[int, ...]) -> None:
    """Each control command does what it says; the answer tells what is kept after it."""
    pool = BufferPool(BufferLimits(small=9, medium=9, large=9))
    pool.preallocate(small=4, medium=4, large=4)
    answer = pool.control(command)
    assert cached == tuple(each.cached for each in answer.classes)
    assert pool.stats() == answer


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Preallocate(small=-1), "small"),
        (lambda: AdjustLimits(0.0), "threshold_mb"),
        (lambda: BufferLimits(large=-1), "large"),
        (lambda: BufferLimits(medium=1.5), "medium"),  # type: ignore[arg-type]  # on purpose
        (lambda: SetLimits(5), "limits"),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_commands_and_limits_are_checked(make: object, field: str) -> None:
    """Numbers that mean nothing are refused when they are given."""
    assert callable(make)
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert field == caught.value.field


async def test_events_tell_what_happens() -> None:
    """Every stream gets every event since it was made; what happened before is not told (case 26)."""
    pool = BufferPool(BufferLimits(small=1, medium=1, large=2))
    pool.get(SMALL)
    stream, other = pool.events(), pool.events()
    first, second = pool.get(LARGE), pool.get(LARGE)
    pool.release(first)
    pool.release(second)
    pool.get(LARGE)
    pool.adjust_limits(0.03)
    missed = [CacheMiss(LARGE), BufferAllocated(LARGE, 65536)]
    returned = [BufferReturned(LARGE), BufferReturned(LARGE), CacheHit(LARGE)]
    expected = [*missed, *missed, *returned, MemoryPressure(1 / 16, 0.03)]
    for each in (stream, other):
        each.close()
        assert expected == [event async for event in each]


async def test_evictions_are_told() -> None:
    """Buffers that go because a limit fell are told by class and number; the original never does."""
    pool = BufferPool.with_preallocation(large=5)
    stream = pool.events()
    pool.set_limits(BufferLimits(large=2))
    assert CacheEviction(LARGE, 3) == await anext(stream)


async def test_a_stream_that_is_read_too_late_loses_the_oldest() -> None:
    """A stream holds 512 events and counts those that made way; a reader that waits is woken."""
    pool = BufferPool()
    stream = pool.events()
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    for _ in range(REMEMBERED // 2 + 10):
        pool.get(SMALL)
    assert (20, REMEMBERED) == (stream.missed, len(stream))
    assert CacheMiss(SMALL) == await reading
    del stream, reading
    gc.collect()
    assert [] == pool._hub.streams


class PoolMachine(RuleBasedStateMachine):
    """Random use, beside a plain list of what is lent and counted."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BufferPool(BufferLimits(small=4, medium=3, large=2))
        self.lent: list[bytearray] = []
        self.gets = self.returns = self.gone = 0

    @rule(size=st.sampled_from([1, 1024, 1025, 8192, 8193, 65536]))
    def get(self, size: int) -> None:
        buffer = self.pool.get(size)
        assert len(buffer) >= size
        assert all(buffer is not other for other in self.lent)
        self.lent.append(buffer)
        self.gets += 1

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.lent:
            self.pool.release(self.lent.pop(data.draw(st.integers(0, len(self.lent) - 1))))
            self.returns += 1

    @rule()
    def clear(self) -> None:
        self.gone += self.pool.clear()

    @rule(counts=st.tuples(*[st.integers(0, 5)] * 3))
    def preallocate(self, counts: tuple[int, int, int]) -> None:
        small, medium, large = counts
        self.pool.preallocate(small=small, medium=medium, large=large)

    @rule(threshold=st.sampled_from([0.001, 0.01, 0.1, 1.0]))
    def adjust(self, threshold: float) -> None:
        self.pool.adjust_limits(threshold)

    @invariant()
    def adds_up(self) -> None:
        stats = self.pool.stats()
        assert (self.gets, self.returns) == (stats.get_operations, stats.return_operations)
        assert self.gone == sum(each.cleared for each in stats.classes)
        for kind, each in zip(BufferClass, stats.classes, strict=True):
            assert each.misses == each.allocated
            assert each.allocated * kind == each.allocated_bytes
            came, went = each.preallocated + each.returned, each.hits + each.evicted + each.cleared
            assert came - went == each.cached <= each.limit
            assert each.cached * kind == each.cached_bytes
        out = sum(each.hits + each.allocated - each.returned - each.dropped for each in stats.classes)
        assert len(self.lent) == out


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=40)


@pytest.mark.parametrize("wrong", [None, "5", b"", [], float("nan"), float("inf"), True, int])
def test_arguments_of_other_kinds_are_refused(wrong: int) -> None:
    """What is no size, count, threshold, limits or command is refused, and the pool stays as it is."""
    pool = BufferPool()
    before = pool.stats()
    with pytest.raises(ConfigurationError, match=r"^wanted: .*; use 1 to 65536 bytes"):
        pool.get(wrong)
    with pytest.raises(ConfigurationError, match=r"^small: .*; use a whole number from 0 up"):
        pool.preallocate(large=1, small=wrong)
    with pytest.raises(ConfigurationError, match=r"^small: "):
        BufferPool.with_preallocation(wrong)
    with pytest.raises(ConfigurationError, match=r"^threshold_mb: .*; use a"):
        pool.adjust_limits(wrong)
    with pytest.raises(ConfigurationError, match=r"^limits: .*; use BufferLimits"):
        pool.set_limits(wrong)  # type: ignore[arg-type]  # on purpose
    if wrong is not None:
        with pytest.raises(ConfigurationError, match=r"^limits: .*; use BufferLimits"):
            BufferPool(wrong)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigurationError, match=r"^command: .*; use Preallocate"):
        pool.control(wrong)  # type: ignore[arg-type]  # on purpose
    assert before == pool.stats()


@pytest.mark.parametrize("wrong", [bytes(LARGE), memoryview(bytearray(LARGE)), None, 5, "text" * LARGE])
def test_only_bytearrays_are_taken_back(wrong: bytearray) -> None:
    """What cannot be written to, or is no buffer, is refused and counted: the next one to borrow it would fail."""
    pool = BufferPool()
    with pytest.raises(ConfigurationError, match=r"^buffer: .*; give a bytearray"):
        pool.release(wrong)
    assert (1, 0) == (pool.stats().refused, pool.stats().large.cached)
    assert isinstance(pool.get(LARGE), bytearray)
