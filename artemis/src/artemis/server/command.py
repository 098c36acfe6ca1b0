"""`artemis serve`: flags in, a running node, an exit code out."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from artemis.server.admin import AdminTokenError, is_loopback
from artemis.server.app import NodeServer
from artemis.server.certificates import CertificateError
from artemis.server.claim import ListenError
from artemis.server.cluster_files import ClusterFileError
from artemis.server.collector import Collector, settle
from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.data_directory import DataDirectoryError
from artemis.server.flags import with_serve_options
from artemis.server.logs import configure_logging, get_logger
from artemis.server.provenance import unknown_variables
from artemis.server.reload import FileState, file_state, follow

#: Open files that are not connections: listener, event loop, log.
_OWN_FILES = 64


class EndedError(Exception):
    """A node that served has to end; the text says why and what to do."""


#: What keeps a node from starting, or from going on, with a sentence that says what to do.
_UNUSABLE = (ListenError, CertificateError, DataDirectoryError, AdminTokenError, ClusterFileError, EndedError)


def serve(
    *,
    config: Annotated[Path | None, typer.Option(help="TOML file with these options as keys.")] = None,
    **flags: object,
) -> None:
    """Run a registry node until SIGTERM or Ctrl-C.

    Prints `listening http://HOST:PORT` first; with a certificate that is `https://`, and behind it stand the URLs of a
    port without TLS and of QUIC. Every option can also stand in the TOML file (`lease-ttl = 10`) or in
    the environment (ARTEMIS_SERVE_LEASE_TTL=10); flags win over the environment, the environment over the file. The
    file is read again when it changes and on SIGHUP; `artemis config show` tells which options that holds for.
    """
    seen = file_state(config)  # before it is read: what changes meanwhile is noticed
    try:
        settings = load_config(config, flags)
    except ConfigError as error:
        typer.echo(f"artemis serve: {error}", err=True)
        raise typer.Exit(2) from error
    configure_logging(settings.log_level, settings.log_format)
    try:
        _run(settings, config, flags, seen)
    except _UNUSABLE as error:
        typer.echo(f"artemis serve: {error}", err=True)
        raise typer.Exit(1) from error


with_serve_options(serve)


def _run(settings: ServeConfig, file: Path | None, flags: Mapping[str, object], seen: FileState) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, file, flags, seen))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it exists, else the platform's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _raise_file_limit() -> int | None:
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


def _on_hangup(loop: asyncio.AbstractEventLoop, react: Callable[[], None]) -> None:
    """Call `react` for each SIGHUP, where there is such a signal."""
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, react)


async def _serve(settings: ServeConfig, file: Path | None, flags: Mapping[str, object], seen: FileState) -> None:
    loop = asyncio.get_running_loop()
    stop, hangup, renew = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def hung_up() -> None:
        hangup.set()
        renew.set()

    _on_hangup(loop, hung_up)
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    log = get_logger()
    files = _raise_file_limit()
    server = NodeServer(settings, log)
    if not await _claimed(server, stop):
        return
    settle()
    await server.start()
    # Machines wait for this line, so it comes before any line of the log.
    sys.stdout.write(f"listening {' '.join([server.url, *server.further_urls])}\n")
    sys.stdout.flush()
    identity = server.node.identity
    log.info(
        "node up" if server.node.serving else "node listening",
        url=identity.url,
        region=identity.region,
        zone=identity.zone,
        node=identity.node_id,
    )
    if files is not None and files < settings.max_connections + _OWN_FILES:
        advice = f"raise the limit (ulimit -n) or set --max-connections to {max(files - _OWN_FILES, 1)}"
        log.warning("too few open files", limit=files, max_connections=settings.max_connections, advice=advice)
    if settings.admin_token_file is None and not is_loopback(settings.host):
        log.warning(
            "operators are refused",
            reason="this node listens beyond loopback and has no admin token",
            advice="start it with --admin-token-file, or with --host 127.0.0.1",
        )
    for sentence in unknown_variables():
        log.warning("variable ignored", reason=sentence)
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


async def _claimed(server: NodeServer, stop: asyncio.Event) -> bool:
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
