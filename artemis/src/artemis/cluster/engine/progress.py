"""How far a node has read its bucket, and when it may say that it has read everything (design 4.1 "Engine").

Entries come in the order of their sequence numbers. Where numbers are missing, entries were put anew, or purged, before
they were read: what they said comes later, at the last number of that moment at most. So after such a hole nothing
counts as read before the number is reached that the bucket names when it is asked after the hole was seen.
Not here: what entries say (`reading`).
"""

from __future__ import annotations

_ANSWER = 2_000
"""Milliseconds after which the bucket is asked again."""


class Progress:
    """Owned by a reader. `position` is the last number that was read, `settled` whether nothing before it is missing,
    `asked` since when an answer is waited for, None while none is.
    """

    __slots__ = ("_hole", "_need", "asked", "begun", "position")

    def __init__(self) -> None:
        self.position = 0
        self.begun = 0
        self.asked: int | None = None
        self._need = 0
        self._hole = False

    def begin(self, after: int, last: int, now: int) -> None:
        """Read on after a number; `last` was the last one of the bucket after whatever comes now was asked for."""
        self.position, self._need = after, last
        self._hole, self.asked, self.begun = False, None, now

    def read(self, sequence: int) -> None:
        """Note that an entry was read."""
        if sequence > self.position + 1:
            self._hole = True
        self.position = max(sequence, self.position)

    def at(self, sequence: int) -> None:
        """Note that there is no further entry up to a number."""
        self.position = max(sequence, self.position)

    @property
    def settled(self) -> bool:
        """Whether everything that was in the bucket when it was asked last has been read."""
        return self.position >= self._need and not self._hole

    def due(self, now: int) -> bool:
        """Tell whether the bucket is to be asked now, because of a hole."""
        if self.asked is not None:
            return now - self.asked > _ANSWER
        return self._hole and self.position >= self._need

    def ask(self, now: int) -> None:
        """Note that the bucket is asked for its last number; holes that are seen from now on need another answer."""
        self.asked, self._hole, self.begun = now, False, now
        # Nothing counts before the answer.
        self._need = max(self._need, self.position + 1)

    def answered(self, sequence: int) -> None:
        """Note the last number of the bucket."""
        if self.asked is not None:
            self.asked = None
            self._need = sequence
