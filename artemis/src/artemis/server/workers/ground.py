"""What a machine with several workers holds as long as it runs, whichever of them lives: its ports, and what they trust
each other by.

Taken by the parent before it starts workers, which inherit it. Sockets of the port itself are made for each worker by
msgtrans' supervisor; here a socket that nobody listens at keeps the number.
Not here: processes (`supervision`), and what a worker makes of its place (`work`).
"""

from __future__ import annotations

import errno
import secrets
import socket
from typing import TYPE_CHECKING

from artemis.cluster.addresses import PeerUrl
from artemis.server.claim import ListenError
from artemis.server.cluster_files import read_secret
from artemis.server.config import own_url
from artemis.server.identity import fallback_id, known_id
from artemis.server.workers.place import Links, Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from artemis.server.config import ServeConfig
    from artemis.server.workers.totals import Totals

_ATTEMPTS = 10
"""Ports of TCP that the system is asked for until one is free on all addresses, and on UDP where that is needed."""

_LOOPBACK = "127.0.0.1"
_SECRET = 32
_LIFE = 16
_BACKLOG = 64


class Ground:
    """Owned by the parent: made once, then `close`. Raises `ListenError` and `ClusterFileError`.

    `port` and `plain_port` are those in fact.
    """

    def __init__(self, config: ServeConfig) -> None:
        self._secret, self._life = _secret(config), secrets.token_hex(_LIFE)
        self._kept: list[socket.socket] = []
        self._udp: list[socket.socket] = []
        self._mesh: list[socket.socket] = []
        # Of each worker, on all addresses.
        self._links: list[tuple[socket.socket, ...]] = []
        self.hosts = _resolved(config.host, config.port)
        try:
            self.plain_port = None if config.plain_port is None else self._take(config.plain_port, "--plain-port")
            self.port = self._take(config.port, "--port", udp=config.serves_quic)
            for _ in range(config.workers):
                listening = socket.create_server((_LOOPBACK, 0), backlog=64)
                listening.setblocking(False)
                self._mesh.append(listening)
            url = own_url(config, self.port)
            self._secure = config.secure and url.startswith("https")
            if config.several_linked:
                self._take_links(config)
            self._link_host = config.own_host
            #: The id of the node that all workers are to others: that of the first of them.
            self.machine = known_id(config.data_dir) or fallback_id(url)
        except BaseException:
            self.close()
            raise

    def place(
        self,
        index: int,
        listen: Callable[[Sequence[str], int], Awaitable[list[socket.socket]]],
        totals: Totals,
        leave: Callable[[str], None],
        *,
        again: bool = False,
    ) -> Place:
        """Return the place of one worker, which may have been started `again`."""
        urls = [PeerUrl("http", _LOOPBACK, each.getsockname()[1], "") for each in self._mesh]
        return Place(
            index=index,
            count=len(urls),
            machine=self.machine,
            totals=totals,
            leave=leave,
            secret=self._secret,
            url=urls[index],
            siblings=tuple(url for number, url in enumerate(urls) if number != index),
            mesh=self._mesh[index],
            hosts=self.hosts,
            port=self.port,
            plain_port=self.plain_port,
            listen=listen,
            life=self._life,
            links=self._links_of(index),
            again=again,
            udp=() if index else tuple(self._udp),
        )

    def close(self) -> None:
        """Let everything go; once more is fine."""
        for held in (*self._kept, *self._udp, *self._mesh, *(bound for each in self._links for bound in each)):
            held.close()

    def _links_of(self, index: int) -> Links | None:
        if not self._links:
            return None
        host = f"[{self._link_host}]" if ":" in self._link_host else self._link_host
        scheme = "https" if self._secure else "http"
        urls = tuple(f"{scheme}://{host}:{bound[0].getsockname()[1]}" for bound in self._links)
        return Links(urls[index], self._links[index], self._secure, urls)

    def _take_links(self, config: ServeConfig) -> None:
        """Listen for nodes of other machines, once for each worker."""
        for port in config.workers_ports or (0,) * config.workers:
            self._links.append(self._listening(port))

    def _listening(self, port: int) -> tuple[socket.socket, ...]:
        """Return sockets that listen on one port of all addresses."""
        for attempt in range(1, _ATTEMPTS + 1):
            taken: list[socket.socket] = []
            number = port
            try:
                for host in self.hosts:
                    taken.append(_bound(host, number, socket.SOCK_STREAM))
                    number = number or taken[0].getsockname()[1]
                    taken[-1].listen(_BACKLOG)
            except OSError as error:
                for each in taken:
                    each.close()
                if port == 0 and error.errno == errno.EADDRINUSE and attempt < _ATTEMPTS:
                    continue
                raise ListenError(
                    f"cannot listen on {self.hosts[0]}:{number} for links with a worker: {error.strerror or error}; "
                    "choose another --workers-port"
                ) from error
            return tuple(taken)
        raise AssertionError("the last attempt returns or raises")

    def _take(self, port: int, option: str, *, udp: bool = False) -> int:
        """Keep a port on all addresses, of UDP too if so wanted; returns its number."""
        for attempt in range(1, _ATTEMPTS + 1):
            taken: list[socket.socket] = []
            kind = "TCP"
            try:
                number = port
                for host in self.hosts:
                    taken.append(_bound(host, number, socket.SOCK_STREAM))
                    number = number or taken[0].getsockname()[1]
                kind = "UDP"
                datagrams = [_bound(host, number, socket.SOCK_DGRAM) for host in self.hosts] if udp else []
            except OSError as error:
                for each in taken:
                    each.close()
                if port == 0 and error.errno == errno.EADDRINUSE and attempt < _ATTEMPTS:
                    continue
                advice = f"choose another {option}" + (", or give --no-quic" if kind == "UDP" else "")
                raise ListenError(
                    f"cannot listen on {self.hosts[0]}:{number} of {kind}: {error.strerror or error}; {advice}"
                ) from error
            self._kept += taken
            self._udp += datagrams
            return number
        raise AssertionError("the last attempt returns or raises")


def _secret(config: ServeConfig) -> bytes:
    """Return what the links of the workers trust each other by: the secret of the cluster whose nodes link with them,
    empty where that needs none, else one of their own. Raises `ClusterFileError`."""
    if not config.several_linked:
        return secrets.token_bytes(_SECRET)
    return b"" if config.cluster_secret_file is None else read_secret(config.cluster_secret_file)


def _resolved(host: str, port: int) -> tuple[str, ...]:
    """Return the numeric addresses of a host that may be a name."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ListenError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --host"
        ) from error
    return tuple(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


def _bound(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Return a bound socket; of TCP one that nobody connects to, as it does not listen. Raises OSError."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        if kind == socket.SOCK_STREAM:
            # Others may listen at the number that say the same, which only our workers and idle sockets do.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind((host, port))
    except BaseException:
        bound.close()
        raise
    return bound
