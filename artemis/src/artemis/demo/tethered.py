"""Ties a process to the one that started it: when its standard input ends, it ends too.

A parent that is killed can tell nobody; but the pipe that it held is closed by the system, on every system. As a
program, ``python -m artemis.demo.tethered ARGUMENTS`` is ``artemis ARGUMENTS`` on such a tether.
It is for processes that do not use their standard input.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

GRACE = 3.0
"""Seconds between the end of the pipe, answered like SIGTERM, and the end of the process whatever it does."""


def tie_to_stdin() -> None:
    """End this process in the way of SIGTERM when standard input ends, and by force ``GRACE`` seconds later."""
    threading.Thread(target=_wait_for_end, name="tether", daemon=True).start()


def _wait_for_end() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


def main() -> int:
    """Run the command line of artemis on a tether."""
    tie_to_stdin()
    from artemis.__main__ import main as artemis

    return artemis()


if __name__ == "__main__":
    sys.exit(main())
