"""Waiting in one thread for what another one does, without a lock that the waiting thread could hold.

The events and futures of the standard library take a lock on both sides: a signal handler that interrupts the side
that waits, and itself waits for the other one, would wait for ever. Here whoever sets it never waits.
"""

from __future__ import annotations

import threading
from collections import deque


class Done:
    """Becomes true once. Any thread may set it or wait for it, signal handlers too."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: deque[threading.Lock] = deque()

    def __bool__(self) -> bool:
        return self._set

    def set(self) -> None:
        """Make it true, and wake everybody who waits."""
        self._set = True
        while self._waiting:
            self._waiting.popleft().release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is true, for at most ``timeout`` seconds if given; return whether it is."""
        if not self._set:
            bell = threading.Lock()
            bell.acquire()
            self._waiting.append(bell)
            # Set between the look and the entry: the bell may not be rung any more.
            if not self._set:
                bell.acquire(timeout=-1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX))
        return self._set
