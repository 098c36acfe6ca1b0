"""Message ids, and the requests that wait for an answer: ids in, waiters out, time as an argument.

Not here: futures, timers, sockets. The session keeps the waiters' other end and one timer.

Requests with the same timeout become due in the order in which they came, so each timeout has one dict, whose order
is the order of the deadlines: adding and answering are one insertion and one removal, and only the oldest entry is
ever looked at. Timeouts other than the default are rounded up by at most 1/64, which bounds the number of dicts.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

from msgtrans.errors import LocalProtocolError, ResourceError
from msgtrans.field_types import check_seconds
from msgtrans.packet import MAX_MESSAGE_ID

W = TypeVar("W")


class PendingRequests(Generic[W]):
    """The requests of one session and direction (specification 1.6, 3.4). Owned by the session.

    first_id: where the ids begin. timeout: the default, in seconds. limit: how many may wait at once.
    """

    __slots__ = ("_crowded", "_default", "_next", "_others", "_others_of", "limit", "timeout")

    def __init__(self, first_id: int, timeout: float, limit: int) -> None:
        self._next = first_id
        self._crowded = False  # whether a new id could meet a pending one: after a wrap or a caller's own id
        self._default: dict[int, tuple[W, float]] = {}
        self._others: dict[float, dict[int, tuple[W, float]]] | None = None  # rounded timeout -> entries
        self._others_of: dict[int, float] | None = None  # id -> rounded timeout
        self.timeout = timeout
        self.limit = limit

    def __len__(self) -> int:
        return len(self._default) + (len(self._others_of) if self._others_of else 0)

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._default or (self._others_of is not None and message_id in self._others_of)

    def next_id(self) -> int:
        """A fresh id for a request or a one-way message: never 0, never one that is pending, 2**32 - 1 wraps to 1."""
        message_id = self._next
        if self._crowded:
            while message_id in self:
                message_id = message_id + 1 if message_id < MAX_MESSAGE_ID else 1
        if message_id < MAX_MESSAGE_ID:
            self._next = message_id + 1
        else:
            self._next, self._crowded = 1, True
        return message_id

    def claim(self, message_id: int) -> int:
        """Check an id the caller chose. Raises LocalProtocolError when it is out of range or pending."""
        if not 0 < message_id <= MAX_MESSAGE_ID:
            raise LocalProtocolError(f"message id {message_id} is out of range; use 1 to {MAX_MESSAGE_ID}")
        if message_id in self:
            raise LocalProtocolError(f"message id {message_id} waits for an answer already; use another")
        self._crowded = True
        return message_id

    def add(
        self, waiter: W, now: float, timeout: float | None = None, message_id: int | None = None
    ) -> tuple[int, float]:
        """Remember a request; its id, fresh unless chosen, and its deadline.

        `now` must not go backwards; a timeout of None is the default. Raises ResourceError when `limit` requests wait,
        ConfigurationError for a timeout that is not positive and finite, LocalProtocolError as `claim`.
        """
        default = self._default
        fresh = self._next
        usual = timeout is None and message_id is None and not self._others and not self._crowded
        if usual and len(default) < self.limit and fresh < MAX_MESSAGE_ID:
            self._next = fresh + 1
            deadline = now + self.timeout
            default[fresh] = (waiter, deadline)
            return fresh, deadline
        if len(self) >= self.limit:
            raise ResourceError("pending requests", len(self), self.limit)
        if timeout is not None:
            timeout = rounded(timeout) if timeout != self.timeout or timeout is True else None
        message_id = self.next_id() if message_id is None else self.claim(message_id)
        if timeout is not None:
            return message_id, self._add_other(message_id, waiter, now, timeout)
        deadline = now + self.timeout
        default[message_id] = (waiter, deadline)
        return message_id, deadline

    def _add_other(self, message_id: int, waiter: W, now: float, timeout: float) -> float:
        if self._others is None or self._others_of is None:
            self._others, self._others_of = {}, {}
        deadline = now + timeout
        self._others.setdefault(timeout, {})[message_id] = (waiter, deadline)
        self._others_of[message_id] = timeout
        return deadline

    def pop(self, message_id: int) -> W | None:
        """Take the waiter of an id out, or None if nobody waits for it (late, stray or duplicate answer)."""
        entry = self._default.pop(message_id, None)
        if entry is None:
            if not self._others_of or self._others is None:
                return None
            timeout = self._others_of.pop(message_id, None)
            if timeout is None:
                return None
            entries = self._others[timeout]
            entry = entries.pop(message_id)
            if not entries:
                del self._others[timeout]
        return entry[0]

    answer = pop  # what a response does, told apart from other ends by those who count answers; no call more

    def take_over(self, other: PendingRequests[W]) -> None:
        """Go on in place of `other`, with what waits there; what it still takes out is out of both."""
        for name in PendingRequests.__slots__:
            setattr(self, name, getattr(other, name))

    def expire(self, now: float) -> list[tuple[W, float]]:
        """Take out every waiter whose deadline is not after `now`, each with the timeout it had."""
        expired: list[tuple[W, float]] = []
        for timeout, entries in self._classes():
            due = []
            for message_id, (waiter, deadline) in entries.items():
                if deadline > now:
                    break
                due.append(message_id)
                expired.append((waiter, timeout))
            for message_id in due:
                self.pop(message_id)
        return expired

    def next_deadline(self) -> float | None:
        """The earliest deadline, or None when nothing waits. Costs one look per distinct timeout in use."""
        return min((next(iter(entries.values()))[1] for _, entries in self._classes() if entries), default=None)

    def drain(self) -> list[W]:
        """Take out every waiter, because the session ended."""
        waiters = [waiter for _, entries in self._classes() for waiter, _ in entries.values()]
        self._default.clear()
        self._others = self._others_of = None
        return waiters

    def _classes(self) -> list[tuple[float, dict[int, tuple[W, float]]]]:
        classes = [(self.timeout, self._default)]
        if self._others:
            classes += self._others.items()
        return classes


def rounded(timeout: float) -> float:
    """`timeout` rounded up to 1 of 64 steps per power of two. Raises ConfigurationError unless positive and finite."""
    check_seconds("timeout", timeout)
    mantissa, exponent = math.frexp(timeout)
    return math.ldexp(math.ceil(mantissa * 128) / 128, exponent)
