"""What a dialler asks of the mesh that it belongs to. Not here: what accepted connections ask (`accepting.Host`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from artemis.cluster.mesh.dialler import Dialler
    from artemis.cluster.mesh.handshake import ElsewhereError, Party, Peer, Skew, TwinError
    from artemis.cluster.mesh.pauses import MeshTimings
    from artemis.cluster.mesh.wire import Pulse, Refusal
    from artemis.cluster.messages import Versions
    from artemis.cluster.standing import Standing


class Home(Protocol):
    """Who this node is, what it knows, and who is told of links."""

    @property
    def me(self) -> Party:
        """Who this node is."""
        ...

    @property
    def secret(self) -> bytes:
        """The cluster secret, empty without."""
        ...

    @property
    def ca_file(self) -> str | None:
        """Authorities of peers with https, None for those of the system."""
        ...

    @property
    def versions(self) -> Versions:
        """The versions of the messages that this node speaks."""
        ...

    @property
    def max_skew(self) -> int:
        """Milliseconds that wall clocks may be apart."""
        ...

    @property
    def timings(self) -> MeshTimings:
        """How long things take."""
        ...

    def now(self) -> int:
        """Return monotonic milliseconds."""
        ...

    def wall(self) -> int:
        """Return the wall clock's milliseconds."""
        ...

    @property
    def resumed_at(self) -> int:
        """When this node went on after it had stood still, in monotonic milliseconds; 0 if it never did."""
        ...

    def chance(self) -> float:
        """Return a number evenly drawn from 0 up to 1."""
        ...

    def standing(self) -> Standing:
        """Return what this node says of itself."""
        ...

    @property
    def links(self) -> Collection[str]:
        """Return the ids of the nodes that we can send to."""
        ...

    def twin(self, error: TwinError) -> None:
        """A node that was dialled has proved that it has our id."""
        ...

    def sent_on(self, dialler: Dialler, error: ElsewhereError) -> bool:
        """A node of several processes was dialled, each of which is to be linked; whether all are already. Raises
        RefusedError where that cannot be."""
        ...

    def linked(self, dialler: Dialler, peer: Peer) -> None:
        """A handshake is done. Raises RefusedError when a later life of that node is linked, or it is no member."""
        ...

    def parted(self, dialler: Dialler, peer: Peer, reason: Refusal) -> None:
        """A link that was told of by `linked` is gone."""
        ...

    def unlinked(self, dialler: Dialler, refusal: Refusal) -> None:
        """An attempt came to nothing: nobody was reached, or the peer or we refused it."""
        ...

    def pulse(self, peer: Peer, skew: Skew, pulse: Pulse) -> None:
        """A peer answered."""
        ...

    def failed(self, what: str, error: Exception) -> None:
        """Something happened that nobody expected."""
        ...
