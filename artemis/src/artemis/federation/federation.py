"""The other regions of one node: a copy of each, somebody who follows it, and time.

Not here: what is copied (`copy`) and how (`following`), options, and callers (`artemis.server`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from artemis.federation.copy import RegionCopy
from artemis.federation.following import Following
from artemis.registry import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from structlog.typing import FilteringBoundLogger

    from artemis.federation.state import Standing
    from msgtrans import TlsClientConfig

TICK = 0.1
"""Seconds between two ticks of the copies."""


class Region(NamedTuple):
    """A region that is followed: its copy, and how it stands with that."""

    copy: RegionCopy
    standing: Standing


class _Followed(NamedTuple):
    copy: RegionCopy
    following: Following
    task: asyncio.Task[None]


class Federation:
    """Owned by the assembly, on its event loop: `configure`, as often as you like, then `stop`, once.

    `me` names this life of the node. `copies` are kept by region in lower case, and are what callers are shown.
    """

    def __init__(
        self,
        me: Origin,
        *,
        tls: TlsClientConfig | None,
        now: Callable[[], int],
        wall: Callable[[], int],
        random: Random,
        log: FilteringBoundLogger,
    ) -> None:
        self.copies: dict[str, RegionCopy] = {}
        self._me, self._tls, self._now, self._wall, self._random, self._log = me, tls, now, wall, random, log
        self._followed: dict[str, _Followed] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._made = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def regions(self) -> list[Region]:
        """All that are followed, in the order of their names."""
        return [Region(each.copy, each.following.standing) for _, each in sorted(self._followed.items())]

    def configure(self, sources: Mapping[str, tuple[str, ...]], max_instances: int) -> None:
        """Follow these regions, each from its URLs, and no others; a copy that there is already stays."""
        wanted = {region.lower(): (region, urls) for region, urls in sources.items()}
        for key in [key for key in self._followed if key not in wanted]:
            self._forget(key)
        for key, (region, urls) in wanted.items():
            known = self._followed.get(key)
            if known is not None:
                known.copy.bound(max_instances)
                if known.copy.where != urls:
                    self._end(known.task)
                    known.copy.where = urls
                    self._follow(key, known.copy, urls)
                continue
            self._follow(key, self._make(region, urls, max_instances), urls)
        if self._timer is None and self._followed:
            self._tick()

    async def stop(self) -> None:
        """Leave all regions alone; what was copied is forgotten."""
        if self._timer is not None:
            self._timer.cancel()
        for key in list(self._followed):
            self._forget(key)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _make(self, region: str, urls: tuple[str, ...], max_instances: int) -> RegionCopy:
        # Never the same twice: a cursor is of use in the copy that gave it, and in no other.
        self._made += 1
        issuer = Origin(f"{self._me.node}~{self._made}", self._me.epoch)
        copy = RegionCopy(
            region,
            issuer,
            max_instances=max_instances,
            wall_clock=self._wall,
            now=self._now(),
            wall=self._wall(),
            where=urls,
        )
        copy.stream.clock, copy.stream.later = self._loop.time, self._loop.call_soon
        return copy

    def _follow(self, key: str, copy: RegionCopy, urls: tuple[str, ...]) -> None:
        following = Following(copy, urls, tls=self._tls, now=self._now, random=self._random, log=self._log)
        task = self._loop.create_task(following.run(), name=f"artemis region {copy.region}")
        self._followed[key] = _Followed(copy, following, task)
        self.copies[key] = copy

    def _forget(self, key: str) -> None:
        known = self._followed.pop(key)
        del self.copies[key]
        known.copy.end()
        self._end(known.task)

    def _end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _tick(self) -> None:
        now, wall, more = self._now(), self._wall(), False
        for copy in list(self.copies.values()):
            try:
                more = copy.tick(now, wall) or more
            except Exception:  # noqa: BLE001 - one copy's failure is not the others'
                self._log.exception("tick of a copy failed", region=copy.region)
        self._timer = self._loop.call_later(0.0 if more else TICK, self._tick)
