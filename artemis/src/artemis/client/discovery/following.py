"""Keeps the services in use current over one link: subscribes to them, takes in what is pushed, has it confirmed.

One `Following` per link. It neither makes nor closes links, see `artemis.client.links`; what pushes mean for a service
is in `services`. Raises `LinkFailure` when the link should be left, for another or for none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from artemis.client.discovery.changes import by_service, without_unusable
from artemis.client.links.link import EVERYTHING, LinkFailure, LinkKind, Want
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from random import Random

    from artemis.client.discovery.lookups import Lookups
    from artemis.client.discovery.services import Followed
    from artemis.client.discovery.views import Views
    from artemis.client.links.link import Link, Push
    from artemis.client.options import ClientOptions
    from artemis.model import Instance

logger = logging.getLogger("artemis.client")

Answer = TypeVar("Answer")


SPREAD: Final = 0.2
"""Seconds within which a lookup follows what a push could not say: all who were told so ask at the same time."""

PAUSE: Final = 1.0
"""Seconds between such lookups of one service, however often a node says that there is something to look up."""


class Following:
    """What is subscribed on one link, and the loops that keep it so; owned by a `Discovery`."""

    def __init__(
        self,
        link: Link,
        *,
        views: Views,
        lookups: Lookups,
        options: ClientOptions,
        random: Random,
        clock: Callable[[], float],
        heard: Callable[[], None],
        usable: Callable[[str, str, Instance], bool],
    ) -> None:
        self._link = link
        self._usable = usable
        self._views = views
        self._lookups = lookups
        self._options = options
        self._random = random
        self._clock = clock
        self._heard = heard
        self._resumes = link.kind is not LinkKind.JAVA_WEBSOCKET
        self._joined: dict[Followed, int] = {}
        """The subscriptions, each with the number of the message that asked for it."""
        self._joins = 0
        self._again: set[Followed] = set()
        self._refused: set[Followed] = set()
        self._whole: dict[Followed, float] = {}
        """When those were looked up last that pushes could not tell everything of."""
        self._change = asyncio.Event()
        self._gap = asyncio.Event()
        self._ask = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled, or until `LinkFailure` says that the link should be left."""
        try:
            await _together(self._keep_joined(), self._keep_whole(), self._keep_confirmed())
        finally:
            for entry in list(self._joined):
                self._forget(entry)

    def push(self, push: Push) -> None:
        """Take in what the node pushes."""
        if push.service == EVERYTHING:
            pushes = by_service(push, [entry.key for entry in self._joined])
        else:
            pushes = {push.service: push}
        for service, one in pushes.items():
            entry = self._views.book.get(service)
            if entry is not None and entry in self._joined:
                usable = partial(self._usable, self._link.node, service)
                self._views.push(entry, without_unusable(one, usable))
                if entry.behind:
                    self._gap.set()

    def changed(self) -> None:
        """Look again which services are in use."""
        self._change.set()

    async def _keep_joined(self) -> None:
        due = self._next_refresh()
        while True:
            self._change.clear()
            await self._leave()
            await self._join()
            try:
                async with asyncio.timeout(max(0.0, due - self._clock())):
                    await self._change.wait()
            except TimeoutError:
                due = self._next_refresh()
                self._refresh()

    async def _leave(self) -> None:
        """Unsubscribe from what is not in use any more."""
        gone = [entry for entry in self._joined if self._views.book.get(entry.key) is not entry]
        for entry in gone:
            self._forget(entry)
        self._again.difference_update(gone)
        self._refused = {entry for entry in self._refused if self._views.book.get(entry.key) is entry}
        # One that came back meanwhile under the same name is about to be subscribed to.
        names = [entry.service_id for entry in gone if self._views.book.get(entry.key) is None]
        for start in range(0, len(names), self._options.batch_size):
            await self._in_time(self._link.unsubscribe(names[start : start + self._options.batch_size]))

    async def _join(self) -> None:
        again, self._again = self._again, set()
        wanted = [
            entry
            for entry in self._views.book.entries()
            if entry.source == "registry"
            and (entry in again or (entry not in self._joined and entry not in self._refused))
        ]
        for start in range(0, len(wanted), self._options.batch_size):
            await self._subscribe(wanted[start : start + self._options.batch_size])
        if wanted:
            # What was missed is here now, or on its way; until that is confirmed the views get older.
            self._ask.set()

    async def _subscribe(self, entries: Sequence[Followed]) -> None:
        if not self._resumes:
            for entry in entries:
                entry.cursor = None
        wants = [Want(entry.service_id, entry.cursor) for entry in entries]
        # Before the answer, as what was missed may be pushed ahead of it; and after it, as only then it is certain.
        self._number(entries)
        subscribed = await self._in_time(self._link.subscribe(wants))
        self._number(entries)
        refused = {name.lower() for name in subscribed.refused}
        for want, entry in zip(wants, entries, strict=True):
            if entry.key in refused:
                self._forget(entry)
                self._refused.add(entry)
                continue
            entry.fed = True
            if want.cursor is None:
                # Pushes begin now, and nobody knows what happened since the last answer.
                entry.cursor = entry.cursor or subscribed.cursor
                entry.behind = True
            if entry.behind:
                self._gap.set()
        if subscribed.refused:
            name, reason = next(iter(subscribed.refused.items()))
            extra = fields("subscription-refused", service_ids=list(refused), reason=reason, count=len(refused))
            logger.info(
                "services polled, as the link refuses them: %d; %s: %s", len(refused), name, reason, extra=extra
            )

    def _number(self, entries: Sequence[Followed]) -> None:
        self._joins += 1
        for entry in entries:
            self._joined[entry] = self._joins
            entry.pushed_by, entry.dated = self._link.node, self._link.confirms

    def _forget(self, entry: Followed) -> None:
        del self._joined[entry]
        self._whole.pop(entry, None)
        entry.fed = False
        entry.pushed_by, entry.dated = "", False

    def _refresh(self) -> None:
        """Ask for what the node may have left out."""
        self._refused.clear()
        if self._resumes:
            self._again.update(self._joined)
        else:
            for entry in self._joined:
                entry.behind = True
            self._gap.set()

    def _next_refresh(self) -> float:
        return self._clock() + self._options.refresh_interval * self._random.uniform(0.8, 1.0)

    async def _keep_whole(self) -> None:
        """Look up what pushes could not say."""
        failures = 0
        while True:
            await self._gap.wait()
            await asyncio.sleep(self._random.uniform(0.0, SPREAD))
            due = await self._due()
            succeeded = await self._lookups.refresh(due)
            # What is whole now can be confirmed.
            self._ask.set()
            if succeeded:
                self._whole.update((entry, self._clock()) for entry in due if entry in self._joined)
            if succeeded and not any(entry.behind for entry in due):
                failures = 0
            else:
                ceiling = min(self._options.backoff_limit, self._options.backoff * 2.0 ** min(failures, 30))
                failures += 1
                await asyncio.sleep(self._random.uniform(0.0, ceiling))
            if any(entry.behind for entry in self._joined):
                self._gap.set()

    async def _due(self) -> list[Followed]:
        """Return what is to be looked up now, as soon as there is something that was not only just."""
        while True:
            self._gap.clear()
            last = {entry: self._whole.get(entry, float("-inf")) for entry in self._joined if entry.behind}
            now = self._clock()
            due = [entry for entry, time in last.items() if now >= time + PAUSE]
            if due or not last:
                return due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.001, min(last.values()) + PAUSE - now)):
                    await self._gap.wait()
                await asyncio.sleep(self._random.uniform(0.0, SPREAD))

    async def _keep_confirmed(self) -> None:
        failures = 0
        while True:
            interval = self._options.confirm_interval * self._random.uniform(0.8, 1.0)
            if failures:
                interval = min(interval, self._options.backoff * 2.0 ** min(failures, 30))
            try:
                async with asyncio.timeout(interval):
                    await self._ask.wait()
            except TimeoutError:
                pass
            self._ask.clear()
            failures = 0 if await self._confirm() else failures + 1

    async def _confirm(self) -> bool:
        joined = {entry: join for entry, join in self._joined.items() if entry.fed and not entry.behind}
        asked = self._clock()
        confirmation = await self._in_time(self._link.confirm())
        if confirmation.heard:
            self._heard()  # a caller may need nothing else of the registry for hours
        if not self._link.confirms:
            return True
        if confirmation.current:
            # Not those that were subscribed to anew meanwhile, or turned out to need a lookup.
            sure = [entry for entry, join in joined.items() if self._joined.get(entry) == join and not entry.behind]
            self._views.confirm(sure, confirmation, asked)
            self._lookups.over()
        return confirmation.current

    async def _in_time(self, asking: Coroutine[None, None, Answer]) -> Answer:
        """Wait for an answer for one ``attempt_timeout``: a node that is silent is left."""
        try:
            async with asyncio.timeout(self._options.attempt_timeout):
                return await asking
        except TimeoutError:
            raise LinkFailure(f"no answer within {self._options.attempt_timeout:g} s", silent=True) from None


async def _together(*loops: Coroutine[None, None, None]) -> None:
    """Run loops until one of them fails, and raise what it raised."""
    failure: LinkFailure | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop)
    except* LinkFailure as failures:
        failure = next(one for one in failures.exceptions if isinstance(one, LinkFailure))
    if failure is not None:
        raise failure
