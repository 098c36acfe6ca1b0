"""Keeps the list of nodes current: asks the registry for its nodes, and leads the client home when its zone is back.

What a list means and which node is better is decided in `nodes`; this only asks, waits and moves. Not here: leaving a
node that failed, which happens at once (`contact`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from artemis.client.calls.answers import Endpoint, check_named
from artemis.client.errors import ArtemisError, RefusedError, printable
from artemis.client.events import NodesChanged
from artemis.client.nodes.nodes import MOST_LEARNED, Tier, ToldNode
from artemis.client.nodes.urls import objection
from artemis.client.telemetry.logs import fields
from artemis.client.trouble import Trouble
from artemis.model.cluster import UpNodesRequest, UpNodesResponse
from artemis.model.responses import DATA_NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artemis.client.background import Background
    from artemis.client.calls.caller import Caller
    from artemis.client.events import EventFeed
    from artemis.client.nodes.contact import Contact
    from artemis.client.options import ClientOptions
    from artemis.model.nodes import ServiceNode

DISCOVERY_NODES = Endpoint("cluster/up-discovery-nodes.json", UpNodesResponse, check_named)
REGISTRY_NODES = Endpoint("cluster/up-registry-nodes.json", UpNodesResponse, check_named)
SOON = 5.0
"""Seconds within which the first question goes out, at a random time, and the first after a node was lost."""
MOST_OBJECTIONS = 100
"""Refused addresses that are remembered, so that each is logged once."""
TURN = 100
"""Addresses that are looked at before others have their turn: a list of a thousand takes 20 ms."""

logger = logging.getLogger("artemis.client")


class Addresses:
    """Owned by a client. Asks every ``address_interval`` seconds while the client uses services or holds leases.

    It begins when the registry has answered for the first time (`Contact.on_heard`), so a client that makes one call
    never asks. Errors and empty lists change nothing.
    """

    def __init__(
        self,
        *,
        caller: Caller,
        contact: Contact,
        feed: EventFeed,
        background: Background,
        options: ClientOptions,
        random: Random,
        region_id: str | None,
        zone_id: str | None,
        discovers: Callable[[], bool],
        registers: Callable[[], bool],
    ) -> None:
        self._caller = caller
        self._contact = contact
        self._feed = feed
        self._background = background
        self._options = options
        self._random = random
        self._request = UpNodesRequest(region_id=region_id, zone_id=zone_id)
        self._discovers = discovers
        self._registers = registers
        self._running = False
        self._lost = asyncio.Event()
        self._objections: set[str] = set()
        self._trouble = Trouble("asking for the nodes", logger)
        if options.address_interval > 0:
            contact.on_heard(self._heard)
            contact.on_move(self._lost.set)
            contact.on_refused(self._lost.set)

    def _heard(self) -> None:
        if not self._running and self._wanted() and self._background.is_open:
            self._running = True
            self._background.ensure("addresses", self._run)

    def _wanted(self) -> bool:
        return self._discovers() or self._registers()

    async def _run(self) -> None:
        try:
            pause = self._soon()
            while True:
                await self._wait(pause)
                if not self._wanted():
                    return
                await self._refresh()
                await self._improve()
                pause = self._options.address_interval * self._random.uniform(0.8, 1.0)
        finally:
            self._running = False

    def _soon(self) -> float:
        return self._random.uniform(0.0, min(SOON, self._options.address_interval))

    async def _wait(self, pause: float) -> None:
        """Wait; if the node was lost meanwhile, or sends us to others that we do not know, ask soon: lists are old."""
        try:
            async with asyncio.timeout(pause):
                await self._lost.wait()
        except TimeoutError:
            return
        self._lost.clear()
        await asyncio.sleep(min(pause, self._soon()))

    async def _refresh(self) -> None:
        node = self._contact.node
        try:
            told = await self._ask(node)
        except ArtemisError as error:
            if isinstance(error, RefusedError) and error.error_code != DATA_NOT_FOUND:
                self._trouble.met(error)
                return
            # No warning: when the registry is silent those who need it say so, and this one can do without. A node that
            # is just starting names nobody, not even itself.
            logger.info(
                "the list of nodes stays as it was: %s", error, extra=fields("nodes-not-refreshed", error=error)
            )
            return
        self._trouble.over()
        if self._contact.nodes.learn(await self._usable(told, node)):
            self._feed.publish(NodesChanged(self._contact.nodes.urls))

    async def _improve(self) -> None:
        """Go to a better node if there is one that answers, at a random time, so that not all clients go at once."""
        nodes = self._contact.nodes
        if nodes.better(self._contact.clock()) is None:
            return
        await asyncio.sleep(self._random.uniform(0.0, self._options.address_interval))
        url = nodes.better(self._contact.clock())
        if url is None:
            return
        before = nodes.current
        try:
            await self._ask(url)
        except ArtemisError as error:
            nodes.failed(url, self._contact.clock())
            extra = fields("node-silent", node=url, error=error)
            logger.info("%s would be a better node than %s, but does not answer: %s", url, before, error, extra=extra)
            return
        nodes.answered(url)
        if nodes.current == before:
            named = nodes.tier(before) <= Tier.NAMED
            self._contact.move(url, "it is in the own zone" if named else f"the registry does not name {before}")
            self._lost.clear()

    async def _ask(self, node: str) -> list[ServiceNode]:
        """Return the nodes that serve what this client does; if none serves all of it, those that serve some."""
        found: list[dict[str, ServiceNode]] = []
        for endpoint, wanted in ((DISCOVERY_NODES, self._discovers()), (REGISTRY_NODES, self._registers())):
            if wanted:
                answered = await self._caller.ask(node, endpoint, self._request)
                named = [one for one in answered.value.nodes or () if one is not None and one.url]
                found.append({one.url or "": one for one in named[:MOST_LEARNED]})
        every = {url: one for named in found for url, one in named.items()}
        return [one for url, one in every.items() if all(url in named for named in found)] or list(every.values())

    async def _usable(self, named: list[ServiceNode], by: str) -> list[ToldNode]:
        usable: list[ToldNode] = []
        for number, node in enumerate(named):
            if not number % TURN:
                await asyncio.sleep(0)
            url = node.url or ""
            why = objection(url, by)
            if not why:
                zone = node.zone
                region_id = node.region_id if zone is None else zone.region_id
                zone_id = node.zone_id if zone is None else zone.zone_id
                usable.append(ToldNode(url, region_id or "", zone_id or ""))
            elif url not in self._objections and len(self._objections) < MOST_OBJECTIONS:
                self._objections.add(url)
                extra = fields("node-refused", node=by, reason=printable(why))
                logger.warning("%s names the node %.200r, which is not used: %s", by, url, printable(why), extra=extra)
        return usable
