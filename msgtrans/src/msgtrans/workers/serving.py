"""A `TransportServer` in worker processes, or alone in this one.

    server.run()                                    # workers are forked from this process
    workers.run("package.module:make_server", 4)    # workers import the server themselves; SIGHUP brings new code

Each worker is a server of its own with sessions of its own: `broadcast`, `sessions`, `max_connections` and rate limits
are those of one worker. What they share are the addresses, and the sum of their counters.
Not here: supervision (`supervisor`), and what one server does (`server`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final

from msgtrans import loops
from msgtrans.config import WorkersConfig
from msgtrans.errors import ConfigurationError
from msgtrans.workers.link import Worker
from msgtrans.workers.processes import Entry, has_terminal
from msgtrans.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from msgtrans.server import TransportServer
    from msgtrans.stats import EndpointStats
    from msgtrans.workers.link import WorkerLink

GAUGES: Final = ("connections_open",)  # of EndpointStats: those that tell of now
ENTRY: Final = "msgtrans.workers.serving:serve_factory"
SHARE: Final = 100  # of the time, reports take one part in so many to add up what sessions count
QUICK: Final = 0.001  # seconds of that which do not matter
CERTIFIED: Final = ("tls:", "wss:", "quic:")
logger = logging.getLogger("msgtrans.workers")


def run(
    target: TransportServer | str,
    workers: int | WorkersConfig | None = None,
    *,
    ready: Callable[[list[str]], object] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, in as many processes as `workers` says; what `TransportServer.run` does.

    target: a server, whose workers are forked from here; or "module:name" of a server or of a function that makes one,
    which each worker imports in a new interpreter, so that SIGHUP brings new code. The module is not imported here.
    workers: default what the server says, one for a name. ready: called here with the URIs once all serve.
    Raises WorkerError, ConfigurationError; with a single process what `TransportServer.start` raises.
    """
    if isinstance(target, str):
        module, colon, name = target.partition(":")
        if not (module and colon and name):
            raise ConfigurationError("target", f"is {target!r}; write package.module:name")
        work: Entry | partial[None] = Entry(call=ENTRY, arguments=(target,))
        config = as_config(1 if workers is None else workers)
    else:
        if workers is None:
            workers = target.workers
        if workers is None or workers == 1:
            loops.run(_alone(target, ready))
            return
        work, config = partial(serve, target), as_config(workers)
    Supervisor(work, config, gauges=GAUGES, ready=ready).run()


def as_config(workers: int | WorkersConfig) -> WorkersConfig:
    """`workers` as a config. Raises ConfigurationError."""
    if isinstance(workers, WorkersConfig):
        return workers
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigurationError("workers", f"is {workers!r}; use a whole number from 1 on, or a WorkersConfig")
    return WorkersConfig(count=workers)


def serve(server: TransportServer, link: WorkerLink) -> None:
    """The work of a worker: serve until told to stop."""
    loops.run(_serve(server, link))


def serve_factory(link: WorkerLink, target: str) -> None:
    """The work of a worker that imports its server."""
    from msgtrans.server import TransportServer

    module, _, name = target.partition(":")
    found = getattr(import_module(module), name)
    server = found if isinstance(found, TransportServer) else found()
    if not isinstance(server, TransportServer):
        raise ConfigurationError("target", f"{target!r} gives a {type(server).__name__}; give a TransportServer")
    serve(server, link)


async def _serve(server: TransportServer, link: WorkerLink) -> None:
    server.work_for(link.worker, link)
    link.counters = Counting(server.stats, lambda: len(server.sessions))
    link.attach()
    try:
        if not await _unless(link.stopping, _call(server.worker_start_handlers, link.worker)):
            return
        try:
            if await _unless(link.stopping, server.start()):
                link.ready(server.uris, server.stop_listening)
                await link.stopping.wait()
        finally:
            await server.stop(timeout=link.graceful_timeout)
            await _call(server.worker_stop_handlers, link.worker)
    finally:
        link.detach()


async def _unless(stopping: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Do this, unless or until the worker is told to end: then it is cancelled, and this is False."""
    working, told = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait((working,))
    if working.cancelled():
        return False
    working.result()
    return True


async def _alone(server: TransportServer, ready: Callable[[list[str]], object] | None) -> None:
    worker = Worker(index=0, count=1, life=1)
    server.work_for(worker, None)
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    await _call(server.worker_start_handlers, worker)
    try:
        await server.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, on_hangup(server, stopping.set, logger.info))
        if ready is not None:
            ready(server.uris)
        await stopping.wait()
    finally:
        await server.stop()
        await _call(server.worker_stop_handlers, worker)


def on_hangup(server: TransportServer, stop: Callable[[], object], tell: Callable[[str], object]) -> Callable[[], None]:
    """What SIGHUP does to a server of one process: it reads certificates again, and stops when its terminal is gone.

    tell: is told what was done, a line.
    """
    had_terminal = has_terminal()

    def hang_up() -> None:
        if had_terminal and not has_terminal():
            stop()
        elif not any(uri.startswith(CERTIFIED) for uri in server.uris):
            tell("SIGHUP: there are no certificates to read again, and no workers to replace")
        elif server.reload_certificates():
            tell("the certificates are read again")
        else:
            tell("the new certificates cannot be used; the old ones stay")

    return hang_up


async def _call(handlers: list[Callable[[Worker], object]], worker: Worker) -> None:
    for handler in handlers:
        result = handler(worker)
        if inspect.isawaitable(result):
            await result


class Counting:
    """The counters of a worker for its reports. Of very many sessions they are added up less often than is reported.

    stats: adds them up. sessions: how many are open.
    """

    def __init__(self, stats: Callable[[], EndpointStats], sessions: Callable[[], int]) -> None:
        self._stats = stats
        self._sessions = sessions
        self._last: dict[str, int] = {}
        self._until = 0.0

    def __call__(self) -> dict[str, int]:
        """All by name; those of a moment ago where adding them up takes more than a millisecond."""
        now = time.monotonic()
        if now >= self._until or not self._sessions():
            computed = time.thread_time()
            self._last = counters(self._stats())
            took = time.thread_time() - computed
            self._until = now + SHARE * took if took > QUICK else 0.0
        return self._last


def counters(stats: EndpointStats) -> dict[str, int]:
    """All counters by name."""
    return {name: value for name in stats.__struct_fields__ if isinstance(value := getattr(stats, name), int)}
