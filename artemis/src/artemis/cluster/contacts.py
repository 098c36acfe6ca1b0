"""Until when all is known of what each peer has accepted, where this node itself may have stood still.

What a peer sent before and during such a pause comes after it, and says of the present what was true in the past. It
counts for nothing until the peer has answered a question that was asked after the pause, or has connected anew: what it
sent before has come by then, as its messages keep their order.
Pure: monotonic milliseconds come in. Not here: how old answers are (`members`), and noticing pauses.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from artemis.cluster.exchange import Exchanged


class _Held(msgspec.Struct):
    """What was known of a peer before a pause, None for nothing, and when it connected anew, None if it has not."""

    before: int | None
    anew: int | None = None


class Contacts:
    """Owned by the membership of a node; `look` comes several times a second."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._held: dict[str, _Held] = {}
        self._since = 0

    def resumed(self, current: Mapping[str, int], now: int) -> None:
        """This node stood still until now; `current` may tell already of what came after that."""
        self._since = now
        self._held = {peer: _Held(self._known.get(peer)) for peer in {*current, *self._known}}

    def connected(self, peer: str, now: int) -> None:
        """A peer sends on a connection that was made now."""
        held = self._held.get(peer)
        if held is not None:
            held.anew = now

    def answered(self, peer: str, asked: int, now: int) -> None:
        """A peer has answered now what it was asked at a moment."""
        if asked >= self._since:
            self.connected(peer, now)

    def look(self, current: Mapping[str, int], exchanged: Mapping[str, Exchanged]) -> Mapping[str, int]:
        """Return when each peer was heard last with all known that it had accepted, by what its messages said
        (`current`) and the exchanges that are over."""
        for peer, held in list(self._held.items()):
            done = exchanged.get(peer)
            answered = done is not None and done.completed and done.at - done.took >= self._since
            if answered or peer not in current or (held.anew is not None and current[peer] > held.anew):
                del self._held[peer]
        known = {peer: at for peer, at in current.items() if peer not in self._held}
        known.update((peer, held.before) for peer, held in self._held.items() if held.before is not None)
        self._known = known
        return known
