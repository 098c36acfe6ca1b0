"""Which dialler has which node: two URLs may lead to one node, and it is linked once.

Not here: lives of a node, of which the newer one counts (`mesh`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cluster.mesh.handshake import RefusedError
from artemis.cluster.mesh.wire import Code
from artemis.cluster.mesh.wording import named

if TYPE_CHECKING:
    from artemis.cluster.mesh.dialler import Dialler
    from artemis.cluster.mesh.handshake import Party
    from artemis.cluster.mesh.listener import MeshListener


class Claims:
    """Owned by the diallers of a node. `listener` is told of URLs that lead to a node that another dialler has."""

    def __init__(self, listener: MeshListener) -> None:
        self._listener = listener
        self._claims: dict[str, Dialler] = {}

    def claim(self, dialler: Dialler, party: Party) -> None:
        """A node answered, which is to be linked by this dialler alone. Raises RefusedError when another one does."""
        other = self._claims.get(party.node)
        if other is not None and other is not dialler and (other.peer is None or other.peer.party.epoch == party.epoch):
            them = named(party.node, party.url)
            self._listener.same(dialler.url, party.node)
            raise RefusedError(Code.SAME_NODE, f"{dialler.url} and {other.url} lead to the same {them}")
        self._claims[party.node] = dialler

    def release(self, dialler: Dialler) -> None:
        """What this dialler claimed is free again."""
        for node in [node for node, each in self._claims.items() if each is dialler]:
            del self._claims[node]
