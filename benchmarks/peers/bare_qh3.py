"""The least that Python can do over qh3 with the promise of a request: frames of a 4-byte length on one stream.

Each turn of the loop reads the datagrams that are there, hands them to the library together, and sends once. No limits,
no session, no reordering, no clean end. Not here: what is measured with it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from qh3.quic.connection import QuicConnection
from qh3.quic.events import HandshakeCompleted, StreamDataReceived

if TYPE_CHECKING:
    from qh3.quic.configuration import QuicConfiguration

LENGTH: Final = struct.Struct(">I")
BURST: Final = 64


class BareLink:
    """One connection on a socket of its own, which `made` makes for the address of the first datagram, or now."""

    def __init__(self, bound: socket.socket, configuration: QuicConfiguration, quic: QuicConnection | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = bound
        self._configuration = configuration
        self._quic = quic
        self._rest = b""
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self.ready = self._loop.create_future()
        bound.setblocking(False)
        self._loop.add_reader(bound, self._readable)

    def connect(self, address: tuple[str, int]) -> None:
        """Begin the handshake."""
        assert self._quic is not None
        self._quic.connect(address, monotonic())
        self._send()

    def request(self, payload: bytes) -> asyncio.Future[bytes]:
        """A request; the answer, in order."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append(future)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(LENGTH.pack(len(payload)) + payload)
        return future

    def close(self) -> None:
        """Stop at once."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._timer is not None:
            self._timer.cancel()

    def _flush(self) -> None:
        assert self._quic is not None
        self._quic.send_stream_data(0, b"".join(self._out))
        self._out.clear()
        self._send()

    def _readable(self) -> None:
        found: list[bytes] = []
        address = None
        for _ in range(BURST):
            try:
                data, address = self._socket.recvfrom(9216)
            except BlockingIOError:
                break
            found.append(data)
        if not found or address is None:
            return
        if self._quic is None:
            self._quic = QuicConnection(
                configuration=self._configuration, original_destination_connection_id=found[0][6 : 6 + found[0][5]]
            )
        self._quic.receive_many_datagrams(found, address, monotonic())
        while (event := self._quic.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                self._take(event.data)
            elif isinstance(event, HandshakeCompleted):
                self.ready.set_result(None)
        if self._out:
            self._quic.send_stream_data(0, b"".join(self._out))
            self._out.clear()
        self._send()

    def _take(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 4:
            stop = at + 4 + LENGTH.unpack_from(data, at)[0]
            if stop > len(data):
                break
            if self._configuration.is_client:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(data[at + 4 : stop])
            else:
                self._out.append(data[at:stop])
            at = stop
        self._rest = data[at:]

    def _send(self) -> None:
        assert self._quic is not None
        now = monotonic()
        for data, address in self._quic.datagrams_to_send(now):
            self._socket.sendto(data, address)
        at = self._quic.get_timer()
        if at is not None and self._timer is None:
            self._timer = self._loop.call_later(max(at - now, 0.001), self._late)

    def _late(self) -> None:
        self._timer = None
        assert self._quic is not None
        now = monotonic()
        at = self._quic.get_timer()
        if at is not None and at <= now:
            self._quic.handle_timer(now)
        self._send()
