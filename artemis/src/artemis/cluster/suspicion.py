"""Whether a node is there: suspected when it falls silent, believed again when it has been steady, longer each time.

So a node that comes and goes is shown to clients as gone rather than to come and go, while its messages are taken as
ever. Pure: milliseconds of the own monotonic clock come in. Not here: what the node says of itself (`standing`).
"""

from __future__ import annotations

from enum import Enum

import msgspec

MOST_FLAPS = 8
"""Interruptions that are remembered."""


class Presence(Enum):
    """What is thought of a node: `STEADY` it is there, `RETURNING` it is heard again and not believed yet, `SUSPECTED`
    it has fallen silent, `GONE` it is down."""

    STEADY = "steady"
    RETURNING = "returning"
    SUSPECTED = "suspected"
    GONE = "gone"


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in milliseconds. `suspect`: silence after which a node is suspected; `down`: after which it is gone.

    Derived from it: a node is believed again after `suspect` without interruption, twice as long after each further
    one, `longest` at most; one interruption is forgotten whenever it has been steady for ten times `suspect`.
    """

    suspect: int = 3_000
    down: int = 10_000

    @property
    def longest(self) -> int:
        """Return the longest time for which a node must be steady."""
        return 20 * self.suspect

    def steady_for(self, flaps: int) -> int:
        """Return how long a node must be heard after so many interruptions before it is believed."""
        return min(self.suspect << (flaps - 1), self.longest) if flaps else 0


class Suspicion:
    """What is thought of one node. Owned by `Members`; `hear` what comes, `judge` now and then.

    `flaps` counts its interruptions that are not forgotten, `heard` is when it was heard last, `since` when `presence`
    became what it is.
    """

    __slots__ = ("_resumed", "_steady", "flaps", "heard", "patience", "presence", "since")

    def __init__(self, patience: Patience, now: int) -> None:
        self.patience = patience
        self.flaps = 0
        self.heard = now
        self.presence = Presence.STEADY
        self.since = now
        self._steady = now
        self._resumed: int | None = None

    def hear(self, at: int) -> None:
        """Take a sign of life of this moment; older than the latest, it tells nothing."""
        self.heard = max(self.heard, at)

    def lose(self, now: int) -> None:
        """Suspect it at once: its connection ended without a farewell.

        Not just after a pause of our own, which ends connections: whether it is silent shows soon enough.
        """
        if self._resumed is not None and now - self._resumed < self.patience.suspect:
            return
        if self.presence in {Presence.STEADY, Presence.RETURNING}:
            self._interrupted(now)

    def renew(self, now: int) -> None:
        """Believe it at once: it begins a new life after it had said farewell."""
        self.heard = max(self.heard, now)
        self._become(Presence.STEADY, now)
        self._steady = now

    def resume(self, now: int, pause: int) -> None:
        """Judge it for no part of the `pause` until now, in which nobody could be heard: its silence begins anew."""
        self._resumed = now
        if self.presence is Presence.RETURNING:
            self.since = min(now, self.since + pause)
        self._steady = min(now, self._steady + pause)

    def silent(self, now: int) -> int:
        """Return for how long it was not heard while it could have been."""
        begun = self.heard if self._resumed is None else max(self.heard, self._resumed)
        return max(0, now - begun)

    def judge(self, now: int) -> bool:
        """Let time pass; tells whether `presence` changed."""
        before = self.presence
        silent = self.silent(now)
        if self.presence in {Presence.STEADY, Presence.RETURNING}:
            if silent >= self.patience.suspect:
                self._interrupted(now)
            elif self.presence is Presence.STEADY:
                self._forgive(now)
            elif now - self.since >= self.patience.steady_for(self.flaps):
                self._become(Presence.STEADY, now)
                self._steady = now
        elif self.heard > self.since or (self.presence is Presence.GONE and now - self.heard < self.patience.suspect):
            self._become(Presence.RETURNING, now)
        if self.presence is Presence.SUSPECTED and silent >= self.patience.down:
            self._become(Presence.GONE, now)
        return self.presence is not before

    def patience_left(self, now: int) -> int:
        """Return in how many milliseconds it is believed if nothing interrupts it; 0 unless it is returning."""
        if self.presence is not Presence.RETURNING:
            return 0
        return max(0, self.since + self.patience.steady_for(self.flaps) - now)

    def _interrupted(self, now: int) -> None:
        self.flaps = min(self.flaps + 1, MOST_FLAPS)
        self._become(Presence.SUSPECTED, now)

    def _forgive(self, now: int) -> None:
        if self.flaps and now - self._steady >= 10 * self.patience.suspect:
            self.flaps -= 1
            self._steady = now

    def _become(self, presence: Presence, now: int) -> None:
        self.presence = presence
        self.since = now
