"""The SDK's WebSocket connection (spec 9.3): RFC 6455 as a client with a text buffer of 8 KiB, which kills it.

Not here: when it is pinged and replaced; see `session`. Extensions and sub-protocols: the SDK asks for none.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from artemis.testing.java.deadlines import Deadlines, Kind, Wait
from artemis.testing.java.settings import JavaSettings

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009


class WebSocketFailedError(Exception):
    """The handshake failed or took too long; the text says why."""


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A frame as a client sends it: masked with a key of its own."""
    size = len(payload)
    first = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        head = first + bytes([0x80 | size])
    elif size < 65536:
        head = first + b"\xfe" + size.to_bytes(2, "big")
    else:
        head = first + b"\xff" + size.to_bytes(8, "big")
    key = os.urandom(4)
    mask = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


async def open_websocket(
    url: str, settings: JavaSettings, deadlines: Deadlines, on_text: Callable[[bytes], None]
) -> WebSocket:
    """Connect to ``ws://host:port/path`` and shake hands within 5 s. Raises `WebSocketFailedError`."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    made: WebSocket | None = None
    began = time.monotonic()
    try:
        async with asyncio.timeout(settings.handshake_timeout):
            _, made = await loop.create_connection(
                lambda: WebSocket(settings, deadlines, on_text), parts.hostname or "", parts.port or 80
            )
            await made.shake_hands(parts.netloc, parts.path or "/")
    except TimeoutError as error:
        late = deadlines.own_lateness(began)
        if late < settings.handshake_timeout / 2:
            deadlines.missed[Kind.HANDSHAKE] += 1
        _abandon(made)
        raise WebSocketFailedError(f"{url}: no handshake within {settings.handshake_timeout:g} s") from error
    except (OSError, WebSocketFailedError) as error:
        _abandon(made)
        raise WebSocketFailedError(f"{url}: {error}") from error
    except asyncio.CancelledError:
        _abandon(made)
        raise
    deadlines.times[Kind.HANDSHAKE].add(time.monotonic() - began)
    return made


def _abandon(websocket: WebSocket | None) -> None:
    if websocket is not None:
        websocket.abort()


class WebSocket(asyncio.Protocol):
    """One connection; made by `open_websocket`. `on_text` gets each whole text message, as bytes, in order.

    `on_lost` is called once when an open connection ended, whoever ended it, `on_pong` with each pong in time.
    """

    def __init__(self, settings: JavaSettings, deadlines: Deadlines, on_text: Callable[[bytes], None]) -> None:
        self.made = time.monotonic()
        self.open = False
        self.on_lost: Callable[[], None] = _nobody
        self.on_pong: Callable[[], None] = _nobody
        self.close_code: int | None = None
        self._settings = settings
        self._deadlines = deadlines
        self._on_text = on_text
        self._buffer = bytearray()
        self._message = bytearray()
        self._in_message = False
        self._accept = b""
        self._shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ping: Wait | None = None
        self._ended = False
        self._transport: asyncio.Transport

    async def shake_hands(self, host: str, path: str) -> None:
        """Send the upgrade request and wait for 101."""
        key = base64.b64encode(os.urandom(16))
        self._accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: upgrade"]
        lines += [f"Sec-WebSocket-Key: {key.decode()}", "Sec-WebSocket-Version: 13"]
        self._transport.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        await self._shaken

    def send_text(self, message: bytes) -> None:
        """Send one text message in one frame."""
        self._transport.write(frame(_TEXT, message))

    def send_frame(self, opcode: int, payload: bytes, *, final: bool = True) -> None:
        """Send any frame; for tests of what the SDK does not do."""
        self._transport.write(frame(opcode, payload, final=final))

    @property
    def pinging(self) -> bool:
        """Whether a pong is waited for."""
        return self._ping is not None

    def ping(self, missed: Callable[[], None]) -> None:
        """Send a protocol ping; `missed` is called if its pong does not come in time."""
        self._ping = Wait(self._deadlines, Kind.PONG, self._settings.ping_timeout, missed)
        self._transport.write(frame(_PING, b""))

    def close(self, code: int = NORMAL) -> None:
        """Say goodbye and close."""
        if not self._ended:
            self._ended = True
            self._transport.write(frame(_CLOSE, code.to_bytes(2, "big")))
            self._transport.close()

    def abort(self) -> None:
        """Close without a word."""
        self._ended = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its type.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.open and not self._read_upgrade():
            return
        while not self._ended and self._read_frame():
            pass

    def connection_lost(self, exc: Exception | None) -> None:
        was_open, self.open, self._ended = self.open, False, True
        if self._ping is not None:
            self._ping.cancel()
            self._ping = None
        if not self._shaken.done():
            self._shaken.set_exception(WebSocketFailedError(str(exc or "the server closed during the handshake")))
        if was_open:
            self.on_lost()

    def _read_upgrade(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if self._shaken.done():
            return False
        if first.split(b" ")[1:2] != [b"101"] or fields.get(b"sec-websocket-accept") != self._accept:
            self._shaken.set_exception(WebSocketFailedError(first.decode("latin-1")))
            return False
        del self._buffer[: end + 4]
        self.open = True
        self._shaken.set_result(None)
        return True

    def _read_frame(self) -> bool:
        """Handle the first frame of the buffer; False when it is not whole."""
        buffer = self._buffer
        if len(buffer) < 2:
            return False
        opcode, size, at = buffer[0] & 0x0F, buffer[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(buffer[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(buffer[2:10], "big"), 10
        if buffer[0] & 0x70 or buffer[1] & 0x80:
            self._fail(PROTOCOL_ERROR, "frame with a mask or an extension")
            return False
        if len(buffer) < at:
            return False
        if opcode < _CLOSE and len(self._message) + size > self._settings.text_buffer:
            self._fail(TOO_BIG, "message above the text buffer")
            return False
        if len(buffer) < at + size:
            return False
        payload, final = bytes(buffer[at : at + size]), bool(buffer[0] & 0x80)
        del buffer[: at + size]
        self._handle(opcode, payload, final=final)
        return True

    def _handle(self, opcode: int, payload: bytes, *, final: bool) -> None:
        if opcode == _PONG:
            if self._ping is not None:
                self._ping.end()
                self._ping = None
                self.on_pong()
        elif opcode == _PING:
            self._transport.write(frame(_PONG, payload))
        elif opcode == _CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big") if payload else None
            self.close(self.close_code or NORMAL)
        elif opcode == _BINARY or (opcode == _CONTINUATION) != self._in_message:
            self._fail(PROTOCOL_ERROR, "frame out of place")
        elif final and not self._in_message:
            self._on_text(payload)
        else:
            self._message += payload
            self._in_message = not final
            if final:
                whole = bytes(self._message)
                self._message.clear()
                self._on_text(whole)

    def _fail(self, code: int, reason: str) -> None:
        self._deadlines.events[f"connection killed: {reason}"] += 1
        self.close(code)


def _nobody() -> None:
    """Nobody wants to know yet."""
