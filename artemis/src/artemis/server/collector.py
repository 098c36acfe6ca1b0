"""Python's garbage collector in the process of a node: short, whatever the node holds (design 7).

What a node knows stays for long, and the collector need not look at it again and again: a look at the containers of
100 000 instances stops everything for 50 ms and more.
Not here: anything about the data itself; what is frozen is still freed when nobody refers to it any more.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

#: New containers until a look at the young ones, looks until one at those that outlived it, and of those until one at
#: all that are not frozen.
THRESHOLDS = (5_000, 20, 100)
#: Seconds between two questions whether the node has grown, and by how much it must have.
INTERVAL = 0.5
GROWTH = 1.05
LEAST = 1_000


def settle() -> None:
    """Look at everything that is loaded, for the last time; before a node serves, because it takes 20 ms and more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


class Collector:
    """Freezes what a node holds as it grows.

    `size` says how many instances the node holds. Owned by the command that runs the node; `stop` ends the questions.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: Callable[[], int]) -> None:
        self._loop = loop
        self._size = size
        self._frozen = 0
        self._timer = loop.call_later(INTERVAL, self._look)

    def stop(self) -> None:
        """Freeze no more."""
        self._timer.cancel()

    def _look(self) -> None:
        size = self._size()
        if size > self._frozen * GROWTH + LEAST:
            gc.freeze()
            self._frozen = size
        elif size < self._frozen / 2:
            self._frozen = size
        self._timer = self._loop.call_later(INTERVAL, self._look)
