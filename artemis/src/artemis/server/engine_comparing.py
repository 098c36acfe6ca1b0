"""With whom a node around an engine compares itself for operators: with the bucket, its one peer.

Pure. Not here: the comparison itself (`artemis.cluster.engine`).
"""

from __future__ import annotations

from artemis.cluster.engine.inspecting import PEER
from artemis.cluster.engine.replica import EngineReplica
from artemis.cluster.exchange import Exchanged
from artemis.cluster.inspection import Inspection
from artemis.server.comparing import UnknownPeer

_PATIENCE = 600_000
"""Milliseconds that reading all of the bucket again may take."""


class EngineComparing:
    """Compares with the bucket, which is called `engine`; other nodes are not asked, as each has what that has."""

    def __init__(self, replica: EngineReplica, url: str) -> None:
        self._replica, self._url = replica, url
        self._failed = False
        self._before = replica.state().counters

    def find(self, peer: str | None, now: int) -> list[str]:  # noqa: ARG002 - there is one at any time
        """Return what the bucket is called. Raises UnknownPeer when another node is named."""
        if peer is not None and peer.strip() != PEER:
            raise UnknownPeer(
                f"a node around an engine is compared with that, not {peer.strip()!r:.200}; name {PEER!r} or nobody"
            )
        return [PEER]

    def url_of(self, peer: str, now: int) -> str:  # noqa: ARG002 - as above
        """Return where the engine is."""
        return self._url

    def inspect(self, peer: str, now: int) -> Inspection:  # noqa: ARG002 - as above
        """Begin to look at how the bucket differs."""
        return self._replica.inspect(now)

    def repair(self, peer: str, now: int) -> None:  # noqa: ARG002 - as above
        """Begin to read all of the bucket again."""
        self._before = self._replica.state().counters
        self._failed = not self._replica.reread(now)

    def repaired(self, peer: str, begun: int, now: int) -> Exchanged | str | None:  # noqa: ARG002 - as above
        """See whether all was read."""
        if self._failed:
            return f"there is no engine to read: {self._replica.trouble}"
        then, counters = self._before, self._replica.counters
        if counters.exchanges > then.exchanges:
            return Exchanged(
                at=now,
                took=now - begun,
                completed=True,
                rows=counters.rows_received - then.rows_received,
                repaired=counters.changes_applied - then.changes_applied,
                restated=counters.restated - then.restated,
            )
        return f"it took longer than {_PATIENCE // 60_000} min" if now - begun > _PATIENCE else None
