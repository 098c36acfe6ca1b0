"""What a mesh tells of its links, for whoever decides who is a member. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from artemis.cluster.addresses import PeerUrl
    from artemis.cluster.mesh.handshake import Peer, Skew
    from artemis.cluster.mesh.wire import Refusal
    from artemis.cluster.standing import Standing


class MeshListener:
    """Who wants to know what happens on the links; override what is of interest. Must not raise."""

    def met(self, peer: Peer, dialled: PeerUrl | None) -> str:  # noqa: ARG002 - for those who override it
        """A handshake went well, on a link that we `dialled` or, None, accepted; both come for most nodes, and again
        for a later life. Returns why the node cannot be a member, empty when it can."""
        return ""

    def parted(self, peer: Peer, reason: Refusal) -> None:
        """We cannot send to a node any more."""

    def lost(self, peer: Peer) -> None:
        """A node cannot send to us any more."""

    def trouble(self, url: PeerUrl, reason: Refusal, origin: PeerUrl | None = None) -> None:
        """Nobody was linked at an address that we dial, because it is in the list or as one that is, the `origin`, is
        a machine and sent us there; told when the reason changes."""

    def sent_on(self, url: PeerUrl, urls: Collection[PeerUrl]) -> None:
        """An address that we dial is that of a machine, with whose processes links are made at others."""

    def same(self, url: PeerUrl, node: str) -> None:
        """An address that we dial leads to a node that is linked at another one; told at each attempt."""

    def twin(self, text: str, stays: bool) -> None:
        """A second node has proved that it has our id; `text` says it to people. Without `stays` we have to end."""

    def turned_away(self, where: str, reason: Refusal) -> None:
        """A node that dialled us was refused; told when the reason changes."""

    def told(self, node: str, standing: Standing) -> None:
        """A node said something of itself; every second or so."""

    def answered(self, node: str, asked: int) -> None:
        """A node has answered what was asked at a moment; what comes of it from now on it has said after that. Only
        where nodes do not exchange what they know."""

    def measured(self, node: str, skew: Skew) -> None:
        """The wall clock of a node was compared with ours; also when it was refused for that."""

    def farewell(self, node: str, epoch: int, leaving: bool) -> None:
        """A node stops serving now; `leaving` says that it will not come back."""
