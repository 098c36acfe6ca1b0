"""The clock by which a client tells how old something is: it never steps, and goes on while the machine sleeps.

Not for waiting: timers of the event loop stand still meanwhile.
"""

from __future__ import annotations

import sys
import time

if sys.platform == "linux":

    def elapsed() -> float:
        """Return seconds since some moment, those included in which the machine was suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    elapsed = time.monotonic
