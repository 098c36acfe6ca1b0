"""A listener of a client for code that blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from artemis.client import ArtemisClient
    from artemis.client import Listener as AsyncListener
    from artemis.client.sync.work import Work


class Listener:
    """One listener of one service, as `artemis.Listener`; ended by `close`, by leaving it, and with the client.

    Plain functions are called in a thread of the client, and may call its methods. A forked child has no listeners.
    """

    def __init__(self, work: Work, make: Callable[[ArtemisClient], AsyncListener]) -> None:
        self._core = core = work.core
        self._inner = core.call(lambda: make(core.client))

    @property
    def service_id(self) -> str:
        """The service, as it was spelled when it was used first."""
        return self._inner.service_id

    @property
    def closed(self) -> bool:
        """Whether no further call will begin."""
        return self._inner.closed or not self._core.in_use

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Begin no further call; one that is running goes on to its end. Once more does nothing."""
        if self._core.in_use:
            self._inner.close()
