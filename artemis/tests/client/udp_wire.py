"""What stands between a client and a node with a certificate: TCP that is passed on, and UDP that can be blocked."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from link_peers import Wire, wired

from artemis.testing import RunningNode


class UdpWire:
    """Datagrams between one client and `target`. ``dead``: it loses all of them; `passed` counts the others."""

    def __init__(self, address: tuple[str, int], target: tuple[str, int]) -> None:
        self.target = target
        self.dead = False
        self.passed = 0
        self.lost = 0
        self._loop = asyncio.get_running_loop()
        self._client: tuple[str, int] | None = None
        self._near = self._bound(address, self._from_client)
        self._far = [self._bound(("127.0.0.1", 0), self._from_node)]

    def move(self) -> None:
        """From now on the node sees the client at another port, as after a change of its address."""
        self._far.append(self._bound(("127.0.0.1", 0), self._from_node))

    def close(self) -> None:
        """Close the sockets."""
        for one in (self._near, *self._far):
            self._loop.remove_reader(one.fileno())
            one.close()

    def _bound(self, address: tuple[str, int], read: Callable[[socket.socket], None]) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind(address)
        self._loop.add_reader(made.fileno(), read, made)
        return made

    def _from_client(self, near: socket.socket) -> None:
        with suppress(OSError):
            data, self._client = near.recvfrom(65536)
            self._pass(self._far[-1], data, self.target)

    def _from_node(self, far: socket.socket) -> None:
        with suppress(OSError):
            data = far.recv(65536)
            if self._client is not None and far is self._far[-1]:  # what goes to where the client was is lost
                self._pass(self._near, data, self._client)

    def _pass(self, by: socket.socket, data: bytes, to: tuple[str, int]) -> None:
        if self.dead:
            self.lost += 1
            return
        self.passed += 1
        by.sendto(data, to)


class Front:
    """What stands before a node with a certificate: the client goes to `url`, by `tcp` and `udp`."""

    def __init__(self, node: RunningNode, tcp: Wire, udp: UdpWire) -> None:
        self.node = node
        self.tcp = tcp
        self.udp = udp
        self.url = tcp.url.replace("http:", "https:")  # it passes TLS on as it is


@asynccontextmanager
async def fronted(node: RunningNode, place: str) -> AsyncIterator[Front]:
    """Stand before the node, at ``place``, an address of this machine, and the port of the node."""
    async with wired(node.port, host=place, at=node.port) as tcp:
        udp = UdpWire((place, node.port), ("127.0.0.1", node.port))
        try:
            yield Front(node, tcp, udp)
        finally:
            udp.close()
