"""What the engine's clock shows, so that nodes with different clocks agree how long an entry has lain there.

The engine stamps entries and consumers. A stamp was taken before it came, so the latest that any of them makes the
clock show is the nearest to the truth; it begins anew with every consumer, should that clock be set back. Pure.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_NANO = 1_000_000
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


class EngineClock:
    """Milliseconds of the engine's clock from the own monotonic ones. Shows nothing before `start`."""

    def __init__(self) -> None:
        self._ahead: int | None = None

    def start(self, stamp: int, now: int) -> None:
        """Begin with a stamp that was taken just now."""
        self._ahead = stamp - now

    def seen(self, stamp: int, now: int) -> None:
        """The engine's clock showed this before `now`."""
        if self._ahead is None or stamp - now > self._ahead:
            self._ahead = stamp - now

    def at(self, now: int) -> int:
        """Return what it shows; 0 before anything is known."""
        return 0 if self._ahead is None else now + self._ahead

    def lain(self, stamp: int, now: int) -> int:
        """Return for how long something stamped so has been there."""
        return max(self.at(now) - stamp, 0)


def milliseconds(nanoseconds: int) -> int:
    """Return the milliseconds of a stamp."""
    return nanoseconds // _NANO


def stamp_of(text: str) -> int:
    """Return the milliseconds of a stamp as the engine writes it, in UTC, to the nanosecond. Raises ValueError."""
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:100]!r} is no stamp of time")
    second = int(datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp())
    return second * 1000 + int((match[2] or "0").ljust(9, "0")) // _NANO
