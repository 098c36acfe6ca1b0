"""One connection of a pool, as the pool keeps it. Not here: what becomes of it (`pool.shelf`)."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from msgtrans.pool.stats import MemberState


class Pooled(Protocol):
    """What is on the shelf."""

    @property
    def uri(self) -> str:
        """Where it leads."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether it can be used."""
        ...


ClientT = TypeVar("ClientT", bound=Pooled)


class Member(Generic[ClientT]):
    """One connection of the pool. ends_at: when it is too old. renew_after: seconds after which it is replaced when it
    is idle, and needed. idle_since, checked_at: the latest such moment.
    """

    __slots__ = (
        "checked_at", "client", "created_at", "ends_at", "id", "idle_since", "reason", "renew_after", "state",
        "use_count",
    )  # fmt: skip

    def __init__(self, member_id: int, client: ClientT, now: float, ends_at: float, renew_after: float) -> None:
        self.id = member_id
        self.client = client
        self.created_at = self.idle_since = self.checked_at = now
        self.ends_at = ends_at
        self.renew_after = renew_after
        self.state = MemberState.MAINTENANCE
        self.use_count = 0
        self.reason = ""  # why it left
