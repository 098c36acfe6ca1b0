"""How much memory this process has, and may have: Linux tells. Not here: what that means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

STATUS: Final = Path("/proc/self/statm")
LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_used() -> int | None:
    """Resident bytes of this process, None where the system does not tell."""
    try:
        return int(STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def memory_allowed() -> int | None:
    """Bytes that it may have: those of the machine, or of its control group if that has fewer."""
    try:
        allowed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None
    for limit in LIMITS:
        try:
            allowed = min(allowed, int(limit.read_text()))
        except (OSError, ValueError):
            continue  # not that kind of control group, or "max"
    return allowed if allowed > 0 else None
