"""What a node knows of its machine: files that are open, room on the disk. Looked up beside the loop, now and then.

Not here: how it is told (`handlers.vitals`), and what is made of it (`artemis.cli.doctor_checks`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from artemis.server.about import Vitals
from artemis.server.beside import beside

if TYPE_CHECKING:
    from artemis.server.config import ServeConfig
    from artemis.server.doors import Doors
    from artemis.server.node import Node
    from artemis.server.persistence import Persistence

_PAUSE = 10.0
"""Seconds between two looks; a disk that hangs holds up nobody but the next look."""


class VitalsWatch:
    """Looks at the machine from `start` until `stop`. Owned by the assembly, on its event loop."""

    def __init__(
        self,
        node: Node,
        doors: Doors,
        persistence: Persistence | None,
        *,
        config: Callable[[], ServeConfig],
        pauses: Callable[[], int],
        wall: Callable[[], int],
    ) -> None:
        self._node, self._doors, self._persistence = node, doors, persistence
        self._config, self._pauses, self._wall = config, pauses, wall
        self._seen: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for the first time soon."""
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def read(self) -> Vitals:
        """Return what is known at this moment."""
        seen, persistence, members = self._seen, self._persistence, self._node.members
        stamp = 0.0 if persistence is None else persistence.last["snapshot_timestamp_seconds"]
        expires = self._doors.certificate().get("certificate_expiry_timestamp_seconds")
        nodes = 1 if members is None else len(members.ids)
        stats = self._node.stats()
        return Vitals(
            certificate_expires=None if expires is None else int(expires),
            counters={
                "connections_refused": self._doors.connections().get("refused", 0),
                "instances_refused": stats.refused_full,
                "operations_refused": stats.operations_refused,
                "snapshots_failed": 0 if persistence is None else persistence.counters["failed"],
                "subscribers_dropped": self._node.stream.counters.dropped,
                "swept_early": stats.swept_early,
            },
            data_free=seen.get("data_free"),
            data_total=seen.get("data_total"),
            files_limit=seen.get("files_limit"),
            files_open=seen.get("files_open"),
            least_lifetime=round(self._config().least_lifetime(nodes) * 1000),
            pauses=self._pauses(),
            snapshot_age=None if not stamp else max(0, self._wall() - round(stamp * 1000)),
        )

    async def _look(self) -> None:
        while True:
            self._seen = await beside(look, self._config().data_dir)
            await asyncio.sleep(_PAUSE)


def look(data_dir: Path | None) -> dict[str, int]:
    """Return what the machine tells, without what it does not."""
    found: dict[str, int] = {}
    if data_dir is not None:
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(data_dir)
            found["data_free"], found["data_total"] = usage.free, usage.total
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(OSError, ValueError):
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            if limit != resource.RLIM_INFINITY:
                found["files_limit"] = limit
    with contextlib.suppress(OSError):
        found["files_open"] = len(os.listdir("/proc/self/fd"))
    return found
