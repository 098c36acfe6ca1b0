"""Deadlines of a Java client: each wait is timed, each one that ends too late is counted.

A load generator shares its machine with the node, so it may itself be late. `OwnLateness` measures that, and a deadline
is extended by what the generator was late during the wait: a missed deadline is always the node's.
Not here: what a client does when a deadline passed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypedDict

#: Between passing a deadline and judging it the loop polls once more: what is in the socket by now came in time.
_LAST_LOOK = 0.002
_BASE = 1e-5
_GROWTH = math.log(1.05)


class Kind(StrEnum):
    """What a client waits for; a push has no deadline, whoever knows when its change was made may time it."""

    PONG = "pong"
    HEARTBEAT = "heartbeat reply"
    REGISTER = "register"
    UNREGISTER = "unregister"
    LOOKUP = "lookup"
    NODES = "up nodes"
    CONNECT = "connect"
    STATUS = "node status"
    HANDSHAKE = "handshake"
    PUSH = "push"


class HistogramState(TypedDict):
    """A histogram as plain data, for another process."""

    longest: float
    buckets: list[tuple[int, int]]


class Histogram:
    """Durations in seconds, in buckets that are 5 % wide from 10 us on; the longest is exact."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._buckets: Counter[int] = Counter()

    @property
    def count(self) -> int:
        """How many were added."""
        return self._buckets.total()

    def add(self, seconds: float) -> None:
        """Add one duration."""
        self.longest = max(self.longest, seconds)
        self._buckets[int(math.log(seconds / _BASE) / _GROWTH) + 1 if seconds > _BASE else 0] += 1

    def percentile(self, share: float) -> float:
        """The duration that this share of them stayed below, at most 5 % too high; 0 when there are none."""
        left = share * self.count
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(_BASE * math.exp(_GROWTH * bucket), self.longest)
        return self.longest

    def state(self) -> HistogramState:
        """The histogram as plain data."""
        return {"longest": self.longest, "buckets": sorted(self._buckets.items())}

    def merge(self, state: HistogramState) -> None:
        """Add what another histogram holds."""
        self.longest = max(self.longest, state["longest"])
        self._buckets.update({int(bucket): count for bucket, count in state["buckets"]})


class OwnLateness:
    """How late this process's event loop is, sampled every `interval` seconds by a timer; `start` it in the loop."""

    def __init__(self, interval: float = 0.005, kept: float = 30.0) -> None:
        self.histogram = Histogram()
        self._interval = interval
        self._kept = kept
        self._late: deque[tuple[float, float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin to sample."""
        self._due = time.monotonic() + self._interval
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._sample)

    def stop(self) -> None:
        """End sampling."""
        if self._timer is not None:
            self._timer.cancel()

    def clear(self) -> None:
        """Forget what the histogram holds."""
        self.histogram = Histogram()

    def since(self, moment: float) -> float:
        """Seconds that the loop was late, all samples since `moment` (of `time.monotonic`) together."""
        total = max(0.0, time.monotonic() - self._due)
        for at, late in reversed(self._late):
            if at <= moment:
                break
            total += late
        return total

    def _sample(self) -> None:
        now = time.monotonic()
        late = max(0.0, now - self._due)
        self.histogram.add(late)
        if late > 0.001:
            self._late.append((now, late))
            while self._late[0][0] < now - self._kept:
                self._late.popleft()
        self._due = now + self._interval
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._sample)


class DeadlinesState(TypedDict):
    """Deadlines as plain data, for another process."""

    times: dict[str, HistogramState]
    missed: dict[str, int]
    extended: dict[str, int]
    events: dict[str, int]


class Deadlines:
    """What clients waited for and how long; shared by any number of clients of one event loop.

    `times` holds the waits that ended well, `missed` counts the others, `extended` those that were given more time as
    this process was late, `events` what else happened to clients (reconnects, killed connections, ...).
    """

    def __init__(self, lateness: OwnLateness | None = None) -> None:
        self.times: dict[Kind, Histogram] = {kind: Histogram() for kind in Kind}
        self.missed: Counter[Kind] = Counter()
        self.extended: Counter[Kind] = Counter()
        self.events: Counter[str] = Counter()
        self._lateness = lateness

    def own_lateness(self, moment: float) -> float:
        """Seconds that this process was late since `moment`."""
        return self._lateness.since(moment) if self._lateness is not None else 0.0

    def clear(self) -> None:
        """Forget everything measured so far; waits under way still count."""
        for kind in Kind:
            self.times[kind] = Histogram()
        for counter in (self.missed, self.extended):
            counter.clear()
        self.events.clear()

    def state(self) -> DeadlinesState:
        """Everything as plain data."""
        return {
            "times": {kind.value: self.times[kind].state() for kind in Kind},
            "missed": _plain(self.missed),
            "extended": _plain(self.extended),
            "events": dict(self.events),
        }

    def merge(self, state: DeadlinesState) -> None:
        """Add what another process measured."""
        for name, histogram in state["times"].items():
            self.times[Kind(name)].merge(histogram)
        self.missed.update({Kind(name): count for name, count in state["missed"].items()})
        self.extended.update({Kind(name): count for name, count in state["extended"].items()})
        self.events.update(state["events"])


class Wait:
    """One wait with a deadline of `seconds`; `passed` is called once when it passes, unless `end` or `cancel` came.

    `heard` starts the deadline anew, as a socket timeout does with each packet; what is timed is the whole wait.
    """

    __slots__ = ("_begun", "_deadlines", "_handle", "_kind", "_last", "_looked", "_passed", "_seconds")

    def __init__(self, deadlines: Deadlines, kind: Kind, seconds: float, passed: Callable[[], None]) -> None:
        self._deadlines = deadlines
        self._kind = kind
        self._seconds = seconds
        self._passed = passed
        self._looked = False
        self._begun = self._last = time.monotonic()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._due)

    def heard(self) -> None:
        """Something came, but not all of it."""
        now = time.monotonic()
        self._judge(now)
        self._last = now

    def end(self) -> None:
        """What was waited for is here."""
        self._handle.cancel()
        now = time.monotonic()
        self._judge(now)
        self._deadlines.times[self._kind].add(now - self._begun)

    def cancel(self) -> None:
        """It is not waited for any more; nothing is counted."""
        self._handle.cancel()

    def _judge(self, now: float) -> None:
        """What came may be late although no timer ran yet: a busy loop reads before it looks at the clock."""
        over = now - self._last - self._seconds - _LAST_LOOK
        if over > 0:
            late = self._deadlines.own_lateness(self._last) < over
            (self._deadlines.missed if late else self._deadlines.extended)[self._kind] += 1

    def _due(self) -> None:
        lateness = self._deadlines.own_lateness(self._last)
        left = self._last + self._seconds + lateness - time.monotonic()
        if left > 0 or not self._looked:
            self._looked = left <= 0
            self._handle = asyncio.get_running_loop().call_later(max(left, _LAST_LOOK), self._due)
            return
        self._deadlines.missed[self._kind] += 1
        self._passed()


def _plain(counter: Mapping[Kind, int]) -> dict[str, int]:
    return {kind.value: count for kind, count in counter.items()}
