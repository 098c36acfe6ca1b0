"""`Watch`, the changes of services as an async iterator, and the `Audience`: who follows which service.

What changes mean for one who follows is decided in `changes`. Callbacks are the business of `listeners`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

from artemis.client.discovery.changes import Backlog

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from artemis.client.discovery.changes import InstanceChange, Touched
    from artemis.client.discovery.services import Followed


class Follower(Protocol):
    """Whoever is told what happens to services."""

    def note(self, touched: Iterable[Touched], wall: int) -> None:
        """Hear of changes, at ``wall`` epoch milliseconds; must not raise and must not wait."""
        ...


class Audience:
    """Who follows which service; a service that someone follows keeps its place among those in use.

    Refers to followers weakly: one that nobody holds any more follows nothing.
    """

    def __init__(self) -> None:
        self._followers: weakref.WeakKeyDictionary[Followed, weakref.WeakSet[Follower]] = weakref.WeakKeyDictionary()

    def join(self, entry: Followed, follower: Follower) -> Callable[[], object]:
        """Tell the follower from now on what happens to the service; return what ends that."""
        followers = self._followers.setdefault(entry, weakref.WeakSet())
        followers.add(follower)
        entry.watchers += 1
        return weakref.finalize(follower, _leave, entry)

    def leave(self, entry: Followed, follower: Follower) -> None:
        """Tell the follower no longer."""
        followers = self._followers.get(entry)
        if followers is not None:
            followers.discard(follower)

    def tell(self, entry: Followed, touched: Sequence[Touched], wall: int) -> None:
        """Tell the followers of a service what happened to it."""
        followers = self._followers.get(entry)
        if followers and touched:
            for follower in list(followers):
                follower.note(touched, wall)


def _leave(entry: Followed) -> None:
    entry.watchers -= 1


class Holder:
    """Keeps followers alive while somebody waits in them: his task may be referred to by nobody else."""

    def __init__(self) -> None:
        self._held: set[object] = set()

    async def wait(self, follower: object, wake: asyncio.Event) -> None:
        """Wait for ``wake`` on behalf of a follower."""
        self._held.add(follower)
        try:
            await wake.wait()
        finally:
            self._held.discard(follower)


class Watch:
    """An async iterator over the changes of one or several services; made by ``client.watch``.

    It starts with a ``new`` for each instance that is live already, so that following the changes is all it takes to
    have the whole picture; ``change.instance.service_id`` says of which service. A slow consumer holds nothing up and
    misses nothing that still matters: what happened to an instance meanwhile arrives as one change. The first step
    raises what the first lookup raises; after that trouble shows as events of the client, and the iteration goes on
    until the client closes.
    One consumer at a time; cancelling a step loses nothing.
    """

    def __init__(
        self,
        entries: Sequence[Followed],
        *,
        audience: Audience,
        holder: Holder,
        look_up: Callable[[Sequence[Followed]], Coroutine[None, None, None]],
        wall: Callable[[], int],
    ) -> None:
        self._entries = entries
        self._holder = holder
        self._look_up = look_up
        self._wall = wall
        self._backlog = Backlog(instance for entry in entries for instance in entry.instances or ())
        self._waiting: deque[InstanceChange] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        for entry in entries:
            audience.join(entry, self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> InstanceChange:
        if not self._closed and any(entry.source is None for entry in self._entries):
            await self._look_up(self._entries)
        while True:
            if self._waiting:
                return self._waiting.popleft()
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            self._waiting.extend(self._backlog.take(self._wall()))
            if not self._waiting:
                await self._holder.wait(self, self._wake)

    def note(self, touched: Iterable[Touched], wall: int) -> None:
        """Hear of changes; see `Follower`."""
        self._backlog.add(touched, wall)
        self._wake.set()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._wake.set()
