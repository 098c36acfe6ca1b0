"""Snapshots of a node in its data directory: written now and then and at the end, read at the start.

A snapshot is written beside the last one and takes its place only when it is whole and on the disk; the one before
stays as well. What cannot be read is set aside, never deleted, and the node starts with the one before, or with
nothing. What is in a snapshot is `artemis.registry.snapshot`'s business. Not here: the node's identity; see `identity`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from artemis.management import read_pieces
from artemis.registry import Cut, Saved, SnapshotError, read_snapshot
from artemis.registry.restore import NewerFormatError
from artemis.server.beside import beside
from artemis.server.data_directory import create, make_way, read_regular, set_aside
from artemis.server.identity import Damage
from artemis.server.node import NodeIdentity

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LATEST, PREVIOUS = "registry.snapshot", "registry.snapshot.previous"
_FRESH = "registry.snapshot.new"

#: Bytes gathered for one write, which a thread makes.
_WRITE = 1024 * 1024
#: Seconds between two pieces of work of about a millisecond while the node serves.
_PAUSE = 0.004
#: Seconds that the last snapshot may take; the one before stays when it does not end in time.
_FINAL_DEADLINE = 4.0

TakeCut = Callable[[bool], Awaitable[Cut]]


class Persistence:
    """Keeps the snapshots of one node. Owned by the node's server and its loop.

    `load` once before the node is made, `start` once it serves, `stop` at the end. `cut` gives what is to be written;
    True asks for the final one. `interval` is seconds between two snapshots, 0: only at the end. Errors of
    the disk are logged and counted; the node goes on.
    """

    def __init__(self, directory: Path, interval: float, log: FilteringBoundLogger) -> None:
        self.interval = interval
        self.counters: Counter[str] = Counter(written=0, failed=0, loaded=0, set_aside=0)
        #: Of the last whole snapshot: wall clock of its beginning in seconds, its size in bytes, how long it took.
        self.last = {"snapshot_timestamp_seconds": 0.0, "snapshot_bytes": 0.0, "snapshot_seconds": 0.0}
        self._directory = directory
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._told: list[Callable[[], object]] = []
        self._changed = asyncio.Event()

    # -- the start

    def told_first(self, damage: Damage | None, *, enforced: bool) -> None:
        """Have it logged, once the node serves, that its identity was damaged or that nothing locks its directory."""
        if damage is not None:
            self.tell_later(self._log.error, "identity cannot be used", **damage._asdict())
        if not enforced:
            self.tell_later(
                self._log.warning,
                "data directory cannot be locked",
                directory=str(self._directory),
                advice="its file system has no locks: see to it that no second node uses it",
            )

    def load(self, identity: NodeIdentity, previous: int, cluster: str = "") -> Saved | None:
        """Return what the latest snapshot that can be used holds; None when there is none.

        `previous` is the epoch of the node's life just before, 0 when unknown, and `cluster` the name of the cluster
        that it is in, empty for none.
        """
        for name in (LATEST, PREVIOUS):
            path = self._directory / name
            began = time.monotonic()
            try:
                saved = _read(path, identity, previous, cluster)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._set_aside(path, error.strerror or str(error))
                continue
            except NewerFormatError as error:
                self._set_aside(path, str(error), "newer")
                continue
            except SnapshotError as error:
                self._set_aside(path, str(error))
                continue
            self.counters["loaded"] += 1
            self.tell_later(
                self._log.info,
                "snapshot loaded",
                file=str(path),
                records=len(saved.rows),
                seconds=round(time.monotonic() - began, 3),
                age_seconds=round(max(0.0, time.time() - saved.header.wall / 1000), 1),
                consequence=_consequence(saved),
            )
            return saved
        return None

    def _set_aside(self, path: Path, reason: str, why: str = "damaged") -> None:
        self.counters["set_aside"] += 1
        try:
            aside = set_aside(path, why)
        except OSError as error:
            fate = {"not_set_aside": error.strerror or str(error)}
        else:
            fate = {"set_aside_as": str(aside)}
        self.tell_later(self._log.error, "snapshot cannot be used", file=str(path), reason=reason, **fate)

    def tell_later(self, log: Callable[..., object], action: str, **fields: object) -> None:
        """Log once the node serves: machines wait for its address, which comes first."""
        self._told.append(partial(log, action, **fields))

    # -- while the node serves

    def start(self, cut: TakeCut) -> None:
        """Write a snapshot at every interval from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run(cut))

    def retime(self, interval: float) -> None:
        """Use another interval from now on; the first snapshot of it is written at once."""
        if interval != self.interval:
            self.interval = interval
            self._changed.set()

    def soon(self) -> None:
        """Write a snapshot at the next opportunity: something was decided that must not be forgotten."""
        self._changed.set()

    async def stop(self, cut: TakeCut) -> None:
        """Write the final snapshot, of a node that does nothing any more."""
        self._stopping = True
        self._changed.set()
        try:
            async with asyncio.timeout(_FINAL_DEADLINE):
                if self._task is not None:
                    # One that is under way ends by itself: a thread that writes cannot be cancelled.
                    await self._task
                await self.write(await cut(True), pause=0.0)
        except TimeoutError:
            self.counters["failed"] += 1
            self._log.error("final snapshot took too long and is left out", seconds=_FINAL_DEADLINE)

    async def write(self, cut: Cut, *, pause: float = _PAUSE) -> bool:
        """Write one snapshot; returns whether it is whole and on the disk."""
        began = time.monotonic()
        fresh = self._directory / _FRESH
        try:
            size = await self._write(fresh, cut, pause)
            if size:
                await beside(_take_over, self._directory)
        except OSError as error:
            self.counters["failed"] += 1
            self._log.error("snapshot failed", file=str(fresh), reason=error.strerror or str(error))
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            return False
        finally:
            cut.close()
        if not size:
            return False
        seconds = time.monotonic() - began
        self.counters["written"] += 1
        self.last = {
            "snapshot_timestamp_seconds": cut.header.wall / 1000,
            "snapshot_bytes": float(size),
            "snapshot_seconds": seconds,
        }
        self._log.debug("snapshot written", bytes=size, seconds=round(seconds, 3), final=cut.header.final)
        return True

    async def _write(self, path: Path, cut: Cut, pause: float) -> int:
        """Write a snapshot to a file and wait until it is on the disk; returns its size.

        0 when the node stops meanwhile: its final snapshot follows. Raises OSError.
        """
        size = waiting = 0
        parts: list[bytes] = []
        for obstacle in (path, *(self._directory / name for name in (LATEST, PREVIOUS))):
            self._tell_obstacle(obstacle, await beside(make_way, obstacle))
        file = FileIO(await beside(create, path), "wb")
        try:
            for chunk in cut.chunks():
                if self._stopping and not cut.header.final:
                    return 0
                parts.append(chunk)
                waiting += len(chunk)
                if waiting >= _WRITE:
                    size += waiting
                    await beside(_write_all, file, b"".join(parts))
                    parts, waiting = [], 0
                await asyncio.sleep(pause)
            await beside(_write_all, file, b"".join(parts))
            await beside(os.fsync, file.fileno())
        finally:
            file.close()
        return size + waiting

    def _tell_obstacle(self, path: Path, aside: Path | None) -> None:
        if aside is not None:
            self.counters["set_aside"] += 1
            self._log.error(
                "directory in the place of a snapshot was set aside", file=str(path), set_aside_as=str(aside)
            )

    async def _run(self, cut: TakeCut) -> None:
        for tell in self._told:
            tell()
        self._told.clear()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.interval or None):
                    await self._changed.wait()
            self._changed.clear()
            if self._stopping:
                return
            try:
                await self.write(await cut(False))
            except Exception as error:  # noqa: BLE001 - else one failure would be the end of all snapshots
                self.counters["failed"] += 1
                self._log.error("snapshot failed", error=repr(error), exc_info=True)


def _read(path: Path, identity: NodeIdentity, previous: int, cluster: str) -> Saved:
    """Read a file as a snapshot of this node. Raises SnapshotError and OSError."""
    saved = read_snapshot(
        read_regular(path),
        region=identity.region,
        node=identity.node_id,
        epoch=identity.epoch,
        previous=previous,
        cluster=cluster,
    )
    try:
        read_pieces(saved.operations)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"its operations cannot be read: {error}") from error
    return saved


def _consequence(saved: Saved) -> str:
    """What a snapshot means for callers, in words."""
    if saved.exact:
        return "the node goes on where it ended: cursors and versions hold"
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(saved.header.wall / 1000))
    return (
        f"what was registered after {moment} comes back with the next heartbeats, and cursors given after it get a "
        "full sync"
    )


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _take_over(directory: Path) -> None:
    """Let the fresh snapshot be the latest, and the latest the previous one."""
    latest = directory / LATEST
    with contextlib.suppress(FileNotFoundError):
        latest.replace(directory / PREVIOUS)
    (directory / _FRESH).replace(latest)
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
