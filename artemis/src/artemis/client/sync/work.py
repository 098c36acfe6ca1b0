"""What a sync client has at work in this process: the open core, and a new one in each forked child that uses it."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, TypeVar

from artemis.client.errors import ClosedError
from artemis.client.forks import note_open
from artemis.client.sync.core import Core

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from artemis.client.client import ArtemisClient

T = TypeVar("T")


class Work:
    """Shared by a sync client and what it hands out; thread-safe. When nobody refers to it any more, it ends."""

    def __init__(self, make: Callable[[], ArtemisClient], *, close_timeout: float, forkable: bool) -> None:
        self._make = make
        self._close_timeout = close_timeout
        self._forkable = forkable
        self._lock = threading.RLock()
        self._client: ArtemisClient | None = make()
        self._core: Core | None = None
        self._entered = False
        self._open = False
        self._beginning = False
        """Whoever has the lock and sees this is a signal handler that interrupted himself."""
        self._forked = False

    @property
    def client(self) -> ArtemisClient:
        """The async client, open or not: to read what it knows, from any thread."""
        client = self._client
        if client is None:
            with self._lock:
                client = self._client = self._client or self._make()
        return client

    @property
    def core(self) -> Core:
        """What is at work; in a child of a fork, the first use starts it. ``ClosedError`` if the client is not open."""
        return self._core or self._begun()

    def open(self) -> None:
        """Start; once only."""
        if self._entered:
            raise RuntimeError("a client can be entered once; make a new one")
        self._entered = self._open = True
        note_open(self)
        try:
            self._begun()
        except BaseException:
            self._open = False
            raise

    def close(self, timeout: float | None) -> None:
        """End for good, see `Core.close`; a signal handler that interrupts the opening makes that fail."""
        with self._lock:
            core, self._core, self._open = self._core, None, False
        if core is not None:
            core.close(timeout)

    def run(self, make: Callable[[ArtemisClient], Awaitable[T]], timeout: float | None = None) -> T:
        """Await in the loop what ``make`` returns for the async client, see `LoopThread.run`."""
        core = self.core
        return core.run(lambda: make(core.client), timeout)

    def after_fork(self) -> None:
        """Forget the parent's core and its lock, which a thread that is not here may hold."""
        self._lock = threading.RLock()
        self._core = self._client = None
        self._beginning = False
        self._forked = True
        note_open(self)  # of this process too, which may fork again

    def _begun(self) -> Core:
        client = self.client
        with self._lock:
            if not self._open:
                raise ClosedError
            if self._forked and not self._forkable:
                raise ClosedError(forked=True)
            if self._beginning:
                raise RuntimeError("a signal handler interrupted the opening of this client; it can only close it")
            if self._core is None:
                self._core = self._opened(client)
            return self._core

    def _opened(self, client: ArtemisClient) -> Core:
        core = Core(client, self._close_timeout)
        try:
            self._beginning = True
            core.open()
        finally:
            self._beginning = False
        if not self._open:
            core.close()
            raise ClosedError
        return core

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and core.in_use:
            warnings.warn(f"unclosed ArtemisClient of {core.client.server}", ResourceWarning, source=self, stacklevel=2)
            core.close_soon()
