"""What a client knows about one instance from its own requests, and the groups that requests are dealt out to.

Only data: it is written under the lock of `choices`, by it, `outliers` and `strategies`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from artemis.client.balancing.rendezvous import halves

if TYPE_CHECKING:
    from artemis.client.balancing.rendezvous import Lanes
    from artemis.client.names import Key
    from artemis.model import Instance


class Member:
    """One instance of a service, the same object for as long as the instance is shown."""

    __slots__ = (
        "_halves",
        "ejections",
        "failures",
        "instance",
        "key",
        "latency",
        "outstanding",
        "resting_until",
        "sampled",
    )

    def __init__(self, instance: Instance, key: Key) -> None:
        self.instance = instance
        self.key = key
        self.outstanding = 0
        """Requests that have begun and not ended."""
        self.latency: float | None = None
        """Moving average of what answered requests took, in seconds; None before the first."""
        self.sampled = 0.0
        """When ``latency`` was last renewed."""
        self.failures = 0
        """Failed requests since the last that succeeded."""
        self.ejections = 0
        """How often in a row it was left out."""
        self.resting_until: float | None = None
        """Until when it is left out; None: it is not."""
        self._halves: tuple[bytes, bytes] | None = None

    @property
    def seed(self) -> int:
        """64 bits that stand for the identity of the instance, the same in every process."""
        return int.from_bytes(blake2b("\0".join(self.key).encode(), digest_size=8).digest(), "big")

    @property
    def halves(self) -> tuple[bytes, bytes]:
        """The seed as `Lanes` take it, worked out once."""
        if self._halves is None:
            self._halves = halves(self.seed)
        return self._halves


class Lot:
    """One group of one route, as requests are dealt out to it: who is in it, who of them is able, whose turn it is."""

    __slots__ = ("able", "credit", "key", "lanes", "members", "owners", "turn", "weight")

    def __init__(self, key: str, weight: int, turn: int) -> None:
        self.key = key
        self.weight = weight
        self.turn = turn
        """Counts the choices in turn; starts anywhere, so that many callers do not start at one instance."""
        self.credit = 0
        """What smooth weighted round robin owes it."""
        self.members: tuple[Member, ...] = ()
        self.able: tuple[Member, ...] = ()
        """Those that are not left out."""
        self.owners: dict[int, Member] = {}
        """Who of ``able`` has which slot of consistent hashing, as far as somebody asked."""
        self.lanes: Lanes | None = None
        """``able`` as consistent hashing compares them, made when it is first used."""

    def narrow(self, able: tuple[Member, ...]) -> None:
        """Say who is able from now on."""
        if able != self.able:
            self.able = able
            self.owners = {}
            self.lanes = None
