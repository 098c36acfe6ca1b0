"""What servers deny a node of the subjects on which nodes talk to each other, until that was tried again with success.

A server tells of each message that it denies, and of a subscription once; of what it takes it tells nothing, so what
was tried and not denied for a while is permitted. Pure: milliseconds of the own monotonic clock come in. Not here: what
is denied of the bucket, of which its answers tell (`session`, `bucket`).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from artemis.cluster.nats.names import Names

SETTLED = 2_000
"""Milliseconds after which something that was tried and not denied counts as permitted."""
AGAIN = 5_000
"""Milliseconds between two attempts at a subscription that was denied."""

_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"', re.IGNORECASE)


class Use(StrEnum):
    """What a subject is used for."""

    SAY = "publish"
    HEAR = "subscription"


class _Denial(msgspec.Struct):
    """`at` is when it was told last, `tried` when that was tried first after it."""

    at: int
    tried: int | None = None


class _Subject(NamedTuple):
    use: Use
    name: str


class Denials:
    """Owned by the carrier, one for each connection. Names of subjects are taken in any letter case."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._denied: dict[_Subject, _Denial] = {}

    def take(self, text: str, now: int) -> None:
        """Take note of what a server said, if it is about such a subject."""
        found = _DENIED.search(text)
        if found is not None and found[2].lower().startswith(self._names.words):
            self._denied[self._key(Use(found[1].lower()), found[2])] = _Denial(now)

    def tried(self, use: Use, subject: str, now: int) -> None:
        """Something was sent to a subject, or it was subscribed to. Cheap while nothing is denied."""
        if self._denied:
            denial = self._denied.get(self._key(use, subject))
            if denial is not None and denial.tried is None:
                denial.tried = now

    def tick(self, now: int) -> None:
        """Let time pass."""
        for key, denial in list(self._denied.items()):
            if denial.tried is not None and now - denial.tried >= SETTLED:
                del self._denied[key]

    def due(self, now: int) -> list[str]:
        """Return the subjects to which it is time to subscribe again."""
        return [
            key.name
            for key, denial in self._denied.items()
            if key.use is Use.HEAR and denial.tried is None and now - denial.at >= AGAIN
        ]

    def __bool__(self) -> bool:
        """Tell whether anything is denied: who may not say anything hears nothing of use either, as nodes agree first
        on the numbers by which they tell of renewals."""
        return bool(self._denied)

    @property
    def why(self) -> str:
        """Return what is denied and which permissions that takes, a sentence without a full stop; empty for nothing."""
        found = []
        for use, effect, word in (
            (Use.HEAR, "this node does not hear the others", "subscribe to"),
            (Use.SAY, "the others do not hear this node", "publish to"),
        ):
            if any(key.use is use for key in self._denied):
                found.append(f"{effect}; permit it to {word} {self._names.words}>")
        return "; ".join(found)

    def _key(self, use: Use, subject: str) -> _Subject:
        """Return what a subject counts as: those of single nodes as one, because one rule is about all of them."""
        name = subject.lower()
        shared = use is Use.SAY and name.startswith(self._names.nodes)
        return _Subject(use, self._names.nodes if shared else name)
