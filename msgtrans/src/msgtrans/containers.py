"""A map, a queue and a counter that threads share with each other or with the loop (specification 5.3).

Each takes a lock for one operation on a dict, a deque or a number, so what it promises holds with and without the
global interpreter lock; they are called concurrent, not lock-free, because that is what they are. Nothing waits for an
item. Not for finalisers and signal handlers, which may interrupt the thread that holds the lock.
Not here: what belongs to one loop alone, which needs none of this, and messages from other threads (`flow.threads`).
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from msgtrans.errors import ResourceError
from msgtrans.field_types import check_count, check_number

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")


class MapStats(msgspec.Struct, frozen=True):
    """A map at one moment. reads: `get`, `keys`, `snapshot`, `for_each`. writes: `insert`, `remove`, `update`."""

    reads: int
    writes: int
    current_size: int


class QueueStats(msgspec.Struct, frozen=True):
    """A queue at one moment. enqueued = dequeued + current_size. refused: items for which there was no room.

    current_weight: of what is in it.
    """

    enqueued: int
    dequeued: int
    refused: int
    current_size: int
    current_weight: int


class CounterStats(msgspec.Struct, frozen=True):
    """How often a counter was used. reads: `get`."""

    increments: int
    decrements: int
    reads: int


class ConcurrentMap(Generic[K, V]):
    """A mapping. Hash and comparison of its keys run under the lock: keep them plain."""

    __slots__ = ("_items", "_lock", "_reads", "_writes")

    def __init__(self) -> None:
        self._items: dict[K, V] = {}
        self._lock = Lock()
        self._reads = self._writes = 0

    def get(self, key: K) -> V | None:
        """The value of `key`, None without one."""
        with self._lock:
            self._reads += 1
            return self._items.get(key)

    def insert(self, key: K, value: V) -> V | None:
        """Set the value of `key`; the one before, None if there was none."""
        with self._lock:
            self._writes += 1
            before = self._items.get(key)
            self._items[key] = value
        return before

    def remove(self, key: K) -> V | None:
        """Take `key` out; its value, None if it was not there."""
        with self._lock:
            self._writes += 1
            return self._items.pop(key, None)

    def update(self, key: K, change: Callable[[V | None], V]) -> V:
        """Set the value of `key` to `change(value)` in one step, of None where there is none; the new one.

        `change` runs under the lock: it must be short, and must not use the map.
        """
        with self._lock:
            self._writes += 1
            before = self._items.get(key)
            value = self._items[key] = change(before)
        return value

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self._items

    def keys(self) -> list[K]:
        """The keys at this moment."""
        return list(self.snapshot())

    def snapshot(self) -> dict[K, V]:
        """A copy of all at one moment: later changes do not show in it."""
        with self._lock:
            self._reads += 1
            return self._items.copy()

    def for_each(self, visit: Callable[[K, V], object]) -> None:
        """Call `visit(key, value)` for all that was there when this began; it may use the map."""
        for key, value in self.snapshot().items():
            visit(key, value)

    def stats(self) -> MapStats:
        """How often it was used, and its size."""
        with self._lock:
            return MapStats(self._reads, self._writes, len(self._items))


class ConcurrentQueue(Generic[V]):
    """First in, first out, for any number of producers and consumers.

    capacity: the weight at which further items are refused; an item weighs 1 unless said otherwise. None: no bound.
    """

    __slots__ = ("_capacity", "_dequeued", "_enqueued", "_items", "_lock", "_refused", "_weight")

    def __init__(self, capacity: int | None = None) -> None:
        if capacity is not None:
            check_count("capacity", capacity)
        self._capacity = capacity
        self._items: deque[tuple[V, int]] = deque()
        self._lock = Lock()
        self._weight = self._enqueued = self._dequeued = self._refused = 0

    def push(self, item: V, weight: int = 1) -> int:
        """Append an item; how many there are now. Raises ResourceError while their weight is at the capacity.

        weight: a whole number from 0 up.
        """
        if type(weight) is not int or weight < 0:
            check_count("weight", weight, 0)
        with self._lock:
            if self._capacity is not None and self._weight >= self._capacity:
                self._refused += 1
                raise ResourceError("weight of a queue", self._weight, self._capacity)
            self._items.append((item, weight))
            self._weight += weight
            self._enqueued += 1
            return len(self._items)

    def pop(self) -> V | None:
        """Take the first item out; None when there is none."""
        with self._lock:
            if not self._items:
                return None
            item, weight = self._items.popleft()
            self._weight -= weight
            self._dequeued += 1
            return item

    def pop_many(self, most: int) -> list[V]:
        """Take out up to `most` items in one step, in order. most: a whole number from 0 up."""
        check_count("most", most, 0)
        taken, weights = [], 0
        with self._lock:
            items = self._items
            for _ in range(min(most, len(items))):
                item, weight = items.popleft()
                taken.append(item)
                weights += weight
            self._dequeued += len(taken)
            self._weight -= weights
        return taken

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self._items

    def stats(self) -> QueueStats:
        """What came, went and is here, at one moment."""
        with self._lock:
            return QueueStats(self._enqueued, self._dequeued, self._refused, len(self._items), self._weight)


class ConcurrentCounter:
    """A number. It may fall below 0, as when one thread takes away before another has added: sums are right in the end.

    (The original wraps to the largest number there.)
    """

    __slots__ = ("_decrements", "_increments", "_lock", "_reads", "_value")

    def __init__(self, value: int = 0) -> None:
        check_number("value", value, whole=True)
        self._value = value
        self._lock = Lock()
        self._increments = self._decrements = self._reads = 0

    def increment(self, by: int = 1) -> int:
        """Add a whole number; the new value."""
        if type(by) is not int:
            check_number("by", by, whole=True)
        with self._lock:
            self._increments += 1
            self._value += by
            return self._value

    def decrement(self, by: int = 1) -> int:
        """Take a whole number away; the new value."""
        if type(by) is not int:
            check_number("by", by, whole=True)
        with self._lock:
            self._decrements += 1
            self._value -= by
            return self._value

    def get(self) -> int:
        """The value."""
        with self._lock:
            self._reads += 1
            return self._value

    def set(self, value: int) -> None:
        """Replace the value."""
        self.swap(value)

    def swap(self, value: int) -> int:
        """Replace the value by a whole number; the one before."""
        check_number("value", value, whole=True)
        with self._lock:
            before, self._value = self._value, value
            return before

    def stats(self) -> CounterStats:
        """How often it was used."""
        with self._lock:
            return CounterStats(self._increments, self._decrements, self._reads)
