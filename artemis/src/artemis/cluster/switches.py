"""What operators have switched by hand at the workers of one machine, which has one set of switches.

Each switch goes by itself, as who puts one need not know yet what was done to another one a moment ago elsewhere: the
latest position of it wins, and of two of one millisecond that of the node with the greater id.
Pure. Not here: what a switch does (`standing`, `retiring`), and who carries it out (`artemis.server.workers.switches`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.messages import Switched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artemis.cluster.standing import ByHand


class Switches:
    """The switches as one worker knows them. Owned by its `Acknowledging`."""

    def __init__(self) -> None:
        self._latest: dict[ByHand, Switched] = {}
        self._told: dict[str, dict[ByHand, Switched]] = {}

    def put(self, switched: Switched) -> None:
        """Take what an operator has just put here; it is later than all that is known, whatever the clock says."""
        known = self._latest.get(switched.switch)
        if known is not None and known.at >= switched.at:
            switched = msgspec.structs.replace(switched, at=known.at + 1)
        self._latest[switched.switch] = switched

    def hear(self, sibling: str, switched: Switched) -> bool:
        """Take what a sibling tells; returns whether it is news."""
        known = self._latest.get(switched.switch)
        if known is not None and known.stamp >= switched.stamp:
            return False
        self._latest[switched.switch] = switched
        self._told.setdefault(sibling, {})[switched.switch] = switched
        return True

    def untold(self, sibling: str) -> Iterator[Switched]:
        """Return what a sibling is to be told, and take it for told."""
        if not self._latest:
            return
        told = self._told.setdefault(sibling, {})
        for switch, latest in self._latest.items():
            if told.get(switch) is not latest:
                told[switch] = latest
                yield latest

    def tell_again(self, sibling: str) -> None:
        """Tell a sibling all anew: what it was told it may not have heard."""
        self._told.pop(sibling, None)
