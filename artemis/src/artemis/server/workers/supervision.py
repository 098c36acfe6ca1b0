"""The parent of a machine's workers: takes what they share, starts and watches them, and says where they listen.

It serves nothing itself. Not here: what is decided when (`msgtrans.workers`), and what a worker does (`work`).
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from artemis.server.claim import ListenError
from artemis.server.logs import get_logger
from artemis.server.running import EndedError, advise, raise_file_limit
from artemis.server.workers.ground import Ground
from artemis.server.workers.work import work
from msgtrans import ConfigurationError, WorkerError
from msgtrans.config import WorkersConfig
from msgtrans.workers import Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from artemis.server.config import ServeConfig

_END = 7.5
"""Seconds that a worker may take to end; two later it is killed, and the machine promises 10."""

_LONGEST_HANG, _SHORTEST_HANG = 10.0, 3.0
"""Seconds without a sign of life, half a TTL between these, after which a worker is killed and started again: its
clients have lost nothing by then."""

_START = 90.0
"""Seconds until a worker must listen, and one that was started again serve."""


def supervise(settings: ServeConfig, file: Path | None, flags: Mapping[str, object]) -> None:
    """Run a machine with several workers until SIGTERM or Ctrl-C. Raises what `running.UNUSABLE` names."""
    log = get_logger()
    files = raise_file_limit()
    ground = Ground(settings)

    def tell(urls: list[str]) -> None:
        sys.stdout.write(f"listening {' '.join(urls)}\n")
        sys.stdout.flush()
        advise(settings, files, log)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if settings.workers > cores:
            log.warning(
                "more workers than processors",
                workers=settings.workers,
                processors=cores,
                advice=f"set --workers to {cores}: each one more costs memory and makes nothing faster",
            )

    supervisor = Supervisor(
        partial(work, ground=ground, settings=settings, file=file, flags=flags), _plan(settings), ready=tell
    )
    # These would add and remove workers, whose places are made once.
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTIN, signal.SIGTTOU))
    try:
        supervisor.run()
    except ConfigurationError as error:
        raise ListenError(f"workers cannot be started here: {error}; leave out --workers") from error
    except WorkerError as error:
        raise EndedError(str(error)) from error
    finally:
        ground.close()


def _plan(settings: ServeConfig) -> WorkersConfig:
    """Say how workers are watched."""
    ttl = min(settings.lease_ttl, settings.legacy_lease_ttl)
    return WorkersConfig(
        count=settings.workers,
        ready_timeout=_START,
        graceful_timeout=_END,
        hang_timeout=min(max(ttl / 2, _SHORTEST_HANG), _LONGEST_HANG),
        overlap=False,
    )
