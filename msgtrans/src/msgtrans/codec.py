"""Packets to bytes and back (specification 1.1 to 1.8), without any I/O: mostly back.

`encode` gives the bytes of one packet, `decode` reads one packet that fills its bytes (a message-based transport),
`PacketDecoder` reads a stream that is cut anywhere.
Not here: how a packet is written (`encoding`), options (`config.codec`), sockets, sessions, who answers what.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

from msgtrans.assembly import PIECE, Assembly
from msgtrans.compression import inflate
from msgtrans.config.codec import DEFAULT_OPTIONS, CodecOptions
from msgtrans.encoding import encode, encode_fields
from msgtrans.errors import RemoteProtocolError, TransportError
from msgtrans.packet import HEADER_SIZE, PLAIN_MARKER, PROTOCOL_VERSION, RESPONSE, Compression, Packet
from msgtrans.packet import unpack_header as _unpack_header

if TYPE_CHECKING:
    from msgtrans.pool.buffers import BufferPool

ASSEMBLED: Final = 2 * PIECE  # bytes; above it a packet of several reads is put together in pieces of a pool,
MOST_ASSEMBLED: Final = 3 * PIECE + HEADER_SIZE  # up to so many; beyond, pieces cost more than they bring

_PLAIN: Final = PLAIN_MARKER
logger = logging.getLogger(__name__)
__all__ = [
    "ASSEMBLED",
    "MOST_ASSEMBLED",
    "PLAIN_MARKER",
    "CodecOptions",
    "PacketDecoder",
    "decode",
    "decode_plain",
    "encode",
    "encode_fields",
    "first_size",
    "type_and_id",
]


def type_and_id(frame: bytes) -> tuple[int, int]:
    """The packet type and message id of an encoded packet."""
    fields: tuple[int, ...] = _unpack_header(frame)
    return fields[1], fields[3]


def decode(data: bytes, options: CodecOptions = DEFAULT_OPTIONS) -> Packet:
    """The packet that fills `data`. Bytes after it are refused when strict and ignored when lenient.

    Raises RemoteProtocolError for everything that is not one whole packet within the limits.
    """
    plain = decode_plain(data, options.max_payload_size)
    if plain is not None:
        return plain
    decoder = PacketDecoder(options)
    packet = next(iter(decoder.feed(data)), None)
    if packet is None:
        raise decoder.error or RemoteProtocolError(f"{len(data)} bytes are less than the packet they begin")
    if options.frame_policy == "strict" and len(data) != decoder.first_size:
        raise RemoteProtocolError(f"{len(data) - decoder.first_size} bytes follow the packet")
    return packet


def decode_plain(data: bytes, max_payload: int) -> Packet | None:
    """The packet that fills `data`, if it is one without ext header and compression, as most are; None for the rest."""
    if len(data) < HEADER_SIZE:
        return None
    marker, kind, biz_type, message_id, ext_size, size, flags = _unpack_header(data)
    if (
        marker == _PLAIN
        and HEADER_SIZE + size == len(data)
        and not ext_size
        and kind <= RESPONSE
        and size <= max_payload
    ):
        return Packet(kind, message_id, data[HEADER_SIZE:], biz_type, b"", flags)
    return None


def first_size(data: bytes, options: CodecOptions = DEFAULT_OPTIONS) -> int:
    """The size of the packet that `data` begins with, whatever its type and compression; 0 if none within the limits
    is there as a whole.
    """
    if len(data) < HEADER_SIZE:
        return 0
    marker, _, _, _, ext_size, size, _ = _unpack_header(data)
    whole = HEADER_SIZE + ext_size + size
    within = ext_size <= options.max_ext_header_size and size <= options.max_payload_size and whole <= len(data)
    return whole if within and marker >> 8 == PROTOCOL_VERSION else 0


class PacketDecoder:
    """Reads packets from a byte stream that is cut anywhere. Owned by one connection; not for concurrent use.

    Limits are applied to the header, before any of the body is kept. A violation never raises: `feed` returns the
    packets before it, `error` then holds it, and every later `feed` returns nothing. The caller delivers what it
    got, then closes. When `more` is true, `feed` stopped early because it has inflated `max_inflated_size` bytes:
    call `feed(b"")` in a later turn of the loop. `bad_compression` counts payloads handed over as they came. While
    `halted` is false, none of the three needs a look.
    buffers: lends the memory in which packets of 128 to 192 KiB that come in several reads are put together; call
    `release` then when the stream ends. None: each has a buffer of its own. recognition: whether plain packets, and a
    single one, take a shorter way; what comes out is the same.
    """

    __slots__ = (
        "_buffers",
        "_head",
        "_least",
        "_max_payload",
        "_need",
        "_options",
        "_rest",
        "bad_compression",
        "error",
        "first_size",
        "halted",
        "more",
    )

    def __init__(
        self,
        options: CodecOptions = DEFAULT_OPTIONS,
        *,
        buffers: BufferPool | None = None,
        recognition: bool = True,
    ) -> None:
        self._options = options
        self._least = HEADER_SIZE if recognition else sys.maxsize  # bytes of a read that may be a single packet
        self._buffers = buffers
        self._max_payload = options.max_payload_size
        self._rest: bytearray | Assembly | None = None
        self._need = 0  # bytes that _rest must hold before parsing can go on
        self._head: tuple[int, int, int, int, int, int, int] | None = None
        self.error: TransportError | None = None
        self.more = False
        self.bad_compression = 0
        self.halted = False
        self.first_size = 0

    @property
    def partial(self) -> bool:
        """Whether the bytes fed so far end inside a packet."""
        return bool(self._rest)

    @property
    def kept(self) -> int:
        """Bytes of memory it keeps for what is not a whole packet yet."""
        return len(self._rest) if self._rest is not None else 0

    def release(self) -> None:
        """The stream ends: keep nothing."""
        rest, self._rest = self._rest, None
        if isinstance(rest, Assembly):
            rest.release()

    def feed(self, data: bytes | bytearray | memoryview) -> list[Packet]:
        """Take `data` (copied where it must outlive the call) and return the packets that are now complete."""
        rest = self._rest
        if rest is None and len(data) >= self._least and self.error is None:
            # The way of a read that holds exactly one plain packet, as of peers that ask one thing at a time.
            if type(data) is not bytes:
                data = bytes(data)
            marker, kind, biz_type, message_id, ext_size, size, flags = _unpack_header(data)
            stop = HEADER_SIZE + size
            if (
                marker == _PLAIN
                and stop == len(data)
                and not ext_size
                and kind <= RESPONSE
                and size <= self._max_payload
            ):
                self.first_size = stop
                return [Packet(kind, message_id, data[HEADER_SIZE:], biz_type, b"", flags)]
        packets: list[Packet] = []
        if self.error is not None:
            return packets
        try:
            if rest is not None:
                behind = self._continue(rest, data, packets)
                if behind is None:
                    return packets
                data = behind
            elif type(data) is not bytes:
                data = bytes(data)
            self._parse(data, packets)
        except TransportError as error:
            self.error = error
            self.halted = True
            self._rest = None
        return packets

    def _parse(self, data: bytes, packets: list[Packet]) -> None:
        max_payload = self._max_payload
        unpack, end, at, inflated = _unpack_header, len(data), 0, 0
        plain = _PLAIN if self._least == HEADER_SIZE else -1
        self.more = False
        while end - at >= HEADER_SIZE:
            marker, kind, biz_type, message_id, ext_size, size, flags = unpack(data, at)
            if marker != plain or kind > RESPONSE:
                marker, kind = self._irregular(marker, kind)
            if size > max_payload:
                raise RemoteProtocolError(f"a payload of {size} bytes is announced, max_payload_size is {max_payload}")
            if ext_size and ext_size > self._options.max_ext_header_size:
                raise RemoteProtocolError(
                    f"an ext header of {ext_size} bytes is announced, "
                    f"max_ext_header_size is {self._options.max_ext_header_size}"
                )
            body = at + HEADER_SIZE
            ext_header = b""
            if ext_size:
                ext_header = data[body : body + ext_size]
                body += ext_size
            stop = body + size
            if stop > end:
                self._head = (marker, kind, biz_type, message_id, ext_size, size, flags)
                self._need = stop - at
                buffers = self._buffers
                if buffers is None or not ASSEMBLED < self._need <= MOST_ASSEMBLED or end - at < PIECE // 2:
                    self._rest = bytearray(data[at:])
                else:
                    self._rest = Assembly(self._need, buffers)
                    self._rest.take(memoryview(data)[at:])
                return
            payload = data[body:stop]
            if not at:
                self.first_size = stop
            at = stop
            if marker == _PLAIN:
                packets.append(Packet(kind, message_id, payload, biz_type, ext_header, flags))
                continue
            payload = self._inflate(marker & 0xFF, payload)
            packets.append(Packet(kind, message_id, payload, biz_type, ext_header, flags, marker & 0xFF))
            inflated += len(payload)
            if inflated >= self._options.max_inflated_size and at < end:
                self.more = self.halted = True
                break
        if at < end:
            self._keep(data, at)

    def _keep(self, data: bytes, at: int) -> None:
        self._head = None
        self._need = 0 if self.more else HEADER_SIZE
        self._rest = bytearray(data[at:])

    def _continue(
        self, rest: bytearray | Assembly, data: bytes | bytearray | memoryview, packets: list[Packet]
    ) -> bytes | None:
        """Go on with what was not whole. Returns what is behind it; None when there is nothing to parse now."""
        if isinstance(rest, bytearray):
            buffers = self._buffers
            # Pieces only for a packet of which half a piece is here: announcing one must not cost us memory.
            if buffers is None or not ASSEMBLED < self._need <= MOST_ASSEMBLED or len(rest) + len(data) < PIECE // 2:
                rest += data
                return None if len(rest) < self._need else self._take_out(rest, packets)
            pieces = self._rest = Assembly(self._need, buffers)
            pieces.take(rest)
            rest = pieces
        taken = rest.take(data)
        if rest.missing:
            return None
        assert self._head is not None  # noqa: S101 - else nothing is assembled
        self._rest = None
        ext_header, payload = rest.split(self._head[4])
        return self._finish(ext_header, payload, bytes(data[taken:]), packets)

    def _take_out(self, rest: bytearray, packets: list[Packet]) -> bytes | None:
        """As `_continue`, when the buffer has all that was needed: a large body is copied once."""
        self._rest = None
        if self._head is None:
            return bytes(rest)
        stop, body = self._need, HEADER_SIZE + self._head[4]
        with memoryview(rest) as view:
            ext_header, payload, behind = bytes(view[HEADER_SIZE:body]), bytes(view[body:stop]), bytes(view[stop:])
        return self._finish(ext_header, payload, behind, packets)

    def _finish(self, ext_header: bytes, payload: bytes, behind: bytes, packets: list[Packet]) -> bytes | None:
        """As `_continue`, of the packet whose header is known."""
        assert self._head is not None  # noqa: S101 - the caller looked
        marker, kind, biz_type, message_id, _, _, flags = self._head
        self._head = None
        if marker != _PLAIN:
            payload = self._inflate(marker & 0xFF, payload)
            self.more = len(payload) >= self._options.max_inflated_size and bool(behind)
        packets.append(Packet(kind, message_id, payload, biz_type, ext_header, flags, marker & 0xFF))
        if not self.more:
            return behind
        self.halted = True
        self._keep(behind, 0)
        return None

    def _irregular(self, marker: int, kind: int) -> tuple[int, int]:
        version, compression = marker >> 8, marker & 0xFF
        if version != PROTOCOL_VERSION:
            raise RemoteProtocolError(f"version {version} is not spoken here, only version {PROTOCOL_VERSION}")
        lenient = self._options.frame_policy == "lenient"
        if kind > RESPONSE:
            if not lenient:
                raise RemoteProtocolError(f"packet type {kind} is unknown")
            kind = 0
        if compression > Compression.ZLIB:
            if not lenient:
                raise RemoteProtocolError(f"compression code {compression} is unknown")
            marker = _PLAIN
        return marker, kind

    def _inflate(self, code: int, payload: bytes) -> bytes:
        if not payload:
            return payload  # nothing can be inside; default-built Rust peers mark empty payloads too
        try:
            return inflate(code, payload, self._options.max_inflated_size)
        except TransportError as error:
            if self._options.on_bad_compression == "error":
                raise
            self.bad_compression += 1
            self.halted = True
            logger.debug("payload of %d bytes handed over as it came: %s", len(payload), error)
            return payload
