"""How long to wait before a peer is dialled again: growing, bounded, and spread evenly from nothing to the bound.

So nodes that lost each other at one moment do not all come back at one moment. Pure: chance comes in.
"""

from __future__ import annotations

import msgspec


class MeshTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. Defaults suit one region.

    A peer that cannot be reached is dialled again after up to `first_pause`, then up to twice that and so on up to
    `longest_pause`, which bounds how late the end of a partition is noticed; one that refuses, after `refused_pause`
    at most and half of it at least. A link that held for `steady` begins anew with `first_pause`. Connecting takes
    `connect`, each step of the handshake `answer` at most. Every `ping` the other is asked for a sign of life; a link
    on which none came for `silence` is dropped. What waits at the end is sent within `drain`.
    """

    first_pause: float = 0.1
    longest_pause: float = 2.0
    refused_pause: float = 5.0
    steady: float = 5.0
    connect: float = 2.0
    answer: float = 3.0
    ping: float = 1.0
    silence: float = 5.0
    drain: float = 2.0


class Pauses:
    """The pauses of one peer."""

    def __init__(self, timings: MeshTimings) -> None:
        self._timings = timings
        self._failed = 0

    @property
    def failed(self) -> int:
        """Return how many attempts in a row came to nothing."""
        return self._failed

    def worked(self) -> None:
        """Begin anew: a link held for a while."""
        self._failed = 0

    def next(self, chance: float, *, refused: bool) -> float:
        """Return the seconds until the next attempt. `chance` is evenly drawn from 0 up to 1."""
        timings = self._timings
        longest = min(timings.first_pause * 2 ** min(self._failed, 32), timings.longest_pause)
        self._failed += 1
        return timings.refused_pause * (1 + chance) / 2 if refused else longest * chance
