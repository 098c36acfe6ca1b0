"""What is done around a node that serves, until it is to end: options are followed, memory is frozen, ends are noticed.

Not here: how a process is told to end (`command`, `workers.work`), and the node itself (`app`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from artemis.server.admin import AdminTokenError, is_loopback
from artemis.server.app import NodeServer
from artemis.server.certificates import CertificateError
from artemis.server.claim import ListenError
from artemis.server.cluster_files import ClusterFileError
from artemis.server.collector import Collector
from artemis.server.data_directory import DataDirectoryError
from artemis.server.provenance import unknown_variables
from artemis.server.reload import FileState, follow

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.server.config import ServeConfig

#: Open files that are not connections: listener, event loop, log.
_OWN_FILES = 64


class EndedError(Exception):
    """A node that served has to end; the text says why and what to do."""


#: What keeps a node from starting, or from going on, with a sentence that says what to do.
UNUSABLE = (ListenError, CertificateError, DataDirectoryError, AdminTokenError, ClusterFileError, EndedError)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it exists, else the platform's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def raise_file_limit() -> int | None:
    """Take as many open files as the system lets us have; returns how many, None where there is no such limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return None


def advise(settings: ServeConfig, files: int | None, log: FilteringBoundLogger) -> None:
    """Say what is likely not meant so; `files` may be open, None without a limit."""
    each = -(-settings.max_connections // settings.workers)
    if files is not None and files < each + _OWN_FILES:
        most = max((files - _OWN_FILES) * settings.workers, 1)
        advice = f"raise the limit (ulimit -n) or set --max-connections to {most}"
        log.warning("too few open files", limit=files, max_connections=settings.max_connections, advice=advice)
    if settings.admin_token_file is None and not is_loopback(settings.host):
        log.warning(
            "operators are refused",
            reason="this node listens beyond loopback and has no admin token",
            advice="start it with --admin-token-file, or with --host 127.0.0.1",
        )
    for sentence in unknown_variables():
        log.warning("variable ignored", reason=sentence)


async def claimed(server: NodeServer, stop: asyncio.Event) -> bool:
    """Take what the node needs; False, and nothing is taken, when it is told to end while it waits for that."""
    claiming, stopping = asyncio.create_task(server.claim()), asyncio.create_task(stop.wait())
    await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (claiming, stopping):
        task.cancel()
    await asyncio.wait({claiming, stopping})
    if claiming.cancelled():
        return False
    claiming.result()
    return True


def tell_up(server: NodeServer, log: FilteringBoundLogger) -> None:
    """Log that the node is there."""
    identity = server.node.identity
    log.info(
        "node up" if server.node.serving else "node listening",
        url=identity.url,
        region=identity.region,
        zone=identity.zone,
        node=identity.node_id,
    )


async def keep_running(
    server: NodeServer,
    file: Path | None,
    flags: Mapping[str, object],
    seen: FileState,
    log: FilteringBoundLogger,
    *,
    stop: asyncio.Event,
    hangup: asyncio.Event,
    renew: asyncio.Event,
) -> None:
    """Run a node that has started, and stop it when `stop` is set, or when it has to end, or is to leave its cluster.

    `file` and `flags` are where its options are from, `seen` the state of the file that they were read from; it is read
    again with `hangup`, and certificates are with `renew`. Raises `EndedError`.
    """
    loop = asyncio.get_running_loop()
    collector = Collector(loop, lambda: len(server.node.registry))
    following = [loop.create_task(follow(server, file, flags, hangup, log, seen))]
    if server.certificates is not None:
        following.append(loop.create_task(server.certificates.follow(renew)))
    try:
        await _either(stop, server.leaving, server.failing)
    finally:
        collector.stop()
        for task in following:
            task.cancel()
        await asyncio.wait(following)
        await server.stop()
    if server.failure:
        raise EndedError(server.failure)


async def _either(*events: asyncio.Event) -> None:
    """Wait for one of these."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
