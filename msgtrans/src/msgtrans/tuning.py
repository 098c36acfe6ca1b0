"""Tune batches and buffers to the load that is seen while it runs (specification 5.7), and tell each decision.

`Tuner` decides from observations; `Tuning` is the timer that feeds it and does what it says.
Two things are tuned: how many large buffers are kept, for very many packets that are put together at once, and how
small batches may become when a link falls behind; no gain was measured of either (`docs/performance.md`). Small and
medium buffers are borrowed by nobody here, and all connections read into one buffer of 64 KiB, so there is nothing to
tune.
Not here: the batches and the buffers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from msgtrans.adapters.buffers import buffer_pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from msgtrans.endpoint import Endpoint
    from msgtrans.session import Session

INTERVAL: Final = 1.0  # seconds between two looks
SHARE: Final = 100  # looks take one part in so many of the time, at most
AGREE: Final = 3  # looks in a row that must want the same before it is done
FEWEST: Final = 100  # packets sent between two looks; fewer say nothing
BATCH_BYTES: Final = 64 * 1024  # no batch has more
SMALLEST_BATCH, LARGEST_BATCH = 8, 100  # packets
FEWEST_BUFFERS: Final = 20  # borrowed between two looks
REUSED: Final = 0.95  # part of the buffers that should be used again
MOST_LARGE: Final = 200  # buffers of 64 KiB: 12.5 MiB
REMEMBERED: Final = 100  # decisions
logger = logging.getLogger("msgtrans.tuning")


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What happened between two looks. packets, bytes: sent. hits, misses, dropped: of large buffers. limit: of them
    that are kept at present.
    """

    packets: int
    bytes: int
    hits: int = 0
    misses: int = 0
    dropped: int = 0
    limit: int = 50


class Decision(msgspec.Struct, frozen=True):
    """Something was changed; also an event in the streams of the endpoint. what: "batch_size" or "large_buffers".
    before, after: packets or buffers. at: Unix seconds.
    """

    what: str
    before: int
    after: int
    why: str
    at: float


class Tuner:
    """Decides, given an observation now and then. Changes nothing before it was wanted three times in a row.

    batch_size: packets that batches may shrink to, as configured to begin with; 8 to 100 once tuned. large_buffers:
    kept to begin with, to which it goes back when nobody borrows any; up to 200.
    """

    def __init__(self, batch_size: int, large_buffers: int) -> None:
        self.batch_size = batch_size
        self._configured = large_buffers
        self._wanted: dict[str, tuple[int, int]] = {}  # which way, and how often in a row

    def observe(self, seen: Observation, at: float) -> list[Decision]:
        """What is to change now; at most one decision for each of the two."""
        decisions = []
        batch = self._batch(seen)
        if self._agreed("batch_size", batch, self.batch_size):
            why = f"packets have {seen.bytes // seen.packets} bytes on average"
            decisions.append(Decision("batch_size", self.batch_size, batch, why, at))
            self.batch_size = batch
        large, why = self._large(seen)
        if self._agreed("large_buffers", large, seen.limit):
            decisions.append(Decision("large_buffers", seen.limit, large, why, at))
        return decisions

    def _batch(self, seen: Observation) -> int:
        if seen.packets < FEWEST:
            return self.batch_size
        fits = BATCH_BYTES * seen.packets // max(1, seen.bytes)
        wanted = min(max(fits, SMALLEST_BATCH), LARGEST_BATCH)
        near = self.batch_size / 2 < wanted < self.batch_size * 2
        return self.batch_size if near else wanted

    def _large(self, seen: Observation) -> tuple[int, str]:
        borrowed = seen.hits + seen.misses
        if borrowed >= FEWEST_BUFFERS and seen.dropped and seen.hits < REUSED * borrowed:
            part = 100 * seen.hits // borrowed
            return max(seen.limit, min(2 * seen.limit, MOST_LARGE)), f"{part} % of large buffers were used again"
        if not borrowed and seen.limit > self._configured:
            return max(seen.limit // 2, self._configured), "nobody borrows large buffers"
        return seen.limit, ""

    def _agreed(self, what: str, wanted: int, present: int) -> bool:
        if wanted == present:
            self._wanted.pop(what, None)
            return False
        way = 1 if wanted > present else -1
        before, times = self._wanted.get(what, (way, 0))
        times = times + 1 if before == way else 1
        self._wanted[what] = (way, times)
        if times < AGREE:
            return False
        del self._wanted[what]
        return True


class Tuning:
    """Tunes one endpoint once a second, from `start` to `stop`; less often where there are so many sessions that a look
    at them would take more than a hundredth of the time. Sessions that open later are tuned at the next look.

    Large buffers are shared by all endpoints of a loop.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._tuner: Tuner | None = None
        self._decisions: deque[Decision] = deque(maxlen=REMEMBERED)
        self._before: Observation | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tuned: dict[Session, int] = {}

    @property
    def decisions(self) -> Sequence[Decision]:
        """The last 100, the latest last."""
        return tuple(self._decisions)

    def start(self) -> None:
        """Begin, in the loop that runs; nothing happens when it has begun."""
        if self._timer is None:
            limit = buffer_pool(asyncio.get_running_loop()).limits.large
            if self._tuner is None:
                self._tuner = Tuner(self._endpoint.config.batch_size, limit)
            self._before = self._totals()
            self._again(INTERVAL)

    def stop(self) -> None:
        """Tune no more; what was decided stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Look now, beside the timer, and do what is to be done."""
        before, now = self._before, self._totals()
        if before is None or self._tuner is None:
            return
        self._before = now
        seen = Observation(
            packets=now.packets - before.packets,
            bytes=now.bytes - before.bytes,
            hits=now.hits - before.hits,
            misses=now.misses - before.misses,
            dropped=now.dropped - before.dropped,
            limit=now.limit,
        )
        for decision in self._tuner.observe(seen, time.time()):
            self._decisions.append(decision)
            self._endpoint.hub.emit(decision)
            logger.info("%s: %d -> %d, because %s", decision.what, decision.before, decision.after, decision.why)
            if decision.what == "large_buffers":
                pool = buffer_pool(asyncio.get_running_loop())
                pool.set_limits(msgspec.structs.replace(pool.limits, large=decision.after))
        if self._tuner.batch_size != self._endpoint.config.batch_size or self._tuned:
            self._tune_sessions(self._tuner.batch_size)

    def _tune_sessions(self, batch_size: int) -> None:
        sessions = self._endpoint.sessions.values()
        for session in sessions:
            if self._tuned.get(session) != batch_size:
                session.limit_batches(batch_size)
        self._tuned = dict.fromkeys(sessions, batch_size)

    def _totals(self) -> Observation:
        stats = self._endpoint.stats()
        pool = buffer_pool(asyncio.get_running_loop()).stats().large
        return Observation(
            packets=stats.packets_sent,
            bytes=stats.bytes_sent,
            hits=pool.hits,
            misses=pool.misses,
            dropped=pool.dropped,
            limit=pool.limit,
        )

    def _again(self, pause: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(pause, self._turn)

    def _turn(self) -> None:
        begun = time.perf_counter()
        self.look()
        self._again(max(INTERVAL, SHARE * (time.perf_counter() - begun)))
