"""Whether what a consumer sends is all there is, in order: gaps, silence, late messages.

The engine numbers what it sends to a consumer and, when there is nothing to send, says up to where it did. What does
not fit means that something was lost on the way, and then the consumer is made anew. Pure.
"""

from __future__ import annotations

from enum import Enum

from artemis.cluster.nats.answers import Place


class Verdict(Enum):
    """What a message of a consumer is: the `NEXT` one, a `GAP` before it, or of no use any more (`LATE`)."""

    NEXT = "next"
    GAP = "gap"
    LATE = "late"


class Following:
    """One consumer. `after` is the stream's number up to which everything was read before it, `silence` the ms after
    which one of which nothing is heard is taken for gone."""

    def __init__(self, after: int, now: int, silence: int) -> None:
        self.sequence = after
        self._order = 0
        self._silence = silence
        self._heard = now

    def delivered(self, place: Place, now: int) -> Verdict:
        """Judge an entry."""
        self._heard = now
        if place.order <= self._order:
            return Verdict.LATE
        if place.order != self._order + 1 or place.sequence <= self.sequence:
            return Verdict.GAP
        self._order = place.order
        self.sequence = place.sequence
        return Verdict.NEXT

    def idle(self, order: int, sequence: int, now: int) -> Verdict:
        """Judge a heartbeat, which says how much was sent, and up to which number of the stream nothing is left."""
        self._heard = now
        if order < self._order:
            return Verdict.LATE
        if order > self._order:
            return Verdict.GAP
        self.sequence = max(self.sequence, sequence)
        return Verdict.NEXT

    def busy(self, now: int) -> None:
        """This node itself has not read for a while, which is no silence."""
        self._heard = now

    def silent(self, now: int) -> bool:
        """Tell whether nothing was heard for too long."""
        return now - self._heard >= self._silence
