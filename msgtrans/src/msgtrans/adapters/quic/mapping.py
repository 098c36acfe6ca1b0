"""How packets travel on QUIC streams (specification 2.3, 2.4): which bytes go on which stream, and back.

`StreamMapping`: all on bidirectional stream 0, each packet behind its length. `UniMapping`: each packet on a
unidirectional stream of its own, which ends with it.
Pure: what arrived on a stream goes in, packets come out; what else there is to know is told by attributes, in the way
of `codec.PacketDecoder`. A violation never raises: `feed` returns the packets before it, `error` holds it.
Not here: connections, and when anything is sent.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

from msgtrans.codec import PLAIN_MARKER, PacketDecoder, decode_plain, first_size
from msgtrans.errors import RemoteProtocolError, ResourceError
from msgtrans.packet import HEADER_SIZE, ONE_WAY, REQUEST, RESPONSE, Packet

if TYPE_CHECKING:
    from msgtrans.codec import CodecOptions
    from msgtrans.errors import TransportError

STREAM: Final = 0
"""The one stream of `StreamMapping`."""
HELLO: Final = b"\0"
"""The first byte that any frame below 16 MiB begins with. A client sends it ahead of its first packet: a server only
learns of a stream when something comes on it, and cannot send before."""
MAX_WAITING: Final = 4096
"""Streams that may wait for one before them, or be unfinished."""
_LENGTH: Final = struct.Struct(">I")
_HEADER: Final = struct.Struct(">HBBIHIH")
_unpack_length, _pack_length, _unpack_header = _LENGTH.unpack_from, _LENGTH.pack, _HEADER.unpack_from
_FILLER: Final = _pack_length(HEADER_SIZE) + _HEADER.pack(PLAIN_MARKER, RESPONSE, 0, 0, 0, 0, 0)
"""An answer to nothing, which every peer ignores: goes ahead of a first packet that HELLO is not the beginning of."""
TOGETHER: Final = 256
"""Bytes of packets that may be under way on many streams at once. The library (2.1.0) loses parts of larger ones, or
raises, when datagrams are lost or late while several streams have parts in different datagrams."""
PROBE_LIMIT: Final = 16 * 1024
"""Bytes of a request that may be sent both ways: what a Rust server does not read counts against its small window."""


def is_unidirectional(stream_id: int) -> bool:
    """Whether only its initiator sends on it."""
    return stream_id & 2 == 2


def probes(packet: bytes) -> list[tuple[int, bytes, bool]]:
    """How a client sends a request both ways, to find out by the answer which the server understands (2.4).

    As of `Mapping.take`; empty for what is no request, or too large: it would be handled twice, or block the server.
    """
    if len(packet) > PROBE_LIMIT or packet[2] != REQUEST:
        return []
    return [(STREAM, _pack_length(len(packet)) + packet, False), (2, packet, True)]


class Mapping(ABC):
    """One of the two, for one connection; not for concurrent use.

    error, more, halted, bad_compression: as of `codec.PacketDecoder`. ended: the peer has ended its stream in good
    order, and no packet follows. waiting: bytes of packets that wait for streams to be granted.
    """

    __slots__ = ("_codec", "_limit", "bad_compression", "ended", "error", "halted", "more", "waiting")

    name: str

    def __init__(self, codec: CodecOptions) -> None:
        self._codec = codec
        self._limit = HEADER_SIZE + codec.max_ext_header_size + codec.max_payload_size
        self.error: TransportError | None = None
        self.more = False
        self.halted = False
        self.bad_compression = 0
        self.ended = False
        self.waiting = 0

    # Out

    @abstractmethod
    def write(self, packets: list[bytes]) -> int:
        """Take packets that are to be sent; how many bytes that makes on streams."""

    @abstractmethod
    def take(self, granted: int, *, busy: bool = False) -> list[tuple[int, bytes, bool]]:
        """What can go on streams now: stream id, bytes, whether the stream ends with them.

        granted: how many unidirectional streams the peer allows, all that ever were included. busy: whether anything
        that was taken before is not acknowledged.
        """

    # In

    @property
    @abstractmethod
    def partial(self) -> bool:
        """Whether what has come ends inside a packet, or one is missing before others."""

    @property
    @abstractmethod
    def kept(self) -> int:
        """Bytes it keeps of what is not a packet that can be handed on."""

    @abstractmethod
    def feed(self, stream_id: int, data: bytes, *, end: bool = False) -> list[Packet]:
        """Take what came next on a stream; the packets that can be handed on now. Foreign streams are ignored."""

    @abstractmethod
    def reset(self, stream_id: int) -> None:
        """The peer gave up a stream: `error` is set if a packet is lost by it."""

    @abstractmethod
    def feed_more(self) -> list[Packet]:
        """Go on after `more`."""

    def _decode(self, frame: bytes) -> Packet:
        """The packet of one frame. Raises RemoteProtocolError."""
        codec = self._codec
        size = first_size(frame, codec)
        if codec.frame_policy == "lenient":
            if not size:
                return Packet(ONE_WAY, 0, frame)
            frame = frame[:size]
        elif size and size != len(frame):
            raise RemoteProtocolError(f"{len(frame) - size} bytes follow a packet")
        decoder = PacketDecoder(codec)
        packet = next(iter(decoder.feed(frame)), None)
        if decoder.bad_compression:
            self.bad_compression += 1
            self.halted = True
        if packet is None:
            raise decoder.error or RemoteProtocolError(f"a frame of {len(frame)} bytes is less than the packet in it")
        return packet

    def _too_long(self, size: int) -> RemoteProtocolError:
        return RemoteProtocolError(f"a frame of {size} bytes is longer than {self._limit}, the most that is taken here")

    def _fail(self, error: TransportError) -> None:
        self.error = error
        self.halted = True


class StreamMapping(Mapping):
    """`u32 length || packet`, one behind the other, both ways on the client's first bidirectional stream.

    hello: this is the client, which has sent HELLO.
    """

    __slots__ = ("_need", "_out", "_rest", "_said", "_started")

    name = "stream"

    def __init__(self, codec: CodecOptions, *, hello: bool = False) -> None:
        super().__init__(codec)
        self._out = b""
        self._said = hello  # the first byte of the next frame is sent already
        self._rest = bytearray()
        self._need = 4  # bytes that _rest must have before parsing can go on
        self._started = False  # more has come than the first byte of all

    def write(self, packets: list[bytes]) -> int:
        """Frame them, in one piece."""
        parts: list[bytes] = []
        for packet in packets:
            parts.append(_pack_length(len(packet)))
            parts.append(packet)
        data = b"".join(parts)
        if self._said and data:
            self._said = False
            data = (data if data.startswith(HELLO) else _FILLER + data)[len(HELLO) :]
        self._out = self._out + data if self._out else data
        return len(data)

    def take(self, granted: int, *, busy: bool = False) -> list[tuple[int, bytes, bool]]:  # noqa: ARG002 - as the other
        """All of it."""
        out, self._out = self._out, b""
        return [(STREAM, out, False)] if out else []

    @property
    def partial(self) -> bool:
        """Whether what has come ends inside a frame; a HELLO alone is none."""
        return len(self._rest) > (0 if self._started else len(HELLO))

    @property
    def kept(self) -> int:
        """Bytes of the frame that is not whole yet."""
        return len(self._rest)

    def feed(self, stream_id: int, data: bytes, *, end: bool = False) -> list[Packet]:
        """Cut frames out of the stream."""
        if stream_id != STREAM or self.error is not None:
            return []
        packets = self._take_in(data) if data else []
        if end and self.error is None:
            self._ended()
        return packets

    def feed_more(self) -> list[Packet]:
        """Go on with what is kept."""
        if not self.more or self.error is not None:
            return []
        self.more = False
        self._need = 0
        return self._take_in(b"")

    def reset(self, stream_id: int) -> None:
        """Nothing can come any more, and what was under way is lost."""
        if stream_id == STREAM and not self.ended and self.error is None:
            self._fail(RemoteProtocolError("the peer gave up its stream"))

    def _ended(self) -> None:
        if self.partial and not self.more:
            self._fail(RemoteProtocolError("the stream ended inside a packet"))
        else:
            self.ended = True
            self.halted = True

    def _take_in(self, data: bytes) -> list[Packet]:
        packets: list[Packet] = []
        rest = self._rest
        if rest or self.more:
            rest += data
            if len(rest) < self._need or self.more:
                return packets
            data = bytes(rest)
            self._rest = bytearray()
        try:
            at = self._parse(data, packets)
        except RemoteProtocolError as error:
            self._fail(error)
            return packets
        if at < len(data):
            self._rest = bytearray(data[at:] if at else data)
        self._started = self._started or len(data) > len(HELLO) or at > 0
        return packets

    def _parse(self, data: bytes, packets: list[Packet]) -> int:
        """Add the packets of all whole frames; where the first that is not whole begins."""
        at, end, inflated = 0, len(data), 0
        most, limit = self._codec.max_payload_size, self._limit
        self._need = 4
        while end - at >= 4:
            (size,) = _unpack_length(data, at)
            if size > limit:
                raise self._too_long(size)
            body = at + 4
            stop = body + size
            if stop > end:
                self._need = stop - at
                break
            if size >= HEADER_SIZE:
                marker, kind, biz_type, message_id, ext_size, payload, flags = _unpack_header(data, body)
                if (
                    marker == PLAIN_MARKER
                    and payload == size - HEADER_SIZE
                    and not ext_size
                    and kind <= RESPONSE
                    and payload <= most
                ):
                    packets.append(Packet(kind, message_id, data[body + HEADER_SIZE : stop], biz_type, b"", flags))
                    at = stop
                    continue
            packet = self._decode(data[body:stop])
            packets.append(packet)
            at = stop
            if packet.compression:
                inflated += len(packet.payload)
                if inflated >= self._codec.max_inflated_size and at < end:
                    self.more = self.halted = True
                    break
        return at


class UniMapping(Mapping):
    """Each packet on a stream of its own, handed on in the order of their ids.

    server: we are the one; its streams have the odd ids. max_waiting: bytes of packets that may wait for one before
    them, or be unfinished. sent: streams of ours that were used before.
    """

    __slots__ = ("_alone", "_max_waiting", "_next_in", "_next_out", "_parts", "_queue", "_size", "_whole")

    name = "uni"

    def __init__(self, codec: CodecOptions, *, server: bool, max_waiting: int, sent: int = 0) -> None:
        super().__init__(codec)
        self._next_out, self._next_in = (3, 2) if server else (2, 3)
        self._next_out += 4 * sent
        self._alone = False  # what was taken last is to be acknowledged before more is
        self._queue: deque[bytes] = deque()
        self._parts: dict[int, bytearray] = {}  # of streams that have not ended
        self._whole: dict[int, bytes] = {}  # that wait for one before them
        self._size = 0  # bytes in these two
        self._max_waiting = max(max_waiting, self._limit)

    def write(self, packets: list[bytes]) -> int:
        """Queue them."""
        size = sum(map(len, packets))
        self._queue.extend(packets)
        self.waiting += size
        return size

    def take(self, granted: int, *, busy: bool = False) -> list[tuple[int, bytes, bool]]:
        """As many packets as there are streams for; one above `TOGETHER` bytes only by itself."""
        queue, stream_id = self._queue, self._next_out
        out: list[tuple[int, bytes, bool]] = []
        while queue and stream_id >> 2 < granted:
            large = len(queue[0]) > TOGETHER
            if (busy or out) and (large or self._alone):
                break
            self._alone = large
            packet = queue.popleft()
            self.waiting -= len(packet)
            out.append((stream_id, packet, True))
            stream_id += 4
        self._next_out = stream_id
        return out

    @property
    def partial(self) -> bool:
        """Whether a stream has not ended, or is missing before others."""
        return self._size > 0 or bool(self._parts)

    @property
    def kept(self) -> int:
        """Bytes of packets that cannot be handed on yet."""
        return self._size

    def feed(self, stream_id: int, data: bytes, *, end: bool = False) -> list[Packet]:
        """Gather the stream's bytes; hand on its packet once it ends and those before it are handed on."""
        if stream_id & 3 != self._next_in & 3 or stream_id < self._next_in or self.error is not None:
            return []
        packets: list[Packet] = []
        try:
            if end and stream_id == self._next_in and not self._parts and not self._whole and not self.more:
                self._next_in += 4
                packets.append(self._packet(data))
            else:
                self._gather(stream_id, data, end=end)
                if not self.more:
                    self._hand_on(packets)
        except (RemoteProtocolError, ResourceError) as error:
            self._fail(error)
        return packets

    def feed_more(self) -> list[Packet]:
        """Go on with what is kept."""
        packets: list[Packet] = []
        if self.more and self.error is None:
            self.more = False
            try:
                self._hand_on(packets)
            except RemoteProtocolError as error:
                self._fail(error)
        return packets

    def reset(self, stream_id: int) -> None:
        """Its packet is lost, and those behind it can never be handed on in order."""
        if stream_id & 3 == self._next_in & 3 and stream_id >= self._next_in and self.error is None:
            self._fail(RemoteProtocolError(f"the peer gave up stream {stream_id}, and with it a packet"))

    def _gather(self, stream_id: int, data: bytes, *, end: bool) -> None:
        part = self._parts.get(stream_id)
        size = len(data) + (len(part) if part is not None else 0)
        if size > self._limit:
            raise self._too_long(size)
        self._size += len(data)
        if end:
            self._parts.pop(stream_id, None)
            self._whole[stream_id] = data if part is None else bytes(part + data)
        elif part is None:
            self._parts[stream_id] = bytearray(data)
        else:
            part += data
        if self._size > self._max_waiting and self._next_in not in self._whole:
            raise ResourceError("bytes of packets behind an unfinished stream", self._size, self._max_waiting)
        if len(self._parts) + len(self._whole) > MAX_WAITING:
            raise ResourceError("packets behind an unfinished stream", len(self._whole), MAX_WAITING)

    def _hand_on(self, packets: list[Packet]) -> None:
        inflated = 0
        while (frame := self._whole.pop(self._next_in, None)) is not None:
            self._next_in += 4
            self._size -= len(frame)
            packet = self._packet(frame)
            packets.append(packet)
            if packet.compression:
                inflated += len(packet.payload)
                if inflated >= self._codec.max_inflated_size and self._next_in in self._whole:
                    self.more = self.halted = True
                    return

    def _packet(self, frame: bytes) -> Packet:
        if len(frame) > self._limit:
            raise self._too_long(len(frame))
        return decode_plain(frame, self._codec.max_payload_size) or self._decode(frame)
