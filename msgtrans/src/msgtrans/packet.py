"""The packet: what travels, as an immutable record (specification 1.1, 1.2, 1.4).

Not here: bytes, but for the layout of the header. `codec` turns packets into bytes and back.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

import msgspec

ONE_WAY: Final = 0
REQUEST: Final = 1
RESPONSE: Final = 2

PROTOCOL_VERSION: Final = 1
HEADER_SIZE: Final = 16
MAX_MESSAGE_ID: Final = 0xFFFF_FFFF

# The two bytes version and compression are one number here: a plain packet of this version has 0x0100.
PLAIN_MARKER: Final = PROTOCOL_VERSION << 8
_HEADER: Final = struct.Struct(">HBBIHIH")  # marker, type, biz_type, message id, sizes of ext header and payload, flags
pack_header = _HEADER.pack
unpack_header = _HEADER.unpack_from


class PacketType(IntEnum):
    """Names for `Packet.packet_type`. The hot paths use the plain integers of the same names."""

    ONE_WAY = ONE_WAY
    REQUEST = REQUEST
    RESPONSE = RESPONSE


class Compression(IntEnum):
    """Names for `Packet.compression` (specification 1.3)."""

    NONE = 0
    ZSTD = 1
    ZLIB = 2


class Flag(IntFlag):
    """The assigned bits of `Packet.flags`; all 16 bits are carried unchanged (specification 1.4).

    Nobody reassembles fragments; what that bit and the route tag mean is left to the application. A session of ours
    sends what has HIGH_PRIORITY, and answers to it, ahead of other data; a Rust peer does nothing with it.
    """

    FRAGMENTED = 0x0001
    HIGH_PRIORITY = 0x0002
    HAS_ROUTE_TAG = 0x0004


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One packet.

    packet_type: 0 one-way, 1 request, 2 response (`PacketType`).
    message_id: 0 to 2**32 - 1; a response repeats the id of its request.
    payload: the plain bytes; on receive already inflated.
    biz_type: 0 to 255, opaque to the transport.
    ext_header: up to 65 535 bytes, never compressed.
    flags: 16 bits, called "reserved" on the wire.
    compression: how the payload travels (`Compression`); on receive the code the sender used, on encode the one to use.
    """

    packet_type: int
    message_id: int
    payload: bytes = b""
    biz_type: int = 0
    ext_header: bytes = b""
    flags: int = 0
    compression: int = 0
