"""Buffers that are used again, in three classes of size (specification 5.2, 4.4).

A buffer is a bytearray of at least the capacity of its class. Its length never changes here, because a bytearray that
is cleared gives its memory back: who borrows one notes how much of it is filled, and finds in it what its last user
left. When that is worth it: `docs/performance.md`. Below 64 KiB the allocator is as fast, and simpler.
Not here: packets that are put together in such buffers (`assembly`), and when memory is short: whoever knows that calls
`adjust_limits`. Belongs to one event loop, or one thread; no locks.
"""

from __future__ import annotations

from math import ceil, floor, inf
from typing import TYPE_CHECKING, Final, NoReturn, Self

from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_count, check_number, check_type, shown
from msgtrans.pool.allocation import (
    MIB,
    AdjustLimits,
    BufferAllocated,
    BufferClass,
    BufferClassStats,
    BufferLimits,
    BufferPoolStats,
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
from msgtrans.pool.streams import PoolHub, PoolStream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msgtrans.pool.allocation import AllocationCommand, BufferEvent

LARGEST: Final = 10 * MIB  # bytes of a buffer that is taken back
REMEMBERED: Final = 512  # events that a stream holds
_SMALL, _MEDIUM, _LARGE = (kind.value for kind in BufferClass)
STEP: Final = 0.8  # by which limits shrink under pressure
RELIEF: Final = 0.5  # of the threshold; with at most as much cached, limits grow again


class _Shelf:
    """The buffers of one class that are kept, by identity, and what was counted."""

    __slots__ = (
        "allocated",
        "allocated_bytes",
        "cached_bytes",
        "capacity",
        "cleared",
        "dropped",
        "evicted",
        "hits",
        "kept",
        "kind",
        "limit",
        "misses",
        "name",
        "preallocated",
        "returned",
    )

    def __init__(self, kind: BufferClass, limit: int) -> None:
        self.kind = kind
        self.capacity = kind.value
        self.name = kind.name.lower()
        self.limit = limit
        self.kept: dict[int, bytearray] = {}
        self.cached_bytes = 0
        self.hits = self.misses = self.allocated = self.allocated_bytes = self.preallocated = 0
        self.returned = self.dropped = self.evicted = self.cleared = 0

    def keep(self, buffer: bytearray) -> None:
        self.kept[id(buffer)] = buffer
        self.cached_bytes += len(buffer)

    def let_go(self, down_to: int) -> int:
        """Keep at most so many; how many went."""
        gone = 0
        while len(self.kept) > down_to:
            self.cached_bytes -= len(self.kept.popitem()[1])
            gone += 1
        return gone

    def stats(self) -> BufferClassStats:
        fields = {name: getattr(self, name) for name in BufferClassStats.__struct_fields__ if name != "cached"}
        return BufferClassStats(cached=len(self.kept), **fields)


class BufferPool:
    """Lends bytearrays and keeps those that come back, up to a limit for each class.

    limits: how many are kept; default 500 of 1 KiB, 200 of 8 KiB and 50 of 64 KiB, 5.2 MiB in all.
    """

    __slots__ = ("_configured", "_hub", "_large", "_medium", "_refused", "_shelves", "_small")

    def __init__(self, limits: BufferLimits | None = None) -> None:
        check_type("limits", limits, BufferLimits, none=True)
        self._configured = BufferLimits() if limits is None else limits
        self._shelves = tuple(
            _Shelf(kind, limit) for kind, limit in zip(BufferClass, _counts(self._configured), strict=True)
        )
        self._small, self._medium, self._large = self._shelves
        self._hub: PoolHub[BufferEvent] = PoolHub(REMEMBERED)
        self._refused = 0

    @classmethod
    def with_preallocation(cls, small: int = 0, medium: int = 0, large: int = 0) -> Self:
        """A pool that keeps so many buffers from the start, up to the default limits. Not counted as allocated."""
        pool = cls()
        pool.preallocate(small=small, medium=medium, large=large)
        return pool

    def get(self, wanted: int) -> bytearray:
        """Lend a buffer: of a `BufferClass`, or of the smallest class that holds `wanted` bytes.

        It is as long as its class says, or longer, and not cleared. Raises ConfigurationError for 0 bytes, less, or
        more than 65 536.
        """
        try:
            shelf = self._large if _MEDIUM < wanted <= _LARGE else self._shelf(wanted)
        except TypeError:
            shelf = self._shelf(wanted)
        if shelf.kept:
            _, buffer = shelf.kept.popitem()  # the last one back is the likeliest to be in the processor's cache
            shelf.cached_bytes -= len(buffer)
            shelf.hits += 1
            if self._hub.streams:
                self._hub.emit(CacheHit(shelf.kind))
            return buffer
        capacity = shelf.capacity
        shelf.misses += 1
        shelf.allocated += 1
        shelf.allocated_bytes += capacity
        if self._hub.streams:
            self._hub.emit(CacheMiss(shelf.kind))
            self._hub.emit(BufferAllocated(shelf.kind, capacity))
        return bytearray(capacity)

    def release(self, buffer: bytearray) -> bool:
        """Take a buffer back; whether it is kept. Its class is the largest that its length serves.

        Whoever calls this must have let go of it, views included. Buffers that were made elsewhere are taken too.
        Raises ConfigurationError for what is no bytearray, is here already, is below 1024 bytes (an empty one among
        them) or above 10 MiB.
        """
        if type(buffer) is not bytearray:
            self._refuse(f"is {shown('buffer', buffer)}; give a bytearray: what is lent must be writable")
        size = len(buffer)
        shelf = self._large if size >= _LARGE else self._medium if size >= _MEDIUM else self._small
        kept, identity = shelf.kept, id(buffer)
        if identity in kept:
            self._refuse("was released already; release what was borrowed once")
        if not _SMALL <= size <= LARGEST:
            self._refuse(f"has {size} bytes; those of {_SMALL} to {LARGEST} are taken back")
        if len(kept) >= shelf.limit:
            shelf.dropped += 1
            return False
        kept[identity] = buffer
        shelf.cached_bytes += size
        shelf.returned += 1
        if self._hub.streams:
            self._hub.emit(BufferReturned(shelf.kind))
        return True

    def preallocate(self, *, small: int = 0, medium: int = 0, large: int = 0) -> int:
        """Make buffers and keep them, up to the limits; how many were made."""
        for name, number in (("small", small), ("medium", medium), ("large", large)):
            check_count(name, number, 0)
        made = 0
        for shelf, count in zip(self._shelves, (small, medium, large), strict=True):
            for _ in range(min(count, shelf.limit - len(shelf.kept))):
                shelf.keep(bytearray(shelf.capacity))
                shelf.preallocated += 1
                made += 1
        return made

    def clear(self) -> int:
        """Let go of all that is kept; how many that were."""
        gone = 0
        for shelf in self._shelves:
            cleared = shelf.let_go(0)
            shelf.cleared += cleared
            gone += cleared
        return gone

    @property
    def limits(self) -> BufferLimits:
        """How many buffers of each class are kept at present."""
        return BufferLimits(**{shelf.name: shelf.limit for shelf in self._shelves})

    def set_limits(self, limits: BufferLimits) -> None:
        """Keep so many from now on, with and without pressure; what is above goes at once."""
        check_type("limits", limits, BufferLimits)
        self._configured = limits
        self._limit(limits)

    def adjust_limits(self, threshold_mb: float) -> BufferLimits:
        """Look whether too much is kept; returns the limits from now on. For whoever watches memory, now and then.

        Above `threshold_mb` MiB each limit becomes 0.8 of itself, rounded down, and what is above goes. With no more
        than half of the threshold kept, limits that pressure has lowered grow by the same step, up to what they were.
        (The original evicts nothing and never grows back.)
        """
        check_number("threshold_mb", threshold_mb)
        if not 0 < threshold_mb < inf:
            raise ConfigurationError("threshold_mb", f"is {threshold_mb}; use a positive number of MiB")
        cached = sum(shelf.cached_bytes for shelf in self._shelves) / MIB
        if cached > threshold_mb:
            if self._hub.streams:
                self._hub.emit(MemoryPressure(cached, threshold_mb))
            self._limit(_limits(floor(shelf.limit * STEP) for shelf in self._shelves))
        elif cached / RELIEF <= threshold_mb:
            grown = (max(ceil(shelf.limit / STEP), 1) for shelf in self._shelves)
            self._limit(_limits(map(min, grown, _counts(self._configured))))
        return self.limits

    def control(self, command: AllocationCommand) -> BufferPoolStats:
        """Do what a command says; the statistics after it."""
        match command:
            case Preallocate(small=small, medium=medium, large=large):
                self.preallocate(small=small, medium=medium, large=large)
            case ClearCache():
                self.clear()
            case AdjustLimits(threshold_mb=threshold_mb):
                self.adjust_limits(threshold_mb)
            case SetLimits(limits=limits):
                self.set_limits(limits)
            case GetStats():
                pass
            case _:
                raise ConfigurationError(
                    "command",
                    f"is {shown('command', command)}; use Preallocate, ClearCache, AdjustLimits, SetLimits or GetStats",
                )
        return self.stats()

    def events(self) -> PoolStream[BufferEvent]:
        """A stream of what happens from now on; it holds 512 events. While there is none, events cost nothing."""
        return self._hub.open()

    def stats(self) -> BufferPoolStats:
        """Everything counted, at this moment."""
        return BufferPoolStats(
            small=self._small.stats(), medium=self._medium.stats(), large=self._large.stats(), refused=self._refused
        )

    def _shelf(self, wanted: object) -> _Shelf:
        if isinstance(wanted, int) and wanted is not True and 0 < wanted <= _LARGE:
            return self._small if wanted <= _SMALL else self._medium if wanted <= _MEDIUM else self._large
        raise ConfigurationError("wanted", f"is {shown('wanted', wanted)}; use 1 to {_LARGE} bytes, or a BufferClass")

    def _refuse(self, why: str) -> NoReturn:
        self._refused += 1
        raise ConfigurationError("buffer", why)

    def _limit(self, limits: BufferLimits) -> None:
        for shelf, limit in zip(self._shelves, _counts(limits), strict=True):
            shelf.limit = limit
            evicted = shelf.let_go(limit)
            shelf.evicted += evicted
            if evicted and self._hub.streams:
                self._hub.emit(CacheEviction(shelf.kind, evicted))


def _counts(limits: BufferLimits) -> tuple[int, int, int]:
    return limits.small, limits.medium, limits.large


def _limits(counts: Iterable[int]) -> BufferLimits:
    small, medium, large = counts
    return BufferLimits(small=small, medium=medium, large=large)
