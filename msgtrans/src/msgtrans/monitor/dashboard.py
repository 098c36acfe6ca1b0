"""What an operator looks at first: a few figures, alerts, and a score of health (specification 5.7).

Not here: how the figures come about, and telling anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from msgtrans.config.performance import AlertLevels
    from msgtrans.monitor.history import Rates

SHORTEST: Final = 1.0  # seconds; in less, how much of a processor was used says nothing
FEWEST: Final = 20  # requests, or buffers borrowed; of fewer a percentage says nothing
WORST: Final = 10.0  # times its level, where latency and error rate leave nothing of their part of the score
PART: Final = 20.0  # of the score of 100, for each of the five


class Alert(msgspec.Struct, frozen=True):
    """A figure beyond its level. what: the field of `AlertLevels`; value and level are in its units.

    As text: "p99_latency is 250 ms, beyond its level of 100 ms".
    """

    what: str
    value: float
    level: float

    def __str__(self) -> str:
        """A sentence without its end."""
        beyond = "below" if self.what == "hit_rate" else "beyond"
        return f"{self.what} is {self._with_unit(self.value)}, {beyond} its level of {self._with_unit(self.level)}"

    def brief(self) -> str:
        """The same for small screens: "p99_latency 250 ms, level 100 ms"."""
        return f"{self.what} {self._with_unit(self.value)}, level {self._with_unit(self.level)}"

    def _with_unit(self, figure: float) -> str:
        if self.what != "p99_latency":
            return f"{figure:.3g} %"
        return f"{figure:g} s" if figure >= 1 else f"{1e3 * figure:.3g} ms"


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint now, over the last seconds.

    current_qps: requests handled per second; without detailed monitoring packets received. active_connections: open.
    avg_latency_us, p99_latency_us: microseconds it took to handle requests, the latter rounded up to a bucket; 0
    without detailed monitoring. cpu_usage_percent: of one processor. memory_usage_mb: resident MiB of this process;
    memory_usage_percent: of what it may have; both None where the system does not tell. network_throughput_mbps:
    megabits per second, both ways. error_rate_percent: errors for each request. hit_rate_percent: of buffers used
    again, None when hardly any were borrowed. alerts: of CPU only when it looks back for a second or more, of the other
    figures when there is enough to judge by. health_score: 100 when no level is reached; each of the five levels takes
    up to 20 away, all of it at ten times the level for latency and errors, at 100 % for CPU and memory, at half of the
    level for the hit rate. asked_qps: requests of our own answered per second; asked_p50_us, asked_p99_us: microseconds
    until their answers, rounded up to a bucket. 0 without any, and without detailed monitoring.
    """

    current_qps: float
    active_connections: int
    avg_latency_us: float
    p99_latency_us: float
    cpu_usage_percent: float
    memory_usage_mb: float | None
    memory_usage_percent: float | None
    network_throughput_mbps: float
    error_rate_percent: float
    hit_rate_percent: float | None
    alerts: list[Alert]
    health_score: float
    asked_qps: float = 0.0
    asked_p50_us: float = 0.0
    asked_p99_us: float = 0.0

    @property
    def alert_count(self) -> int:
        """How many alerts there are."""
        return len(self.alerts)


def assess(
    rates: Rates,
    levels: AlertLevels,
    *,
    sessions: int,
    memory: tuple[int, int] | None = None,
    buffers: tuple[int, int] = (0, 0),
) -> Dashboard:
    """The dashboard of what happened. memory: bytes used and allowed. buffers: hits and misses in that time."""
    handled, latencies = rates.latencies.count, rates.latencies
    asked = handled or rates.packets_received * rates.seconds
    errors = rates.errors * rates.seconds
    error_rate = min(100.0, 100 * errors / max(asked, errors)) if asked + errors >= FEWEST and errors > 0 else 0.0
    percent = 100 * memory[0] / memory[1] if memory is not None else None
    borrowed = sum(buffers)
    hit_rate = 100 * buffers[0] / borrowed if borrowed >= FEWEST else None
    p99 = latencies.percentile(0.99) if handled >= FEWEST else 0.0
    checked = (
        ("p99_latency", p99, levels.p99_latency, WORST * levels.p99_latency),
        ("error_rate", error_rate, levels.error_rate, min(100.0, WORST * levels.error_rate)),
        ("cpu_usage", 100 * rates.cpu if rates.seconds >= SHORTEST else None, levels.cpu_usage, 100.0),
        ("memory_usage", percent, levels.memory_usage, 100.0),
        ("hit_rate", hit_rate, levels.hit_rate, levels.hit_rate / 2),
    )
    alerts, score = [], 100.0
    for what, value, level, worst in checked:
        if value is not None and (beyond := (value - level) / (worst - level)) > 0:
            alerts.append(Alert(what, value, level))
            score -= PART * min(1.0, beyond)
    return Dashboard(
        current_qps=handled / rates.seconds if handled else rates.packets_received,
        active_connections=sessions,
        avg_latency_us=latencies.mean * 1e6,
        p99_latency_us=latencies.percentile(0.99) * 1e6,
        cpu_usage_percent=100 * rates.cpu,
        memory_usage_mb=memory[0] / 2**20 if memory is not None else None,
        memory_usage_percent=percent,
        network_throughput_mbps=8 * (rates.bytes_sent + rates.bytes_received) / 1e6,
        error_rate_percent=error_rate,
        hit_rate_percent=hit_rate,
        alerts=alerts,
        health_score=score,
        asked_qps=rates.asked.count / rates.seconds if rates.seconds else 0.0,
        asked_p50_us=rates.asked.percentile(0.5) * 1e6,
        asked_p99_us=rates.asked.percentile(0.99) * 1e6,
    )
