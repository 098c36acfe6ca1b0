"""What of a source's answers applies: the last one, except that no failure and no passing emptiness loses a list.

Pure: milliseconds of a monotonic clock come in.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from artemis.cluster.addresses import PeerUrl


class SourceError(Exception):
    """A source cannot be read now; the text says why. What it said before goes on to hold."""


class Source(Protocol):
    """Says which nodes there are. `label` is what to call it in a sentence, `every` the seconds between two readings,
    `empty_after` the milliseconds for which it must say that there are none before that is believed."""

    @property
    def label(self) -> str:
        """Return what to call it in a sentence."""
        ...

    @property
    def every(self) -> float:
        """Return the seconds between two readings."""
        ...

    @property
    def empty_after(self) -> int:
        """Return the milliseconds after which an empty answer is believed."""
        ...

    def read(self) -> Collection[PeerUrl]:
        """Ask now. May block for some seconds. Raises SourceError."""
        ...


class Listing:
    """The list of one source. `applied` is the list that holds, None before the first; `trouble` says in a sentence why
    it may not be what the source says now, empty if it is."""

    def __init__(self, empty_after: int) -> None:
        self.applied: frozenset[PeerUrl] | None = None
        self.trouble = ""
        self._empty_after = empty_after
        self._empty_since: int | None = None

    def answered(self, urls: Collection[PeerUrl], now: int) -> bool:
        """Take an answer; tells whether another list applies now."""
        self.trouble = ""
        if urls or self._empty_after <= 0:
            self._empty_since = None
        else:
            self._empty_since = now if self._empty_since is None else self._empty_since
            left = self._empty_since + self._empty_after - now
            if left > 0 and self.applied != frozenset():
                kept = "nobody is known yet" if self.applied is None else "the nodes that it named before are kept"
                self.trouble = f"it names no nodes, which is not believed at once; {kept}"
                return False
        found = frozenset(urls)
        changed = found != self.applied
        self.applied = found
        return changed

    def failed(self, why: str) -> None:
        """Take note that the source could not be read."""
        self._empty_since = None
        kept = "nobody is known yet" if self.applied is None else "the nodes that it named before are kept"
        self.trouble = f"{why}; {kept}"
