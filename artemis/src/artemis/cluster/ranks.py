"""Who gives up a silent lease, and after whom: its owner first, then the other members in an order of its own [ranks].

No opinion on who is up goes into it (design 4.1 "Who expires"). Not here: the waiting itself
(`artemis.registry.leases`).
"""

from collections.abc import Collection
from hashlib import blake2b

from artemis.registry import Lease


class Ranks:
    """The order of the members for every lease. Owned by a replica."""

    __slots__ = ("_me", "members")

    def __init__(self, me: str) -> None:
        self._me = me
        self.members: tuple[str, ...] = (me,)

    def set_members(self, members: Collection[str]) -> None:
        """Count with these members, own id included or not, from now on."""
        self.members = tuple(sorted({*members, self._me}))

    def of(self, lease: Lease) -> int:
        """Return how many members give the lease up before this node does: 0 at its owner, who heard it last."""
        owner, me = lease.renewed[1], self._me
        if owner == me:
            return 0
        _, service, instance = lease.record.key
        own = _weight(service, instance, me)
        return 1 + sum(_weight(service, instance, other) < own for other in self.members if other not in (me, owner))


def _weight(service: str, instance: str, member: str) -> tuple[bytes, str]:
    return blake2b(f"{service}\0{instance}\0{member}".encode(), digest_size=8).digest(), member
