"""What came and is to be handled: as much in one turn of the loop as keeps it free for everybody else.

Messages keep their order. When a turn has taken long enough, the rest waits; whoever delivered it is given something to
wait for as well, so that its connection is read no further than its bounds allow, and the peer must wait in turn.
Not here: what handling a message means.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

SourceT = TypeVar("SourceT")

TURN = 0.004
"""Seconds of handling messages in one turn of the loop; the last one may take longer."""


class Intake(Generic[SourceT]):
    """Owned by the mesh. `handle` gets source and bytes of each message and must not raise; `after` is called at the
    end of a turn in which messages were handled. `clock` gives seconds that only grow. `late` counts messages that had
    to wait for a later turn."""

    def __init__(
        self, handle: Callable[[SourceT, bytes], None], after: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._handle = handle
        self._after = after
        self._clock = clock
        self._waiting: deque[tuple[SourceT, bytes]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._until = 0.0
        self._turning: asyncio.Handle | None = None
        self.late = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, source: SourceT, message: bytes) -> asyncio.Future[None] | None:
        """Handle a message, now or in a later turn; then it returns what is done when everything is handled."""
        if self._turning is None:
            self._until = self._clock() + TURN
            self._turning = asyncio.get_running_loop().call_soon(self._turn)
        elif self._waiting or self._clock() >= self._until:
            self.late += 1
            self._waiting.append((source, message))
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            return self._room
        self._handle(source, message)
        return None

    def forget(self, source: SourceT) -> None:
        """Drop what waits of a source that is gone."""
        if self._waiting:
            self._waiting = deque(each for each in self._waiting if each[0] is not source)

    def close(self) -> None:
        """Drop everything and let everybody go on."""
        self._waiting.clear()
        if self._turning is not None:
            self._turning.cancel()
            self._turning = None
        self._make_room()

    def _turn(self) -> None:
        """End the turn before this one, and handle what waits."""
        self._turning = None
        self._after()
        if self._waiting:
            self._until = self._clock() + TURN
            self._turning = asyncio.get_running_loop().call_soon(self._turn)
            while self._waiting:
                self._handle(*self._waiting.popleft())
                if self._clock() >= self._until:
                    break
        if not self._waiting:
            self._make_room()

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
