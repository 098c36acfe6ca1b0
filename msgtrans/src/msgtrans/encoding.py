"""Packets to bytes (specification 1.1 to 1.5), checked against the limits. Not here: reading them (`codec`)."""

from __future__ import annotations

import struct

from msgtrans.compression import deflate
from msgtrans.config.codec import DEFAULT_OPTIONS, CodecOptions
from msgtrans.errors import LocalProtocolError
from msgtrans.packet import HEADER_SIZE, RESPONSE, Packet, pack_header
from msgtrans.packet import PLAIN_MARKER as _PLAIN


def encode(packet: Packet, options: CodecOptions = DEFAULT_OPTIONS) -> bytes:
    """The bytes of `packet`. Raises LocalProtocolError when a field is out of range or a limit is exceeded."""
    return encode_fields(
        packet.packet_type,
        packet.message_id,
        packet.payload,
        packet.biz_type,
        packet.ext_header,
        packet.flags,
        packet.compression,
        options,
    )


def encode_fields(
    packet_type: int,
    message_id: int,
    payload: bytes,
    biz_type: int,
    ext_header: bytes,
    flags: int,
    compression: int,
    options: CodecOptions,
) -> bytes:
    """As `encode`, without a packet object in between.

    A payload that compression does not make smaller travels plain, with code 0: the code never lies.
    bytearray and memoryview are taken too; anything else is a TypeError that names the field.
    """
    if type(payload) is not bytes:
        payload = _as_bytes("payload", payload)
    if flags and flags & options.refused_flags:
        raise LocalProtocolError(f"flags {flags & options.refused_flags:#06x} must not be sent to this peer")
    if not compression and 0 <= packet_type <= RESPONSE and len(payload) <= options.max_payload_size:
        try:  # the way of nearly all packets
            if not ext_header:
                return pack_header(_PLAIN, packet_type, biz_type, message_id, 0, len(payload), flags) + payload
            size = len(ext_header)
            if type(ext_header) is bytes and size <= options.max_ext_header_size and options.max_packet_size is None:
                head = pack_header(_PLAIN, packet_type, biz_type, message_id, size, len(payload), flags)
                return b"".join((head, ext_header, payload))
        except struct.error as error:
            raise _out_of_range(biz_type, message_id, flags) from error
    if type(ext_header) is not bytes:
        ext_header = _as_bytes("ext_header", ext_header)
    _check(packet_type, len(ext_header), len(payload), options)
    marker = _PLAIN
    if compression and options.compress:
        body = deflate(compression, payload)
        if len(body) < len(payload):
            marker, payload = _PLAIN | compression, body
    try:
        head = pack_header(marker, packet_type, biz_type, message_id, len(ext_header), len(payload), flags)
    except struct.error as error:
        raise _out_of_range(biz_type, message_id, flags) from error
    return b"".join((head, ext_header, payload))


def _check(packet_type: int, ext_size: int, size: int, options: CodecOptions) -> None:
    """Raise LocalProtocolError for what exceeds a limit, or is of no type."""
    if size > options.max_payload_size:
        raise LocalProtocolError(f"a payload of {size} bytes exceeds max_payload_size, {options.max_payload_size}")
    if ext_size > options.max_ext_header_size:
        raise LocalProtocolError(
            f"an ext header of {ext_size} bytes exceeds max_ext_header_size, {options.max_ext_header_size}"
        )
    packet_size, most = HEADER_SIZE + ext_size + size, options.max_packet_size
    if most is not None and packet_size > most:
        raise LocalProtocolError(
            f"a packet of {packet_size} bytes, ext header included, exceeds max_packet_size, {most}"
        )
    if not 0 <= packet_type <= RESPONSE:
        raise LocalProtocolError(f"packet type {packet_type} is unknown; use 0 (one-way), 1 (request) or 2 (response)")


def _as_bytes(field: str, value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    advice = "; encode it" if isinstance(value, str) else ""
    raise TypeError(f"{field} must be bytes, not {type(value).__name__}{advice}")


def _out_of_range(biz_type: int, message_id: int, flags: int) -> LocalProtocolError:
    return LocalProtocolError(
        f"a header field is out of range: biz_type {biz_type} (8 bits), message_id {message_id} (32 bits), "
        f"flags {flags} (16 bits)"
    )
