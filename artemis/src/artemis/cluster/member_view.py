"""What is told of one member at one moment, or of a configured address where none is. Pure.

Not here: who is a member (`members`), and what is thought of one (`member`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.addresses import PeerUrl
from artemis.cluster.standing import Standing

if TYPE_CHECKING:
    from artemis.cluster.configured import Address
    from artemis.cluster.member import Member


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A member at one moment. `node` is empty and `epoch` 0 for one that was not met yet.

    `status` is what to tell others of it: what it says of itself while it is believed, else `unknown` or `down`; then
    `standing` serves nothing. `since` is how long it has been thought of so, `silent` how long it has not been heard,
    None for never, both in milliseconds; `skew` by how much its wall clock is ahead, None if unknown. `flaps` counts
    interruptions that are not forgotten. `why` is a sentence, empty for one that is well.
    """

    node: str
    epoch: int
    url: PeerUrl
    zone: str
    configured: bool
    presence: str
    status: str
    standing: Standing
    since: int
    silent: int | None
    skew: int | None
    flaps: int
    why: str


def view_of(node: str, member: Member, *, configured: bool, skew: int | None, now: int) -> MemberView:
    """Show a node that was met; `skew` is by how many milliseconds its wall clock is ahead."""
    announced, suspicion = member.announced, member.suspicion
    status, why = member.thought_of(now)
    silenced = Standing(status=status, metadata=member.standing.metadata)
    return MemberView(
        node=node,
        epoch=announced.epoch,
        url=announced.url,
        zone=announced.zone,
        configured=configured,
        presence="left" if member.left else suspicion.presence.value,
        status=status,
        standing=member.standing if status == member.standing.status else silenced,
        since=now - suspicion.since,
        silent=max(0, now - suspicion.heard),
        skew=skew,
        flaps=suspicion.flaps,
        why=why,
    )


def nobody_at(address: Address, *, presence: str, status: str, since: int, why: str) -> MemberView:
    """Show a configured address at which no member is, or none any more."""
    return MemberView(
        node="",
        epoch=0,
        url=address.url,
        zone="",
        configured=True,
        presence=presence,
        status=status,
        standing=Standing(),
        since=since,
        silent=None,
        skew=None,
        flaps=0,
        why=why,
    )
