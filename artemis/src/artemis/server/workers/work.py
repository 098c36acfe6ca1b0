"""What one worker does: it is a node among its siblings, and tells its supervisor when it serves.

Not here: who starts it (`supervision`), and what a node does (`artemis.server.app`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from artemis.server.app import NodeServer
from artemis.server.collector import settle
from artemis.server.config import ConfigError, load_config
from artemis.server.data_directory import read_regular
from artemis.server.logs import configure_logging, get_logger
from artemis.server.reload import FileState, file_state
from artemis.server.running import UNUSABLE, claimed, keep_running, loop_factory, tell_up
from artemis.server.workers.totals import Totals
from msgtrans import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from artemis.server.config import ServeConfig
    from artemis.server.workers.ground import Ground
    from artemis.server.workers.place import Place
    from msgtrans.workers import WorkerLink

_MACHINE = (
    "workers",
    "workers_port",
    "host",
    "port",
    "plain_port",
    "quic",
    "self_url",
    "region",
    "cluster_name",
    "cluster",
    "cluster_ca_file",
    "cluster_secret_file",
    "cluster_credentials_file",
    "cluster_password_file",
    "cluster_token_file",
    "data_dir",
    "path_prefix",
    "tls_certificate_file",
    "tls_key_file",
)
"""Options of the machine, which all workers have from the parent: not even a reload changes them."""

_LISTS = ("peers", "peers_dns", "peers_file")
"""Options that make the machine one of several."""

_JOIN = 30.0
"""Seconds, at most, in which one that was started again gets no connections because it does not serve yet."""

_COPY = 5.0
"""The same for one that serves and has not copied all other regions that it is to show: as long as it takes to notice
that one is away."""

_TOLD = 1.0
"""The same for one that serves and of which the others have not heard that yet; one of them may stand still."""

_LOOK = 0.02

_LEAVE = "leave"
"""What begins what workers are told when the machine leaves its cluster for good."""


def work(
    link: WorkerLink, *, ground: Ground, settings: ServeConfig, file: Path | None, flags: Mapping[str, object]
) -> None:
    """Serve until told to stop; the work of a process. `settings` are those of the machine's start."""
    structlog.contextvars.bind_contextvars(worker=link.worker.index)
    log = get_logger()
    seen = file_state(file)
    again = link.worker.life > link.worker.count
    if again:
        settings = _current(settings, file, flags, log)
        configure_logging(settings.log_level, settings.log_format)
    place = ground.place(link.worker.index, link.listen, Totals(link, log), partial(_leave, link), again=again)
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(link, place, settings, file, flags, seen, log))
    except UNUSABLE as error:
        raise TransportError(str(error)) from error  # what the supervisor tells in the worker's words


def _current(
    settings: ServeConfig, file: Path | None, flags: Mapping[str, object], log: FilteringBoundLogger
) -> ServeConfig:
    """Return the options as their file says them now, but for those of the machine; those of its start if the file
    cannot be used: one that was spoilt meanwhile ends no machine."""
    if file is None:
        return settings
    try:
        new = load_config(file, dict(flags), read_regular)
    except ConfigError as error:
        log.error("configuration kept", reason=str(error))  # noqa: TRY400 - what is wrong is said, not where
        return settings
    names: tuple[str, ...] = _MACHINE
    if new.several_linked != settings.several_linked:
        names += _LISTS
        log.warning("options wait for a restart", options=", ".join(name.replace("_", "-") for name in _LISTS))
    kept = {name: getattr(settings, name) for name in names}
    return new.model_copy(update=kept).trace(new.given)


async def _serve(
    link: WorkerLink,
    place: Place,
    settings: ServeConfig,
    file: Path | None,
    flags: Mapping[str, object],
    seen: FileState,
    log: FilteringBoundLogger,
) -> None:
    server = NodeServer(settings, log, place=place)
    link.attach()
    try:
        if not await claimed(server, link.stopping):
            return
        settle()
        await server.start()
        readying = asyncio.create_task(_tell_ready(link, server, again=place.again))
        tell_up(server, log)
        ending = asyncio.create_task(_end_with_all(link, server))
        never, stop = asyncio.Event(), asyncio.Event()
        ending.add_done_callback(lambda _: stop.set())
        try:
            await keep_running(server, file, flags, seen, log, stop=stop, hangup=never, renew=never)
        finally:
            readying.cancel()
            ending.cancel()
    finally:
        link.detach()


def _leave(link: WorkerLink, together: str) -> None:
    """Have the machine leave its cluster."""
    link.end_all(f"{_LEAVE}{together}", together=bool(together))


async def _end_with_all(link: WorkerLink, server: NodeServer) -> None:
    """Return when this worker is to end; all end with one that cannot go on, as what keeps it from that holds for all,
    and leave for good when that is what a worker wanted."""
    stopping, failing = asyncio.create_task(link.stopping.wait()), asyncio.create_task(server.failing.wait())
    try:
        await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        failing.cancel()
    if server.failure:
        link.end_all(failure=f"cannot go on: {server.failure}")
    if link.word.startswith(_LEAVE):
        server.leaving.set()


async def _tell_ready(link: WorkerLink, server: NodeServer, *, again: bool) -> None:
    """Have connections come. At the start of the machine at once: it listens, and says itself whether it serves. One
    that was started again beside others waits until it has what they have, and until other machines know that, as the
    next one may be replaced then."""
    if again:
        node = server.node
        await _wait(lambda: not node.availability.starting, _JOIN)
        await _wait(lambda: node.regions.complete, _COPY)
        await _wait(lambda: server.cluster is None or server.cluster.told, _TOLD)
        await server.open()
    link.ready([server.url, *server.further_urls], server.rest)


async def _wait(done: Callable[[], bool], seconds: float) -> None:
    """Wait until something is done, for so long at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not done():  # noqa: ASYNC110 - pure, it tells nobody
                await asyncio.sleep(_LOOK)
