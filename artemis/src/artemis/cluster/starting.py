"""The start of a node among others, as its membership goes on with it: what it waits for, when it serves (spec 6.4).

Here is what all starts have in common, and that of a node in a mesh, which copies from its peers (`joining` decides
what and when). Not here: that of a node around an engine (`artemis.cluster.engine.starting`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from artemis.cluster.joining import Joining, Reachable, Surroundings
from artemis.cluster.replica import Replica


class Seen(NamedTuple):
    """What a node's membership sees: from where the list of nodes is still to come, empty for nowhere; addresses where
    nobody was met, with reasons; nodes that messages go to and come from."""

    listed: str
    unmet: Sequence[str]
    reachable: Sequence[Reachable]


class Start(Protocol):
    """Owned by the membership: `look` comes several times a second until it is `over`.

    `waiting` is a sentence on what is waited for, `outcome` one on why it is over, `source` the node that was copied
    from, empty for none.
    """

    @property
    def waiting(self) -> str: ...

    @property
    def outcome(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def over(self) -> bool:
        """Whether clients may be served."""

    def put_off(self, now: int) -> None:
        """Let the timeout begin now: nothing could be copied before."""

    def look(self, seen: Seen, now: int) -> None:
        """Go on, by what there is to see at this moment."""


class CopyingStart:
    """The start of a node that compares itself with its peers."""

    def __init__(self, joining: Joining, replica: Replica) -> None:
        self._joining, self._replica = joining, replica

    @property
    def waiting(self) -> str:
        """What is waited for."""
        return self._joining.waiting

    @property
    def outcome(self) -> str:
        """Why it is over."""
        return self._joining.outcome

    @property
    def source(self) -> str:
        """The node that was copied from, empty for none."""
        return self._joining.source

    @property
    def partners(self) -> Collection[str] | None:
        """The nodes to compare with, None for any."""
        return self._joining.partners

    @property
    def over(self) -> bool:
        """Whether clients may be served."""
        return self._joining.over

    def put_off(self, now: int) -> None:
        """Let the timeout begin now."""
        self._joining.put_off(now)

    def look(self, seen: Seen, now: int) -> None:
        """Judge what there is, and have exchanges begun that are still to be done."""
        joining, replica = self._joining, self._replica
        joining.look(Surroundings(*seen, replica.compared, replica.came), now)
        replica.partners = joining.partners
        if not joining.over and not replica.exchanging:
            for peer in joining.wanted:
                replica.want(peer)
