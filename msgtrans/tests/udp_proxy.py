"""A UDP proxy on this machine that can lose, hold up, double and move what passes, for tests of QUIC."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class UdpProxy:
    """Between one client and the server at `address`. port: where it listens.

    fate: called with each datagram and whether it goes to the server; gives the delays, in seconds, of its copies: ()
    loses it, (0, 0) doubles it. passed: datagrams to the server and to the client.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.loop = asyncio.get_running_loop()
        self.fate: Callable[[bytes, bool], tuple[float, ...]] = lambda _data, _to_server: (0,)
        self.passed = [0, 0]
        self.client: tuple[str, int] | None = None
        self.listening = self._bound(self._from_client)
        self.port: int = self.listening.getsockname()[1]
        self.there = [self._bound(self._from_server)]

    def move(self) -> None:
        """From now on, the server sees the client at another port."""
        self.there.append(self._bound(self._from_server))

    def shut(self) -> None:
        """Listen no more: the system tells clients that nobody is there."""
        self.loop.remove_reader(self.listening.fileno())
        self.listening.close()

    def open(self) -> None:
        """Listen again, where it did."""
        self.listening = self._bound(self._from_client, self.port)

    def close(self) -> None:
        for one in (self.listening, *self.there):
            self.loop.remove_reader(one.fileno())
            one.close()

    def _bound(self, reader: Callable[[socket.socket], None], port: int = 0) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind(("127.0.0.1", port))
        self.loop.add_reader(made.fileno(), reader, made)
        return made

    def _from_client(self, listening: socket.socket) -> None:
        data, self.client = listening.recvfrom(9216)
        self._pass_on(data, to_server=True)

    def _from_server(self, there: socket.socket) -> None:
        data = there.recv(9216)
        if there is self.there[-1]:  # what comes to where the client was is lost
            self._pass_on(data, to_server=False)

    def _pass_on(self, data: bytes, *, to_server: bool) -> None:
        for delay in self.fate(data, to_server):
            if delay:
                self.loop.call_later(delay, self._send, data, to_server)
            else:
                self._send(data, to_server)

    def _send(self, data: bytes, to_server: bool) -> None:
        sending = self.there[-1] if to_server else self.listening
        target = self.address if to_server else self.client
        if sending.fileno() >= 0 and target is not None:
            self.passed[not to_server] += 1
            try:
                sending.sendto(data, target)
            except OSError:  # lost, as datagrams are
                return


@asynccontextmanager
async def udp_proxy(address: tuple[str, int]) -> AsyncIterator[UdpProxy]:
    """A proxy, as long as the block runs."""
    proxy = UdpProxy(tuple(address))
    try:
        yield proxy
    finally:
        proxy.close()
