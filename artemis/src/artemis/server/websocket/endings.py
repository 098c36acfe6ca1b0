"""Sessions that are over while their connections are not: how long a connection may take to end.

A Close frame is queued behind what the peer has not read yet. A peer that reads again gets all of that, and the frame
that says why; one that does not is cut. Not here: saying goodbye, and cutting (`door`, `connection`).
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import msgspec


class Leaving(Protocol):
    """A connection that is to end."""

    @property
    def unsent(self) -> int:
        """Bytes that its peer has not taken."""
        ...


C = TypeVar("C", bound=Leaving)


class _Ending(msgspec.Struct, gc=False):
    deadline: float  # for the peer to answer, from when it has everything
    moved: float  # when it took something last
    last: float  # until when it may take things
    unsent: int


class Endings(Generic[C]):
    """The connections that are ending, and their time. Owned by the door; `now` is seconds of the loop's clock.

    `answer`: for the peer to answer a Close frame that it could read. `stall`: within which it must take something,
    while there is something to take; `longest`: for that in all, whatever it takes.
    """

    def __init__(self, answer: float, stall: float, longest: float) -> None:
        self._answer = answer
        self._stall = stall
        self._longest = longest
        self._endings: dict[C, _Ending] = {}

    def begin(self, connection: C, now: float) -> None:
        """Its Close frame is on its way."""
        self._endings[connection] = _Ending(now + self._answer, now, now + self._longest, connection.unsent)

    def hurry(self, connection: C, deadline: float) -> None:
        """The peer has said goodbye: what it is still to get must leave by then."""
        self._endings[connection] = _Ending(deadline, deadline, deadline, 0)

    def forget(self, connection: C) -> None:
        """It has ended."""
        self._endings.pop(connection, None)

    def overdue(self, now: float, *, patient: bool = True) -> list[C]:
        """Return those to cut; call it about once a second. Without patience nobody is waited for who reads slowly."""
        return [
            connection
            for connection, ending in self._endings.items()
            if ending.deadline < now and not (patient and self._moves(connection, ending, now))
        ]

    def _moves(self, connection: C, ending: _Ending, now: float) -> bool:
        """Whether the peer still takes things. Once it has everything, its time to answer begins."""
        unsent = connection.unsent
        if unsent < ending.unsent:
            ending.unsent, ending.moved = unsent, now
            if not unsent:
                ending.deadline = now + self._answer
            return now < ending.last
        return unsent > 0 and now < min(ending.moved + self._stall, ending.last)
