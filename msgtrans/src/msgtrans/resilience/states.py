"""The state of a reconnecting client: a value with few cases, and a stream of its changes.

    CLOSED --connect--> CONNECTING --> CONNECTED <--> SUSPENDED
    any --close, or nothing left to try--> CLOSED

Not here: what leads from one to the other.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from msgtrans.errors import TransportError


class ClientState(StrEnum):
    """What calls may expect.

    CONNECTING: there was no connection yet; calls wait. CONNECTED: at least one is open. SUSPENDED: the last one is
    lost, and attempts go on; calls wait. CLOSED: not started, closed, or given up; nothing happens by itself any more,
    calls fail at once.
    """

    CONNECTING = "connecting"
    CONNECTED = "connected"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class StateChanged(msgspec.Struct, frozen=True):
    """A reconnecting client is in `state` now; while CONNECTING and SUSPENDED also told after each failed attempt.

    reason: a sentence. target: the URI it is about, None for all. next_attempt: seconds until the next attempt, None
    where none is due. error: what led here, None for nothing bad; a SessionClosedError with what is known where the
    server ended the connection without a reason.
    """

    state: ClientState
    reason: str
    target: str | None = None
    next_attempt: float | None = None
    error: TransportError | None = None


class StateStream:
    """An asynchronous iterator over changes of state, for one consumer: first the present state, CLOSED as the last.

    Holds one change: who reads late gets the latest, and those before are gone.
    """

    __slots__ = ("__weakref__", "_ended", "_latest", "_waiter")

    def __init__(self, present: StateChanged) -> None:
        self._latest: StateChanged | None = present
        self._ended = present.state is ClientState.CLOSED
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> StateStream:
        return self

    async def __anext__(self) -> StateChanged:
        while self._latest is None:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        latest, self._latest = self._latest, None
        return latest

    def put(self, change: StateChanged) -> None:
        """For the client: this is the state now."""
        self._latest = change
        self._ended = change.state is ClientState.CLOSED
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
