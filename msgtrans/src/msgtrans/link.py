"""What a session asks of whatever carries its bytes. The adapters implement it; a session knows nothing else of them.

Not here: framing and sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from msgtrans.config import Address


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

    def write(self, data: bytes) -> None:
        """Send `data` after all that was written before; does not block.

        If not all of it leaves at once, calls `pause_writing`, and `resume_writing` once nothing is left.
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
    """The link of a closed session: remembers the addresses, does nothing."""

    __slots__ = ("local_address", "peer_address", "protocol")

    inside_packet = False

    def __init__(self, link: Link) -> None:
        self.protocol = link.protocol
        self.peer_address = link.peer_address
        self.local_address = link.local_address

    def write(self, data: bytes) -> None:
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
