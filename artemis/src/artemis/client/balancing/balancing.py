"""What the balancers of one client share: the choices of each service, and the ways to discovery and to the events.

Balancers are asked by any thread, while discovery and events belong to the thread of the event loop: this keeps them
apart. Not here: the deciding, see `choices`, and the words that callers use, see `balancer`.
"""

from __future__ import annotations

import asyncio
import contextlib
from threading import RLock, get_ident
from typing import TYPE_CHECKING

from artemis.client.balancing.choices import ServiceChoices
from artemis.client.balancing.outliers import OutlierRule
from artemis.client.errors import ArtemisError, ClosedError
from artemis.client.names import service_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artemis.client.balancing.choices import Shown
    from artemis.client.discovery.discovery import Discovery
    from artemis.client.discovery.services import Followed, ServiceView
    from artemis.client.events import EventFeed, OutlierEjected, OutlierReturned
    from artemis.client.options import ClientOptions


class Balancing:
    """Owned by one client. Keeps the choices of at most ``max_services`` services, the last asked for.

    ``open`` and ``close`` are called in the event loop, everything else in any thread.
    """

    def __init__(
        self,
        *,
        discovery: Discovery,
        feed: EventFeed,
        here: tuple[str | None, str | None],
        options: ClientOptions,
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        self._discovery = discovery
        self._feed = feed
        self._here = here
        self._limit = options.max_services
        self._outliers = OutlierRule(options.outlier_failures, options.outlier_rest)
        self._random = random
        self._clock = clock
        self._choices: dict[str, ServiceChoices] = {}
        self._lock = RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._forked = False

    def open(self) -> None:
        """Allow choices; the running event loop is the one that discovery and events belong to."""
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()

    def close(self) -> None:
        """Allow no more choices."""
        self._loop = None

    def after_fork(self) -> None:
        """Allow no more choices, in the child of a fork: nobody tells it what comes and goes."""
        self._loop, self._forked = None, True
        self._lock = RLock()

    async def look_up(self, service_id: str) -> ServiceView:
        """Return the service, looked up if it has not been."""
        return await self._discovery.service(service_id)

    def shown(self, service_id: str, key: str) -> Shown | None:
        """Return what is known of a service, ``key`` being its id in lower case; None if it was not looked up yet.

        It is looked up soon then. ``ClosedError`` when the client is not open.
        """
        if self._loop is None:
            raise ClosedError(forked=self._forked)
        entry = self._discovery.in_use(key)
        if entry is not None:
            return entry
        if get_ident() == self._thread:
            return self._discovery.known(service_id)
        self._loop.call_soon_threadsafe(self._want, service_id)
        return None

    def last_shown(self, key: str) -> Followed | None:
        """Return what is known of a service by its id in lower case, None if that is nothing; open or not."""
        return self._discovery.in_use(key)

    def age(self, key: str) -> float:
        """Return how old, in seconds, what is known of a service in use is at most."""
        entry = self.last_shown(key)
        view = entry and entry.view(self._clock())
        return view.age if view else 0.0

    def choices(self, service_id: str) -> ServiceChoices:
        """Return what is shared about a service. Any thread may ask."""
        key = service_key(service_id)
        with self._lock:
            choices = self._choices.pop(key, None)
            if choices is None:
                made = ServiceChoices(
                    service_id,
                    here=self._here,
                    outliers=self._outliers,
                    random=self._random,
                    clock=self._clock,
                    tell=self._tell,
                )
                choices = self._choices.pop(key, made)  # a signal handler may have come in between
                if len(self._choices) >= self._limit:
                    self._choices.pop(next(iter(self._choices)))
            self._choices[key] = choices
            return choices

    def _want(self, service_id: str) -> None:
        # Whoever waits for it, with `ready`, is told why it fails.
        with contextlib.suppress(ArtemisError):
            self._discovery.known(service_id)

    def _tell(self, event: OutlierEjected | OutlierReturned) -> None:
        # Never at once, not even in the loop's thread: it may be a finaliser that interrupts the feed itself.
        if self._loop is not None:
            # A loop that ended meanwhile has no listeners any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._feed.publish, event)
