"""A node that was met: who it is, what it says of itself, and what is thought of it (design 4.1).

Pure: milliseconds of the own monotonic clock come in. Not here: who is a member (`members`).
"""

from __future__ import annotations

import msgspec

from artemis.cluster.addresses import PeerUrl
from artemis.cluster.standing import Standing
from artemis.cluster.suspicion import Patience, Presence, Suspicion
from artemis.model.nodes import DOWN, UNKNOWN

_SOON = 100
"""Milliseconds that are a moment for people."""

_UNTOLD = Standing()


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """Who a node is, as it says at the handshake. `url` is where clients and nodes reach it, `link` where nodes do if
    that is elsewhere."""

    node: str
    epoch: int
    url: PeerUrl
    zone: str
    link: PeerUrl | None = None

    @property
    def dialled_at(self) -> PeerUrl:
        """Return where links with it are made."""
        return self.link or self.url


class Member:
    """A node that was met."""

    __slots__ = ("announced", "dialled", "ended", "left", "standing", "suspicion", "unreached")

    def __init__(self, announced: Announced, patience: Patience, now: int) -> None:
        self.announced = announced
        self.suspicion = Suspicion(patience, now)
        self.standing = Standing()
        self.left = False
        #: Where it was linked by dialling last, None for nowhere yet.
        self.dialled: PeerUrl | None = None
        #: Why it cannot send to us, and why we cannot send to it; empty while that is possible or not known.
        self.ended = ""
        self.unreached = ""

    @property
    def serves_registry(self) -> bool:
        """Whether it may accept registrations: it says so, or has not said anything yet."""
        return (
            self.standing.registry
            or self.standing.draining
            or (self.standing.status == UNKNOWN and not self.standing.metadata)
        )

    def thought_of(self, now: int) -> tuple[str, str]:
        """Return the status to tell others of it, and a sentence on why, empty where all is well."""
        suspicion = self.suspicion
        silent = f"nothing was heard of it for {suspicion.silent(now) / 1000:.1f} s"
        if self.left:
            return DOWN, "it said farewell"
        if suspicion.presence is Presence.GONE:
            return DOWN, _sentence(silent, self.ended, self.unreached)
        if suspicion.presence is Presence.SUSPECTED:
            return UNKNOWN, _sentence(silent, self.ended, self.unreached)
        if suspicion.presence is Presence.RETURNING:
            times = "1 interruption" if suspicion.flaps == 1 else f"{suspicion.flaps} interruptions"
            left = suspicion.patience_left(now)
            when = f"if it is steady for {left / 1000:.1f} s more" if left >= _SOON else "in a moment"
            return UNKNOWN, _sentence(f"it is back after {times}; it is believed {when}", self.unreached)
        if self.standing == _UNTOLD:
            return UNKNOWN, _sentence("it has not said yet what it serves", self.unreached)
        return self.standing.status, _sentence(self.standing.why, self.unreached)


def _sentence(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
