"""Going through many names in their order without holding up an event loop: sorted in runs, merged while used.

Not here: what is done with the names.
"""

import heapq
from collections.abc import Generator, Iterable, Iterator

RUN = 2_000
"""Names sorted in one go: about a millisecond."""


def in_order(names: Iterable[str]) -> Generator[None, None, Iterator[str]]:
    """Sort `names` as they are now; yields between runs and returns an iterator over them in order."""
    waiting = list(names)
    if len(waiting) <= RUN:
        waiting.sort()
        return iter(waiting)
    runs = []
    for start in range(0, len(waiting), RUN):
        runs.append(sorted(waiting[start : start + RUN]))
        yield
    return heapq.merge(*runs)
