"""The numbers of a client at one moment, for whoever asks, from whichever thread. Not here: what they are shown as."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from artemis.client.done import Done

if TYPE_CHECKING:
    from artemis.client.connection import ConnectionState
    from artemis.client.discovery.services import ServiceBook
    from artemis.client.links.link import LinkKind
    from artemis.client.registration.leases import LeaseBook

PATIENCE = 1.0
"""Seconds that another thread waits for the client's loop to say its numbers; after that it gets the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientReading:
    """What a client is at one moment.

    - ``state``, ``node``, ``link``: as the properties of the client;
    - ``services``: how many are in use; ``oldest_age``: seconds, of the one whose view is the oldest, None without one;
    - ``held``: instances that the guard keeps in views;
    - ``leases``: how many by state, see `LeaseState`;
    - ``pushes``: received since the start, by the value of `LinkKind`;
    - ``dropped``: unusable entries left out of answers; ``missed``: events that slow listeners did not get;
      ``outdated``: answers and pushes left out, because they were older than what is shown. All only grow.
    """

    state: ConnectionState
    node: str
    link: LinkKind
    services: int = 0
    oldest_age: float | None = None
    held: int = 0
    leases: Mapping[str, int] = field(default_factory=dict)
    pushes: Mapping[str, int] = field(default_factory=dict)
    dropped: int = 0
    missed: int = 0
    outdated: int = 0


def books_read(services: ServiceBook, leases: LeaseBook, now: float) -> tuple[float | None, int, dict[str, int]]:
    """Return the age of the oldest view, how many instances the guard keeps, and the leases by state."""
    ages: list[float] = []
    held = 0
    for entry in services.entries():
        if entry.source is not None:
            ages.append(max(0.0, now - entry.confirmed))
        view = None if entry.held_until is None else entry.view(now)
        held += 0 if view is None else len(view.held)
    states = Counter(lease.state for lease in leases.leases())
    return max(ages, default=None), held, {state.value: count for state, count in states.items()}


class Readings:
    """Asks one client for its numbers. Made on the client's loop; `now` may be called from every thread."""

    def __init__(self, take: Callable[[], ClientReading]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._last = take()

    def now(self) -> ClientReading:
        """Return the numbers of this moment; the last ones known if the loop is busy for a second, or has ended."""
        if threading.get_ident() == self._thread:
            self._refresh()
            return self._last
        done = Done()
        try:
            self._loop.call_soon_threadsafe(self._refresh, done)
        except RuntimeError:  # the loop is closed
            return self._last
        done.wait(PATIENCE)
        return self._last

    def _refresh(self, done: Done | None = None) -> None:
        try:
            self._last = self._take()
        finally:
            if done is not None:
                done.set()
