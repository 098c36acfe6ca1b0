"""Another process around the engine that says to be this node: which of the two ends (design 4.1).

One that serves stays rather than one that starts, and of two that serve the one that started later, as the place of a
node that was cut off may have been taken on another machine. Pure. Not here: signs of life (`signs`).
"""

from __future__ import annotations

from artemis.cluster.engine.signs import Sign
from artemis.cluster.mesh.handshake import Party
from artemis.cluster.mesh.wording import quoted
from artemis.model.nodes import UP

_CONVINCING = 2
"""Signs after which it is no word that was under way when it ended."""

_KEPT = 60_000
"""Milliseconds of silence after which it is another one that is heard."""


class Twins:
    """What one node knows of another one with its id. Owned by `Announcing`."""

    def __init__(self, me: Party) -> None:
        self._me = me
        self._sign: Sign | None = None
        self._epoch = self._heard = self._count = 0
        self._told = False

    def taken(self, now: int, patience: int) -> str:
        """Return what is to be said of it, empty if there is none or it was silent for `patience` milliseconds."""
        if self._sign is None or now - self._heard > patience:
            return ""
        return f"it is in use by {quoted(self._sign.url)}, started as {self._epoch}"

    def hear(self, epoch: int, sign: Sign, up: bool, now: int) -> tuple[str, bool] | None:
        """Take in a sign of it; `up` says whether this node serves.

        Returns which of the two ends, as a sentence and whether this one stays, None while there is nothing new to say.
        """
        if epoch <= self._me.epoch and sign.url == self._me.url:
            return None  # the own words, which waited where a connection was cut off, however many that are
        if sign.ends:
            self._sign = None
            return None
        known = self._sign
        if known is None or self._epoch != epoch or known.url != sign.url or now - self._heard > _KEPT:
            self._epoch, self._count, self._told = epoch, 0, False
        self._sign, self._heard = sign, now
        self._count += 1
        if self._count < _CONVINCING:
            return None
        me = self._me
        stays = (up, me.epoch, me.url) > (sign.standing.status == UP, epoch, sign.url)
        if stays and self._told:
            return None
        self._told = True
        urls = (me.url, sign.url) if stays else (sign.url, me.url)
        text = (
            f"there are two nodes with the id {quoted(me.node)}, and no two may use the same data directory or a "
            f"copy of it: {quoted(urls[0])} stays, {quoted(urls[1])} ends"
        )
        return text, stays
