"""Every entry of a bucket once, beside the reading that goes on for ever, for whoever compares with it.

Not here: what is compared (`artemis.cluster.engine.inspecting`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from artemis.cluster.engine.port import Core, Entry
from artemis.cluster.nats.consumer import Consumer, ConsumerTimings

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from artemis.cluster.nats.bucket import Bucket
    from artemis.cluster.nats.connection import Connection


class Scanning:
    """Owned by a session: `run`, `tick` while that lasts, and `close` when nobody needs it any more. `turn` is called
    at the end of a turn in which something came. `counters` only grow: `scans`."""

    def __init__(
        self,
        connection: Connection,
        bucket: Bucket,
        core: Core,
        number: int,
        *,
        now: Callable[[], int],
        turn: Callable[[], None],
        timings: ConsumerTimings,
        counters: Counter[str],
    ) -> None:
        self._bucket, self._core, self._number = bucket, core, number
        self._now, self._counters = now, counters
        self._last: int | None = None
        self._over = False
        self._consumer = Consumer(
            connection,
            bucket,
            entry=self._entry,
            at=self._at,
            after=turn,
            now=now,
            timings=timings,
            counters=Counter(),
        )

    async def run(self) -> None:
        """Bring everything, and say so. Raises TroubleError."""
        self._counters["scans"] += 1
        self._last = await self._bucket.last()
        if self._last == 0:
            self._at(0)
        if not self._over:
            await self._consumer.run(0)

    def close(self) -> None:
        """Bring nothing any more."""
        self._over = True
        self._consumer.close()

    def tick(self) -> None:
        """Notice that nothing is heard any more; called some times a second."""
        self._consumer.tick()

    def slow(self, subscription: Subscription) -> None:
        """This node was too slow for what came, and some of it was dropped."""
        self._consumer.slow(subscription)

    def _entry(self, entry: Entry) -> None:
        if self._over:
            return
        self._core.scanned(self._number, entry, self._now())
        self._at(entry.sequence)

    def _at(self, sequence: int) -> None:
        if not self._over and self._last is not None and sequence >= self._last:
            self._core.scan_over(self._number, self._last, self._now())
            self.close()
