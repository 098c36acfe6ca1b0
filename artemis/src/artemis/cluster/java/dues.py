"""What one Java peer is still to be told: tasks that replace each other, in batches, for a while (spec 7.3, 7.4).

Pure: milliseconds of a monotonic clock come in. Not here: how a batch travels (`exchange`), what its answer means
(`answers`), and whether the peer serves at all (`standing`).

Different from the original, where that loses or brings back instances: an instance has one task, so that a heartbeat
that waits never overtakes the removal after it (defect 14); all that failed is tried again, not only the first of it
(defect 13); and a registration that was lost goes with the next heartbeat, as heartbeats bring Java nodes no content.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

Key = tuple[str, str]
"""Service and instance id, in lower case."""


class Kind(StrEnum):
    """What a peer is told of an instance."""

    REGISTER = "register"
    HEARTBEAT = "heartbeat"
    UNREGISTER = "unregister"


class Failure(StrEnum):
    """What is done about an instance that a peer did not take."""

    LATER = "later"
    DROPPED = "dropped"


class DueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds, in milliseconds where they are times (spec 7.3).

    `lifetime`: of a task, from when a client asked; `batch` and `delay`: so many heartbeats are sent at once, or when
    the oldest waited so long; `size`: bytes of one request; `most`: tasks that wait, the oldest go beyond it; `pause`
    and `longest_pause`: after a failure, doubled with each further one.
    """

    lifetime: int = 5_000
    batch: int = 250
    delay: int = 2_000
    size: int = 512 * 1024
    most: int = 100_000
    pause: int = 100
    longest_pause: int = 1_000


class Due(NamedTuple):
    """One task: `content` is the instance as JSON, `since` when a client asked."""

    kind: Kind
    content: bytes
    since: int


class Batch(NamedTuple):
    """Tasks of one kind that are told together."""

    kind: Kind
    dues: Mapping[Key, Due]

    @property
    def body(self) -> bytes:
        """The request (spec 2.5)."""
        return b'{"instances":[%b]}' % b",".join(due.content for due in self.dues.values())


class Dues:
    """The tasks of one peer. Owned by whoever sends them, one batch at a time: `take`, then `settle` it.

    `counters` only grow, in instances: told, later (to be tried again), refused (by the peer, for good), expired,
    replaced (by newer tasks), overflowed.
    """

    def __init__(self, limits: DueLimits | None = None) -> None:
        self.limits = limits or DueLimits()
        self.counters: Counter[str] = Counter()
        self._urgent: OrderedDict[Key, Due] = OrderedDict()
        self._beats: OrderedDict[Key, Due] = OrderedDict()
        # Registrations that the peer never took, oldest first.
        self._owed: OrderedDict[Key, None] = OrderedDict()
        self._beats_next = False
        self._failures = 0
        self._not_before = 0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._beats)

    def put(self, kind: Kind, key: Key, content: bytes, now: int) -> None:
        """Let the peer be told; what waits for the same instance is replaced and keeps its place."""
        if kind is Kind.HEARTBEAT:
            if key in self._urgent:  # a registration says as much, and after a removal comes none that counts
                return
            if key not in self._owed:
                waiting = self._beats.get(key)
                self._beats[key] = Due(kind, content, now if waiting is None else waiting.since)
                self._bound()
                return
            kind = Kind.REGISTER
        self._owed.pop(key, None)
        replaced = self._beats.pop(key, None) is not None
        if replaced or key in self._urgent:
            self.counters["replaced"] += 1
        self._urgent[key] = Due(kind, content, now)
        self._bound()

    def take(self, now: int) -> Batch | None:
        """Return what is to be told now, None for nothing yet."""
        if now < self._not_before:
            return None
        while self._urgent or self._beats_due(now):
            beats = self._beats_due(now) and (self._beats_next or not self._urgent)
            self._beats_next = not beats
            dues = self._pick(self._beats if beats else self._urgent, now)
            if dues:
                return Batch(next(iter(dues.values())).kind, dues)
        return None

    def settle(self, batch: Batch, failed: Mapping[Key, Failure], now: int) -> None:
        """Say what became of a batch: what is not among the `failed` was taken."""
        again: list[tuple[Key, Due]] = []
        for key, due in batch.dues.items():
            failure = failed.get(key)
            if failure is None:
                self.counters["told"] += 1
            elif failure is Failure.DROPPED:
                self.counters["refused"] += 1
                self._owe(key, due)
            else:
                again.append((key, due))
        self._failures = self._failures + 1 if again else 0
        if again:
            pause = self.limits.pause << min(self._failures - 1, 10)
            self._not_before = now + min(pause, self.limits.longest_pause)
        for key, due in reversed(again):  # to the front, in their order
            if key in self._urgent or key in self._beats:
                self.counters["replaced"] += 1
                if key not in self._urgent:
                    self._owe(key, due)
                continue
            self.counters["later"] += 1
            queue = self._beats if due.kind is Kind.HEARTBEAT else self._urgent
            queue[key] = due
            queue.move_to_end(key, last=False)

    def due_in(self, now: int) -> int | None:
        """Return in how many milliseconds `take` may give something, None if only a further `put` changes that."""
        if self._urgent:
            due = now
        elif self._beats:
            due = now if self._beats_due(now) else next(iter(self._beats.values())).since + self.limits.delay
        else:
            return None
        return max(due, self._not_before, now) - now

    def pause_heartbeats(self) -> None:
        """Let go of heartbeats that wait, as the peer does not serve; the next ones come soon enough."""
        self._beats.clear()

    def _beats_due(self, now: int) -> bool:
        beats = self._beats
        if len(beats) >= self.limits.batch:
            return True
        return bool(beats) and now - next(iter(beats.values())).since >= self.limits.delay

    def _pick(self, queue: OrderedDict[Key, Due], now: int) -> dict[Key, Due]:
        """Take tasks of one kind from the front, without those that are too old."""
        picked: dict[Key, Due] = {}
        size = 0
        for key in _first(queue, 4 * self.limits.batch):
            due = queue[key]
            if now - due.since >= self.limits.lifetime:
                del queue[key]
                self.counters["expired"] += 1
                self._owe(key, due)
                continue
            kind = next(iter(picked.values())).kind if picked else due.kind
            if due.kind is not kind:  # of another instance, so the order makes no difference
                continue
            if picked and (len(picked) >= self.limits.batch or size + len(due.content) > self.limits.size):
                break
            picked[key] = due
            size += len(due.content)
            del queue[key]
        return picked

    def _owe(self, key: Key, due: Due) -> None:
        if due.kind is not Kind.REGISTER:
            return
        self._owed[key] = None
        if len(self._owed) > self.limits.most:
            self._owed.popitem(last=False)

    def _bound(self) -> None:
        while len(self) > self.limits.most:
            key, due = (self._beats or self._urgent).popitem(last=False)
            self.counters["overflowed"] += 1
            self._owe(key, due)


def _first(queue: Iterable[Key], count: int) -> list[Key]:
    return [key for key, _ in zip(queue, range(count), strict=False)]
