"""How closely an endpoint is watched, and what is worth an alert (specification 4.3, 5.7).

Not here: watching (`monitor`). The original's `enable_profiling` is left out: a profiler is attached to a process from
outside, and no code of ours would read that option.
"""

from __future__ import annotations

import math
from typing import Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import positive, whole
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types

SHORTEST_INTERVAL = 0.01  # seconds
SHORTEST_RETENTION = 60.0


class AlertLevels(msgspec.Struct, frozen=True, kw_only=True):
    """From where on a `Monitor` raises an alert (specification 5.7).

    p99_latency: seconds in which 99 of 100 requests are to be handled; default 0.1: handlers that ask a database or
    another service take milliseconds when all is well, and people notice a tenth of a second. `strict` has the
    specification's 0.001, for handlers that wait for nothing. error_rate: errors for each
    request, in percent; default 0.1. cpu_usage: percent of one processor, which is what an event loop can use; default
    80. memory_usage: percent of what this process may have; default 90. hit_rate: percent of buffers that are used
    again, at least; default 95.
    """

    p99_latency: float = 0.1
    error_rate: float = 0.1
    cpu_usage: float = 80.0
    memory_usage: float = 90.0
    hit_rate: float = 95.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        positive(self, "p99_latency", "error_rate", "cpu_usage", "memory_usage", "hit_rate")
        for field in ("error_rate", "cpu_usage", "memory_usage", "hit_rate"):
            if not getattr(self, field) < 100:
                raise ConfigurationError(field, f"is {getattr(self, field)!r}; use a percentage below 100")

    @classmethod
    def strict(cls) -> Self:
        """The levels of the specification: as the defaults, but alert when 99 of 100 requests take more than 1 ms."""
        return cls(p99_latency=0.001)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


class PerformanceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How closely a `Monitor` watches an endpoint (specification 4.3). Seconds everywhere.

    enable_detailed_monitoring: also statistics for each protocol, and how long requests take to be handled, which costs
    each request about a microsecond; default on. sampling_interval: between two samples, 0.01 or more; default 0.1.
    Where many sessions make a sample expensive they come less often, so that no more than a hundredth of the time goes
    into them. metrics_history_size: samples that are kept, 2 or more; default 1000. Half of them are the latest, the
    other half is spread over monitoring_retention, 60 or more; default 3600. auto_report_interval: between two log
    lines that sum it up; default 300, None for none. alerts: from where on it warns; default `AlertLevels()`.
    """

    enable_detailed_monitoring: bool = True
    monitoring_retention: float = 3600.0
    sampling_interval: float = 0.1
    metrics_history_size: int = 1000
    auto_report_interval: float | None = 300.0
    alerts: AlertLevels = AlertLevels()

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        whole(self, "metrics_history_size", least=2)
        positive(self, "auto_report_interval", none=True)
        for field, least in (("sampling_interval", SHORTEST_INTERVAL), ("monitoring_retention", SHORTEST_RETENTION)):
            if not least <= getattr(self, field) < math.inf:
                raise ConfigurationError(field, f"is {getattr(self, field)!r}; use {least:g} seconds or more")

    @classmethod
    def production(cls) -> Self:
        """Seldom, and for longer."""
        return cls(
            monitoring_retention=7200, sampling_interval=0.2, metrics_history_size=2000, auto_report_interval=600
        )

    @classmethod
    def development(cls) -> Self:
        """Often, and for a short time."""
        return cls(monitoring_retention=1800, sampling_interval=0.05, metrics_history_size=500, auto_report_interval=60)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
