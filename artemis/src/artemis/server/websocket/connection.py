"""One WebSocket connection after its upgrade: messages in, messages out, pings, and how it ends.

Messages are handled in order. When one takes long it is worked on a slice per turn of the loop, and those behind it
wait; pings never do. Not here: the upgrade (`upgrade`), and what messages mean, which the endpoint says (`endpoints`).
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from artemis.server.websocket.messages import TextReader
from msgtrans.adapters.buffers import read_buffer
from msgtrans.adapters.websocket import frames
from msgtrans.adapters.websocket.frames import control_frame, text_frame

if TYPE_CHECKING:
    from artemis.server.websocket.door import WebSocketDoor
    from artemis.server.websocket.endpoints import Conduct
    from artemis.server.websocket.heartbeats import Steps
    from artemis.server.websocket.sessions import Endpoint

#: Work of one connection in one turn of the loop, in messages; 512 bytes of a message count as one more.
_WORK_PER_TURN: Final = 128
_REASON_SIZE: Final = 123
_READ_SIZE: Final = 64 * 1024


class Phase(IntEnum):
    """What a connection does."""

    OPEN = 0
    FINISHING = 1  #: the peer has said goodbye; what it sent before is being handled
    CLOSING = 2  #: our Close frame is on its way; the peer's, or its end, is awaited
    CLOSED = 3


class WebSocketConnection(asyncio.BufferedProtocol):
    """The server's side of one session. All methods run on the event loop's thread.

    `endpoint` and `conduct` say what it is about, `state` is the conduct's. `address` is that of the TCP peer.
    """

    __slots__ = (
        "_blocked",
        "_complained",
        "_door",
        "_heard",
        "_kept",
        "_paused",
        "_pinged",
        "_pong",
        "_progress",
        "_quiet_since",
        "_reader",
        "_scheduled",
        "_steps",
        "_transport",
        "_view",
        "_waiting",
        "_working",
        "address",
        "conduct",
        "endpoint",
        "phase",
        "state",
    )

    def __init__(self, door: WebSocketDoor, endpoint: Endpoint, address: str) -> None:
        self.endpoint = endpoint
        self.address = address
        self.conduct: Conduct = door.conducts[endpoint]
        self.state: object = None
        self.phase = Phase.OPEN
        self._door = door
        self._transport: asyncio.Transport
        self._view = read_buffer(door.loop, _READ_SIZE)
        self._reader = TextReader(self.conduct.readers, self.conduct.message_size)
        self._waiting: list[bytes] = []  # messages that have not had their turn
        self._steps: Steps | None = None  # the rest of the work that a message makes
        self._working = 0  # bytes of that message
        self._scheduled = False
        self._paused = False  # we read no more for now
        self._blocked = False  # the peer does not take what we send
        self._progress = 0.0  # bytes it had not taken when last looked at
        self._pong: bytes | None = None  # waits until it does
        self._kept = 0  # bytes that the door knows of
        self._heard = True
        self._quiet_since = 0.0
        self._pinged = False
        self._complained = False

    def open(self, transport: asyncio.Transport, response: bytes, early: bytes) -> None:
        """Take over an upgraded transport: send `response`, go on with what was read behind the request."""
        limits = self._door.limits
        self._transport = transport
        transport.set_write_buffer_limits(high=limits.write_buffer, low=limits.write_buffer // 4)
        transport.write(response)
        self._quiet_since = self._door.loop.time()
        self._door.opened(self)
        self.conduct.opened(self)
        if early:
            self._received(early)

    # What the event loop calls

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where the next read goes: the buffer of the loop."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Handle everything that one read delivered."""
        self._received(self._view[:nbytes])

    def eof_received(self) -> bool:
        """The peer sends no more, so there is nobody to talk to."""
        if self.phase is Phase.FINISHING and self._steps is None and not self._waiting:
            self.bid_farewell()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is gone."""
        if self.phase < Phase.CLOSING:
            self._door.closes["gone" if self._reader.peer_close is None else "peer"] += 1
        self.phase = Phase.CLOSED
        self._stop_working()
        self._door.lost(self)

    def pause_writing(self) -> None:
        """The peer does not take what it gets: nothing more is made for it."""
        self._blocked = True
        self._door.blocked[self] = self._door.loop.time()
        self._progress = self._transport.get_write_buffer_size()
        self.conduct.blocked(self)

    def resume_writing(self) -> None:
        """The peer takes it again: go on."""
        self._blocked = False
        self._door.blocked.pop(self, None)
        pong, self._pong = self._pong, None
        if pong is not None and self.phase < Phase.CLOSING:
            self._write(control_frame(frames.PONG, pong))
        if self._steps is not None or self._waiting:
            self._schedule()
        self._door.awaken(self)

    # What the conduct calls

    @property
    def room(self) -> int:
        """Bytes that may be sent now; 0 while the peer does not take what it got."""
        if self._blocked or self.phase is not Phase.OPEN:
            return 0
        return max(0, self._door.limits.write_buffer - self._transport.get_write_buffer_size())

    def send(self, messages: list[bytes]) -> None:
        """Send text messages, in one write."""
        if not messages or self.phase >= Phase.CLOSING:
            return
        door = self._door
        door.stats.messages_out += len(messages)
        self._write(door.framed(messages[0]) if len(messages) == 1 else b"".join(map(text_frame, messages)))

    def close(self, code: int, reason: str, why: str) -> None:
        """Say goodbye, and wait a little for the peer to do so; `why` is the word in statistics."""
        if self.phase >= Phase.CLOSING:
            return
        door = self._door
        door.closes[why] += 1
        text = reason.encode()[:_REASON_SIZE].decode("utf-8", "ignore").encode()
        payload = b"" if code == frames.NO_CODE else code.to_bytes(2, "big") + text
        self.phase = Phase.CLOSING
        self._stop_working()
        door.ending(self)
        self._write(control_frame(frames.CLOSE, payload))
        if self._reader.peer_close is not None:
            self._transport.close()
        elif self._reader.violation is not None and self._transport.can_write_eof():
            # What the peer still sends is read and dropped, so that no reset overtakes the reason.
            try:
                self._transport.write_eof()
            except OSError:  # the peer has reset the connection, and the loop has not seen that yet
                self._transport.abort()
        if self._paused:
            self._resume_reading()

    def complain(self, what: str) -> None:
        """Log once what the peer does and cannot be told on this endpoint."""
        if not self._complained:
            self._complained = True
            self._door.complain(self, what)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    # What the door's clocks call

    def beat(self, now: float, interval: float, timeout: float) -> None:
        """Ping a silent peer, give up on one that stays silent. One that does not take what it gets is not judged."""
        if self.phase is not Phase.OPEN:
            return
        if self._heard or self._blocked or self._paused:
            self._heard, self._pinged, self._quiet_since = False, False, now
        elif self._pinged:
            if now - self._quiet_since >= timeout:
                self._door.closes["silent"] += 1
                self.phase = Phase.CLOSING
                self._door.ending(self)
                self.abort()
        elif now - self._quiet_since >= interval:
            self._quiet_since, self._pinged = now, True
            self._write(control_frame(frames.PING, b""))

    def bid_farewell(self) -> None:
        """Answer the peer's goodbye, unless the connection has ended meanwhile."""
        goodbye = self._reader.peer_close
        if goodbye is not None:
            self.close(goodbye.code, "", "peer")

    @property
    def unsent(self) -> int:
        """Bytes that the peer has not taken."""
        return self._transport.get_write_buffer_size()

    def stuck(self) -> bool:
        """Whether the peer has taken nothing since this was asked last."""
        unsent = self._transport.get_write_buffer_size()
        stuck = unsent >= self._progress
        self._progress = unsent
        return stuck

    # Receiving

    def _received(self, data: memoryview | bytes) -> None:
        reader = self._reader
        self._heard = True
        messages = reader.feed(data)
        if self.phase is not Phase.OPEN:
            if reader.peer_close is not None and self.phase is Phase.CLOSING:
                self._transport.close()
            return
        if reader.halted:
            self._answer_ping()
        if messages:
            self._door.stats.messages_in += len(messages)
            if self._steps is not None or self._waiting or self._blocked:
                self._waiting += messages
            else:
                self._serve(messages)
        if reader.halted:
            self._halted()
        if self._kept or reader.kept or self._waiting or self._working:
            self._tell_kept()

    def _answer_ping(self) -> None:
        """At once; only the last of many, and one at most waits for a peer that does not read."""
        ping, self._reader.ping = self._reader.ping, None
        if ping is None:
            return
        if self._blocked:
            self._pong = ping
        else:
            self._write(control_frame(frames.PONG, ping))

    def _halted(self) -> None:
        """There was more than messages and pings."""
        reader = self._reader
        if reader.violation is not None:
            code, reason = reader.violation
            self.close(code, reason, f"violation_{code}")
        elif reader.peer_close is not None:
            if self.phase is Phase.OPEN:
                self.phase = Phase.FINISHING
                if self._steps is not None or self._waiting:
                    self._door.hurry(self)
            self._settle()
        else:
            reader.halted = False

    def _serve(self, messages: list[bytes]) -> None:
        """Handle messages until one takes longer, or it is the turn of others."""
        out: list[bytes] = []
        work = 0
        received = self.conduct.received
        for index, message in enumerate(messages):
            if work >= _WORK_PER_TURN:
                self._waiting = messages[index:]
                break
            work += 1 + (len(message) >> 9)
            answer = received(self, message)
            if isinstance(answer, list):
                out += answer
            else:
                self._steps = answer
                self._working = len(message)
                self._waiting = messages[index + 1 :]
                break
        self.send(out)
        if self._steps is not None or self._waiting:
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._door.work(self)

    def turn(self) -> None:
        """Go on with what is under way."""
        self._scheduled = False
        if self._blocked or self.phase >= Phase.CLOSING:
            return
        if self._steps is not None:
            batch = next(self._steps, None)
            if batch is None:
                self._steps = None
                self._working = 0
            else:
                self.send(batch)
            if self._steps is not None or self._waiting:
                self._schedule()
        elif self._waiting:
            messages, self._waiting = self._waiting, []
            self._serve(messages)
        self._settle()
        self._tell_kept()

    def _settle(self) -> None:
        """When nothing is under way: read again, or answer the goodbye."""
        if self._steps is not None or self._waiting:
            return
        if self.phase is Phase.FINISHING:
            self._door.leave(self)
        elif self._paused:
            self._resume_reading()

    def _tell_kept(self) -> None:
        """Count what is kept with that of all others, and stop reading when too much waits."""
        waiting = sum(map(len, self._waiting)) + self._working
        kept = self._reader.kept + waiting
        within = self._door.count_kept(self, kept - self._kept, partial=self._reader.kept > 0)
        self._kept = kept
        if self.phase >= Phase.CLOSING:
            return
        if not within:
            self.close(frames.TRY_LATER, "too many messages are on their way; try again later", "memory")
        elif waiting - self._working >= self._door.limits.waiting and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _stop_working(self) -> None:
        """Nothing of what waits will be handled."""
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        self._waiting = []
        self._working = 0
        if self.phase is Phase.CLOSED:
            self._reader.release()
        if self._kept:
            self._door.count_kept(self, -self._kept, partial=False)
            self._kept = 0

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
