"""Bounded streams of what happens in a pool, for any number of consumers; free while there are none.

A stream that is read too late loses the oldest and counts them: what happens in a pool is told, not promised. The
streams of `msgtrans.events` do otherwise, because they carry messages.
Not here: what the events are (`buffers`, `events`).
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from typing import Generic, Self, TypeVar

E = TypeVar("E")


class PoolStream(Generic[E]):
    """An asynchronous iterator over the events of a pool, for one consumer. Ends when it is closed.

    missed: events that made way for newer ones before they were read. A stream that nobody refers to any more is
    forgotten by its pool.
    """

    __slots__ = ("__weakref__", "_ended", "_queue", "_waiter", "missed")

    def __init__(self, capacity: int) -> None:
        self._queue: deque[E] = deque(maxlen=capacity)
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self.missed = 0

    def __aiter__(self) -> Self:
        return self

    def __len__(self) -> int:
        return len(self._queue)

    async def __anext__(self) -> E:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()

    def close(self) -> None:
        """Take no further events; those already here can still be read."""
        self._ended = True
        self._wake()

    def put(self, event: E) -> None:
        """For the pool: append one event."""
        if self._ended:
            return
        self.missed += len(self._queue) == self._queue.maxlen
        self._queue.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class PoolHub(Generic[E]):
    """Hands each event to every stream. capacity: events that a stream holds.

    streams: empty while nobody listens, so that events need not be made.
    """

    __slots__ = ("_capacity", "streams")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.streams: list[weakref.ref[PoolStream[E]]] = []

    def __bool__(self) -> bool:
        return bool(self.streams)

    def open(self) -> PoolStream[E]:
        """A new stream of everything from now on."""
        stream: PoolStream[E] = PoolStream(self._capacity)
        self._add(stream)
        return stream

    def emit(self, event: E) -> None:
        """Hand `event` to every stream."""
        for stream in self._live():
            stream.put(event)

    def end(self) -> None:
        """End all streams: no more events will come."""
        for stream in self._live():
            stream.close()
        self.streams.clear()

    def _add(self, stream: PoolStream[E]) -> None:
        self.streams.append(weakref.ref(stream, self._gone))

    def _gone(self, reference: weakref.ref[PoolStream[E]]) -> None:
        if reference in self.streams:
            self.streams.remove(reference)

    def _live(self) -> list[PoolStream[E]]:
        return [stream for reference in self.streams if (stream := reference()) is not None]
