"""A bounded queue of one consumer: who finds it full waits, first come first served, and learns when it has ended.

asyncio.Queue knows no end; those who wait for room in it would wait for ever, or get in behind the end.
Not here: what is queued, and threads (`containers`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Inlet(Generic[T]):
    """Belongs to one event loop. capacity: items; more of them wait with those who bring them."""

    __slots__ = ("_capacity", "_consumer", "_finished", "_items", "_waiting")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._waiting: OrderedDict[asyncio.Future[None], T] = OrderedDict()
        self._consumer: asyncio.Future[None] | None = None
        self._finished = False  # nobody brings any more

    def __len__(self) -> int:
        return len(self._items)

    def put_nowait(self, item: T) -> bool:
        """Queue an item; False when there is no room."""
        if len(self._items) >= self._capacity or self._waiting:
            return False
        self._items.append(item)
        self._wake()
        return True

    async def put(self, item: T) -> None:
        """Queue an item; waits while there is no room. Raises what `end` says. Cancelled, it is not queued."""
        if self.put_nowait(item):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = item
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    async def has_more(self) -> bool:
        """For the consumer: wait for an item; False when all are taken and no more will come."""
        while not self._items:
            if self._finished:
                return False
            self._consumer = asyncio.get_running_loop().create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None
        return True

    def take(self) -> T:
        """Take the first item out; there must be one. The first who waits gets its place in the line."""
        item = self._items.popleft()
        while self._waiting and len(self._items) < self._capacity:
            waiter, waiting = self._waiting.popitem(last=False)
            if not waiter.done():
                self._items.append(waiting)
                waiter.set_result(None)
        return item

    def finish(self) -> None:
        """Nobody brings any more; who waits for room is still served. Whoever would bring has to ask before."""
        self._finished = True
        self._wake()

    def end(self, error: Callable[[], Exception]) -> list[T]:
        """Take out all that is queued; those who wait for room get an `error()` each."""
        self.finish()
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(error())
        left = list(self._items)
        self._items.clear()
        return left

    def _wake(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)
