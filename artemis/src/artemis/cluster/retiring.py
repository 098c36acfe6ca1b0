"""A node is taken out of service for good, without anybody losing anything: what it waits for, and how far it is.

First it is offered to nobody any more and sends its clients away, spread over a while; then it waits until others hear
all that it heard and have all that it accepted. Lookups are answered until the end. Pure: monotonic milliseconds and
what is seen of the node come in. Not here: closing sessions and ending (`artemis.server.retirement`).
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

SHARES = 16
"""Steps in which clients are sent away."""

MOST_NOTES = 600
"""Moments of which it is remembered how many changes there were: at ten a second, of the last minute."""

Phase = Literal["waiting", "sending", "handing", "done"]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of a node that is to go: `others` that are up and serve, open `sessions` of clients, live instances
    that it `renewed` last, None while they are counted, and own changes that others may not have (`unconfirmed`)."""

    others: int
    sessions: int
    renewed: int | None
    unconfirmed: int


class Retiring:
    """How far a node is. Owned by who takes it out of service; `tick` several times a second.

    `spread` is over how many milliseconds clients are sent away, `forced` that it goes though no other node is there,
    `asked` when it was asked for, in milliseconds of the wall clock, which is the same for all workers of a machine.
    `share` of SHARES are sent away by now. While no other node is up it waits, and takes everybody again.
    """

    def __init__(self, operator: str, spread: int, now: int, *, forced: bool = False, asked: int = 0) -> None:
        self.operator = operator
        self.asked = asked
        self.since = now
        self.forced = forced
        self.phase: Phase = "sending"
        self.seen: Seen | None = None
        self._spread = spread
        self._begun: int | None = None
        self._share = 0

    @property
    def done(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.phase == "done"

    @property
    def share(self) -> int:
        """Return how many of SHARES are sent away."""
        return self._share

    def tick(self, seen: Seen, now: int) -> None:
        """Go on."""
        self.seen = seen
        if self.phase == "done":
            return
        if seen.others == 0 and not self.forced:
            self.phase, self._begun, self._share = "waiting", None, 0
            return
        if self._begun is None:
            self._begun = now
        gone = now - self._begun
        self._share = min(SHARES, SHARES * gone // self._spread) if self._spread else SHARES
        if self._share < SHARES:
            self.phase = "sending"
            return
        if self.phase != "handing":
            # What was counted until now says nothing of the end.
            self.phase = "handing"
            return
        # Who only looks up leaves when it learns the list of nodes anew, or when the end of the node sends it away.
        patient = gone < 2 * self._spread and seen.sessions > 0
        if patient or seen.unconfirmed:
            return
        if seen.renewed == 0 or (seen.others == 0 and seen.renewed is not None):
            self.phase = "done"

    def sessions_due(self, sessions: int, now: int) -> int:
        """Return how many of so many sessions are to be closed now, for them to be gone evenly by the end."""
        if self._begun is None:
            return 0
        left = self._begun + self._spread - now
        return sessions if left <= _STEP else -(-sessions * _STEP // left)

    @property
    def sentence(self) -> str:
        """Say what it does."""
        what = f"{self.operator} takes it out of service"
        if self.phase == "waiting":
            return f"{what}; it goes on meanwhile, as no other node is up"
        return f"{what}; its clients go to other nodes"


_STEP = 100
"""Milliseconds between two ticks, about."""


class Confirmed:
    """How many own changes the others may not have yet: those made after the moment as of which they confirmed all."""

    def __init__(self) -> None:
        self._notes: deque[tuple[int, int]] = deque(maxlen=MOST_NOTES)

    def note(self, made: int, now: int) -> None:
        """So many changes were made by now, and given to the links."""
        self._notes.append((now, made))

    def lacking(self, confirmed: int | None, made: int) -> int:
        """Return how many changes somebody may lack who confirmed at `confirmed` all that he was sent until then."""
        if confirmed is None:
            return made
        known = [count for at, count in self._notes if at <= confirmed]
        return made - known[-1] if known else made
