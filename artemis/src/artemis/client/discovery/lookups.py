"""Asks the registry for services, in messages of a bounded size, and hands the answers to the views.

Not here: when that has to be done, see `discovery` and `following`; what an answer means, see `services`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakSet

from artemis.client.discovery.services import keyed
from artemis.client.errors import ArtemisError, RefusedError
from artemis.client.events import LookupFailed
from artemis.client.names import service_key
from artemis.client.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artemis.client.calls.api import RegistryApi
    from artemis.client.discovery.services import Followed
    from artemis.client.discovery.views import Views
    from artemis.client.events import EventFeed
    from artemis.client.names import Key
    from artemis.model import Instance, Service

logger = logging.getLogger("artemis.client")

OVERTAKEN = 3
"""How often a service is asked for at once whose answers are overtaken by pushes."""

MAX_REFUSED = 16
"""Messages of one round that are halved when they are refused, and services that are asked for by themselves."""

SLICE = 1_000
"""Instances taken in at a time; others get their turn then."""


class Lookups:
    """Owned by the discovery of one client; may be used concurrently, and cancelled."""

    def __init__(
        self, *, api: RegistryApi, views: Views, feed: EventFeed, batch_size: int, clock: Callable[[], float]
    ) -> None:
        self.on_answer: Callable[[], None] = _nothing
        """Called when services were shown."""
        self._api = api
        self._views = views
        self._feed = feed
        self._batch_size = batch_size
        self._clock = clock
        self._trouble = Trouble("lookup", logger)
        self._refused: WeakSet[Followed] = WeakSet()
        """Services that a node refuses, each by itself."""

    async def ask(self, entries: Sequence[Followed]) -> None:
        """Look services up and take in the answers; raises what `RegistryApi.lookup` raises.

        Of a service that is pushed an answer counts only if it comes from the node that pushes, and if nothing was
        pushed while it was under way: the answer may be older than that. Others are asked for again; what is not
        answered then stays `behind`, if it was.
        """
        left = list(entries)
        for _ in range(OVERTAKEN):
            if left:
                left = await self._ask(left)

    async def elsewhere(self, entries: Sequence[Followed]) -> None:
        """Look services up at another node than the present one, and what that does not know either at both."""
        if not entries:
            return
        node = self._api.another()
        try:
            for start in range(0, len(entries) if node is not None else 0, self._batch_size):
                await self._ask(entries[start : start + self._batch_size], node)
        except ArtemisError:
            pass  # how the nodes are is found out elsewhere
        await self.refresh([entry for entry in entries if entry.outdated is not None])

    async def refresh(self, entries: Sequence[Followed]) -> bool:
        """Look services up, all that are given; return whether all were answered, and publish what failed.

        What a node refuses is asked for in halves, so that one service that it does not take stands in the way of no
        other. ``MAX_REFUSED`` bounds that; such services are asked for one by one from then on.
        """
        batches = self._batches(entries)
        refused = 0
        succeeded = True
        while batches:
            batch = batches.popleft()
            try:
                await self.ask(batch)
            except ArtemisError as error:
                if isinstance(error, RefusedError) and not error.retriable:
                    refused += 1
                    if len(batch) > 1 and refused <= MAX_REFUSED:
                        middle = len(batch) // 2
                        batches.extendleft((batch[middle:], batch[:middle]))
                        continue
                    if len(batch) == 1 and len(self._refused) < MAX_REFUSED:
                        self._refused.add(batch[0])
                self.failed(batch, error)
                succeeded = False
            else:
                self._refused.difference_update(batch)
        if entries and succeeded:
            self.over()
        return succeeded

    def _batches(self, entries: Sequence[Followed]) -> deque[Sequence[Followed]]:
        together = [entry for entry in entries if entry not in self._refused]
        batches: deque[Sequence[Followed]] = deque(
            together[start : start + self._batch_size] for start in range(0, len(together), self._batch_size)
        )
        batches.extend([entry] for entry in entries if entry in self._refused)
        return batches

    def failed(self, entries: Sequence[Followed], error: ArtemisError) -> None:
        """Tell that a lookup failed that nobody waits for."""
        self._feed.publish(LookupFailed(tuple(entry.service_id for entry in entries), error))
        self._trouble.met(error)

    def over(self) -> None:
        """Note that the services are current again."""
        self._trouble.over()

    async def _ask(self, entries: Sequence[Followed], node: str | None = None) -> list[Followed]:
        pushed = {entry: entry.pushes for entry in entries}
        asked = self._clock()
        names = [entry.service_id for entry in entries]
        shown = await (self._api.show(names) if node is None else self._api.show(names, node=node))
        found = {service_key(service.service_id): service for service in shown.services}
        overtaken: list[Followed] = []
        taken = 0
        for entry in entries:
            service = found.get(entry.key)
            if service is None:
                continue
            reported = await _prepared(service)
            if asked < entry.asked:
                continue
            if entry.pushed_by and (entry.pushed_by != shown.node or entry.pushes != pushed[entry]):
                overtaken.append(entry)
                continue
            if not self._views.answer(entry, service, reported, shown, asked):
                continue
            entry.behind = False
            taken += len(service.instances or ())
            if taken >= SLICE:
                taken = 0
                await asyncio.sleep(0)
        self.on_answer()
        return overtaken


async def _prepared(service: Service) -> dict[Key, Instance]:
    """Return the instances by their identities; others get their turn meanwhile, if they are many."""
    instances = service.instances or []
    reported = keyed(instances[:SLICE])
    for start in range(SLICE, len(instances), SLICE):
        await asyncio.sleep(0)
        reported |= keyed(instances[start : start + SLICE])
    return reported


def _nothing() -> None:
    """Nobody wants to know."""
