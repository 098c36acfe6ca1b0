"""The end of a node's service, carried out: clients are sent away, what is left is counted, and then the node leaves.

Not here: what it waits for (`artemis.cluster.retiring`), and the farewell (`app`, `clustered`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from artemis.cluster.retiring import Confirmed, Seen
from artemis.model.nodes import UP

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.member_view import MemberView
    from artemis.registry import Registry
    from artemis.server.node import Node

_LEASES = 5_000
"""Leases that are looked at in one tick: some milliseconds."""

_SHORTEST, _LONGEST = 500, 30_000
"""Milliseconds over which clients are sent away: half a TTL, but within these bounds."""


class ClientSessions(Protocol):
    """The sessions of clients at a node's doors."""

    def client_sessions(self) -> int:
        """Return how many there are."""

    def refuse_sessions(self, *, refuse: bool) -> None:
        """Let no new ones begin, or let them again."""

    def send_away(self, most: int) -> int:
        """Close some that can be told to go elsewhere; return how many of those are left."""


class Retirement:
    """Takes one node out of service when it is asked to. Owned by the assembly; `tick` about every 100 ms.

    `leave` lets the node leave its cluster for good, because of an operator; all workers of a machine together.
    """

    def __init__(
        self, node: Node, doors: ClientSessions, leave: Callable[[str], None], log: FilteringBoundLogger
    ) -> None:
        self._node, self._doors, self._leave, self._log = node, doors, leave, log
        self._counting: Iterator[int | None] | None = None
        self._renewed: int | None = None
        self._confirmed = Confirmed()
        self._share = -1
        self._phase = ""
        self._left = 0

    def tick(self, now: int) -> None:
        """Go on with what an operator has asked for."""
        retiring = self._node.retiring
        if retiring is None:
            if self._phase:
                self._stay()
            return
        over = retiring.done
        if over:
            return
        made = self._node.registry.vector[self._node.registry.origin]
        self._confirmed.note(made, now)
        retiring.tick(self._look(made, now), now)
        if retiring.phase != self._phase:
            self._phase, self._counting, self._renewed = retiring.phase, None, None
            self._log.info("node is taken out of service", phase=retiring.phase, operator=retiring.operator)
            self._doors.refuse_sessions(refuse=retiring.phase != "waiting")
            self._node.settle()
        if retiring.share != self._share:
            self._share = retiring.share
            self._node.settle()
        if retiring.phase != "waiting":
            self._left = self._doors.send_away(retiring.sessions_due(max(self._left, 1), now))
        if retiring.done:
            self._leave(retiring.operator)

    def _look(self, made: int, now: int) -> Seen:
        node = self._node
        others = [] if node.members is None else [view for view in node.members.others(now) if view.status == UP]
        links = {} if node.control is None else {link.node: link for link in node.control.links() if link.node}
        taking = [view for view in others if takes_over(view, node.identity.zone)]
        reached = [view for view in taking if view.node in links and links[view.node].connected]
        lacking = [self._confirmed.lacking(links[view.node].confirmed, made) for view in reached]
        pending = None if node.control is None or node.control.pending is None else node.control.pending()
        return Seen(
            others=len(reached),
            sessions=self._doors.client_sessions(),
            renewed=self._count(),
            unconfirmed=max(lacking, default=0) if pending is None else pending,
        )

    def _count(self) -> int | None:
        """Return how many live instances this node renewed last, as of the last time that all were looked at."""
        if self._counting is None:
            self._counting = renewed_here(self._node.registry)
        found = next(self._counting)
        if found is not None:
            self._renewed, self._counting = found, None
        return self._renewed

    def _stay(self) -> None:
        """An operator wants it to stay."""
        self._log.info("node stays in service")
        self._phase, self._share, self._renewed, self._counting = "", -1, None, None
        self._doors.refuse_sessions(refuse=False)
        self._node.settle()


def takes_over(view: MemberView, zone: str) -> bool:
    """Tell whether a node that is up can have what another one of this zone hands over: its clients are told of it."""
    standing = view.standing
    anywhere = standing.registry_from_other_zones and standing.discovery_from_other_zones
    at_home = anywhere or view.zone.lower() == zone.lower()
    return standing.registry and standing.discovery and not standing.draining and at_home


def renewed_here(registry: Registry) -> Iterator[int | None]:
    """Count the live instances whose last renewal was accepted here, some at a time: yields None until the number."""
    node, found, looked = registry.origin.node, 0, 0
    for service in list(registry.services.values()):
        for lease in list(service.leases.values()):
            found += lease.live and lease.renewed[1] == node
            looked += 1
            if looked % _LEASES == 0:
                yield None
    yield found


def spread_of(node: Node) -> int:
    """Return over how many milliseconds the clients of a node are sent away."""
    timings = node.registry.timings
    return min(max(timings.ttl // 2, _SHORTEST), _LONGEST)
