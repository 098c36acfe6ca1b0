"""Following one region: one connection to one of its nodes, over which changes come, and a copy to take them in.

The listing comes over HTTP, because it may be larger than a packet; everything else over one MsgTrans session, which
says of all services at once what changes (docs/protocol.md). The SDK's parts for both are used, not its client: that
follows services by name, and a copy has all there are. Nothing is ever written to the other region.
Not here: what the copy makes of it (`copy`), and which regions there are (`federation`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final

from artemis.client.calls.transport import HttpTransport, TransportFailure
from artemis.client.links.link import LinkFailure, LinkKind
from artemis.client.links.msgtrans import MsgTransLink, open_msgtrans
from artemis.client.options import ClientOptions
from artemis.federation.listing import BadAnswer, counted, listed, looked_up, place_of, read_instances, read_service
from artemis.federation.rules import beside
from artemis.federation.state import Followed, Standing
from artemis.model import DiscoveryConfig, LookupRequest, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from structlog.typing import FilteringBoundLogger

    from artemis.client.links.link import Change, Push
    from artemis.federation.copy import RegionCopy
    from msgtrans import TlsClientConfig

CONFIRM_EVERY: Final = 1.0
"""Seconds between two questions whether everything has come; by so much a copy is older than its region says."""

ATTEMPT: Final = 5.0
"""Seconds that a node has for an answer, and for a connection."""

LISTING: Final = 60.0
"""Seconds that a node has to list all its services."""

BACKOFF: Final = 0.5
BACKOFF_LIMIT: Final = 5.0
"""Seconds: the first wait before another attempt is at most the one, and no wait is longer than the other."""

SOON: Final = 3_000
COMPARE_EVERY: Final = 60_000
"""Milliseconds after which the copy is compared with the region: after a listing, and from then on."""

PAGE: Final = 1_000
"""Services that are compared at once, the most that a node shows on a page."""

MAX_COMPARED: Final = 200
"""Services that are looked up after one comparison; the others follow after the next."""

MAX_QUEUED: Final = 256
"""Pushes that wait to be taken in; when there are more, everything is listed anew."""

TURN: Final = 0.004
"""Seconds of work in one turn of the loop."""

_EVERYTHING: Final = "*"


class Following:
    """Keeps one copy current from the URLs that it names, in turn, until cancelled. Owned by the federation.

    `now` gives the milliseconds of the node's monotonic clock.
    """

    def __init__(
        self,
        copy: RegionCopy,
        urls: Sequence[str],
        *,
        tls: TlsClientConfig | None,
        now: Callable[[], int],
        random: Random,
        log: FilteringBoundLogger,
    ) -> None:
        self.standing = Standing(Followed.CONNECTING, now())
        self._copy = copy
        self._urls = list(urls)
        self._tls = tls
        self._now = now
        self._random = random
        self._log = log
        self._options = ClientOptions(attempt_timeout=ATTEMPT, link_timeout=ATTEMPT)
        self._queue: deque[Push] = deque()
        self._wake = asyncio.Event()
        self._again = False  # everything is to be listed anew
        self._sure = False  # the node has confirmed in this session that nothing is missing
        self._compare_at = 0
        self._zone: str | None = None
        self._worked_until = 0.0

    async def run(self) -> None:
        """Follow the region, from one of its nodes after the other, for ever."""
        # All nodes of this region have the same list: they shall not all hang on the first one.
        self._random.shuffle(self._urls)
        http = HttpTransport(max_answer_bytes=self._most_bytes, tls=self._tls)
        tries = 0
        try:
            while True:
                url = self._urls[tries % len(self._urls)]
                began, known = self._now(), self._copy.counters.listings + self.standing.resumed
                try:
                    await self._follow(url, http)
                except (LinkFailure, TransportFailure, BadAnswer) as failure:
                    self._fail(url, str(failure))
                except Exception as failure:  # noqa: BLE001 - a surprise is an error of ours, and no reason to follow no more
                    self._log.exception("region cannot be followed", region=self._copy.region, url=url)
                    self._fail(url, f"this node failed: {failure!r}")
                held = self._now() - began > BACKOFF_LIMIT * 1000
                followed = self._copy.counters.listings + self.standing.resumed > known
                tries = 1 if held and followed else tries + 1
                rounds = (tries - 1) // len(self._urls)
                await self._pause(rounds)
        finally:
            await http.close()

    @property
    def _most_bytes(self) -> int:
        """What a listing may have: all that finds room, and the names around it."""
        return 2 * 1024 * self._copy.max_instances + 1024 * 1024

    # -- one connection

    async def _follow(self, url: str, http: HttpTransport) -> None:
        self._queue.clear()
        self._again = self._sure = False
        link = await self._open(url)
        ended = asyncio.ensure_future(link.ended())
        following = asyncio.ensure_future(self._keep_current(link, http))
        try:
            await asyncio.wait([ended, following], return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
            raise ended.result()
        finally:
            for task in (ended, following):
                task.cancel()
            await asyncio.gather(ended, following, return_exceptions=True)
            await link.close()

    async def _open(self, url: str) -> MsgTransLink:
        """Connect: to the port itself, or where something before it passes nothing but HTTP, through a WebSocket."""
        try:
            return await open_msgtrans(LinkKind.MSGTRANS, url, self._options, self._tls, self._take)
        except LinkFailure as failure:
            if failure.offered is not False:
                raise
            why = str(failure)
        try:
            return await open_msgtrans(LinkKind.WEBSOCKET, url, self._options, self._tls, self._take)
        except LinkFailure as failure:
            text = f"it speaks no MsgTrans, so it is a node of Java or none at all ({why}; {failure})"
            raise LinkFailure(text) from failure

    async def _keep_current(self, link: MsgTransLink, http: HttpTransport) -> None:
        copy, standing = self._copy, self.standing
        if not link.confirms:
            raise BadAnswer("its version cannot say that nothing is missing; upgrade it")
        await self._check_region(link)
        if copy.ready and copy.upstream is not None:
            await link.subscribe_all(copy.upstream)
            standing.resumed += 1
        else:
            await self._list(link, http, broken=copy.ready)
        in_a_row = 0
        while True:
            await self._take_in(link, http)
            if self._behind or copy.wants_listing(self._now()):
                if in_a_row:
                    await self._pause(in_a_row)
                in_a_row += 1
                await self._list(link, http, broken=not self._sure)
                continue
            in_a_row = 0
            await self._confirm(link, http)
            if self._sure and self._now() >= self._compare_at:
                await self._compare(link, http)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_EVERY * self._random.uniform(0.8, 1.0)):
                    await self._wake.wait()

    async def _check_region(self, link: MsgTransLink) -> None:
        reply = await link.call("status/node.json", b"{}", ATTEMPT)
        region, self._zone = place_of(reply.body)
        if region.lower() != self._copy.region.lower():
            raise BadAnswer(f"it is a node of the region {region!r}, not of {self._copy.region!r}; correct --federate")

    async def _confirm(self, link: MsgTransLink, http: HttpTransport) -> None:
        """Ask whether everything has come; what was pushed before the answer is taken in first."""
        asked = self._now()
        confirmation = await link.confirm()
        # What has come by now may be later than the answer, and its cursor then says less than the copy has.
        cursor = None if self._queue else confirmation.cursor
        await self._take_in(link, http)
        if confirmation.current and not self._behind:
            self._copy.confirm(asked - round(confirmation.age * 1000), confirmation.missing, cursor)
            self._sure = True
            self._become(Followed.FOLLOWING, node=link.node)

    # -- everything at once

    async def _list(self, link: MsgTransLink, http: HttpTransport, *, broken: bool) -> None:
        """Copy everything that the node shows, and go on with its changes from there."""
        copy = self._copy
        self._become(Followed.COPYING, node=link.node)
        asked = self._now()
        reply = await http.call(link.node, "discovery/services.json", b"{}", LISTING)
        if reply.cursor is None:
            raise BadAnswer("its list of services names no position to go on from; its version is too old, upgrade it")
        services = listed(reply.body)
        # If this ends half way, nothing can be gone on from: what came with it and went again, nobody would tell.
        copy.upstream = None
        listing = copy.begin(self._now())
        for raw in services:
            service = read_service(raw)
            if service is None:
                copy.counters.refused += 1
                continue
            listing.beside(service.service, service.beside)
            for instance in read_instances(service):
                if instance is None:
                    copy.counters.refused += 1
                else:
                    listing.instance(instance, self._now())
                await self._turn()
        for _ in listing.finish(self._now(), broken=broken):
            await asyncio.sleep(0)
        copy.confirm(asked - round(reply.age * 1000), reply.missing, reply.cursor)
        self._compare_at = self._now() + SOON
        held, left_out = copy.held, copy.left_out
        if held.instances:
            self._log.warning("region shrank", region=copy.region, url=link.node, kept=held.instances, reason=held.why)
        if left_out:
            self._log.warning(
                "region does not fit",
                region=copy.region,
                left_out=left_out,
                advice=f"raise --federate-max-instances, which is {copy.max_instances}",
            )
        # All of it happened before the answer, or is told again from the answer's position on.
        self._queue.clear()
        self._again = False
        await link.subscribe_all(reply.cursor)

    # -- changes

    @property
    def _behind(self) -> bool:
        """Whether changes were lost or left out, so that everything is to be listed anew."""
        return self._again

    def _take(self, push: Push) -> None:
        """Note what is pushed; it is taken in by the loop that looks after the connection."""
        if len(self._queue) >= MAX_QUEUED:
            self._again = True
            self._queue.clear()
        self._queue.append(push)
        self._wake.set()

    async def _take_in(self, link: MsgTransLink, http: HttpTransport) -> None:
        """Take in what was pushed; what pushes cannot say is looked up."""
        self._wake.clear()
        copy, position = self._copy, self._copy.upstream
        unsaid: dict[str, None] = {}
        while self._queue:
            push = self._queue.popleft()
            copy.upstream = None  # as in a listing
            whole = push.full_sync
            for change in push.changes:
                whole = self._apply(change, unsaid) or whole
                await self._turn()
            if whole:
                self._again = True
            if self._behind:
                return
            position = push.cursor
            if not unsaid:
                copy.upstream = position
        for service in unsaid:
            await self._look_up(link.node, http, service)
        copy.upstream = position

    def _apply(self, change: Change, unsaid: dict[str, None]) -> bool:
        """Take in one change; whether everything has to be listed anew instead."""
        copy, instance, now = self._copy, change.instance, self._now()
        service, name = (instance.service_id or "").strip().lower(), (instance.instance_id or "").lower()
        match change.change_type:
            case "new" | "change":
                copy.put(instance, now)
            case "delete":
                copy.remove((service, name), now)
            case _ if service in {"", _EVERYTHING}:
                return True
            case _:
                unsaid[service] = None
        return False

    async def _look_up(self, node: str, http: HttpTransport, service: str) -> None:
        """Copy one service anew."""
        copy = self._copy
        config = DiscoveryConfig(service_id=service)
        request = LookupRequest(discovery_configs=[config], region_id=copy.region, zone_id=self._zone)
        reply = await http.call(node, "discovery/lookup.json", encode(request), ATTEMPT)
        shown = looked_up(reply.body, service)
        seen = set()
        for instance in shown.instances or ():
            if instance is not None:
                seen.add(copy.put(instance, self._now()))
                await self._turn()
        for key in copy.certain(service):
            if key not in seen:
                copy.remove(key, self._now())
                await self._turn()
        copy.put_beside(service, beside(shown))

    async def _compare(self, link: MsgTransLink, http: HttpTransport) -> None:
        """Compare how many instances each service has, and look up those that differ.

        A listing is made while things change: what was in it, and went before anybody could be told, is in no push.
        """
        copy = self._copy
        self._compare_at = self._now() + COMPARE_EVERY
        counts = copy.counts()
        page, total, differing = 1, 1, dict[str, None]()
        while (page - 1) * PAGE < total:
            query = {"page": str(page), "pageSize": str(PAGE)}
            reply = await http.get(link.node, "v1/services", query, ATTEMPT)
            total, found = counted(reply.body)
            differing.update(dict.fromkeys(name for name, count in found if counts.pop(name, 0) != count))
            page += 1
            if not found:
                break
        differing.update(dict.fromkeys(name for name, count in counts.items() if count))
        if copy.left_out:
            return  # what differs is that
        for service in list(differing)[:MAX_COMPARED]:
            await self._look_up(link.node, http, service)

    # -- what becomes of it

    async def _pause(self, times: int) -> None:
        """Wait longer from time to time, and never all nodes as long."""
        await asyncio.sleep(self._random.uniform(0.0, min(BACKOFF_LIMIT, BACKOFF * 2.0 ** min(times, 10))))

    async def _turn(self) -> None:
        """Let others have their turn, if this has worked for long enough."""
        loop = asyncio.get_running_loop()
        if loop.time() > self._worked_until:
            await asyncio.sleep(0)
            self._worked_until = loop.time() + TURN

    def _become(self, state: Followed, node: str) -> None:
        if state is Followed.FOLLOWING:
            self._copy.why_not = ""
        if self.standing.become(state, self._now(), node=node) and state is Followed.FOLLOWING:
            copy = self._copy
            self._log.info("region followed", region=copy.region, url=node, instances=len(copy.registry))

    def _fail(self, url: str, why: str) -> None:
        standing, copy = self.standing, self._copy
        standing.failures += 1
        reason = f"{url}: {why}"
        if not copy.ready:
            copy.why_not = reason
        was = standing.state
        if standing.become(Followed.UNREACHABLE, self._now(), reason, url):
            level = self._log.warning if was is not Followed.UNREACHABLE else self._log.info
            level(
                "region unreachable",
                region=copy.region,
                reason=reason,
                consequence="its copy stays and gets older" if copy.ready else "nothing of it can be shown yet",
            )
