"""Deadlines of connections that are not ready yet: one timer for all of a listener.

Not here: what a connection must have done by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio


class Expiring(Protocol):
    """A connection with a deadline."""

    def expire(self) -> None:
        """The deadline has passed."""
        ...

    def drop(self) -> None:
        """Whoever set the deadline goes away before it passes."""
        ...


class Deadlines:
    """Belongs to one event loop."""

    __slots__ = ("_loop", "_pending", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: dict[Expiring, float] = {}  # in about the order of their deadlines
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, connection: Expiring, deadline: float) -> None:
        """Call `expire` of `connection` at `deadline`, in the loop's time, unless it is met before."""
        self._pending[connection] = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._sweep)

    def met(self, connection: Expiring) -> bool:
        """It needs no deadline any more; False when it had none."""
        return self._pending.pop(connection, None) is not None

    def close(self) -> None:
        """Drop all that have one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, {}
        for connection in pending:
            connection.drop()

    def _sweep(self) -> None:
        now = self._loop.time()
        self._timer = None
        for connection, deadline in list(self._pending.items()):
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._sweep)
                return
            del self._pending[connection]
            connection.expire()
