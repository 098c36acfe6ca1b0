"""The services in use of one client: their first lookup, and what keeps them current after it.

It puts the parts together and polls what no node pushes. What pushes bring is in `following`, how the registry is asked
in `lookups`, what is shown in `views`.
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from artemis.client.discovery.disk import Disk
from artemis.client.discovery.following import Following
from artemis.client.discovery.guard import Guard
from artemis.client.discovery.listeners import Listeners
from artemis.client.discovery.lookups import Lookups
from artemis.client.discovery.views import Views
from artemis.client.discovery.watch import Audience, Holder, Watch
from artemis.client.errors import ArtemisError, RefusedError
from artemis.client.names import check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from artemis.client.background import Background
    from artemis.client.calls.api import RegistryApi
    from artemis.client.discovery.cache import Directory
    from artemis.client.discovery.listeners import Callback, Listener
    from artemis.client.discovery.services import Followed, ServiceBook, ServiceView
    from artemis.client.events import EventFeed
    from artemis.client.links.link import Link, Push
    from artemis.client.options import ClientOptions


AGAIN: Final = 0.5
"""Seconds after which what a node knows too little of is looked up again, at another one where there is one."""


class Discovery:
    """Owns the services in use of one client and the loops that refresh them.

    ``want`` is called at each use of a service: whoever is told so may open a link, run `follow` with it and hand
    `push` what comes over it. ``heard`` is called at each confirmation over a link, as that is a word of the registry.
    ``directory`` is the cache on disk, None if there is none.
    """

    def __init__(
        self,
        *,
        api: RegistryApi,
        book: ServiceBook,
        feed: EventFeed,
        background: Background,
        options: ClientOptions,
        random: Random,
        clock: Callable[[], float],
        wall: Callable[[], int],
        directory: Directory | None = None,
        want: Callable[[], None] = lambda: None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._api = api
        self._book = book
        self._background = background
        self._options = options
        self._random = random
        self._clock = clock
        self._wall = wall
        self._want = want
        self._heard = heard
        self._audience = Audience()
        self._views = Views(
            book=book,
            guard=Guard(share=options.guard_share, hold=options.guard_hold),
            outdated_wait=options.outdated_wait,
            feed=feed,
            audience=self._audience,
            clock=clock,
            wall=wall,
        )
        self._lookups = Lookups(api=api, views=self._views, feed=feed, batch_size=options.batch_size, clock=clock)
        self._lookups.on_answer = self._answered
        self._listeners = Listeners(audience=self._audience, feed=feed, clock=clock, wall=wall)
        self._disk: Disk | None = None
        if directory is not None:
            self._disk = Disk(directory, views=self._views, feed=feed, options=options, clock=clock, wall=wall)
        self._silent = False
        """The registry did not answer the last first lookup in time; the next one does not wait for it."""
        self._following: Following | None = None
        self._wanted = asyncio.Event()
        self._first: weakref.WeakKeyDictionary[Followed, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._holder = Holder()

    async def service(self, service_id: str) -> ServiceView:
        """Return the service: from the live cache, or by a lookup if this is its first use."""
        return (await self.services([service_id]))[service_id]

    async def services(self, service_ids: Sequence[str]) -> dict[str, ServiceView]:
        """Return services by their ids as given; those that are used for the first time are looked up together.

        Those of which that fails are not in use afterwards, unless somebody follows them.
        """
        for service_id in service_ids:
            check_text("service_id", service_id)
        entries = {service_id: self._use(service_id) for service_id in service_ids}
        views: dict[str, ServiceView] = {}
        for entry in entries.values():
            entry.waiting += 1
        try:
            while len(views) < len(entries):
                await self._look_up_first(list(entries.values()))
                now = self._clock()
                found = {service_id: entry.view(now) for service_id, entry in entries.items()}
                views = {service_id: view for service_id, view in found.items() if view is not None}
        finally:
            for entry in entries.values():
                entry.waiting -= 1
                self._book.forget(entry)
        return views

    def known(self, service_id: str) -> ServiceView | None:
        """Return what is known without waiting; the first use makes the loop look it up soon."""
        entry = self._use(service_id)
        if entry.source is None:
            self._wanted.set()
        return entry.view(self._clock())

    def in_use(self, key: str) -> Followed | None:
        """Return a service that is in use and has been shown, by its id in lower case, and mark it used; else None.

        Unlike `known` it starts and wakes nothing, so that any thread may call it.
        """
        entry = self._book.get(key)
        if entry is None or entry.source is None:
            return None
        entry.used = self._clock()
        return entry

    def watch(self, service_ids: Sequence[str]) -> Watch:
        """Follow the changes of services; ``LimitError`` if there is no place for all of them."""
        entries = [self._use(service_id) for service_id in service_ids]
        # The last may have taken the places of the first, whom nobody follows before the watch is made.
        if not all(self._book.get(entry.key) is entry for entry in entries):
            for entry in entries:
                self._book.forget(entry)
            raise self._book.full()
        watch = Watch(
            entries,
            audience=self._audience,
            holder=self._holder,
            look_up=self._look_up_first,
            wall=self._wall,
        )
        self._watches.add(watch)
        return watch

    def listen(self, service_id: str, callback: Callback) -> Listener:
        """Call a function with every change of a service."""
        entry = self._use(service_id)
        if entry.source is None:
            self._wanted.set()
        return self._listeners.add(entry, callback)

    async def follow(self, link: Link) -> None:
        """Keep the services in use current over a link, until cancelled; `LinkFailure` when it should be left."""
        following = Following(
            link,
            views=self._views,
            lookups=self._lookups,
            options=self._options,
            random=self._random,
            clock=self._clock,
            heard=self._heard,
            usable=self._api.sieve.instance,
        )
        self._following = following
        try:
            await following.run()
        finally:
            if self._following is following:
                self._following = None

    def push(self, push: Push) -> None:
        """Take in what came over the link that is followed."""
        if self._following is not None:
            self._following.push(push)

    @property
    def outdated(self) -> int:
        """How many answers and pushes were left out, because they were older than what is shown."""
        return self._views.outdated

    async def close(self, closer: asyncio.Task[None] | None = None) -> None:
        """End watches and listeners, and write what is known to disk; the loops have ended before.

        The ``closer`` is the task that waits for this: one that is a listener's goes on.
        """
        for watch in list(self._watches):
            watch.close()
        self._views.close()
        await self._listeners.close(closer)
        if self._disk is not None:
            await self._disk.close()

    def _use(self, service_id: str) -> Followed:
        self._api.check_region()
        entry = self._book.use(service_id, self._clock())
        self._background.ensure("lookups", self._poll)
        if self._disk is not None:
            self._background.ensure("cache", self._disk.keep)
        self._want()
        return entry

    def _answered(self) -> None:
        self._silent = False
        if self._following is not None:
            self._following.changed()

    async def _look_up_first(self, entries: Sequence[Followed]) -> None:
        """Look services up that have not been; whoever comes meanwhile waits for the same answer."""
        if all(entry.source is not None for entry in entries):
            return
        async with AsyncExitStack() as stack:
            # In one order for all, so that two who want the same services do not wait for each other.
            for entry in sorted({entry.key: entry for entry in entries}.values(), key=lambda entry: entry.key):
                await stack.enter_async_context(self._first.setdefault(entry, asyncio.Lock()))
            missing = [entry for entry in entries if entry.source is None]
            for start in range(0, len(missing), self._options.batch_size):
                await self._ask_first(missing[start : start + self._options.batch_size])

    async def _ask_first(self, entries: Sequence[Followed]) -> None:
        """Ask the registry; what it does not answer in time is shown as it is on disk, and asked for in background."""
        if self._disk is None:
            await self._lookups.ask(entries)
            return
        asking = asyncio.ensure_future(self._lookups.ask(entries))
        try:
            done, _ = await asyncio.wait([asking], timeout=0.0 if self._silent else self._options.cache_wait)
            if done and (asking.exception() is None or not _may_pass(asking.exception())):
                await asking
                return
            self._silent = True
            await self._disk.restore(entries)
            if any(entry.source is None for entry in entries):
                await asking
            self._wanted.set()
        finally:
            asking.cancel()
            # Not awaited itself: whether it was cancelled, or this, could not be told apart.
            await asyncio.wait([asking])
            if not asking.cancelled():
                asking.exception()  # it has been raised, or what is on disk stands in for it

    async def _poll(self) -> None:
        interval = self._options.poll_interval
        due = self._clock() + interval
        while True:
            wait = max(0.0, due - self._clock())
            # Those that a node knows less of than this client: it may know all in a moment, or another one does.
            again = self._random.uniform(0.5, 1.0) * AGAIN if self._outdated() else wait
            try:
                async with asyncio.timeout(min(wait, again)):
                    await self._wanted.wait()
            except TimeoutError:
                outdated = self._outdated()
                await self._lookups.elsewhere(outdated)
                if again < wait:
                    continue
                due = self._clock() + interval * self._random.uniform(0.8, 1.0)
                await self._lookups.refresh([entry for entry in self._book.to_poll() if entry not in outdated])
            else:
                self._wanted.clear()
                if not await self._find_missing():
                    # Whoever asks a balancer over and over must not make the client ask the registry as often.
                    await asyncio.sleep(self._random.uniform(0.0, min(interval, self._options.backoff_limit)))

    def _outdated(self) -> list[Followed]:
        """The services that are looked up until their older state counts, but not for ever if no node answers."""
        return self._book.outdated(self._clock() - self._options.outdated_wait - 2 * AGAIN)

    async def _find_missing(self) -> bool:
        """Look up what nobody waits for; return whether the registry showed all of it."""
        new = [entry for entry in self._book.without_answer() if entry.source is None]
        if self._disk is not None and new:
            try:
                await self._look_up_first(new)
            except RefusedError:
                pass  # it may be one of them alone
            except ArtemisError as error:
                self._lookups.failed(new, error)
                return False
        return await self._lookups.refresh(self._book.without_answer())


def _may_pass(error: BaseException | None) -> bool:
    return isinstance(error, ArtemisError) and error.retriable
