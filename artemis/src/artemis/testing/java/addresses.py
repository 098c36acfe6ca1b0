"""Which node a part of the SDK talks to (spec 9.1): the list of nodes, and the address in use until it fails or ages.

Not here: what makes an address fail; its users say so.
"""

from __future__ import annotations

import asyncio
import random
import time

from artemis.testing.java.beans import children
from artemis.testing.java.deadlines import Deadlines, Kind
from artemis.testing.java.http import HttpClient, HttpFailedError
from artemis.testing.java.settings import JavaSettings


class Address:
    """A node in use. `url` has no slash at its end."""

    def __init__(self, url: str, context_ttl: float) -> None:
        self.url = url
        self._until = time.monotonic() + context_ttl
        self._failed = False

    @property
    def available(self) -> bool:
        """Whether it may still be used."""
        return not self._failed and time.monotonic() < self._until

    def mark_unavailable(self) -> None:
        """It failed; the next call takes another."""
        self._failed = True

    def websocket(self, path: str) -> str:
        """The URL of a WebSocket endpoint on it; never ``wss``, as in the original."""
        return "ws://" + self.url.partition("://")[2] + path


class Addresses:
    """The nodes that a bootstrap URL names for one purpose, ``up-registry-nodes`` or ``up-discovery-nodes``."""

    def __init__(
        self,
        bootstrap_url: str,
        purpose: str,
        zone: tuple[str, str],
        settings: JavaSettings,
        deadlines: Deadlines,
        chance: random.Random,
    ) -> None:
        self._bootstrap = bootstrap_url.rstrip("/")
        self._purpose = purpose
        self._zone = zone
        self._settings = settings
        self._deadlines = deadlines
        self._random = chance
        self._http = HttpClient(
            settings,
            deadlines,
            connect_timeout=settings.address_connect_timeout,
            socket_timeout=settings.address_socket_timeout,
        )
        self._address: Address | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refreshing: asyncio.Task[None] | None = None
        #: URLs of the known nodes; empty until the first answer.
        self.nodes: list[str] = []

    async def start(self) -> None:
        """Ask for the nodes; from then on every 5 minutes."""
        await self.refresh()
        self._schedule()

    async def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        self._http.close()

    def current(self) -> Address:
        """The address in use; a random node when there is none or it is not available."""
        if self._address is None or not self._address.available:
            url = self._random.choice(self.nodes or [self._bootstrap])
            self._address = Address(url, self._settings.address_context_ttl)
        return self._address

    async def refresh(self) -> None:
        """Ask the bootstrap URL once; on failure or an empty answer the old list stays."""
        region_id, zone_id = self._zone
        url = f"{self._bootstrap}{self._settings.api}/cluster/{self._purpose}.json"
        try:
            answer = await self._http.post(url, {"regionId": region_id, "zoneId": zone_id}, Kind.NODES)
        except HttpFailedError:
            self._deadlines.events["node list failed"] += 1
            return
        urls = [node["url"] for node in children(answer, "nodes")]
        self.nodes = [url.rstrip("/") for url in urls if isinstance(url, str)] or self.nodes

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._settings.address_interval, self._begin_refresh)

    def _begin_refresh(self) -> None:
        self._refreshing = asyncio.ensure_future(self.refresh())
        self._schedule()
