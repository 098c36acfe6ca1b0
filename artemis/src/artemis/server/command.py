"""`artemis serve`: flags in, a running node, an exit code out."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from artemis.server.app import NodeServer
from artemis.server.collector import settle
from artemis.server.config import ConfigError, ServeConfig, load_config
from artemis.server.flags import with_serve_options
from artemis.server.logs import configure_logging, get_logger
from artemis.server.reload import FileState, file_state
from artemis.server.running import UNUSABLE, advise, claimed, keep_running, loop_factory, raise_file_limit, tell_up


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
    except UNUSABLE as error:
        typer.echo(f"artemis serve: {error}", err=True)
        raise typer.Exit(1) from error


with_serve_options(serve)


def _run(settings: ServeConfig, file: Path | None, flags: Mapping[str, object], seen: FileState) -> None:
    if settings.workers > 1:
        from artemis.server.workers.supervision import supervise

        supervise(settings, file, flags)
        return
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, file, flags, seen))


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
    files = raise_file_limit()
    server = NodeServer(settings, log)
    if not await claimed(server, stop):
        return
    settle()
    await server.start()
    # Machines wait for this line, so it comes before any line of the log.
    sys.stdout.write(f"listening {' '.join([server.url, *server.further_urls])}\n")
    sys.stdout.flush()
    tell_up(server, log)
    advise(settings, files, log)
    await keep_running(server, file, flags, seen, log, stop=stop, hangup=hangup, renew=renew)
