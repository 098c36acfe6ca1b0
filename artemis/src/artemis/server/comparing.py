"""With whom a node compares itself for operators, and how it is known what came of that: with its peers, in a mesh.

Pure. Not here: work under way (`cluster_control`), the comparison itself (`artemis.cluster.inspection`), and that with
an engine (`engine_comparing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from artemis.cluster.addresses import BadAddress, peer_url
from artemis.cluster.exchange import Exchanged
from artemis.cluster.inspection import Inspection
from artemis.cluster.member_view import MemberView
from artemis.cluster.members import Members
from artemis.cluster.mesh.states import LinkState
from artemis.cluster.replica import Replica

_PATIENCE = 60_000
"""Milliseconds that a repair waits for its turn, and for the exchange itself."""


class UnknownPeer(LookupError):  # noqa: N818 - what happened, in the words of the answer
    """There is no such peer; the text says which there are."""


class Comparing(Protocol):
    """Used by `ClusterControl`; `now` is monotonic milliseconds."""

    def find(self, peer: str | None, now: int) -> list[str]:
        """Return the ids of whom is meant, of all with None. Raises UnknownPeer."""

    def url_of(self, peer: str, now: int) -> str:
        """Return the URL of one of them, empty if there is none any more."""

    def inspect(self, peer: str, now: int) -> Inspection:
        """Begin to look at how it differs."""

    def repair(self, peer: str, now: int) -> None:
        """Begin to take in what it knows."""

    def repaired(self, peer: str, begun: int, now: int) -> Exchanged | str | None:
        """Return what became of a repair that began then: its outcome, why there is none, None while it goes on."""


class PeerComparing:
    """Compares with members, over exchanges."""

    def __init__(self, members: Members, replica: Replica, links: Callable[[], list[LinkState]]) -> None:
        self._members, self._replica, self._links = members, replica, links

    def find(self, peer: str | None, now: int) -> list[str]:
        """Return the ids of the peers that are meant. Raises UnknownPeer."""
        views = [view for view in self._members.views(now) if view.node]
        if peer is None:
            linked = [view.node for view in views if view.node in self._linked()]
            if not linked:
                raise UnknownPeer("there is no link to any other node now; see the status of the cluster")
            return linked
        for view in views:
            if peer.strip() == view.node:
                return [view.node]
        found = [view.node for view in views if _same_place(peer, view)]  # all processes of a machine
        if found:
            return found
        known = ", ".join(f"{view.url} ({view.node})" for view in views) or "there are none"
        raise UnknownPeer(f"no node that was met is {peer.strip()!r:.200}; known are: {known}")

    def url_of(self, peer: str, now: int) -> str:
        """Return the URL of a member, empty if it is none any more."""
        return next((str(view.url) for view in self._members.views(now) if view.node == peer), "")

    def inspect(self, peer: str, now: int) -> Inspection:
        """Begin to look at how a peer differs."""
        return self._replica.inspect(peer, now)

    def repair(self, peer: str, now: int) -> None:  # noqa: ARG002 - its time is that of the exchange
        """Begin an exchange with a peer."""
        self._replica.want(peer)

    def repaired(self, peer: str, begun: int, now: int) -> Exchanged | str | None:
        """See whether the exchange is over."""
        exchanged = self._replica.exchanged.get(peer)
        if exchanged is not None and exchanged.at - exchanged.took >= begun:
            return exchanged if exchanged.completed else "the exchange broke off; the next one goes on with the rest"
        if peer not in self._linked():
            return "there is no link to it"
        if now - begun > _PATIENCE:
            return f"no exchange with it could begin within {_PATIENCE // 1000} s"
        return None

    def _linked(self) -> Iterable[str]:
        return {link.node for link in self._links() if link.connected}


def _same_place(text: str, view: MemberView) -> bool:
    try:
        return peer_url(text if "://" in text else f"http://{text}").place == view.url.place
    except BadAddress:
        return False
