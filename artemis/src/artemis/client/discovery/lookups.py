"""Asks the registry for services, in messages of a bounded size, and hands the answers to the views.

Not here: when that has to be done, see `discovery` and `following`; what an answer means, see `services`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from artemis.client.errors import ArtemisError
from artemis.client.events import LookupFailed
from artemis.client.names import service_key
from artemis.client.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artemis.client.calls.api import RegistryApi
    from artemis.client.discovery.services import Followed
    from artemis.client.discovery.views import Views
    from artemis.client.events import EventFeed

logger = logging.getLogger("artemis.client")

OVERTAKEN = 3
"""How often a service is asked for whose answers are overtaken by pushes, before an answer is taken as it is."""

SLICE = 1_000
"""Instances taken in at a time; others get their turn then."""


class Lookups:
    """Owned by the discovery of one client; may be used concurrently, and cancelled."""

    def __init__(
        self, *, api: RegistryApi, views: Views, feed: EventFeed, batch_size: int, clock: Callable[[], float]
    ) -> None:
        self.on_answer: Callable[[Followed], None] = _nothing
        """Called with each service that was answered."""
        self._api = api
        self._views = views
        self._feed = feed
        self._batch_size = batch_size
        self._clock = clock
        self._trouble = Trouble("lookup", logger)

    async def ask(self, entries: Sequence[Followed]) -> None:
        """Look services up and take in the answers; raises what `RegistryApi.lookup` raises.

        Pushes may tell of later things than an answer that was under way meanwhile: that one is asked for again.
        """
        left = list(entries)
        for turn in range(1, OVERTAKEN + 1):
            if left:
                left = await self._ask(left, last=turn == OVERTAKEN)

    async def refresh(self, entries: Sequence[Followed]) -> bool:
        """Look services up, all that are given; return whether all were answered, and publish what failed."""
        succeeded = True
        for start in range(0, len(entries), self._batch_size):
            batch = entries[start : start + self._batch_size]
            try:
                await self.ask(batch)
            except ArtemisError as error:
                self.failed(batch, error)
                succeeded = False
        if entries and succeeded:
            self.over()
        return succeeded

    def failed(self, entries: Sequence[Followed], error: ArtemisError) -> None:
        """Tell that a lookup failed that nobody waits for."""
        self._feed.publish(LookupFailed(tuple(entry.service_id for entry in entries), error))
        self._trouble.met(error)

    def over(self) -> None:
        """Note that the services are current again."""
        self._trouble.over()

    async def _ask(self, entries: Sequence[Followed], *, last: bool) -> list[Followed]:
        pushed = {entry: entry.pushes for entry in entries}
        asked = self._clock()
        shown = await self._api.show([entry.service_id for entry in entries])
        found = {service_key(service.service_id): service for service in shown.services}
        overtaken: list[Followed] = []
        taken = 0
        for entry in entries:
            service = found.get(entry.key)
            if service is None or asked < entry.asked:
                continue
            if entry.pushes != pushed[entry]:
                if not last:
                    overtaken.append(entry)
                    continue
                # Going on from its cursor brings what was pushed meanwhile once more; without one, ask again later.
                entry.behind = shown.cursor is None
            else:
                entry.behind = False
            self._views.answer(entry, service, shown, asked)
            self.on_answer(entry)
            taken += len(service.instances or ())
            if taken >= SLICE:
                taken = 0
                await asyncio.sleep(0)
        return overtaken


def _nothing(entry: Followed) -> None:
    """Do nothing with it."""
