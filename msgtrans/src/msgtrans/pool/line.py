"""Who waits for a connection of a pool, in the order of their coming. Not here: who gets which one (`pool.shelf`)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgtrans.errors import ResourceError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Waiter(Protocol):
    """Who waits."""

    def done(self) -> bool:
        """Whether it wants nothing any more."""
        ...


WaiterT = TypeVar("WaiterT", bound=Waiter)


class Line(Generic[WaiterT]):
    """The line of one pool, of at most `most` callers. refused: for whom it was full. waits, seconds: of those who got
    a connection after waiting, how many, and how long all together.
    """

    def __init__(self, most: int) -> None:
        self.refused = self.waits = 0
        self.seconds = 0.0
        self._most = most
        self._waiting: OrderedDict[int, WaiterT] = OrderedDict()
        self._last_key = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiter: WaiterT) -> int:
        """Stand in line; the key for `leave`. Raises ResourceError when the line is full."""
        if len(self._waiting) >= self._most:
            self.refused += 1
            raise ResourceError("callers waiting for a pooled connection", len(self._waiting), self._most)
        self._last_key += 1
        self._waiting[self._last_key] = waiter
        return self._last_key

    def rejoin(self, key: int, waiter: WaiterT) -> None:
        """Stand where one stood before, as what one got was of no use; also in a full line."""
        self._waiting = OrderedDict(sorted([*self._waiting.items(), (key, waiter)], key=lambda each: each[0]))

    def leave(self, key: int) -> None:
        """Wait no more."""
        self._waiting.pop(key, None)

    def next(self) -> WaiterT:
        """The first, who leaves the line."""
        return self._waiting.popitem(last=False)[1]

    def served(self, seconds: float) -> None:
        """Somebody has got a connection after so long."""
        self.waits += 1
        self.seconds += seconds

    def clear(self) -> Iterator[WaiterT]:
        """All, who leave the line."""
        waiting, self._waiting = self._waiting, OrderedDict()
        return iter(waiting.values())
