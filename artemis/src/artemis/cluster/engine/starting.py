"""The start of a node around an engine: it serves when it has read what the bucket has, or after the join timeout.

While entries come in that does not run, up to a bound, as with a copy from a peer. Before it serves it has listened for
a moment, so that it knows who else is there, and that nobody has its id. Pure: milliseconds of the own monotonic clock
come in. Not here: reading (`replica`), and who is there (`announcing`).
"""

from __future__ import annotations

from collections.abc import Callable

from artemis.cluster.joining import LONGEST
from artemis.cluster.starting import Seen

LISTENED = 500
"""Milliseconds that a node listens to the others before it serves; who hears that it starts answers at once."""

_WITHOUT = "it serves what it has, and takes the rest in as it comes"


class ReadingStart:
    """The start of one node. `synced` says whether the bucket was read once, `read` how many entries have come,
    `connected` whether the engine hears this node, `why` why there is no working with it, empty if there is, `taken`
    what is said of another node with the same id, empty while there is none."""

    def __init__(
        self,
        timeout: int,
        now: int,
        *,
        synced: Callable[[], bool],
        read: Callable[[], int],
        connected: Callable[[], bool],
        why: Callable[[], str],
        taken: Callable[[], str],
    ) -> None:
        self.waiting = "it waits for the engine"
        self.outcome = ""
        #: What was copied from, empty for nothing.
        self.source = ""
        self._synced, self._entries, self._timeout = synced, read, timeout
        self._connected, self._why, self._taken = connected, why, taken
        self._begun = self._came = now
        self._read = 0
        self._listening: int | None = None

    @property
    def over(self) -> bool:
        """Whether clients may be served."""
        return bool(self.outcome)

    def put_off(self, now: int) -> None:
        """Let the timeout begin now."""
        self._begun = self._came = now

    def look(self, seen: Seen, now: int) -> None:  # noqa: ARG002 - the bucket is the one peer
        """Judge what there is to see at this moment."""
        if self.over:
            return
        taken, read = self._taken(), self._entries()
        if taken:
            self.put_off(now)
            self.waiting = f"it waits until no other node has its id: {taken}"
            return
        if not self._connected():
            self._listening = None
        elif self._listening is None:
            self._listening = now
        listened = self._listening is not None and now - self._listening >= min(LISTENED, self._timeout)
        if read != self._read:
            self._read, self._came = read, now
        why = self._why()
        self.waiting = f"it waits for the engine: {why}" if why else "it waits until it has read what the engine has"
        if self._synced() and listened:
            self.source = "the engine" if self._read else ""
            self.outcome = "it has read what the engine has"
        elif now - self._came >= self._timeout:
            self.outcome = f"{self.waiting}, and the join timeout of {self._timeout / 1000:g} s is over: {_WITHOUT}"
        elif now - self._begun >= LONGEST * self._timeout:
            allowed = f"{LONGEST} times the join timeout of {self._timeout / 1000:g} s"
            self.outcome = f"{self.waiting}, and a start takes {allowed} at most: {_WITHOUT}"
