"""A bucket in memory that behaves as an engine's: one stream, one entry of each key, puts that count on a revision.

Not here: who reaches it, and when (its users).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal

from artemis.cluster.engine.port import Entry, Opening, Purge, Put

Outcome = int | Literal["conflict", "full"]
"""The sequence number of a put that was done, or why it was not."""


class Bucket:
    """One incarnation of the bucket of a cluster, with `most` keys at most."""

    def __init__(self, identity: str, most: int = 1_000_000) -> None:
        self.identity = identity
        self.most = most
        self.last = 0
        self.at = 0
        self._entries: dict[str, Entry] = {}
        # Keys by sequence number, which have none where an entry was put anew or purged.
        self._order: list[tuple[int, str]] = []

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._entries)

    def entries(self) -> list[Entry]:
        """Return all entries, in the order of their numbers."""
        return sorted(self._entries.values(), key=lambda entry: entry.sequence)

    def put(self, put: Put, now: int) -> Outcome:
        """Put an entry at a moment of the engine's clock, if the key has the revision that is counted on."""
        present = self._entries.get(put.key)
        if (0 if present is None else present.sequence) != put.revision:
            return "conflict"
        if present is None and len(self._entries) >= self.most:
            return "full"
        self.last += 1
        self.at = now
        self._entries[put.key] = Entry(put.key, put.value, self.last, now, 0)
        self._order.append((self.last, put.key))
        return self.last

    def purge(self, purge: Purge) -> None:
        """Let an entry disappear, unless it was put anew."""
        present = self._entries.get(purge.key)
        if present is not None and present.sequence <= purge.revision:
            del self._entries[purge.key]

    def get(self, key: str, now: int) -> Entry | None:
        """Return an entry as of now."""
        present = self._entries.get(key)
        return None if present is None else self._aged(present, now)

    def after(self, sequence: int, now: int) -> Entry | None:
        """Return the first entry above a number, None when there is none."""
        for number, key in self._order[bisect_right(self._order, (sequence, "\U0010ffff")) :]:
            present = self._entries.get(key)
            if present is not None and present.sequence == number:
                return self._aged(present, now)
        return None

    def opening(self, now: int) -> Opening:
        """Return what a node finds that comes to it."""
        last, at = self.last, self.at
        members = [self._aged(entry, now) for entry in self.entries() if entry.key.startswith("m.")]
        return Opening(self.identity, last, at, members)

    @staticmethod
    def _aged(entry: Entry, now: int) -> Entry:
        return Entry(entry.key, entry.value, entry.sequence, entry.at, now - entry.at)
