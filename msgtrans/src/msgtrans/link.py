"""What a session asks of whatever carries its bytes. The adapters implement it; a session knows nothing else of them.

Not here: framing and sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from msgtrans.config import Address, SessionConfig


class HttpRequest(msgspec.Struct, frozen=True):
    """The request that opened a WebSocket connection.

    path: without query, as on the wire. query: what follows "?", may be empty. headers: names in lower case, values of
    a repeated header joined by ", ". subprotocol: the one chosen, None without.
    """

    path: str
    query: str
    headers: Mapping[str, str]
    subprotocol: str | None = None


class Link(Protocol):
    """Carries a session's bytes, and calls its `receive`, `pause_writing`, `resume_writing`, `peer_finished`, `lost`.

    `lost` comes last and once, never from within one of the methods below.
    """

    @property
    def protocol(self) -> str:
        """The transport's name, as in its URIs."""
        ...

    @property
    def peer_address(self) -> Address | None:
        """Where the peer is, if the transport knows."""
        ...

    @property
    def local_address(self) -> Address | None:
        """Our own end, if the transport knows."""
        ...

    @property
    def inside_packet(self) -> bool:
        """Whether what has arrived ends inside a packet."""
        ...

    @property
    def config(self) -> SessionConfig:
        """What holds for the session."""
        ...

    @property
    def http_request(self) -> HttpRequest | None:
        """The request that opened the connection, where there was one."""
        ...

    @property
    def kept(self) -> int:
        """Bytes of incomplete packets that it keeps, as it has told the session."""
        ...

    def get_extra_info(self, name: str) -> object:
        """What asyncio's transport knows by that name, as "ssl_object" or "socket"; None without it."""
        ...

    def write(self, packets: list[bytes]) -> None:
        """Send packets, each of them whole, after all that was written before; does not block, does not keep the list.

        Adds what that makes on the wire to the session's `bytes_sent` first. If not all of it leaves at once, calls
        `pause_writing`, and `resume_writing` once nothing is left.
        """
        ...

    def buffered(self) -> int:
        """Bytes written that the system has not taken yet."""
        ...

    def pause_reading(self) -> None:
        """Deliver no packets until `resume_reading`."""
        ...

    def resume_reading(self) -> None:
        """Deliver packets again."""
        ...

    def finish(self) -> None:
        """Tell the peer that nothing more will be sent; go on reading."""
        ...

    def close(self) -> None:
        """Close once all is written."""
        ...

    def abort(self) -> None:
        """Close at once, whatever is still to be written."""
        ...


class GoneLink:
    """The link of a closed session: remembers the addresses and the request, does nothing."""

    __slots__ = ("config", "http_request", "local_address", "peer_address", "protocol")

    inside_packet = False
    kept = 0

    def __init__(self, link: Link) -> None:
        self.protocol = link.protocol
        self.config = link.config
        self.http_request = link.http_request
        self.peer_address = link.peer_address
        self.local_address = link.local_address

    def get_extra_info(self, name: str) -> object:  # noqa: ARG002 - as a link has it
        """Nothing is known any more."""
        return None

    def write(self, packets: list[bytes]) -> None:
        """Nothing."""

    def buffered(self) -> int:
        """Nothing is."""
        return 0

    def pause_reading(self) -> None:
        """Nothing."""

    def resume_reading(self) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def abort(self) -> None:
        """Nothing."""
