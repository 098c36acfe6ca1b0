"""A registration for code that blocks; `artemis.client.registration` does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from artemis.client import ArtemisClient, LeaseState
    from artemis.client import Registration as AsyncRegistration
    from artemis.client.sync.core import Core
    from artemis.client.sync.work import Work
    from artemis.model import Instance


class Registration:
    """One instance of this client in the registry, from entering the context until leaving it.

    As `artemis.Registration`, with ``with`` instead of ``async with``; thread-safe. In a forked child it stays the
    parent's business: leaving it there does nothing.
    """

    def __init__(self, work: Work, make: Callable[[ArtemisClient], AsyncRegistration]) -> None:
        self._work = work
        self._make = make
        self._core: Core = work.core
        self._inner = make(self._core.client)
        self._entered = False

    @property
    def instance(self) -> Instance:
        """The instance as registered, with everything derived filled in."""
        return self._inner.instance

    @property
    def state(self) -> LeaseState:
        """What is known about the registration; ``ENDED`` in a forked child, where nobody renews it."""
        return self._inner.state

    @property
    def error(self) -> str:
        """Why the state is uncertain or refused; empty otherwise."""
        return self._inner.error

    def __enter__(self) -> Self:
        self._take_over()
        inner = self._inner
        try:
            self._core.run(inner.__aenter__)
        except BaseException:
            # Interrupted just when it was done: nobody will leave what nobody knows to have entered.
            self._core.soon_run(inner.unregister)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def unregister(self) -> None:
        """Take the instance out now; repeating it does nothing. Never raises for a registry that does not answer."""
        if self._core.in_use:
            self._core.run(self._inner.unregister)

    def _take_over(self) -> None:
        core = self._work.core
        if core is not self._core and not self._entered:
            self._core, self._inner = core, self._make(core.client)
        self._entered = True
