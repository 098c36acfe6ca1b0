"""What one process at a time may have: the data directory and the addresses of a node.

Not here: what is kept in the directory (`identity`, `persistence`), and what answers at the addresses (`doors`).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from artemis.server.certificates import HANDSHAKE
from artemis.server.data_directory import DirectoryLock, hold

if TYPE_CHECKING:
    from artemis.server.workers.place import Place
    from msgtrans import ServerTls

#: Ports of TCP that the system is asked for until one is free on UDP, too.
_ATTEMPTS = 10

_Connected = Callable[[], asyncio.BaseProtocol]


class ListenError(Exception):
    """The port cannot be had; the text says which and what to do."""


class Wanted(NamedTuple):
    """The addresses that a node wants. `tls` is spoken on `port`; `plain_port` is one without it, None for no such;
    with `udp` the same number is wanted of UDP. A worker has sockets from its machine, according to its `place`."""

    host: str
    port: int
    tls: ServerTls | None = None
    plain_port: int | None = None
    udp: bool = False
    place: Place | None = None


class Claim:
    """Owned by the node's process: `take`, then `start_serving`, then `close` and `give_up`.

    `address` is host and port in fact, `plain_address` those without TLS, None where there is no such port. `udp` are
    bound sockets for whoever reads them. `enforced` says whether the directory is locked in fact.
    """

    def __init__(self, wanted: Wanted, lock: DirectoryLock | None) -> None:
        self.enforced = lock is None or lock.enforced
        self.address = (wanted.host, wanted.port)
        self.plain_address: tuple[str, int] | None = None
        self.udp: list[socket.socket] = []
        self._wanted = wanted
        self._lock = lock
        self._listeners: list[asyncio.Server] = []

    async def bind(self, connected: _Connected) -> None:
        """Take the addresses. Raises `ListenError`."""
        wanted = self._wanted
        if wanted.place is not None:
            await self._take(wanted.place, connected)
            return
        if wanted.plain_port is not None:
            plain = await _listen(wanted.host, wanted.plain_port, connected, None, "--plain-port")
            self._listeners.append(plain)
            self.plain_address = _address(plain)
        for attempt in range(1, _ATTEMPTS + 1):
            listener = await _listen(wanted.host, wanted.port, connected, wanted.tls, "--port")
            host, port = self.address = _address(listener)
            try:
                self.udp = _bind_udp(listener) if wanted.udp else []
            except OSError as error:
                listener.close()
                if wanted.port == 0 and error.errno == errno.EADDRINUSE and attempt < _ATTEMPTS:
                    continue
                reason = error.strerror or error
                raise ListenError(
                    f"cannot listen on {host}:{port} of UDP: {reason}; choose another --port, or give --no-quic"
                ) from error
            self._listeners.append(listener)
            return

    async def _take(self, place: Place, connected: _Connected) -> None:
        """Take the worker's sockets of the machine's ports."""
        if place.plain_port is not None:
            for bound in await place.listen(place.hosts, place.plain_port):
                self._listeners.append(await _listen_at(bound, connected, None))
            self.plain_address = _address(self._listeners[0])
        first = len(self._listeners)
        for bound in await place.listen(place.hosts, place.port):
            self._listeners.append(await _listen_at(bound, connected, self._wanted.tls))
        self.address = _address(self._listeners[first])
        self.udp = [bound.dup() for bound in place.udp]

    async def start_serving(self) -> None:
        """Let connections in."""
        for listener in self._listeners:
            await listener.start_serving()

    async def rest(self) -> None:
        """Let no more connections in, and have those that are in made: asyncio does that in the turn in which it
        accepted them, unless their listener is closed by then."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            for bound in listener.sockets:
                loop.remove_reader(bound.fileno())
        await asyncio.sleep(0)
        self.close()

    def close(self) -> None:
        """Let no more connections in; once more is fine."""
        for listener in self._listeners:
            listener.close()

    def give_up(self) -> None:
        """Leave the addresses and the data directory to others; once more is fine."""
        self.close()
        for bound in self.udp:
            bound.close()
        if self._lock is not None:
            self._lock.release()


async def take(data_dir: Path | None, wanted: Wanted, connected: _Connected) -> Claim:
    """Take the data directory, if there is one, and the addresses; another process that leaves them is waited for.

    `connected` makes what speaks on each connection. Can be cancelled, and then has taken nothing. Raises
    `DataDirectoryError` and `ListenError`.
    """
    lock = None if data_dir is None else await hold(data_dir)
    claim = Claim(wanted, lock)
    try:
        await claim.bind(connected)
    except BaseException:
        claim.give_up()
        raise
    return claim


async def _listen(host: str, port: int, connected: _Connected, tls: ServerTls | None, option: str) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            connected,
            host,
            port,
            backlog=1024,
            start_serving=False,
            ssl=None if tls is None else tls.context,
            ssl_handshake_timeout=None if tls is None else HANDSHAKE,
        )
    except OSError as error:
        advice = "--host" if isinstance(error, socket.gaierror) else option
        raise ListenError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another {advice}"
        ) from error


async def _listen_at(bound: socket.socket, connected: _Connected, tls: ServerTls | None) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(
        connected,
        sock=bound,
        backlog=1024,
        start_serving=False,
        ssl=None if tls is None else tls.context,
        ssl_handshake_timeout=None if tls is None else HANDSHAKE,
    )


def _bind_udp(listener: asyncio.Server) -> list[socket.socket]:
    """Sockets of UDP at the addresses of a listener. Raises OSError."""
    bound: list[socket.socket] = []
    try:
        for beside in listener.sockets:
            bound.append(socket.socket(beside.family, socket.SOCK_DGRAM))
            if beside.family == socket.AF_INET6:
                bound[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound[-1].bind(beside.getsockname())
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _address(listener: asyncio.Server) -> tuple[str, int]:
    host, port = listener.sockets[0].getsockname()[:2]
    return host, port
