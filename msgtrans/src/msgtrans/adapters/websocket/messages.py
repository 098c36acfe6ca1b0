"""Packets from WebSocket frames (specification 2.2): messages of several frames, the receive table, control frames.

No I/O: bytes in, packets out, and what else there is to do as attributes, in the way of `codec.PacketDecoder`.
Not here: frames themselves (`frames`), and acting on what came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgtrans.adapters.websocket import frames
from msgtrans.codec import PacketDecoder, decode_plain, first_size
from msgtrans.errors import RemoteProtocolError
from msgtrans.packet import HEADER_SIZE, ONE_WAY, Packet

if TYPE_CHECKING:
    from msgtrans.adapters.websocket.frames import FrameReader, ReaderPool, Received
    from msgtrans.config.codec import CodecOptions
    from msgtrans.errors import TransportError


class PeerClose(NamedTuple):
    """A Close frame. code: 1005 when there was none in it."""

    code: int
    reason: str


class Limits(NamedTuple):
    """What holds for the messages of all connections of a listener. codec: of their sessions.

    max_message_size: bytes of one message: those of the config, or of the largest packet, whichever is less.
    recognition: as for `codec.PacketDecoder`.
    """

    codec: CodecOptions
    max_message_size: int
    recognition: bool = True

    @classmethod
    def of(cls, codec: CodecOptions, max_message_size: int, *, recognition: bool = True) -> Limits:
        """The limits of sessions with `codec`, whose config allows messages of `max_message_size`."""
        most = HEADER_SIZE + codec.max_ext_header_size + codec.max_payload_size
        return cls(codec, min(max_message_size, most), recognition)


class ViolationError(Exception):
    """The peer did what it must not. Never leaves this module. code: for the Close frame."""

    def __init__(self, code: int, reason: str, error: TransportError | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.error = error or RemoteProtocolError(reason)


class MessageDecoder:
    """Reads packets from WebSocket frames that are cut anywhere. Owned by one connection; not for concurrent use.

    A violation never raises: `feed` returns the packets before it, `error` then holds it, `close_code` is what the
    Close frame should say, and every later `feed` returns nothing. peer_close: the peer's Close frame; nothing comes
    behind it. ping: what the last ping carried, until it is answered. more: `feed` stopped early because it has
    inflated `max_inflated_size` bytes, or bytes are held; call `feed(b"")` in a later turn of the loop.
    bad_compression counts payloads handed over as they came. While `halted` is false, none of these needs a look.
    """

    __slots__ = (
        "_early",
        "_fragments",
        "_limits",
        "_reader",
        "_readers",
        "_text",
        "_waiting",
        "bad_compression",
        "close_code",
        "error",
        "halted",
        "more",
        "peer_close",
        "ping",
    )

    def __init__(self, readers: ReaderPool, limits: Limits) -> None:
        self._readers = readers
        self._limits = limits
        self._reader: FrameReader | None = None  # while it is inside a frame
        self._fragments: bytearray | None = None  # of a message that is not whole yet
        self._text = False  # that message is text
        self._waiting: list[Received] = []  # read and not decoded, because enough was inflated for one turn
        self._early = b""
        self.error: TransportError | None = None
        self.close_code = frames.NORMAL
        self.peer_close: PeerClose | None = None
        self.ping: bytes | None = None
        self.more = False
        self.bad_compression = 0
        self.halted = False

    @property
    def partial(self) -> bool:
        """Whether the bytes fed so far end inside a message."""
        return self._reader is not None or self._fragments is not None or bool(self._waiting)

    @property
    def kept(self) -> int:
        """Bytes it keeps of what is not decoded yet."""
        kept = self._reader.tail if self._reader is not None else 0
        if self._fragments is not None:
            kept += len(self._fragments)
        return kept + sum(len(item if isinstance(item, bytes) else item.payload) for item in self._waiting)

    def hold(self, data: bytes) -> None:
        """Take `data` without looking at it; the next `feed` does."""
        self._early += data
        self.more = True

    def feed(self, data: memoryview | bytes) -> list[Packet]:
        """Take `data`, copied where it must outlive the call, and return the packets that are now complete."""
        packets: list[Packet] = []
        if self.error is not None or self.peer_close is not None:
            return packets
        if self.more:
            self.more = False
            items = self._resume(data)
        else:
            items = self._read(data)
        try:
            self._decode_all(items, packets)
        except ViolationError as violation:
            self.error = violation.error
            self.close_code = violation.code
            self.halted = True
        if self.error is not None or self.peer_close is not None:
            self.release()
        return packets

    def release(self) -> None:
        """The connection ends: keep nothing."""
        self._fragments = None
        self._waiting = []
        self._early = b""
        self.more = False
        if self._reader is not None:
            self._reader.discard()
            self._reader = None

    def _decode_all(self, items: list[Received], packets: list[Packet]) -> None:
        """Add the packets of `items` to `packets`. Raises ViolationError."""
        source = iter(items)
        codec, _, recognition = self._limits
        inflated = 0
        for item in source:
            if type(item) is bytes and recognition:
                packet = decode_plain(item, codec.max_payload_size)
                if packet is not None and self._fragments is None:
                    packets.append(packet)
                    continue
            packet = self._take(item)
            if packet is not None:
                packets.append(packet)
                if packet.compression:
                    inflated += len(packet.payload)
                    if inflated >= codec.max_inflated_size and (waiting := list(source)):
                        self._waiting = waiting
                        self.more = self.halted = True
                        return
            elif self.peer_close is not None:
                return
        if self._reader is not None and self._reader.failure is not None:
            raise ViolationError(*self._reader.failure)

    def _read(self, data: memoryview | bytes) -> list[Received]:
        reader = self._reader
        if reader is None:
            reader = self._readers.borrow()
        items = reader.feed(data)
        if reader.tail or reader.failure is not None:
            self._reader = reader
        else:
            self._reader = None
            self._readers.give_back(reader)
        return items

    def _resume(self, data: memoryview | bytes) -> list[Received]:
        """What was left for a later turn, and what came meanwhile behind it."""
        early, self._early = self._early, b""
        waiting, self._waiting = self._waiting, []
        if early:
            waiting += self._read(early)
        if len(data) and not (self._reader is not None and self._reader.failure is not None):
            waiting += self._read(data)
        return waiting

    def _take(self, item: Received) -> Packet | None:
        """Handle what is no plain packet; its packet, if there is one."""
        if isinstance(item, bytes):
            if self._fragments is not None:
                raise ViolationError(frames.PROTOCOL_ERROR, "a message begins inside another")
            return self._decode(item)
        opcode, final, reserved, payload = item
        if reserved:
            raise ViolationError(frames.PROTOCOL_ERROR, "a reserved bit is set; no extension was agreed on")
        if opcode == frames.PING:
            self.ping = payload
            self.halted = True
        elif opcode == frames.CLOSE:
            self._closed(payload)
        elif opcode != frames.PONG:
            return self._fragment(opcode, payload, final=final)
        return None

    def _closed(self, payload: bytes) -> None:
        code = frames.close_code(payload)
        if isinstance(code, frames.Failure):
            raise ViolationError(*code)
        self.peer_close = PeerClose(code, payload[2:].decode())  # the reader has looked that it decodes
        self.halted = True

    def _fragment(self, opcode: int, payload: bytes, *, final: bool) -> Packet | None:
        """Put the frames of a message together."""
        fragments = self._fragments
        if opcode == frames.CONTINUATION:
            if fragments is None:
                raise ViolationError(frames.PROTOCOL_ERROR, "a message begins with a continuation")
        elif fragments is not None:
            raise ViolationError(frames.PROTOCOL_ERROR, "a message begins inside another")
        else:
            if opcode == frames.TEXT and self._limits.codec.frame_policy == "strict":
                raise ViolationError(frames.UNSUPPORTED, "text came; packets travel in binary messages")
            self._text = opcode == frames.TEXT
            fragments = self._fragments = bytearray()
        if len(fragments) + len(payload) > self._limits.max_message_size:
            raise ViolationError(
                frames.TOO_BIG, f"a message is longer than {self._limits.max_message_size} bytes, the most taken here"
            )
        fragments += payload
        if not final:
            return None
        self._fragments = None
        message = bytes(fragments)
        if not self._text:
            return self._decode(message)
        try:
            message.decode()
        except UnicodeDecodeError as error:
            raise ViolationError(frames.INVALID_TEXT, "text came that is not UTF-8") from error
        return Packet(ONE_WAY, 0, message)

    def _decode(self, message: bytes) -> Packet | None:
        """The packet of one binary message."""
        codec, _, recognition = self._limits
        plain = decode_plain(message, codec.max_payload_size) if recognition else None
        if plain is not None:
            return plain
        size = first_size(message, codec)
        if codec.frame_policy == "lenient":
            if not size:
                return Packet(ONE_WAY, 0, message)
            message = message[:size]
        elif size and size != len(message):
            raise ViolationError(frames.POLICY, f"{len(message) - size} bytes follow a packet")
        decoder = PacketDecoder(codec, recognition=recognition)
        packet = next(iter(decoder.feed(message)), None)
        if decoder.bad_compression:
            self.bad_compression += 1
            self.halted = True
        if packet is None:
            why = f"a message of {len(message)} bytes is less than the packet in it"
            raise ViolationError(frames.POLICY, why, decoder.error)
        return packet
