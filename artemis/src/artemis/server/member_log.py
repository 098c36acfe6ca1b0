"""What the log says of other nodes: one line whenever one becomes something else in the eyes of clients, and no more.

A node that comes and goes is `unknown` until it has been steady for a while, however often it is heard meanwhile, so it
fills no log. Not here: what is thought of nodes (`artemis.cluster.members`), and links (`artemis.cluster.mesh`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.model.nodes import DOWN, UNKNOWN

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.member_view import MemberView
    from artemis.cluster.members import Members

_TROUBLE = {DOWN, UNKNOWN}


class MemberLog:
    """Owned by the membership; `look` comes several times a second and is almost free while nothing changes."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._seen = -1
        self._words: dict[str, str] = {}

    def look(self, members: Members, now: int) -> None:
        """Say what is new."""
        if members.generation == self._seen:
            return
        self._seen = members.generation
        views = {view.node: view for view in members.views(now) if view.node}
        for node, view in views.items():
            self._say(node, view)
        for node in [node for node in self._words if node not in views]:
            del self._words[node]
            self._log.info("member forgotten", node=node, consequence="it takes no part in expiring instances")

    def _say(self, node: str, view: MemberView) -> None:
        was = self._words.get(node)
        if view.status == was or (was is None and view.status == UNKNOWN and view.presence == "steady"):
            return  # a node that was just met says in a moment what it serves
        self._words[node] = view.status
        worse = view.status in _TROUBLE and was != DOWN
        log = self._log.warning if worse else self._log.info
        reason = {"why": view.why} if view.why else {}
        log(f"member {view.status}", node=node, url=str(view.url), was=was or "not met", **reason)
