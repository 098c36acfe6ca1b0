"""What the processors of this machine ask for (specification 5.7).

    async with TransportServer(tcp="127.0.0.1:8001", connection=recommend_config(cores())) as server:
        ...

Not here: tuning while it runs (`tuning`).
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from msgtrans.config.connection import ConnectionConfig, optimize_buffer_size

__all__ = ["cores", "optimize_buffer_size", "recommend_config"]

GROUPS: Final = Path("/sys/fs/cgroup")
FEW: Final = 2  # cores up to which tuning itself is preferred to large buffers


def recommend_config(cores: int | None) -> ConnectionConfig:
    """`auto_optimized` for up to two cores or an unknown number, `high_performance` for more."""
    return ConnectionConfig.auto_optimized() if (cores or 1) <= FEW else ConnectionConfig.high_performance()


def cores(groups: Path = GROUPS) -> int | None:
    """Processors that this process may use: those it is bound to, or fewer if its control group has less time, rounded
    up. None where the system does not tell. groups: where control groups are mounted.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    allowed = _allowed(groups)
    if found is None or allowed is None:
        return found
    return min(found, max(1, math.ceil(allowed)))


def _allowed(groups: Path) -> float | None:
    """Processors' time that the control group may use, None for no limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((groups / name).read_text() for name in files).split()
            if int(quota) > 0 and int(period) > 0:  # -1 and "max" are no limit
                return int(quota) / int(period)
        except (OSError, ValueError):
            continue
    return None
