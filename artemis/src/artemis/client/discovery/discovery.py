"""Keeps the services in use current: a first lookup for the first use, then one batched lookup for all, regularly.

What answers mean and how they differ is decided in `services`; this only sends, waits and wakes.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from typing import TYPE_CHECKING, Self

from artemis.client.discovery.services import differences
from artemis.client.errors import ArtemisError
from artemis.client.events import LookupFailed
from artemis.client.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artemis.client.background import Background
    from artemis.client.calls.api import RegistryApi
    from artemis.client.discovery.services import Followed, InstanceChange, ServiceBook, ServiceView
    from artemis.client.events import EventFeed
    from artemis.client.options import ClientOptions
    from artemis.model import Instance

logger = logging.getLogger("artemis.client")


class Watch:
    """An async iterator over the changes of one service; made by ``client.watch``.

    It starts with a ``new`` for each instance that is live already, so that following the changes is all it takes to
    have the whole picture. A slow consumer holds nothing up and misses nothing that still matters: what happened to an
    instance meanwhile arrives as one change. The first step raises what the first lookup raises; after that
    trouble shows as events of the client, and the iteration goes on until the client closes.
    One consumer at a time; cancelling a step loses nothing.
    """

    def __init__(self, discovery: Discovery, entry: Followed) -> None:
        self._discovery = discovery
        self._entry = entry
        self._seen: tuple[Instance, ...] = ()
        self._waiting: deque[InstanceChange] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        entry.watchers += 1
        weakref.finalize(self, _release, entry)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InstanceChange:
        if self._entry.instances is None and not self._closed:
            await self._discovery.look_up_first(self._entry)
        while True:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            now = self._entry.instances or ()
            if now is not self._seen:
                self._waiting.extend(differences(self._seen, now, self._discovery.wall()))
                self._seen = now
            if not self._waiting:
                await self._discovery.hold(self, self._wake)

    def concerns(self, entry: Followed) -> bool:
        """Say whether it watches that service."""
        return self._entry is entry

    def wake(self) -> None:
        """Look again: the service may have changed."""
        self._wake.set()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._wake.set()


def _release(entry: Followed) -> None:
    entry.watchers -= 1


class Discovery:
    """Owns the services in use of one client and the loop that refreshes them."""

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
    ) -> None:
        self.wall = wall
        """Epoch milliseconds, for the time of changes."""
        self._api = api
        self._book = book
        self._feed = feed
        self._background = background
        self._options = options
        self._random = random
        self._clock = clock
        self._trouble = Trouble("lookup", logger)
        self._wanted = asyncio.Event()
        self._first: weakref.WeakKeyDictionary[Followed, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._held: set[Watch] = set()

    async def service(self, service_id: str) -> ServiceView:
        """Return the service: from the live cache, or by a lookup if this is its first use."""
        entry = self._use(service_id)
        view = entry.view(self._clock())
        while view is None:
            await self.look_up_first(entry)
            view = entry.view(self._clock())
        return view

    def known(self, service_id: str) -> ServiceView | None:
        """Return what is known without waiting; the first use makes the loop look it up soon."""
        entry = self._use(service_id)
        if entry.instances is None:
            self._wanted.set()
        return entry.view(self._clock())

    def next_turn(self, service_id: str) -> int:
        """Count a choice in turn; the count starts anywhere, so that many callers do not start at one instance."""
        entry = self._use(service_id)
        entry.turn = self._random.randrange(1 << 30) if entry.turn is None else entry.turn + 1
        return entry.turn

    def watch(self, service_id: str) -> Watch:
        """Follow the changes of a service."""
        watch = Watch(self, self._use(service_id))
        self._watches.add(watch)
        return watch

    async def look_up_first(self, entry: Followed) -> None:
        """Look a service up unless it has been; whoever comes meanwhile waits for the same answer."""
        lock = self._first.setdefault(entry, asyncio.Lock())
        async with lock:
            if entry.instances is None:
                await self._look_up([entry])

    async def hold(self, watch: Watch, wake: asyncio.Event) -> None:
        """Wait on behalf of a watch, and keep it: the task that waits may be referred to by nobody else."""
        self._held.add(watch)
        try:
            await wake.wait()
        finally:
            self._held.discard(watch)

    def close(self) -> None:
        """End all watches."""
        for watch in list(self._watches):
            watch.close()

    def _use(self, service_id: str) -> Followed:
        self._api.check_region()
        entry = self._book.use(service_id, self._clock())
        self._background.ensure("lookups", self._poll)
        return entry

    async def _poll(self) -> None:
        interval = self._options.poll_interval
        due = self._clock() + interval
        while True:
            try:
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await self._wanted.wait()
            except TimeoutError:
                due = self._clock() + interval * self._random.uniform(0.8, 1.0)
                await self._refresh(missing=False)
            else:
                self._wanted.clear()
                if not await self._refresh(missing=True):
                    # Whoever asks a balancer over and over must not make the client ask the registry as often.
                    await asyncio.sleep(self._random.uniform(0.0, min(interval, self._options.backoff_limit)))

    async def _refresh(self, *, missing: bool) -> bool:
        succeeded = True
        batches = self._book.batches(self._options.batch_size, missing=missing)
        for batch in batches:
            try:
                await self._look_up(batch)
            except ArtemisError as error:
                self._feed.publish(LookupFailed(tuple(entry.service_id for entry in batch), error))
                self._trouble.met(error)
                succeeded = False
        if batches and succeeded and not missing:
            self._trouble.over()
        return succeeded

    async def _look_up(self, entries: list[Followed]) -> None:
        services = await self._api.lookup([entry.service_id for entry in entries])
        for entry in self._book.take(entries, services, self._clock()):
            for watch in list(self._watches):
                if watch.concerns(entry):
                    watch.wake()
