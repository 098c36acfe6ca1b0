"""When services are read from and written to the cache directory; off the loop, and never in the way of a lookup.

What a file is and which ones are believed is decided in `cache`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from artemis.client.discovery.cache import Unreadable
from artemis.client.discovery.worker import NoThread, Worker
from artemis.client.events import DiskFailed, ServedFromDisk
from artemis.client.telemetry.logs import fields
from artemis.model import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artemis.client.discovery.cache import Directory
    from artemis.client.discovery.services import Followed
    from artemis.client.discovery.views import Views
    from artemis.client.events import EventFeed
    from artemis.client.options import ClientOptions

logger = logging.getLogger("artemis.client")

Result = TypeVar("Result")

RENEWED = 60.0
"""Seconds after which a service that did not change is written all the same: its time on disk is when it was right."""
SWEPT = 3600.0
"""Seconds between removals of what is too old."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a file says: these very objects, right at ``confirmed`` (seconds of the client's clock)."""

    content: tuple[object, object, object]
    confirmed: float


class Disk:
    """Owned by the discovery of one client, called from its loop."""

    def __init__(
        self,
        directory: Directory,
        *,
        views: Views,
        feed: EventFeed,
        options: ClientOptions,
        clock: Callable[[], float],
        wall: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._views = views
        self._feed = feed
        self._options = options
        self._clock = clock
        self._wall = wall
        self._worker = Worker("artemis cache")
        self._written: WeakKeyDictionary[Followed, Written] = WeakKeyDictionary()
        self._swept: float | None = None
        self._told = ""

    async def restore(self, entries: Sequence[Followed]) -> None:
        """Show what is on disk of those services that the registry has not shown yet."""
        for entry in entries:
            if entry.source is not None:
                continue
            try:
                stored = await self._in_thread(partial(self._directory.read, entry.key, self._wall()))
            except Unreadable as failure:
                self._failed(failure)
                continue
            if stored is not None and entry.source is None:
                age = max(0.0, (self._wall() - stored.confirmed) / 1000)
                self._views.restore(entry, stored.service, age)
                self._feed.publish(ServedFromDisk(entry.service_id, age))
                logger.warning(
                    "%s is shown as it was on disk, %.0f s old: no answer yet",
                    entry.service_id,
                    age,
                    extra=fields("served-from-disk", service_id=entry.service_id),
                )

    async def keep(self) -> None:
        """Write what changed, at most every ``cache_interval``, until cancelled."""
        while True:
            await self._sweep()
            await asyncio.sleep(self._options.cache_interval)
            await self._write(RENEWED)

    async def close(self) -> None:
        """Write what changed, and when it was right; takes at most ``close_timeout`` seconds."""
        try:
            async with asyncio.timeout(self._options.close_timeout):
                await self._write(0.0)
        except TimeoutError:
            self._failed(Unreadable(self._directory.path, "it could not be written in time at the end"))
        self._worker.close()

    async def _write(self, renewed: float) -> None:
        wrote = failed = False
        for entry in self._views.book.entries():
            if entry.source != "registry":
                continue
            content = (entry.instances, entry.route_rules, entry.logic_instances)
            known = self._written.get(entry)
            if known is not None and _same(known.content, content) and entry.confirmed <= known.confirmed + renewed:
                continue
            written = Written(content, entry.confirmed)
            try:
                await self._in_thread(partial(self._directory.write, entry.key, *self._as_stored(entry)))
            except Unreadable as failure:
                self._failed(failure)
                failed = True
            else:
                self._written[entry] = written
                wrote = True
        if wrote and not failed:
            self._told = ""

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        try:
            return await self._worker.run(work)
        except NoThread as error:
            raise Unreadable(self._directory.path, str(error)) from error

    def _as_stored(self, entry: Followed) -> tuple[Service, int]:
        service = Service(
            service_id=entry.service_id,
            instances=list(entry.instances or ()),
            route_rules=list(entry.route_rules),
            logic_instances=list(entry.logic_instances),
        )
        # Rather a millisecond too old.
        return service, self._wall() - math.ceil((self._clock() - entry.confirmed) * 1000)

    async def _sweep(self) -> None:
        now = self._clock()
        if self._swept is not None and now - self._swept < SWEPT:
            return
        self._swept = now
        try:
            await self._in_thread(lambda: self._directory.sweep(self._wall()))
        except Unreadable as failure:
            self._failed(failure)

    def _failed(self, failure: Unreadable) -> None:
        """Tell once of each trouble, not of each file and each time it is met."""
        reason = str(failure)
        if reason != self._told:
            self._told = reason
            self._feed.publish(DiskFailed(str(failure.path), reason))
            extra = fields("disk-failed", reason=reason)
            logger.warning("the cache at %s is not used: %s", failure.path, reason, extra=extra)


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return all(left is right for left, right in zip(one, other, strict=True))
