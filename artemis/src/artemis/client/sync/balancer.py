"""A balancer for code that blocks: it chooses in the thread of whoever asks, without a word to the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from artemis.client import ArtemisClient, Strategy
    from artemis.client import Balancer as AsyncBalancer
    from artemis.client.sync.core import Core
    from artemis.client.sync.work import Work
    from artemis.model import Instance


class Balancer:
    """Chooses among the live instances of one service, as `artemis.Balancer`; thread-safe, and usable after a fork."""

    def __init__(self, work: Work, make: Callable[[ArtemisClient], AsyncBalancer]) -> None:
        self._work = work
        self._make = make
        self._core: Core | None = None
        self._inner = make(work.client)
        self.service_id = self._inner.service_id
        self.strategy: Strategy = self._inner.strategy

    def ready(self, timeout: float | None = None) -> None:
        """Wait until the service has been looked up once; raises what that first lookup raises.

        ``TimeoutError`` after ``timeout`` seconds, if given.
        """
        core = self._work.core
        inner = self._inner if core is self._core else self._make(core.client)
        core.run(inner.ready, timeout)
        self._inner, self._core = inner, core

    def next(self, *, avoid: Collection[Instance] = ()) -> Instance:
        """Return the instance for the next request.

        The first time it waits for the service to be looked up, as `ready` does; after that it waits for nothing.
        ``avoid`` names instances that just failed the caller; they are chosen only if there is no other.
        Raises ``NoInstancesError`` if none is live, and what `ready` raises.
        """
        if self._work.core is not self._core:
            self.ready()
        return self._inner.next(avoid=avoid)
