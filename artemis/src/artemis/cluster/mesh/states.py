"""What can be told of each peer: for status pages, metrics and `artemis cluster status`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from artemis.cluster.mesh.accepting import Accepted
    from artemis.cluster.mesh.dialler import Dialler
    from artemis.cluster.standing import Standing


class LinkState(msgspec.Struct, frozen=True, kw_only=True):
    """One peer. Times are milliseconds; empty or 0 is what is not known.

    `url` is what is dialled, or announced by one that only dials us; `configured` says that it was given. `connected`
    says whether we can send to it, for `connected_for`; `receiving` whether it can send to us, `heard_ago` when it did
    last. `status` is what the node says of itself (spec 6.3). `skew` is how far its wall clock is ahead of ours, to
    within `skew_error`. `refusal` is the code of why there is no link, `error` a sentence on what went wrong last.
    All that was sent to it until `confirmed`, in monotonic milliseconds, has come, None where nobody knows.
    `queued` messages of `queued_bytes` wait to be sent, `dropped` were.
    """

    url: str
    configured: bool
    connected: bool
    receiving: bool
    node: str = ""
    epoch: int = 0
    zone: str = ""
    protocol: int = 0
    status: str = ""
    connected_for: int = 0
    heard_ago: int | None = None
    rtt: int = 0
    skew: int = 0
    skew_error: int = 0
    queued: int = 0
    queued_bytes: int = 0
    sent: int = 0
    received: int = 0
    received_bytes: int = 0
    dropped: int = 0
    links: int = 0
    attempts: int = 0
    refusal: str = ""
    error: str = ""
    confirmed: int | None = None


def link_state(now: int, dialler: Dialler | None, connection: Accepted | None, standing: Standing | None) -> LinkState:
    """Return what is known of a peer that we dial, or that dials us, or both."""
    peer = dialler.peer if dialler is not None else None
    if peer is None and connection is not None:
        peer = connection.peer
    skew = peer.skew if peer is not None else None
    if dialler is not None and dialler.skew is not None:
        skew = dialler.skew
    party = peer.party if peer is not None else None
    told = LinkState(
        url=str(dialler.url) if dialler is not None else "" if party is None else party.dialled_at,
        configured=dialler is not None and dialler.configured,
        connected=dialler is not None and dialler.peer is not None,
        receiving=connection is not None,
        node="" if party is None else party.node,
        epoch=0 if party is None else party.epoch,
        zone="" if party is None else party.zone,
        protocol=0 if peer is None else peer.protocol,
        status="" if standing is None else standing.status,
        skew=0 if skew is None else skew.offset,
        skew_error=0 if skew is None else skew.error,
    )
    if connection is not None:
        told = msgspec.structs.replace(
            told,
            heard_ago=now - connection.heard,
            received=connection.received,
            received_bytes=connection.received_bytes,
        )
    if dialler is not None:
        told = msgspec.structs.replace(
            told,
            connected_for=now - dialler.since if told.connected else 0,
            rtt=dialler.rtt,
            queued=len(dialler.queue),
            queued_bytes=dialler.queue.size,
            sent=dialler.sent,
            confirmed=dialler.confirmed if told.connected else None,
            dropped=dialler.queue.dropped,
            links=dialler.links,
            attempts=dialler.attempts,
            refusal="" if dialler.refusal is None else dialler.refusal.code,
            error=dialler.error,
        )
    return told
