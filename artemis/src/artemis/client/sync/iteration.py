"""Changes and events one after another, for code that blocks."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from artemis.client import ClientEvent, ClosedError, InstanceChange
from artemis.client.events import Events as AsyncEvents
from artemis.client.events import left_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.client import ArtemisClient
    from artemis.client.sync.core import Core
    from artemis.client.sync.work import Work

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Source(Protocol[T_co]):
    async def __anext__(self) -> T_co: ...

    def close(self) -> None: ...


class Iteration(Generic[T]):
    """Blocks in each step until there is something; ends when it, or the client, is closed, by whichever thread.

    One consumer at a time. Dropping it ends it too. In a forked child it raises ``ClosedError``: make a new one there.
    """

    def __init__(self, work: Work, make: Callable[[ArtemisClient], _Source[T]]) -> None:
        core = work.core
        self._work = work  # the client lives for as long as somebody waits for it
        self._core = core
        self._inner = core.call(lambda: make(core.client))
        # What belongs to the loop is let go in the loop's thread, wherever this is dropped.
        weakref.finalize(self, _let_go, core, [self._inner]).atexit = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout: float | None = None) -> T:
        """Return what comes next; ``StopIteration`` at the end.

        ``TimeoutError`` if nothing comes within ``timeout`` seconds; that loses nothing, the next step may find it.
        """
        inner = self._inner

        async def step() -> list[T]:
            try:
                return [await inner.__anext__()]
            except StopAsyncIteration:
                return []

        try:
            found = self._core.run(step, timeout)
        except ClosedError:
            if self._core.inherited:
                raise
            found = self._left()
        if not found:
            raise StopIteration
        return found[0]

    def _left(self) -> list[T]:
        """Return the next one of what was waiting when the client was closed, and its loop ended."""
        return []

    def close(self) -> None:
        """End the iteration: whoever waits in it, and whoever asks later, is told that this was all."""
        self._core.soon(self._inner.close)


class Watch(Iteration[InstanceChange]):
    """The changes of a service, as `artemis.Watch`, with ``for`` instead of ``async for``.

    It starts with a ``new`` for each instance that is live already. The first step raises what the first lookup raises.
    """


class Events(Iteration[ClientEvent]):
    """The events of a client from the moment it was made, as `artemis.Events`, with ``for``."""

    def _left(self) -> list[ClientEvent]:
        inner = self._inner
        return left_over(inner) if isinstance(inner, AsyncEvents) else []


def _let_go(core: Core, held: list[_Source[object]]) -> None:
    core.soon(held.clear)
