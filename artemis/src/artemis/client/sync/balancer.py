"""A balancer for code that blocks: it chooses in the thread of whoever asks, without a word to the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.client.errors import NoInstancesError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from artemis.client import ArtemisClient, Strategy
    from artemis.client import Balancer as AsyncBalancer
    from artemis.client.balancing.balancer import Request
    from artemis.client.sync.core import Core
    from artemis.client.sync.work import Work
    from artemis.model import Instance


class Balancer:
    """Chooses among the live instances of one service, as `artemis.Balancer`; thread-safe, and usable after a fork.

    Choosing waits for the first lookup of the service, as `ready` does, and raises what that raises; after it, it waits
    for nothing.
    """

    def __init__(self, work: Work, make: Callable[[ArtemisClient], AsyncBalancer]) -> None:
        self._work = work
        self._make = make
        self._core: Core | None = None
        self._inner = make(work.client)
        self.service_id = self._inner.service_id
        self.strategy: Strategy = self._inner.strategy
        self.route = self._inner.route

    def __repr__(self) -> str:
        return repr(self._inner)

    def ready(self, timeout: float | None = None) -> None:
        """Wait until the service has been looked up once; raises what that first lookup raises.

        ``TimeoutError`` after ``timeout`` seconds, if given.
        """
        core = self._work.core
        inner = self._inner if core is self._core else self._make(core.client)
        core.run(inner.ready, timeout)
        self._inner, self._core = inner, core

    def next(
        self, *, key: str | bytes | None = None, avoid: Collection[Instance] = (), canary: bool = False
    ) -> Instance:
        """Return the instance for the next request; arguments and errors as of `artemis.Balancer.next`."""
        if self._work.core is self._core:
            try:
                return self._inner.next(key=key, avoid=avoid, canary=canary)
            except NoInstancesError:
                pass  # none is live, or it is so long unused that it made room for others: ask once
        self.ready()
        return self._inner.next(key=key, avoid=avoid, canary=canary)

    def request(
        self, *, key: str | bytes | None = None, avoid: Collection[Instance] = (), canary: bool = False
    ) -> Request:
        """Return a context for one request: ``with balancer.request() as instance: ...``; it learns how that ends."""
        if self._work.core is not self._core:
            self.ready()
        return self._inner.request(key=key, avoid=avoid, canary=canary)

    def report(self, instance: Instance, *, ok: bool, seconds: float | None = None) -> None:
        """Tell how a request to an instance from ``next`` ended, and how many seconds it took."""
        self._inner.report(instance, ok=ok, seconds=seconds)

    def outliers(self) -> tuple[Instance, ...]:
        """Return the instances that rest because requests to them failed."""
        return self._inner.outliers()
