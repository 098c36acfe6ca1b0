"""Peer profiles: what peers of other versions need, under one name (specification 2.1 to 2.4, 1.7, 8).

Pure data, and how it becomes part of a session's config. A profile narrows and loosens what is there, it never widens a
limit: of two limits the lesser holds, of two pacings the one that is given in words.
Not here: what comes of it (`encoding`, `paced`, the adapters), and what nobody can leave out, as answers that do not
echo biz_type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from msgtrans.config.codec import MIB
from msgtrans.config.pacing import Pacing
from msgtrans.packet import HEADER_SIZE, Flag

if TYPE_CHECKING:
    from msgtrans.config.session import SessionConfig

PeerProfile: TypeAlias = Literal["modern", "rust-1.0", "rust-1.0-legacy"]


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile sets for one transport; what is None or off stays as it is.

    max_payload_size, max_packet_size: the most that is sent. lenient: `frame_policy`. raw: `on_bad_compression`.
    plain: nothing is compressed. whole: FRAGMENTED is never set. pacing, max_unanswered: as in `SessionConfig`.
    mapping: what a QUIC client uses unless told. bare: a QUIC client may offer no application protocol.
    """

    max_payload_size: int | None = None
    max_packet_size: int | None = None
    lenient: bool = False
    raw: bool = False
    plain: bool = False
    whole: bool = False
    pacing: Pacing | None = None
    max_unanswered: int | None = None
    mapping: Literal["stream", "uni"] = "stream"
    bare: bool = False


MODERN: Final = Needs()
_LARGE: Final = 64 * MIB
_UNHURRIED: Final = Pacing(max_packet_size=_LARGE)  # settles and keeps the gap; the size is not the trouble there
IN_FLIGHT: Final = 8
"""Half of the 16 events that a legacy peer's bus holds: each request of ours becomes two, it and its answer."""

PROFILES: Final[dict[PeerProfile, dict[str, Needs]]] = {
    "modern": {},
    "rust-1.0": {
        "tcp": Needs(max_payload_size=MIB, raw=True, whole=True),
        "websocket": Needs(lenient=True, raw=True, whole=True),
        "quic": Needs(max_packet_size=16 * MIB, lenient=True, raw=True, whole=True, bare=True),
    },
    "rust-1.0-legacy": {
        "tcp": Needs(raw=True, plain=True, whole=True, pacing=Pacing(), max_unanswered=IN_FLIGHT),
        "websocket": Needs(lenient=True, raw=True, plain=True, whole=True, pacing=_UNHURRIED, max_unanswered=IN_FLIGHT),
        "quic": Needs(
            max_packet_size=MIB,
            lenient=True,
            raw=True,
            plain=True,
            whole=True,
            pacing=_UNHURRIED,
            max_unanswered=IN_FLIGHT,
            mapping="uni",
            bare=True,
        ),
    },
}


def needs_of(profile: PeerProfile, transport: str) -> Needs:
    """What `profile` sets for the transport of that name; nothing for one that it does not know."""
    return PROFILES[profile].get(transport, MODERN)


def for_peers(base: SessionConfig, profile: PeerProfile, transport: str, pacing: Pacing | None = None) -> SessionConfig:
    """`base`, with what peers of that profile need. pacing: one given in words, which goes before the profile's."""
    needs = needs_of(profile, transport)
    pacing = pacing or base.pacing or needs.pacing
    config = base if needs is MODERN else _narrowed(base, needs)
    return config if pacing is None else pacing.session_config(config)


def _narrowed(base: SessionConfig, needs: Needs) -> SessionConfig:
    codec = base.codec
    packet = _least(codec.max_packet_size, needs.max_packet_size)
    payload = _least(codec.max_payload_size, needs.max_payload_size)
    if packet is not None and payload is not None:
        payload = min(payload, packet - HEADER_SIZE)
    return base.replace(
        codec=codec.replace(
            max_payload_size=payload,
            max_packet_size=packet,
            frame_policy="lenient" if needs.lenient else codec.frame_policy,
            on_bad_compression="raw" if needs.raw else codec.on_bad_compression,
            compress=codec.compress and not needs.plain,
            refused_flags=codec.refused_flags | (Flag.FRAGMENTED if needs.whole else 0),
        ),
        max_unanswered=_least(base.max_unanswered, needs.max_unanswered),
    )


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)
