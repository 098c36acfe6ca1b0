"""The hybrid clock: stamps that follow the wall clock and still never go back (design 4.1 "Records").

Not here: reading any clock. The wall clock's distance from the monotonic one comes in now and then; every call brings
the monotonic milliseconds.
"""

from artemis.registry.records import Stamp


class HybridClock:
    """Gives stamps above everything it has given or seen. Owned by a registry."""

    __slots__ = ("_at", "_node", "_offset", "_value", "latest")

    def __init__(self, node: str, now: int, wall: int) -> None:
        self._node = node
        self._offset = wall - now
        self._value = 0
        self._at = now - 1
        self.latest: Stamp = (0, node)

    def adjust(self, now: int, wall: int) -> None:
        """Note where the wall clock stands; it may have been set, also backwards."""
        offset = wall - now
        # Each clock is cut to milliseconds by itself: one more or less says nothing, and times shown would wobble.
        if abs(offset - self._offset) > 1:
            self._offset = offset

    def wall(self, now: int) -> int:
        """Return the wall clock's milliseconds at `now`, as far as its last adjustment tells."""
        return now + self._offset

    @property
    def value(self) -> int:
        """Return the highest value given or seen."""
        return self._value

    def observe(self, stamp: Stamp) -> None:
        """Pass a stamp of another node or of a client."""
        if stamp[0] > self._value:
            self._value = stamp[0]
            self._at = -1

    def next(self, now: int) -> Stamp:
        """Return a stamp above all others."""
        value = (now + self._offset) * 1000
        if value <= self._value:
            value = self._value + 1
        self._value, self._at = value, now
        self.latest = stamp = (value, self._node)
        return stamp

    def current(self, now: int) -> Stamp:
        """Return the stamp of this millisecond: above all others or the latest one given.

        Renewals share it, and so do changes of different keys, which saves memory and time. Who needs a stamp above a
        certain one compares and takes `next`.
        """
        return self.latest if now == self._at else self.next(now)
