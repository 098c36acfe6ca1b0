"""The UDP socket of a listener, and which connection each datagram belongs to.

Datagrams find their connection by its id, not by their address, so a client that moves keeps its session.
What belongs to no connection costs as little as can be: a look at its header. A connection begins only with a datagram
of 1200 bytes of a version spoken here. While many handshakes are under way, clients must prove their address with a
token first; beyond `max_connections` handshakes more are dropped, and clients try again by themselves.
Not here: what happens inside a connection (`connection`).
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from qh3.quic.packet import encode_quic_retry, encode_quic_version_negotiation

from msgtrans.adapters.quic.connection import QuicLink
from msgtrans.adapters.quic.datagrams import ID_SIZE, LEAST_ID, LEAST_INITIAL, LongHeader, Tokens, parse_long
from msgtrans.adapters.quic.library import VERSIONS, ServerConnection
from msgtrans.adapters.quic.udp import UdpSocket
from msgtrans.config import Address

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Iterable

    from msgtrans.adapters.quic.certificates import ServerCertificates
    from msgtrans.adapters.quic.driving import Driving, QuicTerms
    from msgtrans.config import QuicServerConfig

CALM: Final = 64
"""Handshakes that may be under way before clients must prove their addresses."""
AT_ONCE: Final = 8
"""Connections that may begin in one turn of the loop: each is a millisecond of work, and others wait for the turn."""
WAITING: Final = 1024
"""Datagrams that may wait to begin one; more are dropped and counted, and clients repeat them."""


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
        super().__init__(loop, bound, terms.host.counters)
        self._terms = terms
        self._config = config
        self._certificates = certificates
        self._tokens = Tokens(secrets.token_bytes(32))
        self._links: dict[bytes, Driving] = {}
        self._ids: dict[Driving, set[bytes]] = {}
        self._over: set[Driving] = set()  # of these, the peer may not know yet
        self._accepting = True
        self._unwelcome: set[Driving] = set()  # began when nobody was accepted any more
        self._begun = 0  # connections in this turn of the loop
        self._turning = False  # another turn will follow
        self._newcomers: deque[tuple[bytes, tuple[str, int]]] = deque()  # to begin some
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
        self._newcomers.clear()
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
        self._take(self._read())

    def _begin_more(self) -> None:
        """Another turn: go on with some of those that wait."""
        self._begun, self._turning = 0, False
        waiting = self._newcomers
        self._take([waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))])
        if waiting:
            self._turn()

    def _turn(self) -> None:
        if not self._turning:
            self._turning = True
            self._terms.loop.call_soon(self._begin_more)

    def _take(self, read: Iterable[tuple[bytes, tuple[str, int]]]) -> None:
        found: dict[tuple[Driving, tuple[str, int]], list[bytes]] = {}
        for data, address in read:
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
        if link is not None or len(data) < LEAST_INITIAL:
            return link
        if self._begun < AT_ONCE:
            return self._begin(header, address)
        if len(self._newcomers) < WAITING:
            self._newcomers.append((data, address))
            self._turn()
        else:
            self._terms.host.counters.connections_refused += 1
        return None

    def _begin(self, header: LongHeader, address: tuple[str, int]) -> Driving | None:
        """Begin a connection, or say what is missing for one."""
        if header.version not in VERSIONS:
            if header.version:  # else it is itself an answer of that kind
                self._answer(
                    encode_quic_version_negotiation(header.destination, header.source, list(VERSIONS)), address
                )
            return None
        if not header.initial or len(header.destination) < LEAST_ID:
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
        self._begun += 1
        self._turn()
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
