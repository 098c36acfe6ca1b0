"""`artemis demo`: flags in, a fleet to look at, an exit code out."""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from artemis.cli.interrupts import until_interrupted
from artemis.cli.output import say
from artemis.cli.values import number, whole_number
from artemis.demo.board import Board
from artemis.demo.fleet import MEMBERS
from artemis.demo.screen import picture, summary
from artemis.demo.supervisor import DemoError, DemoSettings, Supervisor

SUMMARY_EVERY = 5.0


def demo(
    *,
    host: Annotated[str, typer.Option(help="Address that the node listens on.")] = "127.0.0.1",
    port: Annotated[
        int, whole_number("--port", metavar="PORT", least=0, most=65535, about="Its port; 0 takes any that is free.")
    ] = 8080,
    seconds: Annotated[
        float | None,
        number("--seconds", metavar="SECONDS", least=1, about="End after so long; runs until Ctrl-C otherwise."),
    ] = None,
    lease_ttl: Annotated[
        float, number("--lease-ttl", metavar="SECONDS", least=2, most=60, about="Seconds until a silent lease expires.")
    ] = 6.0,
    kill_every: Annotated[
        float, number("--kill-every", metavar="SECONDS", least=5, about="Seconds between two outages.")
    ] = 25.0,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live screen, as in a pipe.")] = False,
) -> None:
    """Run a node and a fleet of services that find each other through it, and kill one now and then.

    Nine small HTTP servers in processes of their own register with the node, look each other up and call each other.
    """
    settings = DemoSettings(host=host, port=port, lease_ttl=lease_ttl, kill_every=kill_every)
    try:
        asyncio.run(_show(settings, seconds=seconds, plain=plain or not sys.stdout.isatty()))
    except DemoError as error:
        say(f"artemis demo: {error}")
        raise typer.Exit(1) from None


async def _show(settings: DemoSettings, *, seconds: float | None, plain: bool) -> None:
    board = Board(MEMBERS)
    supervisor = Supervisor(settings, board)
    show = _lines(board, supervisor) if plain else _screen(board, supervisor)
    await until_interrupted(supervisor.run(), show, seconds=seconds)
    sys.stdout.write(f"stopped after {supervisor.elapsed():.0f} s; no process is left\n")


async def _screen(board: Board, supervisor: Supervisor) -> None:
    console = Console()
    command = this_command(sys.argv[0])
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            size = (console.width, console.height)
            live.update(picture(board, supervisor.url, supervisor.elapsed(), size, command), refresh=True)
            await asyncio.sleep(0.5)


async def _lines(board: Board, supervisor: Supervisor) -> None:
    shown, next_summary = 0, SUMMARY_EVERY
    while True:
        fresh = min(board.told - shown, len(board.happenings))
        for happening in list(board.happenings)[len(board.happenings) - fresh :]:
            sys.stdout.write(f"{happening.at:6.1f} s  {happening.text}\n")
        shown = board.told
        if supervisor.elapsed() >= next_summary:
            next_summary += SUMMARY_EVERY
            sys.stdout.write(f"{supervisor.elapsed():6.1f} s  {summary(board)}\n")
        sys.stdout.flush()
        await asyncio.sleep(0.2)


def this_command(program: str) -> str:
    """Return how the running command is called from here; ``program`` is ``sys.argv[0]``.

    By its name where the shell finds it, else by its path: what ``make run`` starts is on nobody's PATH.
    """
    path = Path(program)
    if path.name == "__main__.py":
        return f"{_from_here(Path(sys.executable))} -m artemis"
    found = shutil.which(path.name)
    if found is not None and path.exists() and Path(found).samefile(path):
        return path.name
    return _from_here(path)


def _from_here(path: Path) -> str:
    short = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return str(short) if len(short.parts) > 1 else f"./{short}"
