"""The words of a pool of buffers: its classes, events, commands and statistics (specification 5.2, 4.4).

Not here: the pool (`buffers`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

from msgtrans.config.checks import positive, whole
from msgtrans.field_types import check_types

MIB: Final = 1 << 20


class BufferClass(IntEnum):
    """A class of buffers; its value is their capacity in bytes."""

    SMALL = 1024
    MEDIUM = 8192
    LARGE = 65536


class BufferLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many buffers of each class are kept. small: of 1 KiB, default 500. medium: of 8 KiB, default 200. large: of
    64 KiB, default 50. With 0 none is.
    """

    small: int = 500
    medium: int = 200
    large: int = 50

    def __post_init__(self) -> None:
        """Refuse what is no count with ConfigurationError."""
        check_types(self)
        whole(self, "small", "medium", "large", least=0)


class CacheHit(msgspec.Struct, frozen=True):
    """A buffer that was kept is used again."""

    buffer_class: BufferClass


class CacheMiss(msgspec.Struct, frozen=True):
    """None of that class was kept; a BufferAllocated follows."""

    buffer_class: BufferClass


class BufferAllocated(msgspec.Struct, frozen=True):
    """A buffer was made. capacity: bytes."""

    buffer_class: BufferClass
    capacity: int


class BufferReturned(msgspec.Struct, frozen=True):
    """A buffer came back, and is kept."""

    buffer_class: BufferClass


class CacheEviction(msgspec.Struct, frozen=True):
    """Kept buffers were let go of, because the limit of their class has become lower. count: how many."""

    buffer_class: BufferClass
    count: int


class MemoryPressure(msgspec.Struct, frozen=True):
    """More was kept than the threshold allows, both in MiB; limits are lower now."""

    total_mb: float
    threshold_mb: float


BufferEvent: TypeAlias = CacheHit | CacheMiss | BufferAllocated | BufferReturned | CacheEviction | MemoryPressure


class Preallocate(msgspec.Struct, frozen=True, kw_only=True):
    """Make so many buffers of each class and keep them, up to the limits."""

    small: int = 0
    medium: int = 0
    large: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no count with ConfigurationError."""
        check_types(self)
        whole(self, "small", "medium", "large", least=0)


class ClearCache(msgspec.Struct, frozen=True):
    """Let go of all that is kept."""


class AdjustLimits(msgspec.Struct, frozen=True):
    """As `BufferPool.adjust_limits`. threshold_mb: MiB."""

    threshold_mb: float

    def __post_init__(self) -> None:
        """Refuse what is no positive number with ConfigurationError."""
        check_types(self)
        positive(self, "threshold_mb")


class SetLimits(msgspec.Struct, frozen=True):
    """Keep so many from now on."""

    limits: BufferLimits

    def __post_init__(self) -> None:
        """Refuse anything else with ConfigurationError."""
        check_types(self)


class GetStats(msgspec.Struct, frozen=True):
    """Change nothing."""


AllocationCommand: TypeAlias = Preallocate | ClearCache | AdjustLimits | SetLimits | GetStats


class BufferClassStats(msgspec.Struct, frozen=True, kw_only=True):
    """One class of a pool at one moment.

    hits, misses: of what was asked for. allocated: made because of a miss; preallocated: made ahead. allocated_bytes:
    of the former. returned: came back and were kept; dropped: came back when the limit was reached. evicted: let go of
    by a lower limit; cleared: by `clear`. limit, cached, cached_bytes: now.
    """

    hits: int
    misses: int
    allocated: int
    allocated_bytes: int
    preallocated: int
    returned: int
    dropped: int
    evicted: int
    cleared: int
    limit: int
    cached: int
    cached_bytes: int


class BufferPoolStats(msgspec.Struct, frozen=True, kw_only=True):
    """A pool at one moment (specification 4.4). refused: buffers that were not taken back, with an error."""

    small: BufferClassStats
    medium: BufferClassStats
    large: BufferClassStats
    refused: int

    @property
    def classes(self) -> tuple[BufferClassStats, BufferClassStats, BufferClassStats]:
        """All three."""
        return self.small, self.medium, self.large

    @property
    def get_operations(self) -> int:
        """How often a buffer was asked for."""
        return sum(each.hits + each.misses for each in self.classes)

    @property
    def return_operations(self) -> int:
        """How often one came back, kept or not."""
        return sum(each.returned + each.dropped for each in self.classes)

    @property
    def total_operations(self) -> int:
        """Both together."""
        return self.get_operations + self.return_operations

    @property
    def cache_hit_rate(self) -> float:
        """The share of what was asked for that was there, 0 to 1; 0 when nothing was asked for."""
        asked = self.get_operations
        return sum(each.hits for each in self.classes) / asked if asked else 0.0

    @property
    def cache_miss_rate(self) -> float:
        """The rest; 1 when nothing was asked for."""
        return 1.0 - self.cache_hit_rate

    @property
    def total_memory_allocated_mb(self) -> float:
        """MiB of all buffers that were ever made because of a miss."""
        return sum(each.allocated_bytes for each in self.classes) / MIB

    @property
    def total_memory_cached_mb(self) -> float:
        """MiB of all that are kept now."""
        return sum(each.cached_bytes for each in self.classes) / MIB

    @property
    def memory_efficiency(self) -> float:
        """Cached by allocated bytes; 0 when nothing was allocated. Above 1 after preallocation."""
        allocated = self.total_memory_allocated_mb
        return self.total_memory_cached_mb / allocated if allocated else 0.0
