"""Text messages from WebSocket frames (RFC 6455 section 5): frames put together, control frames, what is against the
rules.

No sockets: bytes in, messages out, and what else there is to do as attributes. msgtrans reads the frames themselves.
Not here: what a message means, and acting on control frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgtrans.adapters.websocket import frames

if TYPE_CHECKING:
    from msgtrans.adapters.websocket.frames import Frame, FrameReader, ReaderPool


class PeerClose(NamedTuple):
    """A Close frame of the peer. `code` is 1005 when there was none in it."""

    code: int
    reason: str


class Violation(NamedTuple):
    """What a peer did that it must not: code and reason for our Close frame."""

    code: int
    reason: str


class TextReader:
    """Reads text messages from frames that are cut anywhere. Owned by one connection.

    `ping`: what the last ping carried, until it is answered. `peer_close`, `violation`: set when nothing more is read;
    every later `feed` returns nothing. While `halted` is false, none of these needs a look.
    """

    __slots__ = ("_fragments", "_limit", "_reader", "_readers", "halted", "peer_close", "ping", "violation")

    def __init__(self, readers: ReaderPool, limit: int) -> None:
        """`readers`: where readers of frames come from; `limit`: bytes of one message."""
        self._readers = readers
        self._limit = limit
        self._reader: FrameReader | None = None  # while it is inside a frame
        self._fragments: bytearray | None = None  # of a message that is not whole yet
        self.ping: bytes | None = None
        self.peer_close: PeerClose | None = None
        self.violation: Violation | None = None
        self.halted = False

    def ended(self) -> bool:
        """Whether nothing more is read: the peer has said goodbye, or broken the rules."""
        return self.peer_close is not None or self.violation is not None

    @property
    def kept(self) -> int:
        """Bytes kept of a message that is not whole yet."""
        kept = 0 if self._reader is None else self._reader.tail
        return kept if self._fragments is None else kept + len(self._fragments) + 1

    def feed(self, data: memoryview | bytes) -> list[bytes]:
        """Take `data`, copied where it must outlive the call, and return the text messages that are now complete."""
        messages: list[bytes] = []
        if self.ended():
            return messages
        if self._reader is None and (goodbye := _lone_goodbye(data)) is not None:
            self.peer_close = goodbye
            self.halted = True
            self.release()
            return messages
        reader = self._reader or self._readers.borrow()
        for item in reader.feed(data):
            if self._take(item, messages):
                break
        if reader.failure is not None and not self.ended():
            self._fail(*reader.failure)
        if reader.tail or reader.failure is not None:
            self._reader = reader
        else:
            self._reader = None
            self._readers.give_back(reader)
        if self.ended():
            self.release()
        return messages

    def release(self) -> None:
        """Keep nothing: no message comes any more."""
        self._fragments = None
        if self._reader is not None:
            self._reader.discard()
            self._reader = None

    def _take(self, item: bytes | Frame, messages: list[bytes]) -> bool:
        """Handle one frame; whether it was the last to look at."""
        if isinstance(item, bytes):
            return self._fail(frames.UNSUPPORTED, "binary messages are not understood here; send text")
        opcode, final, reserved, payload = item
        if reserved:
            return self._fail(frames.PROTOCOL_ERROR, "a reserved bit is set; no extension was agreed on")
        if opcode == frames.TEXT and final and self._fragments is None:
            return self._finish(payload, messages)
        if opcode == frames.PING:
            self.ping = payload
            self.halted = True
        elif opcode == frames.CLOSE:
            code = frames.close_code(payload)
            if isinstance(code, frames.Failure):
                return self._fail(*code)
            self.peer_close = PeerClose(code, payload[2:].decode())  # the reader has looked that it decodes
            self.halted = True
            return True
        elif opcode != frames.PONG:
            return self._fragment(opcode, payload, messages, final=final)
        return False

    def _fragment(self, opcode: int, payload: bytes, messages: list[bytes], *, final: bool) -> bool:
        """Put the frames of a message together."""
        fragments = self._fragments
        if opcode == frames.BINARY:
            return self._fail(frames.UNSUPPORTED, "binary messages are not understood here; send text")
        if opcode == frames.TEXT:
            if fragments is not None:
                return self._fail(frames.PROTOCOL_ERROR, "a message begins inside another")
            fragments = self._fragments = bytearray()
        elif fragments is None:
            return self._fail(frames.PROTOCOL_ERROR, "a message begins with a continuation")
        if len(fragments) + len(payload) > self._limit:
            return self._fail(frames.TOO_BIG, f"a message may have {self._limit} bytes at most")
        fragments += payload
        if not final:
            return False
        self._fragments = None
        return self._finish(bytes(fragments), messages)

    def _finish(self, message: bytes, messages: list[bytes]) -> bool:
        """A message is whole."""
        if not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError:
                return self._fail(frames.INVALID_TEXT, "a text message is not UTF-8")
        messages.append(message)
        return False

    def _fail(self, code: int, reason: str) -> bool:
        self.violation = Violation(code, reason)
        self.halted = True
        return True


def _lone_goodbye(data: memoryview | bytes) -> PeerClose | None:
    """The usual Close frame, when `data` is just that: no code, or 1000 or 1001 with at most a reason in ASCII.

    A reader that has seen a Close frame cannot be used again, and a thousand peers may leave at once; so those that
    leave as they should cost no reader. Everything else is left to one.
    """
    size = len(data) - 6
    if not 0 <= size <= 125 or data[0] != 0x88 or data[1] != 0x80 | size:
        return None
    if not size:
        return PeerClose(frames.NO_CODE, "")
    code = int.from_bytes(data[2:4], "big") ^ int.from_bytes(data[6:8], "big")
    if size == 1 or code not in {frames.NORMAL, frames.GOING_AWAY}:
        return None
    if size == 2:
        return PeerClose(code, "")
    mask, masked = bytes(data[2:6]), bytes(data[6:])
    payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
    return PeerClose(code, payload[2:].decode()) if payload[2:].isascii() else None
