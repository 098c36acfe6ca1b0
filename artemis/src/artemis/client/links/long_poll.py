"""A link made of HTTP requests that wait: one for each service, answered when something changes (docs/push.md).

For nodes, and what is before them, that pass nothing but HTTP. Not here: services beyond ``max_long_polls``, which are
refused here and looked up regularly by whoever wants them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from artemis.client.calls.transport import TransportFailure
from artemis.client.clock import elapsed
from artemis.client.links.link import Confirmation, LinkFailure, LinkKind, OnPush, Push, Subscribed, unheard
from artemis.client.links.pushes import GarbledPush, read_push
from artemis.client.names import service_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from artemis.client.calls.transport import HttpTransport, Reply
    from artemis.client.links.link import Want
    from artemis.client.options import ClientOptions

MAX_WAIT: Final = 60.0
"""Seconds that a node lets a request wait at most."""

BUSY: Final = frozenset({429, 502, 503, 504})
"""Statuses that say: not now. Such a request is repeated after a while."""

PATIENCE: Final = 5
"""Times in a row that a request may be put off before the link is given up."""

PROBE: Final = "-"
"""A service to ask for when there is none yet: it is only to be seen that the node has the operation."""


class LongPollLink:
    """See `Link`; made by `open_long_poll`. The requests wait for half a ``confirm_interval``, 60 s at most.

    With a `region` it is the node's copy of that one.
    An answer is known to be no older than its request, so a view is two requests old at most.
    """

    kind = LinkKind.LONG_POLL
    carries_calls = False
    confirms = False

    def __init__(
        self,
        node: str,
        http: HttpTransport,
        options: ClientOptions,
        random: Random,
        on_push: OnPush,
        region: str | None = None,
    ) -> None:
        self.node = node
        self._about = {"regionId": region} if region else {}
        self.lifetime: float | None = None
        self._http = http
        self._options = options
        self._random = random
        self._on_push = on_push
        self._wait = min(options.confirm_interval / 2, MAX_WAIT)
        self._put_off = 0
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._end: asyncio.Future[LinkFailure] = asyncio.get_running_loop().create_future()

    async def call(self, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Transport.call`
        """See `Link.call`: never."""
        _ = body, timeout
        raise LinkFailure(f"{path} is not carried by long polls", sent=False)

    async def subscribe(self, wants: Sequence[Want]) -> Subscribed:
        """See `Link.subscribe`; without a cursor the first answer is a full sync."""
        self._check()
        refused: dict[str, str] = {}
        limit = self._options.max_long_polls
        for want in wants:
            key = service_key(want.service_id)
            before = self._polls.get(key)
            if before is None and len(self._polls) >= limit:
                refused[want.service_id] = f"max_long_polls={limit} requests wait already"
                continue
            if before is not None:
                before.cancel()
            self._polls[key] = asyncio.get_running_loop().create_task(
                self._poll(key, want.cursor), name="artemis client long poll"
            )
        return Subscribed(None, refused)

    async def unsubscribe(self, service_ids: Sequence[str]) -> None:
        """See `Link.unsubscribe`."""
        self._check()
        for service_id in service_ids:
            poll = self._polls.pop(service_key(service_id), None)
            if poll is not None:
                poll.cancel()

    async def confirm(self) -> Confirmation:
        """See `Link.confirm`: a sign of life. Each answer to a poll confirms its service, and none tells of others."""
        self._check()
        try:
            await self._probe(self._options.attempt_timeout)
        except TransportFailure as failure:
            self._put_off += 1
            if failure.status in BUSY and self._put_off <= PATIENCE:
                return Confirmation(current=False, cursor=None, age=0.0, heard=False)
            raise LinkFailure(str(failure), offered=failure.status is None) from failure
        self._put_off = 0
        return Confirmation(current=False, cursor=None, age=0.0)

    async def ended(self) -> LinkFailure:
        """See `Link.ended`."""
        return await asyncio.shield(self._end)

    async def finish(self) -> None:
        """See `Link.finish`; no calls are under way."""
        self._on_push = unheard

    async def close(self) -> None:
        """See `Link.close`."""
        self._leave(LinkFailure("the client left the link", sent=False))
        polls = list(self._polls.values())
        self._polls.clear()
        for poll in polls:
            poll.cancel()
        if polls:
            await asyncio.wait(polls)

    async def probe(self) -> None:
        """See whether the node has the operation. Raises ``LinkFailure``."""
        try:
            await self._probe(self._options.link_timeout)
        except TransportFailure as failure:
            offered = None if failure.late else failure.status is None
            raise LinkFailure(str(failure), offered=offered) from failure

    async def _probe(self, within: float) -> None:
        reply = await self._http.get(self.node, f"v1/services/{PROBE}", self._about, within)
        try:
            read_push(reply.body, PROBE)
        except GarbledPush as error:
            raise LinkFailure(str(error), offered=False) from error

    async def _poll(self, service: str, cursor: str | None) -> None:
        put_off = 0
        while True:
            began = elapsed()
            try:
                push = await self._ask(service, cursor)
            except LinkFailure as failure:
                put_off += 1
                if failure.offered is not None or put_off > PATIENCE:
                    self._leave(LinkFailure(str(failure), offered=bool(failure.offered)))
                    return
                await asyncio.sleep(self._random.uniform(0.0, self._options.backoff_limit))
                continue
            put_off = 0
            told = push.cursor != cursor and not push.full_sync
            cursor = push.cursor
            self._on_push(push)
            # A node that lets nobody wait, or has everything to tell each time, is not asked in an endless rush.
            least = self._options.backoff if told else self._options.backoff_limit
            if elapsed() - began < least and elapsed() - began < self._wait:
                await asyncio.sleep(self._random.uniform(0.0, least))

    async def _ask(self, service: str, cursor: str | None) -> Push:
        """Wait for what is new; raises ``LinkFailure`` with ``offered`` None if the node has no room just now."""
        query = {"wait": f"{max(1, round(self._wait * 1000))}ms", **self._about}
        if cursor is not None:
            query["cursor"] = cursor
        within = self._wait + self._options.attempt_timeout
        asked = elapsed()
        try:
            reply = await self._http.get(self.node, f"v1/services/{quote(service, safe='')}", query, within)
            push = read_push(reply.body, service)
        except TransportFailure as failure:
            if failure.status in BUSY:
                raise LinkFailure(str(failure), offered=None) from failure
            raise LinkFailure(str(failure), offered=failure.status is None) from failure
        except GarbledPush as error:
            raise LinkFailure(str(error), offered=False) from error
        # When the node answered is not known; it may have been at once, and the answer was on its way since.
        age = reply.age + (elapsed() - asked)
        return Push(push.service, push.changes, push.cursor, push.full_sync, age, reply.missing)

    def _check(self) -> None:
        if self._end.done():
            raise self._end.result()

    def _leave(self, failure: LinkFailure) -> None:
        if not self._end.done():
            self._end.set_result(failure)


async def open_long_poll(
    node: str,
    http: HttpTransport,
    options: ClientOptions,
    random: Random,
    on_push: OnPush,
    region: str | None = None,
) -> LongPollLink:
    """See that the node can be polled; nothing waits yet. Raises ``LinkFailure``."""
    link = LongPollLink(node, http, options, random, on_push, region)
    await link.probe()
    return link
