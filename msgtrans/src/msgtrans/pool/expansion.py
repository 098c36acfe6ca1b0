"""How large a pool of connections should be: when it grows, by how much, and when it shrinks (specification 5.1).

`Growth` decides and remembers; it is told what its owner did. Times are those of one clock that does not go backwards.
Not here: connections, waiting, clocks.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from msgtrans.config import SmartPoolConfig

REMEMBERED: Final = 1000  # steps
HOUR: Final = 3600.0
ROUNDING: Final = 1e-9  # 360 * 1.1 is to be 396, whatever floating point makes of it


class Step(msgspec.Struct, frozen=True):
    """A change of size. factor: by which it was to grow, before max_size cut it; 0.8 for shrinking."""

    time: float
    from_size: int
    to_size: int
    factor: float

    @property
    def grew(self) -> bool:
        """Whether it was an expansion."""
        return self.to_size > self.from_size


class GrowthMetrics(msgspec.Struct, frozen=True):
    """Of the last 1000 changes of size (specification 4.4, PerformanceMetrics).

    avg_expansion_factor: the mean factor, 0 without an expansion. expansion_frequency, shrink_frequency: how many there
    were in the last hour.
    """

    avg_expansion_factor: float
    expansion_frequency: int
    shrink_frequency: int


class Growth:
    """The size of one pool over time. expansions, shrinks: how many there were."""

    __slots__ = ("_changed_at", "_config", "_expanded_at", "_index", "_steps", "expansions", "shrinks")

    def __init__(self, config: SmartPoolConfig) -> None:
        self._config = config
        self._index = 0
        self._expanded_at = -math.inf
        self._changed_at = -math.inf
        self._steps: deque[Step] = deque(maxlen=REMEMBERED)
        self.expansions = 0
        self.shrinks = 0

    @property
    def factor(self) -> float:
        """By which the next expansion multiplies."""
        return self._config.expansion_factors[self._index]

    def may_expand_at(self) -> float:
        """When the cool-down of the last expansion is over."""
        return self._expanded_at + self._config.expansion_cooldown

    def may_shrink_at(self) -> float:
        """When the cool-down of the last change is over."""
        return self._changed_at + self._config.shrink_cooldown

    def is_short(self, size: int, in_use: int) -> bool:
        """Whether so many in use of `size` are a reason to grow, and there is room to."""
        return size < self._config.max_size and in_use >= self._config.expansion_threshold * size

    def has_plenty(self, size: int, in_use: int) -> bool:
        """Whether so few in use of `size` are a reason to shrink, and there is room to."""
        return size > self._config.initial_size and in_use <= self._config.shrink_threshold * size

    def larger(self, size: int) -> int:
        """The size after the next expansion: one more at least, `max_size` at most."""
        grown = max(math.floor(size * self.factor + ROUNDING), size + 1)
        return min(grown, self._config.max_size)

    def smaller(self, size: int) -> int:
        """The size after shrinking: 0.8 of it, `initial_size` at least."""
        return min(max(size * 4 // 5, self._config.initial_size), size)

    def expand(self, size: int, in_use: int, now: float, *, force: bool = False) -> Step | None:
        """The expansion to make now, which counts as made; None for none. force: whatever is in use or was before."""
        if size >= self._config.max_size:
            return None
        if not force and not (self.is_short(size, in_use) and now >= self.may_expand_at()):
            return None
        step = Step(now, size, self.larger(size), self.factor)
        self._index = min(self._index + 1, len(self._config.expansion_factors) - 1)
        self._expanded_at = self._changed_at = now
        self.expansions += 1
        self._steps.append(step)
        return step

    def shrinkable_to(self, size: int, in_use: int, now: float) -> int:
        """To how many the pool may shrink now; `size` itself for not at all. Call `shrunk` when any has gone."""
        if not self.has_plenty(size, in_use) or now < self.may_shrink_at():
            return size
        return self.smaller(size)

    def shrunk(self, from_size: int, to_size: int, now: float) -> None:
        """The pool has shrunk; the factors begin again."""
        self._index = 0
        self._changed_at = now
        self.shrinks += 1
        self._steps.append(Step(now, from_size, to_size, 0.8))

    def metrics(self, now: float) -> GrowthMetrics:
        """What the last steps say."""
        factors = [step.factor for step in self._steps if step.grew]
        recent = [step.grew for step in self._steps if step.time > now - HOUR]
        mean = sum(factors) / len(factors) if factors else 0.0
        return GrowthMetrics(mean, recent.count(True), recent.count(False))
