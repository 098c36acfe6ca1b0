"""The one place where answers and pushes become views: it applies them, tells who follows, and publishes the doubts.

Decides nothing itself: what they mean is in `services`, what is doubted in `guard`. It asks the registry nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from artemis.client.discovery.progress import goes_back, lost_for_good
from artemis.client.events import AnswerDoubted, AnswerOutdated, DoubtEnded, WentBack
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artemis.client.calls.api import Shown
    from artemis.client.discovery.guard import Guard
    from artemis.client.discovery.services import Applied, Followed, ServiceBook
    from artemis.client.discovery.watch import Audience
    from artemis.client.events import EventFeed
    from artemis.client.links.link import Confirmation, Push
    from artemis.client.names import Key
    from artemis.model import Instance, Service

logger = logging.getLogger("artemis.client")


class Views:
    """Owned by the discovery of one client, called from its loop; `clock` gives seconds, `wall` epoch milliseconds."""

    def __init__(
        self,
        *,
        book: ServiceBook,
        guard: Guard,
        outdated_wait: float,
        feed: EventFeed,
        audience: Audience,
        clock: Callable[[], float],
        wall: Callable[[], int],
    ) -> None:
        self.book = book
        self.outdated = 0
        """How many answers and pushes were left out, because they were older than what is shown."""
        self._guard = guard
        self._outdated_wait = outdated_wait
        self._feed = feed
        self._audience = audience
        self._clock = clock
        self._wall = wall
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def close(self) -> None:
        """End the timer that ends doubts."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def answer(
        self, entry: Followed, service: Service, reported: dict[Key, Instance], shown: Shown, asked: float
    ) -> bool:
        """Take in what a lookup sent at ``asked`` shows of a service; no later one may have been taken in.

        False, and nothing happens, if it is an older state than the present one, unless that lasts too long.
        """
        now = self._clock()
        went_back = goes_back(entry.cursor, shown.cursor)
        if went_back and not self._gives_way(entry, shown.cursor, shown.node, now):
            return False
        entry.outdated, entry.unsure = None, False
        applied = entry.answer(
            service, self._guard, asked=asked, age=shown.age, now=now, missing=shown.missing, reported=reported
        )
        if went_back or not entry.pushed_by:
            # Else pushes go on from where they are. One that was under way when this was shown may take back a part of
            # it, but not for long: the next tells that part again, unless it is told to begin after this answer.
            entry.cursor = shown.cursor
        self._settle(entry, applied, now)
        return True

    def push(self, entry: Followed, push: Push) -> None:
        """Take in what a node pushes of a service, unless it is an older state than the present one.

        What is left out makes it `Followed.behind`, and so does what follows that, until it is whole again.
        """
        now = self._clock()
        if (entry.unsure and not push.full_sync) or (
            goes_back(entry.cursor, push.cursor) and not self._gives_way(entry, push.cursor, entry.pushed_by, now)
        ):
            entry.pushes += 1
            entry.behind = entry.unsure = True
            return
        if push.full_sync:
            entry.outdated, entry.unsure = None, False
        self._settle(entry, entry.push(push, self._guard, now), now)

    def restore(self, entry: Followed, service: Service, age: float) -> None:
        """Take in what the disk has of a service."""
        now = self._clock()
        self._settle(entry, entry.restore(service, now - age), now)

    def confirm(self, entries: Iterable[Followed], confirmation: Confirmation, asked: float) -> None:
        """Take a node's word, asked for at ``asked``, that it has pushed everything there is of these services."""
        for entry in entries:
            entry.cursor = confirmation.cursor or entry.cursor
            entry.confirmed = asked - confirmation.age
            entry.missing_nodes = confirmation.missing

    def _gives_way(self, entry: Followed, cursor: str | None, node: str, now: float) -> bool:
        """Note that a node shows an older state of a service; whether that is now to be shown."""
        if entry.source != "registry":
            return True
        if entry.outdated is None:
            entry.outdated = now
            if not self._outdated_wait or lost_for_good(entry.cursor, cursor):
                self._goes_back(entry, node, 0.0)
                return True
            self._feed.publish(AnswerOutdated(entry.service_id, node))
            extra = fields("answer-outdated", service_id=entry.service_id, node=node)
            logger.warning(
                "%s: %s shows an older state than is known, which stays", entry.service_id, node, extra=extra
            )
        waited = now - entry.outdated
        if waited < self._outdated_wait:
            self.outdated += 1
            return False
        self._goes_back(entry, node, waited)
        return True

    def _goes_back(self, entry: Followed, node: str, waited: float) -> None:
        entry.outdated = None
        self._feed.publish(WentBack(entry.service_id, node, waited))
        extra = fields("went-back", service_id=entry.service_id, node=node)
        # A registry that began anew does so for every service at once, which is no trouble: what is missing is doubted.
        logger.log(
            logging.WARNING if waited else logging.INFO,
            "%s is shown in an older state, that of %s: the registry lost the later one",
            entry.service_id,
            node,
            extra=extra,
        )

    def _settle(self, entry: Followed, applied: Applied, now: float) -> None:
        if applied.doubted:
            view = entry.view(now)
            reason = "" if view is None else view.doubt
            self._feed.publish(AnswerDoubted(entry.service_id, applied.doubted, reason))
            extra = fields("answer-doubted", service_id=entry.service_id, reason=reason)
            logger.warning("%s: %s", entry.service_id, reason, extra=extra)
            self._schedule()
        if applied.ended is not None:
            self._feed.publish(DoubtEnded(entry.service_id, applied.ended))
            count = len(applied.ended)
            extra = fields("doubt-ended", service_id=entry.service_id, count=count)
            logger.warning("%s: the doubt is over; instances let go: %d", entry.service_id, count, extra=extra)
        self._audience.tell(entry, applied.touched, self._wall())

    def _schedule(self) -> None:
        """Look again when the first doubt of any service may end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = min((until for entry in self.book.entries() if (until := entry.held_until) is not None), default=None)
        if due is not None and not self._closed:
            # A little late rather than early: clocks differ in how they are rounded.
            delay = max(0.0, due - self._clock()) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        now = self._clock()
        for entry in self.book.entries():
            if (until := entry.held_until) is not None and until <= now:
                self._settle(entry, entry.expire(now), now)
        self._schedule()
