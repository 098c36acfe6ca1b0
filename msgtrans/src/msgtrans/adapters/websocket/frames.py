"""WebSocket frames to bytes and back (RFC 6455 section 5), made, checked, masked and unmasked by picows.

picows is used as a codec, not for connections: its parser sits in a `FrameReader`, which is fed copies of what was
read, and which has no state that belongs to a connection unless it stopped inside a frame. So connections borrow one
for each read, from a `ReaderPool`. What it would write goes nowhere: see `_Shim`.
Frames of a server need no masks; making them here takes a third of the time of a call.
Not here: messages of several frames, what control frames mean, and sockets.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import re
import struct
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from picows.picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSTransport

from picows.picows import WSProtocol  # type: ignore[attr-defined] # isort: skip - it is there, but not declared

from msgtrans.adapters.websocket.handshake import accept_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED: Final = 1003
NO_CODE: Final = 1005  # never on the wire: a Close frame without one
INVALID_TEXT: Final = 1007
POLICY: Final = 1008
TOO_BIG: Final = 1009
OUR_FAULT: Final = 1011
TRY_LATER: Final = 1013

LARGEST_KEPT: Final = 64 * 1024  # bytes of buffer; a reader whose buffer has grown beyond is not used again
SPARE_READERS: Final = 16
MASK_COPIED: Final = 8192  # bytes up to which picows masks in a buffer of its own, which never shrinks

_DEFINED: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})

_BINARY: Final = WSMsgType.BINARY
_CLOSE: Final = WSMsgType.CLOSE
_OPCODES: Final = {number: WSMsgType(number) for number in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)}
_FIRST_READ: Final = 2048  # bytes, the least picows takes
_SPACE: Final = 257  # bytes of its buffer that picows wants to be free, or it doubles the buffer
_HEAD_SPACE: Final = 14
_KEY: Final = b"AAAAAAAAAAAAAAAAAAAAAA=="
_REQUEST: Final = (
    b"GET / HTTP/1.1\r\nHost: -\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + _KEY + b"\r\n\r\n"
)
_RESPONSE: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
_FIND_KEY: Final = re.compile(rb"Sec-WebSocket-Key: ([^\r]+)")
_SHORT: Final = [bytes((0x80 | BINARY, size)) for size in range(126)]
_MEDIUM: Final = struct.Struct(">BBH").pack
_LONG: Final = struct.Struct(">BBQ").pack

_off = logging.Logger("msgtrans.picows", logging.CRITICAL + 1)
_logger: Final = logging.LoggerAdapter(_off, {})  # an adapter, because picows makes a child of a logger per connection


class Frame(NamedTuple):
    """A frame that is not a whole binary message. reserved: whether one of the reserved bits is set."""

    opcode: int
    final: bool
    reserved: bool
    payload: bytes


class Failure(NamedTuple):
    """Why a reader does not go on. code: for the Close frame."""

    code: int
    reason: str


Received: TypeAlias = "bytes | Frame"


def close_code(payload: bytes) -> int | Failure:
    """The code in a Close frame, 1005 when there is none; a failure for one that may not travel (RFC 6455 7.4).

    Those below 1000, those that only stand for an end without a Close frame, and those that nobody has defined.
    """
    if not payload:
        return NO_CODE
    code = int.from_bytes(payload[:2], "big")
    if code in _DEFINED or 3000 <= code < 5000:
        return code
    return Failure(PROTOCOL_ERROR, f"the close code {code} must not be sent")


class FrameReader(WSListener):
    """Parses the frames of one direction, cut anywhere. masked: whether they come from a client.

    tail: bytes it keeps of a frame that is not whole yet. capacity: bytes of its buffer. failure: set when the peer
    broke the rules of frames; it must not be fed any more then. closed: whether a Close frame has come.
    Owned by whoever fed it the beginning of a frame, until the end of that frame.
    """

    __slots__ = ("_items", "_last", "_protocol", "capacity", "closed", "failure", "tail")

    def __init__(self, max_frame_size: int, *, masked: bool) -> None:
        self.tail = 0
        self.capacity = 0
        self.closed = False
        self.failure: Failure | None = None
        self._items: list[Received] = []
        self._last: WSFrame | None = None
        shim = _Shim()
        self._protocol = WSProtocol(
            "-",
            "/",
            not masked,
            lambda *_: self,
            _logger,
            True,  # disconnect_on_exception: what goes wrong in here ends as a failure
            None,  # handshake timeout
            False,  # auto ping
            None,
            None,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # auto pong
            max_frame_size,
            None,  # headers
            _FIRST_READ,
        )
        self._protocol.connection_made(shim)
        head = _REQUEST
        if not masked:
            key = _FIND_KEY.search(b"".join(shim.taken()))
            assert key is not None  # noqa: S101 - picows has just written it
            head = _RESPONSE % accept_value(key[1])
        self._protocol.get_buffer(-1)[: len(head)] = head
        self._protocol.buffer_updated(len(head))

    def feed(self, data: memoryview | bytes) -> list[Received]:
        """The frames that are whole now; a binary message in a single frame is just its bytes."""
        items = self._items
        protocol = self._protocol
        at, end, tail = 0, len(data), self.tail
        while at < end:
            room = protocol.get_buffer(-1)
            capacity = tail + len(room)
            # picows doubles its buffer when that is nearly full: only a frame that fills half of it is worth that.
            size = len(room) if 2 * tail > capacity else min(capacity * 9 // 10, capacity - _SPACE) - tail
            if size >= end - at:
                size = end - at
                room[:size] = data[at:] if at else data
            else:
                room[:size] = data[at : at + size]
            self._last = None
            protocol.buffer_updated(size)
            tail = tail + size if self._last is None else self._last.tail_size
            at += size
            self.capacity = capacity
            if protocol.transport.is_close_frame_sent:
                sent = protocol.transport.close_handshake.sent
                self.failure = Failure(int(sent.code), sent.reason or "frames could not be read")
                break
        self._last = None
        self.tail = tail
        self._items = []
        return items

    def on_ws_frame(self, _: WSTransport, frame: WSFrame) -> None:
        """For picows: a frame is whole."""
        self._last = frame
        opcode, final, reserved = frame.msg_type, frame.fin, frame.rsv1 or frame.rsv2 or frame.rsv3
        if opcode is _BINARY and final and not reserved:
            self._items.append(frame.get_payload_as_bytes())
        else:
            self.closed = self.closed or opcode is _CLOSE
            self._items.append(Frame(opcode.value, bool(final), bool(reserved), frame.get_payload_as_bytes()))

    def discard(self) -> None:
        """Free its buffer now; it cannot be used any more."""
        self._protocol = None


class ReaderPool:
    """Readers that are at the end of a frame, for all connections of a listener, or the one of a client.

    masked: whether the frames come from clients. Belongs to one event loop.
    """

    __slots__ = ("_masked", "_max_frame_size", "_spare")

    def __init__(self, max_frame_size: int, *, masked: bool) -> None:
        self._max_frame_size = max_frame_size
        self._masked = masked
        self._spare: list[FrameReader] = []

    def borrow(self) -> FrameReader:
        """A reader that is at the beginning of a frame."""
        return self._spare.pop() if self._spare else FrameReader(self._max_frame_size, masked=self._masked)

    def give_back(self, reader: FrameReader) -> None:
        """Take a reader back; it is used again if it is clean and small."""
        clean = not (reader.tail or reader.closed or reader.failure)
        if clean and reader.capacity <= LARGEST_KEPT and len(self._spare) < SPARE_READERS:
            self._spare.append(reader)
        else:
            reader.discard()

    def __len__(self) -> int:
        return len(self._spare)


class PlainWriter:
    """Makes the frames of a server. max_frame_size: bytes of payload above which a message has several frames."""

    __slots__ = ("_max_frame_size",)

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size

    def frames(self, messages: Iterable[bytes]) -> list[bytes]:
        """The pieces of binary messages on the wire, in order: heads, and the messages themselves."""
        parts: list[bytes] = []
        most = self._max_frame_size
        for message in messages:
            size = len(message)
            if size < 126:
                parts.append(_SHORT[size])
                parts.append(message)
            elif size <= most:
                parts.append(_head(0x80 | BINARY, size))
                parts.append(message)
            else:
                for opcode, piece in _split(message, most):
                    parts.append(_head(opcode, len(piece)))
                    parts.append(bytes(piece))
        return parts

    def control(self, opcode: int, payload: bytes) -> bytes:
        """A control frame; at most 125 bytes of payload."""
        return control_frame(opcode, payload)


def text_frame(message: bytes) -> bytes:
    """A text message of a server in a single frame. message: UTF-8."""
    return _head(0x80 | TEXT, len(message)) + message


def control_frame(opcode: int, payload: bytes) -> bytes:
    """A control frame of a server; at most 125 bytes of payload."""
    return _head(0x80 | opcode, len(payload)) + payload


class MaskingWriter:
    """Makes the frames of a client."""

    __slots__ = ("_max_frame_size", "_shim", "_transport")

    def __init__(self, max_frame_size: int) -> None:
        self._max_frame_size = max_frame_size
        self._shim = _Shim()
        _seed_masks()
        self._transport = WSTransport(  # type: ignore[call-arg]  # declared without arguments
            True, self._shim, _logger, asyncio.get_running_loop()
        )

    def frames(self, messages: Iterable[bytes]) -> list[bytes]:
        """The frames of binary messages, in order."""
        send: Callable[..., None] = self._transport.send
        for message in messages:
            if len(message) > self._max_frame_size:
                for opcode, piece in _split(message, self._max_frame_size):
                    self._send(_OPCODES[opcode & 0x0F], piece, final=opcode >= 0x80)
            elif len(message) > MASK_COPIED:
                self._send(_BINARY, message, final=True)
            else:
                send(_BINARY, message)
        return self._shim.taken()

    def control(self, opcode: int, payload: bytes) -> bytes:
        """A control frame; at most 125 bytes of payload."""
        self._transport.send(_OPCODES[opcode], payload)
        return b"".join(self._shim.taken())

    def _send(self, opcode: WSMsgType, piece: bytes | memoryview, *, final: bool) -> None:
        buffer = bytearray(_HEAD_SPACE)
        buffer += piece
        self._transport.send_reuse_external_bytearray(opcode, buffer, _HEAD_SPACE, final)


class _Shim:
    """Stands where picows expects the transport of a connection, and keeps what it writes.

    It claims to be inside TLS: picows then gives it every frame, instead of writing to the socket by itself.
    """

    __slots__ = ("_written", "write")

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self.write = self._written.append

    def taken(self) -> list[bytes]:
        """What was written since the last time."""
        written = list(self._written)
        self._written.clear()
        return written

    def get_extra_info(self, name: str, default: object = None) -> object:
        """What picows asks of a transport."""
        return {"socket": _socket, "ssl_object": True}.get(name, default)

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def close(self) -> None:
        """Whoever feeds the reader sees its failure."""

    abort = close


class _NoSocket:
    """Nothing to set options of."""

    def fileno(self) -> int:
        """None."""
        return -1

    def setsockopt(self, *_: object) -> None:
        """Nothing."""

    def getsockopt(self, *_: object) -> int:
        """Nothing set."""
        return 0


_socket: Final = _NoSocket()


@cache
def _seed_masks() -> None:
    """Once per process, make masks that nobody can guess (RFC 6455 section 5.3).

    picows takes them from `rand()` of the C library, which gives the same numbers in every process unless it is seeded.
    """
    if os.name == "posix":
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "big"))


def _head(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    return _MEDIUM(first, 126, size) if size < 1 << 16 else _LONG(first, 127, size)


def _split(message: bytes, most: int) -> Iterable[tuple[int, memoryview]]:
    """First bytes and payloads of the frames of a message; the last has the final bit."""
    view = memoryview(message)
    for at in range(0, len(message), most):
        opcode = CONTINUATION if at else BINARY
        yield (opcode if at + most < len(message) else 0x80 | opcode), view[at : at + most]
