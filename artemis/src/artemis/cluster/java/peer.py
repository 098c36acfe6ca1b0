"""One Java peer: its status is asked for, and it is told what clients of this node asked (spec 6.2, 7).

Two loops that decide nothing. Not here: what is due (`dues`), what answers mean (`answers`, `standing`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from artemis.cluster.java.answers import judge, unanswered
from artemis.cluster.java.dues import Dues, Kind
from artemis.cluster.java.exchange import REPLICATION, STATUS, JavaExchange, Unanswered
from artemis.cluster.java.standing import JavaStanding, silent, standing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import aiohttp
    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.addresses import PeerUrl
    from artemis.cluster.java.answers import Judged
    from artemis.cluster.java.dues import Batch, Key

POLL = 5.0
"""Seconds between two questions for the status of a peer that serves (spec 6.2)."""

POLL_AGAIN = 1.0
"""The same for one that does not: what waits for it waits five seconds at most."""

_ATTEMPTS = 3
_BETWEEN = 0.01
_REST = 1.0
"""Seconds that a loop rests after a surprise."""

_PATHS = {kind: f"replication/registry/{kind}.json" for kind in Kind}


class JavaPeer:
    """One peer. Made, started and stopped by `JavaPeers`, on its event loop.

    `standing` is what is known of it, `since` since when it is in that state, `trouble` why the last batch was not
    taken, empty for none; `dues` what it is still to be told.
    """

    def __init__(
        self,
        url: PeerUrl,
        session: aiohttp.ClientSession,
        region: str,
        *,
        now: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> None:
        self.url = url
        self.exchange = JavaExchange(url, session)
        self.standing = JavaStanding()
        self.since = now()
        self.dues = Dues()
        self.trouble = ""
        self._region = region
        self._now = now
        self._log = log.bind(peer=str(url))
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Ask and tell from now on."""
        loops = (self._poll, self._send)
        self._tasks = [asyncio.create_task(self._keep(loop)) for loop in loops]

    async def stop(self) -> None:
        """Ask and tell no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def put(self, kind: Kind, key: Key, content: bytes, now: int) -> None:
        """Let it be told; heartbeats only while it serves."""
        if kind is not Kind.HEARTBEAT or self.standing.registry:
            self.dues.put(kind, key, content, now)

    def wake(self) -> None:
        """Look at what is due."""
        self._woken.set()

    # -- its status

    async def _poll(self) -> None:
        while True:
            self._settle(await self._ask())
            await asyncio.sleep(POLL if self.standing.registry else POLL_AGAIN)

    async def _ask(self) -> JavaStanding:
        why = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_BETWEEN)
            try:
                return standing_of(await self.exchange.post("status/node.json", b"{}", STATUS), self._region)
            except Unanswered as error:
                why = str(error)
        return silent(why)

    def _settle(self, found: JavaStanding) -> None:
        """Take over what was found; a change of state is told once."""
        before, self.standing = self.standing, found
        if found.registry and not before.registry:
            self.wake()
        elif before.registry and not found.registry:
            self.dues.pause_heartbeats()
        if (found.state, found.registry, found.discovery) == (before.state, before.registry, before.discovery):
            return
        self.since = self._now()
        tell = self._log.info if found.registry else self._log.warning
        tell(
            "java peer",
            state=found.state,
            serves=" and ".join(_served(found)) or "nothing",
            **({"reason": found.why} if found.why else {}),
        )

    # -- telling it

    async def _send(self) -> None:
        while True:
            self._woken.clear()
            batch = self.dues.take(self._now()) if self.standing.registry else None
            if batch is None:
                due = self.dues.due_in(self._now()) if self.standing.registry else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if due is None else due / 1000):
                        await self._woken.wait()
                continue
            judged = await self._tell(batch)
            self.dues.settle(batch, judged.failed, self._now())
            if judged.why and judged.why != self.trouble:
                self._log.warning(
                    "java peer did not take instances", what=str(batch.kind), reason=judged.why, **judged.codes
                )
            self.trouble = judged.why

    async def _tell(self, batch: Batch) -> Judged:
        try:
            return judge(batch, await self.exchange.post(_PATHS[batch.kind], batch.body, REPLICATION))
        except Unanswered as error:
            return unanswered(batch, str(error))

    async def _keep(self, loop: Callable[[], Coroutine[None, None, None]]) -> None:
        """Go on whatever happens."""
        while True:
            try:
                await loop()
            except Exception:  # noqa: BLE001 - one surprise must not be the end of it
                self._log.exception("java peer: a loop failed and begins anew")
                await asyncio.sleep(_REST)


def _served(standing: JavaStanding) -> list[str]:
    return [name for name, serves in (("registry", standing.registry), ("discovery", standing.discovery)) if serves]
