"""A registration for code that blocks; `artemis.client.registration` does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from artemis.client import ArtemisClient, LeaseState
    from artemis.client import Registration as AsyncRegistration
    from artemis.client.sync.core import Core
    from artemis.client.sync.work import Work
    from artemis.model import Instance


class Registration:
    """Instances of this client in the registry, from entering the context until leaving it.

    As `artemis.Registration`, with ``with`` instead of ``async with``; thread-safe. In a forked child it stays the
    parent's business: leaving it there does nothing, and changing it raises ``ClosedError``.
    """

    def __init__(self, work: Work, make: Callable[[ArtemisClient], AsyncRegistration]) -> None:
        self._work = work
        self._make = make
        self._core: Core = work.core
        self._inner = make(self._core.client)
        self._entered = False

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def instance(self) -> Instance:
        """The instance, or the first of several, as registered."""
        return self._inner.instance

    @property
    def instances(self) -> tuple[Instance, ...]:
        """All instances, as ``instance``, in the order given."""
        return self._inner.instances

    @property
    def state(self) -> LeaseState:
        """What is known about the registration; ``ENDED`` in a forked child, which does not renew it."""
        return self._inner.state

    @property
    def error(self) -> str:
        """Why the state is uncertain, refused or withheld; empty otherwise."""
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
        """Take the instances out now, and wait for the callers to have been told; repeating it does nothing.

        Never raises for a registry that does not answer.
        """
        if self._core.in_use:
            self._core.run(self._inner.unregister)

    def hand_over(self) -> None:
        """Renew the instances no longer, and leave them in the registry: another process renews them from here on."""
        if self._core.in_use:
            self._core.call(self._inner.hand_over)

    def take_out(self) -> None:
        """Do what `unregister` does, also if this was never entered: with what another process has left to this one."""
        self._take_over()
        self._core.run(self._inner.take_out)

    def update(self, *instances: Instance) -> None:
        """Register with other contents: each of ``instances`` replaces the one with the same identity."""
        self._core.run(lambda: self._inner.update(*instances))

    def set_status(self, status: str) -> None:
        """Give all instances another ``status``, free text as ``up``."""
        self._core.run(lambda: self._inner.set_status(status))

    def set_metadata(self, metadata: Mapping[str, str | None] | None) -> None:
        """Give all instances other ``metadata``, in place of what they had."""
        self._core.run(lambda: self._inner.set_metadata(metadata))

    def _take_over(self) -> None:
        core = self._work.core
        if core is not self._core and not self._entered:
            self._inner.hand_over()  # nobody will enter this one
            self._core, self._inner = core, self._make(core.client)
        self._entered = True
