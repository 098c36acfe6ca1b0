"""Samples of counters, and what happened between two of them.

Samples hold totals, so leaving some out loses resolution and nothing else.
Not here: taking samples, and clocks: times are arguments.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from msgtrans.monitor.latency import Latencies

if TYPE_CHECKING:
    from collections.abc import Iterator


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Totals at one moment, of an endpoint, a protocol or a session. at: seconds of `time.monotonic`.

    sessions: open now. errors: as `EndpointStats.errors().total`, of an endpoint. cpu: seconds of processor time that
    this process has used, of an endpoint. latencies: of requests that came in, of an endpoint with detailed monitoring.
    asked: of requests of our own until their answers, of an endpoint or session with detailed monitoring.
    """

    at: float
    sessions: int
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    errors: int = 0
    cpu: float = 0.0
    latencies: Latencies | None = None
    asked: Latencies | None = None


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Per second, over `seconds`; all 0 while there are no two samples. cpu: processors used, 1 for one of them.

    latencies: of requests handled in that time. asked: of requests of our own that were answered in it.
    """

    seconds: float = 0.0
    packets_sent: float = 0.0
    packets_received: float = 0.0
    bytes_sent: float = 0.0
    bytes_received: float = 0.0
    errors: float = 0.0
    cpu: float = 0.0
    latencies: Latencies = Latencies()
    asked: Latencies = Latencies()


class History:
    """Samples, `size` of them at most: the latest, and older ones spread over `retention` seconds."""

    def __init__(self, size: int, retention: float) -> None:
        self._recent: deque[Sample] = deque(maxlen=max(1, size - size // 2))
        self._older: deque[Sample] = deque(maxlen=max(1, size // 2))
        self._retention = retention
        self._step = retention / max(1, size // 2)

    def __len__(self) -> int:
        return len(self._older) + len(self._recent)

    def __iter__(self) -> Iterator[Sample]:
        yield from self._older
        yield from self._recent

    @property
    def latest(self) -> Sample | None:
        """The last one, None without any."""
        return self._recent[-1] if self._recent else None

    def add(self, sample: Sample) -> None:
        """Keep one more; of what is no longer among the latest, one for each step of the retention stays."""
        if len(self._recent) == self._recent.maxlen:
            leaving = self._recent[0]
            if not self._older or leaving.at - self._older[-1].at >= self._step:
                self._older.append(leaving)
        self._recent.append(sample)
        while self._older and sample.at - self._older[0].at > self._retention:
            self._older.popleft()
        while len(self._recent) > 1 and sample.at - self._recent[0].at > self._retention:
            self._recent.popleft()

    def rates(self, seconds: float) -> Rates:
        """What happened in the last `seconds`, or since the oldest sample."""
        latest = self.latest
        if latest is None:
            return Rates()
        first = latest
        for sample in reversed(self._recent):
            first = sample
            if latest.at - sample.at >= seconds:
                return between(first, latest)
        for sample in reversed(self._older):
            first = sample
            if latest.at - sample.at >= seconds:
                break
        return between(first, latest)


def between(then: Sample, now: Sample) -> Rates:
    """What happened between two samples."""
    seconds = now.at - then.at
    if seconds <= 0:
        return Rates()
    return Rates(
        seconds=seconds,
        packets_sent=(now.packets_sent - then.packets_sent) / seconds,
        packets_received=(now.packets_received - then.packets_received) / seconds,
        bytes_sent=(now.bytes_sent - then.bytes_sent) / seconds,
        bytes_received=(now.bytes_received - then.bytes_received) / seconds,
        errors=(now.errors - then.errors) / seconds,
        cpu=(now.cpu - then.cpu) / seconds,
        latencies=_since(then.latencies, now.latencies),
        asked=_since(then.asked, now.asked),
    )


def _since(then: Latencies | None, now: Latencies | None) -> Latencies:
    return now.since(then or Latencies()) if now is not None else Latencies()
