"""A Java client as a whole (spec 9): its registry part and its discovery part, each with connections of its own.

Not here: what either does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import TracebackType

from artemis.testing.java.addresses import Addresses
from artemis.testing.java.deadlines import Deadlines
from artemis.testing.java.discovery import DiscoveryClient
from artemis.testing.java.registry import RegistryClient
from artemis.testing.java.settings import JavaSettings


class JavaClient:
    """One SDK in one Java process. `async with` it, or `start` and `stop` it.

    `bootstrap_url`: any node, or a name that stands for all. `chance` chooses among nodes; seed it to repeat a run.
    """

    def __init__(
        self,
        bootstrap_url: str,
        *,
        region_id: str,
        zone_id: str,
        settings: JavaSettings | None = None,
        deadlines: Deadlines | None = None,
        chance: random.Random | None = None,
    ) -> None:
        settings = settings or JavaSettings()
        chance = chance or random.Random()  # noqa: S311 - spreads load
        zone = (region_id, zone_id)
        self.deadlines = deadlines or Deadlines()

        def addresses(purpose: str) -> Addresses:
            return Addresses(bootstrap_url, purpose, zone, settings, self.deadlines, chance)

        self.registry = RegistryClient(addresses("up-registry-nodes"), settings, self.deadlines)
        self.discovery = DiscoveryClient(addresses("up-discovery-nodes"), zone, settings, self.deadlines)

    async def __aenter__(self) -> JavaClient:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Find nodes and connect; what fails is tried again in the background, as in Java."""
        await asyncio.gather(self.registry.start(), self.discovery.start())

    async def stop(self) -> None:
        """Close everything; registered instances are left to expire."""
        await asyncio.gather(self.registry.stop(), self.discovery.stop())

    async def until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:  # noqa: ASYNC109 - of a test
        """Wait until `condition` holds; looked at after each message or answer. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not condition():
                self.registry.told.clear()
                self.discovery.told.clear()
                waits = [asyncio.ensure_future(part.told.wait()) for part in (self.registry, self.discovery)]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
