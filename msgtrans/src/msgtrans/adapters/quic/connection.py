"""One QUIC connection as the link of its session.

It is made of layers, each in a module of its own: `driving` is its clockwork, `arriving` its reading half and how
packets travel, `ending` its end.
Not here: the UDP socket, and which connection a datagram belongs to (`endpoint`).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from msgtrans.adapters.quic.ending import Ending

if TYPE_CHECKING:
    from msgtrans.config import Address, SessionConfig
    from msgtrans.link import HttpRequest


class QuicLink(Ending):
    """One connection, made by whoever listens or connects.

    peer_address: where the peer was when it connected; it may move, and the connection goes on. connected: a client
    waits for the handshake with it.
    """

    __slots__ = ()

    @property
    def protocol(self) -> str:
        """The transport's name."""
        return self._terms.protocol

    @property
    def config(self) -> SessionConfig:
        """What holds for the session."""
        return self._terms.session

    @property
    def http_request(self) -> HttpRequest | None:
        """None: there was none."""
        return None

    @property
    def local_address(self) -> Address | None:
        """Our own end."""
        return self._carrier.local_address

    @property
    def inside_packet(self) -> bool:
        """Whether the peer owes the rest of a packet, or one before others."""
        mapping = self._mapping
        return mapping is not None and mapping.partial and not mapping.more and not self._unread

    @property
    def kept(self) -> int:
        """Bytes of incomplete packets, and of those not read yet."""
        return self._kept

    def get_extra_info(self, name: str) -> object:
        """What is known by that name: "ssl_object" is the library's TLS state, "socket" may be shared with others."""
        match name:
            case "ssl_object":
                return self._quic.tls
            case "socket":
                return self._carrier.socket
            case "peername":
                return self.peer_address
            case "sockname":
                return self.local_address
            case _:
                return None

    def write(self, packets: list[bytes]) -> None:
        """Send packets: on one stream in a single piece, or each on its own while the peer grants streams."""
        if self._done:
            return
        if self._mapping is not None:
            self._write(self._mapping, packets)
        else:
            self._write_early(packets)
        self._transmit(monotonic())
        if not self._blocked and self.buffered() and self._session is not None:
            self._blocked = True
            self._session.pause_writing()

    def buffered(self) -> int:
        """Bytes that have not left: they wait for streams, or for the network to take more."""
        if self._done:
            return 0
        waiting = self._mapping.waiting if self._mapping is not None else self._early_bytes
        return waiting + self._quic.get_send_buffer_size()

    def pause_reading(self) -> None:
        """Hand on no packets for now; the peer may send what it was granted, and then waits."""
        self._paused = True
        self._quic.hold()

    def resume_reading(self) -> None:
        """Hand on packets again."""
        if self._paused:
            self._paused = False
            self._feed_soon()

    def finish(self) -> None:
        """Close once everything is acknowledged: QUIC has no half of a connection that would be worth keeping."""
        self.close()
