"""What a Java peer says of itself, and what that means (spec 6.2, 6.3). Pure.

Not here: asking it (`peer`).
"""

from __future__ import annotations

import msgspec

from artemis.model import MalformedBody, NodeStatusResponse, decode
from artemis.model.nodes import DOWN, STARTING, UNKNOWN, UP

UNMET = "unmet"
"""Not asked yet."""

REFUSED = "refused"
"""It answers, and is none that this node could replicate with."""


class JavaStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a Java peer.

    `state` is `up`, `starting`, `down`, `unknown` (it does not answer), `refused` (it is no peer) or `unmet`; `why`
    says more where it is not up. `registry` and `discovery`: whether it serves them.
    """

    state: str = UNMET
    registry: bool = False
    discovery: bool = False
    registry_from_other_zones: bool = False
    discovery_from_other_zones: bool = False
    zone: str = ""
    why: str = ""


def silent(why: str) -> JavaStanding:
    """Return the standing of a peer that did not say."""
    return JavaStanding(state=UNKNOWN, why=why)


def standing_of(body: bytes, region: str) -> JavaStanding:
    """Read the answer to a question for its status; `region` is that of this node."""
    try:
        answer = decode(NodeStatusResponse, body)
    except MalformedBody as error:
        return silent(f"its answer cannot be read: {error}")
    status = None if answer is None else answer.node_status
    if answer is None or status is None or answer.response_status.status != "success":
        return silent("it does not say its status")
    node = status.node
    if node is not None and node.node_id:
        return _refused(f"it is no Java node but node {node.node_id}; nodes of this kind are named by --peers")
    zone = None if node is None else node.zone
    if zone is not None and zone.region_id is not None and zone.region_id.lower() != region.lower():
        return _refused(f"it is in region {zone.region_id}, this node in {region}; a cluster has one region")
    known = status.status in {UP, STARTING, DOWN}
    return JavaStanding(
        state=str(status.status) if known else UNKNOWN,
        registry=_serves(status.status, status.can_service_registry),
        discovery=_serves(status.status, status.can_service_discovery),
        registry_from_other_zones=bool(status.allow_registry_from_other_zone),
        discovery_from_other_zones=bool(status.allow_discovery_from_other_zone),
        zone="" if zone is None else zone.zone_id or "",
        why="" if status.status == UP else f"it says that it is {status.status}",
    )


def _refused(why: str) -> JavaStanding:
    return JavaStanding(state=REFUSED, why=why)


def _serves(status: str | None, flag: bool | None) -> bool:
    return status == UP or (status != DOWN and bool(flag))
