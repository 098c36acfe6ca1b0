"""Keeps the best link to the node that the client talks to: opens it, has it followed, leaves it, makes it again.

Which kind and when is decided in `ladder`; what is done over a link, by whoever `serve` names. Without any link `kind`
is ``POLL``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Self

from artemis.client.events import LinkChanged
from artemis.client.links.ladder import Ladder, Pace, is_better, rungs
from artemis.client.links.link import LinkFailure, LinkKind, unheard
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random
    from types import TracebackType

    from artemis.client.background import Background
    from artemis.client.events import EventFeed
    from artemis.client.links.link import Link, OnPush, Push
    from artemis.client.links.opening import Opener
    from artemis.client.nodes.contact import Contact
    from artemis.client.options import ClientOptions

logger = logging.getLogger("artemis.client")


class Live:
    """The link of one client, while there is one. Owned by the client; `want` starts it, its background ends it."""

    def __init__(
        self,
        *,
        contact: Contact,
        opener: Opener | None,
        feed: EventFeed,
        background: Background,
        options: ClientOptions,
        random: Random,
    ) -> None:
        self.link: Link | None = None
        """What is open to a node now; None says that every service has to be looked up regularly."""
        self.kind = LinkKind.POLL
        """The kind of the link; ``POLL`` without one."""
        self.node = contact.node
        """The URL of the node that the link goes to, or that the last one went to."""
        self.reason = "nothing has needed one yet"
        """Why it is this link, or none, in words for people."""
        self.since = contact.clock()
        """When that was last different (monotonic seconds)."""
        self.pushes: Counter[LinkKind] = Counter()
        """How many pushes came, by the kind of link."""
        self._contact = contact
        self._opener = opener
        self._feed = feed
        self._background = background
        self._options = options
        self._random = random
        self._ladder = Ladder()
        self._pace = Pace(backoff=options.link_backoff, limit=options.link_backoff_limit)
        self._failures = 0
        self._next: Link | None = None  # opened, and not in its place yet
        self._parting: set[asyncio.Task[None]] = set()  # ends links that others took the place of
        self._news = asyncio.Event()  # the client went to another node, or something better was offered
        self._heard = asyncio.Event()
        self._follow: Callable[[Link], Coroutine[None, None, None]] = self._look_after
        self._on_push: OnPush = unheard
        self._on_return: list[Callable[[], None]] = []
        self._lost = False
        contact.on_move(self._news.set)
        contact.on_heard(self._heard.set)

    def serve(self, follow: Callable[[Link], Coroutine[None, None, None]], on_push: OnPush) -> None:
        """Name what is run while a link is up, and who is told of pushes.

        ``follow`` raises ``LinkFailure`` when the link should be left, and is cancelled when the link has ended.
        """
        self._follow = follow
        self._on_push = on_push

    def on_return(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called after a link was made again: the node may have been away meanwhile.

        It must not raise, and must not wait.
        """
        self._on_return.append(callback)

    def want(self) -> None:
        """Make a link, if there is none, and keep one from now on; ``ClosedError`` when the client is not open."""
        if self._opener is not None:
            self._background.ensure("link", self._run)

    def offered(self, node: str, port: int | None) -> None:
        """Note that a node says it serves QUIC on a port of UDP, or does not say so (None).

        Taken up within ``link_backoff_limit`` seconds, at a random time: all clients of a node may hear of it at once.
        """
        if port is not None and (self._opener is None or not self._opener.takes_quic):
            return
        at = self._contact.clock() + self._random.uniform(0.0, self._options.link_backoff_limit)
        if self._ladder.offers(node, port, at):
            self._news.set()

    # -- the loop

    async def _run(self) -> None:
        if self._opener is None:
            raise RuntimeError("a client with a transport of its own has no links")
        try:
            await self._open_first(self._opener)
            while True:
                if not await self._keep(self._opener):
                    await self._open_first(self._opener)
        finally:
            links = (self.link, self._next)
            self.link = self._next = None
            self.kind, self.reason = LinkKind.POLL, "the client is closed"
            for task in self._parting:
                task.cancel()
            for link in links:
                await self._close(link)
            if self._parting:
                await asyncio.wait(self._parting)

    async def _open_first(self, opener: Opener) -> None:
        """Go on until there is a link to the node of the client, or it is known that it offers none."""
        while True:
            await self._pause()
            node = self._contact.node
            try:
                link = await self._climb(opener, node, beside=False)
            except LinkFailure as failure:
                self._absent(node, failure)
                continue
            if await self._take(link, node):
                return

    async def _keep(self, opener: Opener) -> bool:
        """Stay with what there is until something else has taken its place, or it is lost: then return False."""
        link, node = self.link, self.node
        moving = False
        async with _Followed(link, self._follow, self._ask_for_offers) as followed:
            while True:
                self._news.clear()
                if self._contact.node == node:
                    moving = False
                    lost = await followed.until(self._news, self._due(link))
                    if lost is not None:
                        await self._lose(link, lost)
                        return False
                else:
                    if not moving:
                        moving = True
                        self._pace.lost(self._contact.clock() - self.since)
                    await self._pause()
                try:
                    target = self._contact.node
                    same = target == node
                    new = await self._climb(opener, target, keep=link if same else None, beside=same)
                except LinkFailure as failure:
                    if target == node and link is not None:
                        await self._lose(link, failure)  # it was to be renewed, and cannot be
                        return False
                    self._absent(target, failure)
                    if link is None:
                        return False
                    continue
                if new is not link or target != node:
                    break
        taken = await self._take(new, target)
        if link is not None:
            self._part(link)
        return taken

    async def _climb(self, opener: Opener, node: str, *, keep: Link | None = None, beside: bool) -> Link | None:
        """Open the best that the node offers; ``keep`` if that is as good, None if there is nothing.

        ``beside``: without hurry, see `Ladder.best`. Raises ``LinkFailure`` if the node is not there.
        """
        while True:
            kind = self._ladder.best(node, self._contact.clock(), beside=beside)
            if keep is not None and not is_better(kind, keep.kind) and not self._wears_out(keep):
                return keep
            if kind is LinkKind.POLL:
                return None
            try:
                self._next = await opener.open(kind, node, self._tell, self._ladder.quic_port(node))
            except LinkFailure as failure:
                # While there is a link to the node, one more that cannot be made says nothing against the node; and no
                # QUIC says that UDP does not pass.
                better = kind is LinkKind.QUIC or (keep is not None and is_better(kind, keep.kind))
                if not better and (failure.offered or (failure.offered is None and not await opener.answers(node))):
                    raise
                self._lacks(node, kind, failure)
            else:
                return self._next

    async def _pause(self) -> None:
        """Wait as long as it takes not to be one of a crowd; less if it turns out that a node answers again."""
        delay = self._pace.delay(self._random)
        if not self._failures:
            await asyncio.sleep(delay)
            return
        self._heard.clear()
        until = self._contact.clock() + delay
        try:
            async with asyncio.timeout(delay):
                await self._heard.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(0.0, min(until - self._contact.clock(), self._pace.soon(self._random))))

    def _due(self, link: Link | None) -> float | None:
        """Return the seconds until there may be something better, or None if there is nothing better than this."""
        now = self._contact.clock()
        times = [self._ladder.better_at(self.node, self.kind)]
        if link is not None and link.lifetime is not None:
            times.append(self.since + link.lifetime)
        return min((max(0.0, time - now) for time in times if time is not None), default=None)

    def _wears_out(self, link: Link) -> bool:
        return link.lifetime is not None and self._contact.clock() >= self.since + link.lifetime

    # -- outcomes

    async def _take(self, link: Link | None, node: str) -> bool:
        """Begin with a link that was opened; False if the client has gone elsewhere meanwhile."""
        self._next = None
        if node != self._contact.node:
            self._settle(None, node, "the client went to another node")
            self._pace.lost(0.0)
            await self._close(link)
            return False
        self._failures = 0
        self._settle(link, node, "the best that the node offers")
        if link is not None:
            self._contact.nodes.answered(node)
            self._contact.heard()
            if self._lost:
                self._lost = False
                for callback in self._on_return:
                    callback()
        return True

    async def _lose(self, link: Link | None, failure: LinkFailure) -> None:
        """The link has ended or is no good: the node is gone, or is not what it seemed, or only ended it in order."""
        node, kind, reason = self.node, self.kind, str(failure)
        self._lost = True
        held = self._contact.clock() - self.since
        self._pace.lost(held)
        await self._leave(link, reason)
        if failure.offered is False or (failure.silent and kind is LinkKind.QUIC):
            self._lacks(node, kind, failure)  # of silence on UDP, the next kind will tell what it was
        elif failure.offered:
            if self._ladder.lost(node, kind, soon=held <= self._options.link_backoff_limit):
                self._lacks(node, kind, failure)
            self._contact.failed(node, reason)

    async def _leave(self, link: Link | None, reason: str) -> None:
        self._settle(None, self.node, reason)
        await self._close(link)

    def _absent(self, node: str, failure: LinkFailure) -> None:
        """There is no node: go to another one, and say so when there is none left."""
        reason = str(failure)
        self._failures += 1
        self._pace.lost(0.0)
        self._ladder.forget(node)
        self._contact.failed(node, reason)
        if self._failures >= len(self._contact.nodes.urls):
            self._contact.silent(reason)

    def _lacks(self, node: str, kind: LinkKind, failure: LinkFailure) -> None:
        rest = self._options.offer_rest * self._random.uniform(0.8, 1.0)
        self._ladder.lacks(node, kind, self._contact.clock() + rest)
        extra = fields("link-not-offered", node=node, reason=str(failure))
        what = "is not reached over" if kind is LinkKind.QUIC else "offers no"  # of QUIC, it said that it does
        logger.info("%s %s %s (%s); the next best is tried", node, what, kind.value, failure, extra=extra)

    def _settle(self, link: Link | None, node: str, reason: str) -> None:
        old, self.link = self.kind, link
        self.kind = LinkKind.POLL if link is None else link.kind
        changed = (old, self.node) != (self.kind, node)
        self.node = node
        self.reason = reason
        if changed or link is not None:
            self.since = self._contact.clock()
        if changed:
            self._feed.publish(LinkChanged(old, self.kind, node, reason))

    def _part(self, link: Link) -> None:
        """Close a link when the calls that are under way over it have ended."""
        task = asyncio.get_running_loop().create_task(self._finish(link), name="artemis client link parting")
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)

    @staticmethod
    async def _finish(link: Link) -> None:
        try:
            await link.finish()
        finally:
            await link.close()

    @staticmethod
    async def _close(link: Link | None) -> None:
        if link is not None:
            await link.close()

    # -- what is done over a link

    def _tell(self, push: Push) -> None:
        self.pushes[self.kind] += 1
        self._on_push(push)

    async def _ask_for_offers(self, link: Link) -> None:
        """Ask the node whether it serves QUIC, if that would be better: nothing else may ask it for a long time."""
        if self._opener is None or LinkKind.QUIC not in rungs(link.node, quic=True) or link.kind is LinkKind.QUIC:
            return
        if self._opener.takes_quic:
            with contextlib.suppress(LinkFailure):  # if the link has ended, that is told by its end
                self.offered(link.node, await self._opener.offer(link))

    async def _look_after(self, link: Link) -> None:
        """Ask for signs of life: what is done over a link that nobody uses for services."""
        while True:
            await asyncio.sleep(self._options.confirm_interval * self._random.uniform(0.8, 1.0))
            await link.confirm()


class _Followed:
    """One link, what is done over it, and its end; of none, nothing happens. Leaving ends what was begun."""

    def __init__(self, link: Link | None, *follow: Callable[[Link], Coroutine[None, None, None]]) -> None:
        self._link = link
        self._follow = follow
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        if self._link is not None:
            loop = asyncio.get_running_loop()
            self._tasks = {
                *(loop.create_task(follow(self._link), name="artemis client follow") for follow in self._follow),
                loop.create_task(self._watch(self._link), name="artemis client link end"),
            }
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, LinkFailure) and error is None:
                raise result  # it ended while nobody looked, and must not go unseen

    async def until(self, event: asyncio.Event, seconds: float | None) -> LinkFailure | None:
        """Wait for the event, or so many seconds, and return None; return why, if the link is lost before."""
        waiting = asyncio.get_running_loop().create_task(event.wait())
        try:
            done, _ = await asyncio.wait({waiting, *self._tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        for task in done & self._tasks:
            self._tasks.discard(task)
            try:
                task.result()
            except LinkFailure as failure:
                return failure
        return None

    @staticmethod
    async def _watch(link: Link) -> None:
        raise await link.ended()
