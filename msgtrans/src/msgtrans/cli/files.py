"""Open files, of which each connection takes one: raise the limit, and tell when it is reached.

Not here: opening anything.
"""

from __future__ import annotations

import errno
import os
import sys

if sys.platform != "win32":  # which has no such limit
    import resource


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def out_of_files(error: BaseException | None) -> str | None:
    """What to do when `error`, or what caused it, is that no more files can be opened; None for any other error."""
    while error is not None:
        match error:
            case OSError(errno=errno.EMFILE):
                return f"this process may open no more than {_limit()} files; raise that: ulimit -n NUMBER"
            case OSError(errno=errno.ENFILE):
                return f"all files that this machine may open are open ({os.strerror(errno.ENFILE)})"
        error = error.__cause__
    return None


def _limit() -> str:
    return "its" if sys.platform == "win32" else str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
