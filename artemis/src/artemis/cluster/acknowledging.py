"""What siblings, the workers of one machine, tell each other beside what all nodes do: what they have of each other's
changes, so that who wrote at one may be answered when all of them show it (read your writes), and what operators have
switched.

Pure. Not here: who waits for it, and for how long (`artemis.server.workers.barrier`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from artemis.cluster.messages import Changes, Message, Reached, Renewals, Switched
from artemis.cluster.outbox import Outbox
from artemis.cluster.switches import Switches
from artemis.registry import Origin, Registry


class Acknowledging:
    """The acknowledgements of one node, of and to its siblings. Owned by a replica.

    Nothing is acknowledged before `opened` is set: before a node serves nobody reads there. `heard` is called after
    each acknowledgement, when own changes have taken effect, and when a sibling is gone; `switched` when one tells of
    a switch that is news.
    """

    def __init__(self, registry: Registry, outbox: Outbox) -> None:
        self.opened = False
        self.heard: Callable[[], None] = lambda: None
        self.switched: Callable[[Switched], None] = lambda _: None
        self._registry = registry
        self._outbox = outbox
        self._lives: dict[str, Origin] = {}
        # The last own change that each has, with its epoch, and the last of theirs that was acknowledged.
        self._reached: dict[str, tuple[int, int]] = {}
        self._told: dict[str, tuple[int, int]] = {}
        # The last own change that callers see here.
        self._own = 0
        self._switches = Switches()

    def meet(self, sibling: str, epoch: int) -> None:
        """A sibling is linked, in one direction or both, in this life of it."""
        known = self._lives.get(sibling)
        if known is None or known.epoch != epoch:
            self._lives[sibling] = Origin(sibling, epoch)

    def part(self, peer: str) -> None:
        """Nothing can be told to a peer any more, or it can tell nothing: nobody waits for it."""
        self.tell_again(peer)
        if self._reached.pop(peer, None) is not None:
            self.heard()

    def tell_again(self, peer: str) -> None:
        """Tell a peer all anew, if it is a sibling: what it was told it may not have heard."""
        self._told.pop(peer, None)
        self._switches.tell_again(peer)

    def receive(self, peer: str, message: Message) -> None:
        """Take note of what a message of a peer says."""
        if isinstance(message, Reached):
            if peer in self._lives:
                self._reached[peer] = (message.epoch, message.seq)
                self.heard()
        elif isinstance(message, Switched):
            if peer in self._lives and self._switches.hear(peer, message):
                self.switched(message)
        elif isinstance(message, Changes | Renewals) and peer in self._lives and message.node == peer:
            self.meet(peer, message.epoch)

    def flush(self) -> None:
        """Acknowledge what came since the last time; almost free without siblings."""
        if not self._lives:
            return
        for sibling in self._lives:
            if sibling in self._outbox.connected:
                for switched in self._switches.untold(sibling):
                    self._outbox.send(sibling, switched)
        if not self.opened:
            return
        # What callers see: pull-outs of servers take effect bit by bit.
        vector = self._registry.position()[0]
        own = vector.get(self._registry.origin, 0)
        if own != self._own:
            self._own = own
            self.heard()
        for sibling, origin in self._lives.items():
            reached = self._shown(origin, vector)
            if sibling in self._outbox.connected and self._told.get(sibling) != reached:
                self._told[sibling] = reached
                self._outbox.send(sibling, Reached(*reached))

    def switch(self, switched: Switched) -> None:
        """An operator has switched something here: from now on it is so everywhere."""
        self._switches.put(switched)

    def lacking(self, seq: int, ignored: Iterable[str] = ()) -> list[str]:
        """Return the siblings that serve and have not acknowledged the own changes up to `seq`."""
        reached = self._registry.origin.epoch, seq
        return [each for each, known in self._reached.items() if known < reached and each not in ignored]

    def _shown(self, origin: Origin, vector: Mapping[Origin, int]) -> tuple[int, int]:
        """Return what is acknowledged to a sibling: how many of its changes are known here."""
        return origin.epoch, vector.get(origin, 0)

    @property
    def serving(self) -> list[str]:
        """The siblings that acknowledge."""
        return [*self._reached]
