"""How many connections a pool has, and when that changes (specification 4.3, 5.1).

Not here: deciding it (`pool.expansion`), and what holds for each connection (arguments of `ConnectionPool`).
"""

from __future__ import annotations

import math
from typing import Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import LARGEST, whole
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types


class SmartPoolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a `ConnectionPool` (specification 4.3).

    initial_size: connections it begins with, and shrinks to; default 100. max_size: the most it has, at least
    initial_size; default 2000. min_connections: kept open though nobody uses them, at most initial_size; default 10.
    enable_warmup: begin with all of initial_size, default; off, with min_connections, and make those up to initial_size
    when they are wanted.
    expansion_threshold, shrink_threshold: the part of the connections that is in use, from which the pool grows, and
    down to which it shrinks; between 0 and 1, the first above the second; default 0.8 and 0.3.
    expansion_factors: by which it grows, each taken once and the last one then again and again, from the first after it
    has shrunk; each above 1; default 2, 1.5, 1.2, 1.1. It shrinks by 0.8.
    expansion_cooldown: seconds between two expansions; default 30. shrink_cooldown: seconds between a change of size
    and shrinking; default 60; 0 for none.
    """

    initial_size: int = 100
    max_size: int = 2000
    expansion_threshold: float = 0.8
    shrink_threshold: float = 0.3
    expansion_cooldown: float = 30.0
    shrink_cooldown: float = 60.0
    min_connections: int = 10
    enable_warmup: bool = True
    expansion_factors: tuple[float, ...] = (2.0, 1.5, 1.2, 1.1)

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        whole(self, "initial_size")
        whole(self, "min_connections", least=0)
        if self.max_size < self.initial_size:
            raise ConfigurationError(
                "max_size", f"is {self.max_size}; use at least as many as initial_size, {self.initial_size}"
            )
        for field in ("expansion_threshold", "shrink_threshold"):
            if not 0 < getattr(self, field) < 1:
                raise ConfigurationError(field, f"is {getattr(self, field)!r}; use a number between 0 and 1")
        if self.expansion_threshold <= self.shrink_threshold:
            raise ConfigurationError(
                "expansion_threshold",
                f"is {self.expansion_threshold!r}; use more than shrink_threshold, {self.shrink_threshold!r}",
            )
        for field in ("expansion_cooldown", "shrink_cooldown"):
            if not 0 <= getattr(self, field) <= LARGEST:
                raise ConfigurationError(field, f"is {getattr(self, field)!r}; use seconds, 0 for none")
        if not self.expansion_factors or not all(1 < factor < math.inf for factor in self.expansion_factors):
            raise ConfigurationError(
                "expansion_factors", f"are {self.expansion_factors!r}; use at least one, each above 1"
            )

    @classmethod
    def high_performance(cls) -> Self:
        """Large, soon to grow and to shrink."""
        return cls(
            initial_size=200,
            max_size=5000,
            expansion_threshold=0.75,
            shrink_threshold=0.25,
            expansion_cooldown=15,
            shrink_cooldown=45,
            min_connections=50,
            expansion_factors=(2.5, 2.0, 1.5, 1.2, 1.1),
        )

    @classmethod
    def conservative(cls) -> Self:
        """Small, slow to grow and to shrink, made as it is wanted."""
        return cls(
            initial_size=50,
            max_size=1000,
            expansion_threshold=0.9,
            shrink_threshold=0.2,
            expansion_cooldown=60,
            shrink_cooldown=120,
            min_connections=5,
            enable_warmup=False,
            expansion_factors=(1.5, 1.3, 1.2, 1.1),
        )

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
