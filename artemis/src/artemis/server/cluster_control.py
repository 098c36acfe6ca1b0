"""What operators see and do of the cluster at one node: its parts put together for the handlers, and work under way.

Pure; what needs the assembly comes as functions. Not here: how any of it is answered (`handlers.cluster_operations`),
and what is decided without operators (`membership`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from artemis.cluster.engine.standing import EngineStanding
from artemis.cluster.exchange import Exchanged
from artemis.cluster.inspection import Inspection
from artemis.cluster.member_view import MemberView
from artemis.cluster.members import Members
from artemis.cluster.mesh.states import LinkState
from artemis.cluster.messages import SPOKEN, Versions
from artemis.cluster.replica import ReplicaState
from artemis.cluster.replicating import Replicating
from artemis.server.comparing import Comparing, UnknownPeer

__all__ = ["MOST_TASKS", "ClusterControl", "Neighbour", "Task", "UnknownPeer"]

MOST_TASKS = 16
"""Comparisons and repairs that are remembered."""


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """Another node, and the links with it, None where it was never tried."""

    view: MemberView
    link: LinkState | None


class Task:
    """A comparison or a repair, with one peer or several. `inspections` are empty for a repair."""

    def __init__(self, number: int, begun: int, peers: list[str]) -> None:
        self.number = number
        self.begun = begun
        self.peers = peers
        self.inspections: dict[str, Inspection] = {}
        self.exchanged: dict[str, Exchanged] = {}
        self.failed: dict[str, str] = {}

    @property
    def done(self) -> bool:
        """Whether there is an outcome for every peer."""
        return all(self.over(peer) for peer in self.peers)

    def over(self, peer: str) -> bool:
        """Whether there is an outcome for this peer."""
        inspection = self.inspections.get(peer)
        return peer in self.exchanged or peer in self.failed or (inspection is not None and inspection.done)


class ClusterControl:
    """Made by the assembly of a node with others, given to `Node.control`; used from one event loop.

    `state` returns the numbers of the replica, `links` the state of all links, `counters` what happened on them,
    `refused` how many came to nothing, by who dialled and why; `leave` lets the node leave the cluster for good,
    because of an operator. `engine` tells how the node stands with its engine, None in a mesh. `versions` are those
    of the messages between nodes that it speaks. `pending` tells how much is not in the engine yet, None in a mesh.
    """

    def __init__(
        self,
        name: str,
        members: Members,
        replica: Replicating,
        comparing: Comparing,
        *,
        state: Callable[[], ReplicaState],
        links: Callable[[], list[LinkState]],
        counters: Callable[[], Mapping[str, int]],
        refused: Callable[[], Mapping[tuple[str, str], int]],
        leave: Callable[[str], None],
        versions: Versions = SPOKEN,
        engine: Callable[[], EngineStanding] | None = None,
        pending: Callable[[], int] | None = None,
    ) -> None:
        self.name = name
        self.members = members
        self.replica = replica
        self.links = links
        self.counters = counters
        self.refused = refused
        self.leave = leave
        self.versions = versions
        self.state = state
        self.engine = engine
        self.pending = pending
        self._comparing = comparing
        self._tasks: dict[int, Task] = {}
        self._number = 0

    def all_counters(self, state: ReplicaState) -> dict[str, int]:
        """Return all that is counted, by name; `state` is that of this moment."""
        counters = msgspec.structs.asdict(state.counters) | {"held_dropped": state.held_dropped}
        if self.engine is not None:
            puts = msgspec.structs.asdict(self.engine().numbers.writes)
            counters |= {f"entries_{name}": count for name, count in puts.items()}
        return counters | dict(self.counters())

    def neighbours(self, now: int) -> list[Neighbour]:
        """Return all other nodes, members and configured addresses."""
        links = self.links()
        by_node = {link.node: link for link in links if link.node}
        by_url = {link.url: link for link in links if not link.node}
        return [
            Neighbour(view=view, link=_both(by_url.get(str(view.url)), by_node.get(view.node)))
            for view in self.members.nodes(now)
        ]

    def compare(self, peer: str | None, now: int) -> Task:
        """Begin to look at how peers differ. Raises UnknownPeer."""
        task = self._begin(peer, now)
        for node in task.peers:
            task.inspections[node] = self._comparing.inspect(node, now)
        return task

    def repair(self, peer: str | None, now: int) -> Task:
        """Begin exchanges with peers. Raises UnknownPeer."""
        task = self._begin(peer, now)
        for node in task.peers:
            self._comparing.repair(node, now)
        return task

    def task(self, number: int, now: int) -> Task | None:
        """Return what became of a task until now; None if nobody remembers it."""
        task = self._tasks.get(number)
        if task is not None and not task.inspections:
            self._look_after(task, now)
        return task

    def url_of(self, node: str, now: int) -> str:
        """Return the URL of whom a task is with, empty if it is there no more."""
        return self._comparing.url_of(node, now)

    def _begin(self, peer: str | None, now: int) -> Task:
        peers = self._comparing.find(peer, now)
        self._number += 1
        task = self._tasks[self._number] = Task(self._number, now, peers)
        while len(self._tasks) > MOST_TASKS:
            del self._tasks[next(iter(self._tasks))]
        return task

    def _look_after(self, task: Task, now: int) -> None:
        """See which parts of a repair are over."""
        for peer in task.peers:
            if task.over(peer):
                continue
            outcome = self._comparing.repaired(peer, task.begun, now)
            if isinstance(outcome, str):
                task.failed[peer] = outcome
            elif outcome is not None:
                task.exchanged[peer] = outcome


def _both(dialled: LinkState | None, met: LinkState | None) -> LinkState | None:
    """Return one state of a peer that is dialled in vain while its own connection to us is still there."""
    if dialled is None or met is None:
        return met or dialled
    return msgspec.structs.replace(dialled, node=met.node, receiving=met.receiving, heard_ago=met.heard_ago)
