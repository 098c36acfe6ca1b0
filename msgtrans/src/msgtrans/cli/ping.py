"""What `msgtrans ping` does: one request at a time, and the time its answer took. Not here: printing."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from msgtrans.cli.target import told_plainly
from msgtrans.client import TransportClient
from msgtrans.errors import TransportTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.transport import ClientConfig


class PingResult(msgspec.Struct, frozen=True):
    """What `ping` saw; milliseconds, 0 when nothing was answered."""

    sent: int
    answered: int
    min_ms: float
    median_ms: float
    max_ms: float


async def ping(
    config: ClientConfig,
    *,
    count: int,
    interval: float,
    size: int,
    timeout: float,  # noqa: ASYNC109 - of each request
    seen: Callable[[int, float | None], None],
) -> PingResult:
    """Send `count` requests one after another; `seen` is called with number and milliseconds (None: no answer)."""
    spent: list[float] = []
    payload = b"x" * size
    async with TransportClient(config) as client:
        with told_plainly(client):
            for sequence in range(1, count + 1):
                start = time.perf_counter()
                try:
                    await client.request(payload, timeout=timeout)
                except TransportTimeoutError:
                    seen(sequence, None)
                else:
                    spent.append((time.perf_counter() - start) * 1e3)
                    seen(sequence, spent[-1])
                if sequence < count:
                    await asyncio.sleep(interval)
    return PingResult(
        count, len(spent), min(spent, default=0.0), median(spent) if spent else 0.0, max(spent, default=0.0)
    )
