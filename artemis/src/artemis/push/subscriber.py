"""Subscribers and feeds: who hangs on which service, and what he has not taken yet.

Not here: the rules of subscribing (`stream`) and the messages (`telling`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from artemis.push.telling import Dialect

if TYPE_CHECKING:
    from artemis.push.catching_up import Wait
    from artemis.push.entries import Start
    from artemis.push.stream import ChangeStream

_LEAST = 128
"""Bytes that a look at a service counts for, even when nothing is to be told of it."""

_TAKING = 0.004
"""Seconds that one call makes messages for; the last service may take a few milliseconds more."""


class Feed:
    """One service, or all of them, as something to hang on. `idle` are the subscribers that know everything of it."""

    __slots__ = ("idle", "service", "subscribers", "waiters")

    def __init__(self, service: str) -> None:
        self.service = service
        self.idle: set[Subscriber] = set()
        self.subscribers = 0
        self.waiters: dict[int, Callable[[], None]] = {}


class Subscriber:
    """One session that is told of changes. Made by a door, which attaches it, takes from it and detaches it.

    `wake` is called when there is something to take and there was nothing before; it may only note that or schedule
    something, never take at once. `lost`: it fell behind further than can be told, and the door ends the session.
    `behind`: the door has taken messages that it cannot write yet, because the peer does not read.
    """

    __slots__ = ("_since", "_wake", "behind", "dialect", "dirty", "feeds", "held", "lost", "stream")

    def __init__(self, dialect: Dialect, wake: Callable[[], None]) -> None:
        self.dialect = dialect
        self.lost = False
        self.behind = False
        self.stream: ChangeStream | None = None
        self.feeds: set[Feed] = set()
        #: Feeds with something to tell, and from where on.
        self.dirty: dict[Feed, Start] = {}
        #: Feeds of which nothing can be told yet: this node lacks changes that the subscriber may know.
        self.held: dict[Feed, Wait] = {}
        self._wake = wake
        self._since: int | None = None

    @property
    def pending(self) -> bool:
        """Whether there may be something to take now."""
        return bool(self.dirty)

    @property
    def current(self) -> bool:
        """Whether it was given everything that callers see of what it has subscribed to."""
        return not self.dirty and not self.held

    @property
    def services(self) -> list[str]:
        """The ids, in lower case and sorted, of what it has subscribed to; empty text for all services."""
        return sorted(feed.service for feed in self.feeds)

    def take(self, max_bytes: int) -> list[bytes]:
        """Return the next messages, service by service, at least of one and until there are `max_bytes`.

        What is left is there for the next call; `pending` says whether there is. It may be nothing at all, when all
        looks as before again. A service adds as much as PushLimits says, so the answer may be that much longer. It is
        shorter when it takes long to make.
        """
        messages: list[bytes] = []
        size = 0
        stream, self._since = self.stream, None
        if stream is None:
            return messages
        until = stream.clock() + _TAKING
        while self.dirty and size < max_bytes:
            feed = next(iter(self.dirty))
            more = stream.tell(self, feed, self.dirty.pop(feed))
            size += _LEAST + sum(map(len, more))
            messages += more
            if self.dirty and stream.clock() > until:
                break
        return messages

    def stalled(self, now: int) -> bool:
        """Tell whether nothing was taken for `PushLimits.stall` although there was something; ask every few seconds.

        `now` is milliseconds of a monotonic clock. The time counts from the first question.
        """
        if not self.dirty or self.stream is None:
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self.stream.limits.stall

    def mark(self, feed: Feed, start: Start) -> None:
        """For the stream: there is something of a feed from `start` on. May raise what the door's `wake` does."""
        if self.stream is None:
            return  # it is detached, and only its subscriptions are still being ended
        first = not self.dirty
        self.dirty[feed] = start
        if first:
            self._wake()
