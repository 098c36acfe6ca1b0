"""Waits until the callers that nodes push to have been told of what was just taken out.

Every node that is known is asked, as each knows its own callers. One that does not answer pushes to nobody either, as
far as can be seen from here. Callers that poll hear of it in their own time, and nobody can say when.
Not here: taking out, see `artemis.client.registration.registrar`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from artemis.client.errors import ArtemisError
from artemis.client.events import Drained

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from artemis.client.calls.api import RegistryApi
    from artemis.client.events import EventFeed
    from artemis.client.options import ClientOptions


MOST_ASKED: Final = 16
"""Other nodes that are asked each time."""


class Drain:
    """Owned by the registrar of one client; may be used concurrently, and cancelled."""

    def __init__(self, *, api: RegistryApi, feed: EventFeed, options: ClientOptions, random: Random) -> None:
        self._api = api
        self._feed = feed
        self._options = options
        self._random = random

    async def wait(self, service_ids: Iterable[str]) -> None:
        """Return when the subscribers of these services have been told everything up to now.

        Waits for ``drain_timeout`` seconds at most, and not at all if the present node cannot say (those of Java
        cannot) or does not answer. What came of it is an event for each service.
        """
        if not self._options.drain_timeout:
            return
        waiting = dict.fromkeys(service_ids, -1)
        reason = f"not all had been told after {self._options.drain_timeout:g} s"
        try:
            async with asyncio.timeout(self._options.drain_timeout):
                await self._ask(waiting)
        except TimeoutError:
            pass
        except ArtemisError as error:
            reason = str(error)
        for service_id, count in waiting.items():
            self._feed.publish(Drained(service_id, waiting=None if count < 0 else count, reason=reason))

    async def _ask(self, waiting: dict[str, int]) -> None:
        ceiling = self._options.backoff
        while True:
            for service_id in list(waiting):
                waiting[service_id] = await self._waiting(service_id)
                if not waiting[service_id]:
                    del waiting[service_id]
                    self._feed.publish(Drained(service_id, waiting=0, reason=""))
            if not waiting:
                return
            await asyncio.sleep(self._random.uniform(0.0, ceiling))
            ceiling = min(self._options.backoff_limit, ceiling * 2)

    async def _waiting(self, service_id: str) -> int:
        """Count those who lack something, at all nodes; raises what the current one's answer raises."""
        here = await self._api.told(service_id)
        others = self._api.others()[:MOST_ASKED]
        there = await asyncio.gather(*(self._waiting_at(node, service_id, here.cursor) for node in others))
        return here.waiting + sum(there)

    async def _waiting_at(self, node: str, service_id: str, cursor: str | None) -> int:
        try:
            return (await self._api.told(service_id, node=node, cursor=cursor)).waiting
        except ArtemisError:
            return 0
