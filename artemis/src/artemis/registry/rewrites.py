"""Instances whose content heartbeats replace again and again: most likely two owners share an id.

The last writer wins (spec 4.3), so every difference between the two is a change that is pushed to everybody; this says
whose it is. Not here: the replacing, which is the registry's, and the log.
"""

from collections import OrderedDict, deque

WINDOW = 60_000
"""Milliseconds that count as of late."""

OFTEN = 10
"""Replacements within the window beyond which an operator is told; an owner that starts anew makes one or two."""

REMEMBERED = 60
"""Replacements of one instance that are remembered; as many may mean more."""

_INSTANCES = 1_000
_WARNINGS = 10

Key = tuple[str, str]
"""Service and instance id in lower case."""


class Rewrites:
    """Counts replacements per instance, of the 1 000 that were last replaced, 60 of each at most.

    Owned by a registry; `now` is monotonic milliseconds.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[Key, deque[int]] = OrderedDict()
        self._warned: OrderedDict[Key, int] = OrderedDict()

    def note(self, key: Key, now: int) -> bool:
        """Count a replacement; True when it is time to warn: often, once per window, ten instances per window."""
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = deque(maxlen=REMEMBERED)
            if len(self._times) > _INSTANCES:
                self._times.popitem(last=False)
        else:
            self._times.move_to_end(key)
        times.append(now)
        return len(times) > OFTEN and times[-1 - OFTEN] > now - WINDOW and self._may_warn(key, now)

    def of(self, key: Key, now: int) -> int:
        """Return how often the content of an instance was replaced within the window, REMEMBERED at most."""
        return sum(moment > now - WINDOW for moment in self._times.get(key, ()))

    def _may_warn(self, key: Key, now: int) -> bool:
        warned = self._warned
        while warned and next(iter(warned.values())) <= now - WINDOW:
            warned.popitem(last=False)
        if key in warned or len(warned) >= _WARNINGS:
            return False
        warned[key] = now
        return True

    def __len__(self) -> int:
        """Count the instances that are remembered."""
        return len(self._times)
