"""Backups under way: everything that a node knows at one moment, handed out in parts that somebody asks for in turn.

A backup is a snapshot (`artemis.registry.snapshot`): exact at the moment it begins, made bit by bit while the node goes
on. Pure; milliseconds of the monotonic clock come in. Not here: files, which are the asker's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.registry import Cut

MOST_BACKUPS = 2
"""Backups under way at once: each holds what changes meanwhile, at most as much as the node itself."""

PATIENCE = 60_000
"""Milliseconds that a backup waits for the question for its next part."""

_PART = 128 * 1024
_CHUNKS = 4
"""Bytes and chunks of a part, about: some milliseconds of work."""


class TooManyBackups(Exception):  # noqa: N818 - what happened, as the registry's refusals are named
    """As many backups are under way as may be."""


class _Backup:
    def __init__(self, cut: Cut, now: int) -> None:
        self.asked = now
        self._cut = cut
        self._chunks = cut.chunks()
        self._at = -1
        self._part = b""
        self._last = False

    @property
    def over(self) -> bool:
        """Whether all of it was handed out; only its last part is kept."""
        return self._last

    def part(self, index: int) -> tuple[bytes, bool] | None:
        """Return a part and whether it is the last; None for one that is over or not due yet."""
        if index == self._at:
            return self._part, self._last
        if index != self._at + 1 or self._last:
            return None
        found: list[bytes] = []
        while len(found) < _CHUNKS and sum(map(len, found)) < _PART:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._last = True
                break
            found.append(chunk)
        self._part, self._at = b"".join(found), index
        return self._part, self._last

    def close(self) -> None:
        self._cut.close()


class Backups:
    """The backups under way at one node, of this id. Owned by the node; `tick` now and then."""

    def __init__(self, node: str) -> None:
        self._open: dict[int, _Backup] = {}
        # Processes of one node have ids of their own, so none hands out the parts of another one's backup.
        self._number = crc32(node.encode()) << 20
        #: What happened and is not logged yet: the action and its fields.
        self.happened: deque[tuple[str, dict[str, object]]] = deque(maxlen=1_000)

    def note(self, action: str, **fields: object) -> None:
        """Have it logged."""
        self.happened.append((action, fields))

    def begin(self, cut: Callable[[], Cut], now: int) -> tuple[int, Cut]:
        """Begin a backup of this moment; returns its number. Raises TooManyBackups."""
        self.tick(now)
        if sum(not each.over for each in self._open.values()) >= MOST_BACKUPS:
            raise TooManyBackups
        self._number += 1
        made = cut()
        self._open[self._number] = _Backup(made, now)
        return self._number, made

    def part(self, number: int, index: int, now: int) -> tuple[bytes, bool] | None:
        """Return a part of a backup, and whether it is the last; None if there is no such part any more, or yet."""
        backup = self._open.get(number)
        found = None if backup is None else backup.part(index)
        if backup is not None and found is not None:
            backup.asked = now
        return found

    def tick(self, now: int) -> None:
        """Give up those that nobody asks for any more."""
        for number in [number for number, each in self._open.items() if now - each.asked > PATIENCE]:
            self._open.pop(number).close()
