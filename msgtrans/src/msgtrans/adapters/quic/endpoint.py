"""The UDP socket of a listener, and which connection each datagram belongs to; and the socket of a client.

Datagrams find their connection by its id, not by their address, so a client that moves keeps its session.
What belongs to no connection costs as little as can be: a look at its header. A connection begins only with a datagram
of 1200 bytes of a version spoken here. While many handshakes are under way, clients must prove their address with a
token first; beyond `max_connections` handshakes more are dropped, and clients try again by themselves.
Not here: what happens inside a connection (`connection`).
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import socket
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from qh3.quic.packet import encode_quic_retry, encode_quic_version_negotiation

from msgtrans.adapters import sockets
from msgtrans.adapters.quic.connection import QuicLink
from msgtrans.adapters.quic.datagrams import ID_SIZE, LEAST_INITIAL, LongHeader, Tokens, parse_long
from msgtrans.adapters.quic.library import VERSIONS, ServerConnection
from msgtrans.config import Address
from msgtrans.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

    from msgtrans.adapters.quic.certificates import ServerCertificates
    from msgtrans.adapters.quic.driving import Driving, QuicTerms
    from msgtrans.config import QuicServerConfig

BURST: Final = 64
"""Datagrams that are read in one turn of the loop."""
SIZE: Final = 9216
"""Bytes of the largest datagram that is read whole."""
CALM: Final = 64
"""Handshakes that may be under way before clients must prove their addresses."""
BACKLOG: Final = 4096
"""Datagrams that may wait for a socket that takes no more; beyond that they are lost, as in any network."""
PAUSE: Final = 0.02
"""Seconds for which nothing is read from a socket that gives nothing but errors."""
PATIENCE: Final = 8
"""Reads in a row that may fail before such a pause."""
QUIET: Final = 60.0
"""Seconds for which the same trouble of one socket is not told again."""
_TOO_BIG: Final = frozenset({errno.EMSGSIZE})
_PASSING: Final = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.EINTR, errno.EAGAIN}) | _TOO_BIG
"""What says nothing of whether the other side can be reached."""
logger = logging.getLogger("msgtrans.quic")


class UdpSocket:
    """One UDP socket on an event loop. bound: ours from now on."""

    _level = logging.WARNING  # of what the system refuses

    def __init__(self, loop: asyncio.AbstractEventLoop, bound: socket.socket) -> None:
        self._loop = loop
        self._socket = bound
        self._waiting: deque[tuple[bytes, tuple[str, int] | None]] = deque()
        self._connected = False
        self._closed = False
        self._failures = 0  # reads in a row
        self._told: dict[int, float] = {}  # when which trouble was told
        set_up(bound)
        self._local_address = Address(*bound.getsockname()[:2])
        try:
            loop.add_reader(bound.fileno(), self._readable)
        except NotImplementedError as error:
            bound.close()
            raise ConfigurationError(
                "quic", "needs an event loop that watches sockets; use a SelectorEventLoop or uvloop"
            ) from error

    @property
    def local_address(self) -> Address | None:
        """Where it is bound."""
        return None if self._closed else self._local_address

    @property
    def socket(self) -> socket.socket:
        """The socket."""
        return self._socket

    def send(self, datagrams: list[tuple[bytes, tuple[str, int]]]) -> None:
        """Send them; those that the system does not take wait, and beyond `BACKLOG` are lost."""
        if self._closed:
            return
        connected = self._connected
        for data, address in datagrams:
            if self._waiting:
                self._wait(data, address)
                continue
            try:
                if connected:
                    self._socket.send(data)
                else:
                    self._socket.sendto(data, address)
            except BlockingIOError:
                self._wait(data, address)
            except OSError as error:  # lost, as datagrams are; too big ones are meant to find out what is
                if error.errno not in _TOO_BIG:
                    self._tell(error, "sending", address)
                    self._not_sent(error)

    def close(self) -> None:
        """Close the socket; what waits is lost."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._waiting.clear()
            self._socket.close()

    def _wait(self, data: bytes, address: tuple[str, int]) -> None:
        if not self._waiting:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        if len(self._waiting) < BACKLOG:
            self._waiting.append((data, address))

    def _writable(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._loop.remove_writer(self._socket.fileno())
        self.send([(data, address) for data, address in waiting if address is not None])

    def _read(self) -> list[tuple[bytes, tuple[str, int]]]:
        """What has come, `BURST` datagrams at most."""
        read: list[tuple[bytes, tuple[str, int]]] = []
        receive = self._socket.recvfrom
        for _ in range(BURST):
            try:
                read.append(receive(SIZE))
            except BlockingIOError:
                self._failures = 0
                break
            except OSError as error:  # about something that was sent earlier, or the system's own trouble
                self._not_sent(error)
                self._failures += 1
                if self._failures >= PATIENCE:
                    self._pause(error)
                break
        else:
            self._failures = 0
        return read

    def _pause(self, error: OSError) -> None:
        """Read nothing for a moment: the error stays, and the loop would do nothing else."""
        self._tell(error, "receiving", None)
        self._loop.remove_reader(self._socket.fileno())
        self._loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if not self._closed:
            self._failures = 0
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def _tell(self, error: OSError, doing: str, address: tuple[str, int] | None) -> None:
        """Log what the system refuses, once a minute for each error."""
        now = monotonic()
        if now - self._told.get(error.errno or 0, -QUIET) < QUIET:
            return
        self._told[error.errno or 0] = now
        where = f" to {Address(*address[:2])}" if address is not None else ""
        advice = sockets.advice_of(error)
        logger.log(
            self._level,
            "the system refuses %s on %s%s: %s%s; datagrams are lost meanwhile, and sent again",
            doing,
            self._local_address,
            where,
            error.strerror or error,
            f"; {advice}" if advice else "",
        )

    def _readable(self) -> None:
        raise NotImplementedError

    def _not_sent(self, error: OSError) -> None:
        """The system refuses a datagram, or says that one was refused."""


class ClientSocket(UdpSocket):
    """The socket of one connection. It is connected, so nothing but what the server sends gets through."""

    _level = logging.INFO  # its session tells how it ends

    def __init__(self, loop: asyncio.AbstractEventLoop, bound: socket.socket, address: tuple[str, int]) -> None:
        bound.connect(address)
        super().__init__(loop, bound)
        self._connected = True
        self._address = address
        self._last: bytes | None = None
        self.link: QuicLink | None = None

    def issued(self, link: Driving, connection_id: bytes) -> None:
        """All that comes is for the one connection."""

    def retired(self, link: Driving, connection_id: bytes) -> None:
        """As above."""

    def left(self, link: Driving) -> None:
        """As above: a client stays for nothing."""

    def gone(self, link: Driving) -> None:  # noqa: ARG002 - there is only one
        """The connection is gone."""
        self.link = None
        self.close()

    def _readable(self) -> None:
        read = self._read()
        if self.link is not None and read:
            self.link.take_datagrams([data for data, _ in read], self._address)

    def _not_sent(self, error: OSError) -> None:
        if self.link is not None and error.errno not in _PASSING:
            self._loop.call_soon(self._give_up, error)

    def _give_up(self, error: OSError) -> None:
        if self.link is not None:
            self.link.unreachable(error)


class ServerSocket(UdpSocket):
    """The socket of a listener, and its connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bound: socket.socket,
        terms: QuicTerms,
        config: QuicServerConfig,
        certificates: ServerCertificates,
    ) -> None:
        super().__init__(loop, bound)
        self._terms = terms
        self._config = config
        self._certificates = certificates
        self._tokens = Tokens(secrets.token_bytes(32))
        self._links: dict[bytes, Driving] = {}
        self._ids: dict[Driving, set[bytes]] = {}
        self._over: set[Driving] = set()  # of these, the peer may not know yet
        self._accepting = True
        self._unwelcome: set[Driving] = set()  # began when nobody was accepted any more
        self._last = False  # with the last connection, the socket goes

    # What the listener calls

    def rest(self) -> None:
        """Accept no more: who comes is told so. Connections go on."""
        self._accepting = False

    def finish(self) -> None:
        """Accept no more, and close the socket with the last connection."""
        self._accepting, self._last = False, True
        for link in list(self._ids):
            link.refuse_unless_established()
        self._end_if_left()

    def end(self) -> None:
        """Drop what is left, and close the socket."""
        self._accepting = False
        for link in list(self._ids):
            link.abort()
            link.forget()
        self._ids.clear()
        self._over.clear()
        self._links.clear()
        self.close()

    # What connections call

    def issued(self, link: Driving, connection_id: bytes) -> None:
        """Another id of a connection."""
        if link in self._ids:
            self._ids[link].add(connection_id)
            self._links[connection_id] = link

    def retired(self, link: Driving, connection_id: bytes) -> None:
        """One id less of a connection."""
        if link in self._ids:
            self._ids[link].discard(connection_id)
            self._links.pop(connection_id, None)

    def left(self, link: Driving) -> None:
        """A connection is over, and the peer may not know yet."""
        if link in self._ids:
            self._over.add(link)
            self._end_if_left()

    def gone(self, link: Driving) -> None:
        """A connection is gone."""
        self._over.discard(link)
        for connection_id in self._ids.pop(link, ()):
            self._links.pop(connection_id, None)
        self._end_if_left()

    def _end_if_left(self) -> None:
        if self._last and len(self._over) == len(self._ids):
            self.end()

    # Datagrams

    def _readable(self) -> None:
        found: dict[tuple[Driving, tuple[str, int]], list[bytes]] = {}
        for data, address in self._read():
            link = self._link_of(data, address)
            if link is not None:
                found.setdefault((link, address), []).append(data)
        for (link, address), datagrams in found.items():
            link.take_datagrams(datagrams, address)
        for link in self._unwelcome:
            link.refuse_unless_established()
        self._unwelcome.clear()

    def _link_of(self, data: bytes, address: tuple[str, int]) -> Driving | None:
        if not data:
            return None
        if not data[0] & 0x80:
            return self._links.get(data[1 : 1 + ID_SIZE])
        header = parse_long(data)
        if header is None:
            return None
        link = self._links.get(header.destination)
        if link is None and len(data) >= LEAST_INITIAL:
            return self._begin(header, address)
        return link

    def _begin(self, header: LongHeader, address: tuple[str, int]) -> Driving | None:
        """Begin a connection, or say what is missing for one."""
        if header.version not in VERSIONS:
            if header.version:  # else it is itself an answer of that kind
                self._answer(
                    encode_quic_version_negotiation(header.destination, header.source, list(VERSIONS)), address
                )
            return None
        if not header.initial:
            return None
        terms = self._terms
        original = None
        if header.token:
            original = self._tokens.check(address[0], address[1], header.token, header.destination, monotonic())
        if original is None and (self._config.validate_addresses or terms.unfinished >= CALM):
            self._ask_again(header, address)
            return None
        if terms.unfinished >= terms.max_connections:
            terms.host.counters.connections_refused += 1
            return None
        quic = ServerConnection(
            configuration=self._certificates.configuration,
            original_destination_connection_id=header.destination if original is None else original,
            retry_source_connection_id=None if original is None else header.destination,
        )
        link = QuicLink(terms, quic, self, Address(*address[:2]))
        if not self._accepting:
            self._unwelcome.add(link)
            terms.host.counters.connections_refused += 1
        self._ids[link] = set()
        self.issued(link, header.destination)
        self.issued(link, quic.host_cid)
        return link

    def _ask_again(self, header: LongHeader, address: tuple[str, int]) -> None:
        """Have the client come back with a token, which it gets only if its address is its own."""
        chosen = os.urandom(ID_SIZE)
        token = self._tokens.make(address[0], address[1], header.destination, chosen, monotonic())
        self._answer(
            encode_quic_retry(
                version=header.version,
                source_cid=chosen,
                destination_cid=header.source,
                original_destination_cid=header.destination,
                retry_token=token,
            ),
            address,
        )

    def _answer(self, data: bytes, address: tuple[str, int]) -> None:
        self.send([(data, address)])


def set_up(bound: socket.socket) -> None:
    """What every UDP socket needs: not to wait, not to have datagrams cut in pieces, and room for bursts."""
    bound.setblocking(False)
    with suppress(OSError, AttributeError):  # systems without it find the size of datagrams more slowly
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, 23, 3)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE
        else:
            bound.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
