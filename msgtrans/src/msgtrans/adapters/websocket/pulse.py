"""Who looks after silent connections: one timer for all of a listener, however many there are.

Not here: what a connection does when it is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio

SLICE: Final = 256  # connections looked at in one turn of the loop; the others of the loop come in between


class Watched(Protocol):
    """A connection that can be silent."""

    def beat(self, now: float, interval: float, timeout: float) -> None:
        """Ping a peer that has been silent for `interval` seconds; give up on one that stays so for `timeout`."""
        ...


class Pulse:
    """Calls `beat` of its connections four times in `interval` or `timeout`, whichever is less. Of one event loop."""

    __slots__ = ("_interval", "_loop", "_round", "_timeout", "_timer", "_watched")

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float, timeout: float) -> None:
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._watched: set[Watched] = set()
        self._round: list[Watched] = []  # to be looked at in this sweep
        self._timer: asyncio.Handle | None = None

    def watch(self, connection: Watched) -> None:
        """Look at `connection` from now on."""
        self._watched.add(connection)
        if self._timer is None:
            self._later()

    def forget(self, connection: Watched) -> None:
        """It is gone."""
        self._watched.discard(connection)
        if not self._watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._round = []

    def _later(self) -> None:
        self._timer = self._loop.call_later(min(self._interval, self._timeout) / 4, self._sweep)

    def _sweep(self) -> None:
        self._round = list(self._watched)
        self._slice()

    def _slice(self) -> None:
        now = self._loop.time()
        part, self._round = self._round[:SLICE], self._round[SLICE:]
        for connection in part:
            if connection in self._watched:
                connection.beat(now, self._interval, self._timeout)
        if not self._watched:
            self._timer = None
        elif self._round:
            self._timer = self._loop.call_soon(self._slice)
        else:
            self._later()
