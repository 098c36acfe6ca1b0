"""What `msgtrans ping` does: one request at a time, and the time its answer took. Not here: printing."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from msgtrans.cli.target import told_plainly
from msgtrans.errors import TransportTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.cli.target import Target


class PingResult(msgspec.Struct, frozen=True):
    """What `ping` saw; milliseconds, None when nothing was answered."""

    sent: int
    answered: int
    min_ms: float | None
    median_ms: float | None
    max_ms: float | None


class Pings:
    """What was sent and answered so far: good also after `ping` was cancelled."""

    def __init__(self) -> None:
        self.sent = 0
        self._spent: list[float] = []

    def result(self) -> PingResult:
        """The figures of now."""
        spent = self._spent
        if not spent:
            return PingResult(self.sent, 0, None, None, None)
        return PingResult(self.sent, len(spent), min(spent), median(spent), max(spent))

    async def ping(
        self,
        target: Target,
        *,
        count: int,
        interval: float,
        size: int,
        timeout: float,  # noqa: ASYNC109 - of each request
        seen: Callable[[int, float | None], None],
    ) -> None:
        """Send `count` requests one after another; `seen` is called with number and milliseconds (None: no answer)."""
        payload = b"x" * size
        async with target.client() as client:
            with told_plainly(client):
                for sequence in range(1, count + 1):
                    self.sent = sequence
                    start = time.perf_counter()
                    try:
                        await client.request(payload, timeout=timeout)
                    except TransportTimeoutError:
                        seen(sequence, None)
                    else:
                        self._spent.append((time.perf_counter() - start) * 1e3)
                        seen(sequence, self._spent[-1])
                    if sequence < count:
                        await asyncio.sleep(interval)
