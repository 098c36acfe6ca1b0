"""The command line: `msgtrans serve-echo | ping | bench`. Needs the extra `cli`.

Exit codes: 0 done, 1 it did not work out (refused, timed out), 2 the command line is wrong.
Not here: measuring itself (`load`), and anything a program would import.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from msgtrans import __version__
from msgtrans.cli.echo import serve_echo
from msgtrans.cli.load import BenchPlan, bench, ping
from msgtrans.cli.loop import run
from msgtrans.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import TypeVar

    T = TypeVar("T")

app = typer.Typer(
    help="Move messages over TCP, and see how fast.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

Uri = Annotated[str, typer.Argument(metavar="URI", help="tcp://HOST:PORT")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"msgtrans {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Move messages over TCP, and see how fast."""


@app.command("serve-echo")
def serve_echo_command(
    tcp: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 picks one.")
    ] = "127.0.0.1:8001",
) -> None:
    """Answer each request with its payload, and send each one-way message back."""
    _run(serve_echo(tcp, ready=typer.echo))


@app.command("ping")
def ping_command(
    uri: Uri,
    count: Annotated[int, typer.Option(min=1, help="Requests to send.")] = 4,
    interval: Annotated[float, typer.Option(min=0, help="Seconds between them.")] = 1.0,
    size: Annotated[int, typer.Option(min=0, help="Bytes of payload.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait for an answer.")] = 5.0,
    json: Json = False,
) -> None:
    """Measure the round trip to a server that answers requests."""

    def show(sequence: int, milliseconds: float | None) -> None:
        if not json:
            told = "no answer" if milliseconds is None else f"{milliseconds:.3f} ms"
            typer.echo(f"{uri}: {size} bytes, request {sequence}: {told}")

    result = _run(ping(uri, count=count, interval=interval, size=size, timeout=timeout, seen=show))
    if json:
        typer.echo(msgspec.json.encode(result))
    else:
        typer.echo(
            f"{result.sent} requests, {result.answered} answers; ms: min {result.min_ms:.3f}, "
            f"median {result.median_ms:.3f}, max {result.max_ms:.3f}"
        )
    if not result.answered:
        _fail("no request was answered; is there a request handler behind this address?", 1)


@app.command("bench")
def bench_command(
    uri: Uri,
    in_flight: Annotated[int, typer.Option(min=1, help="Requests under way at once on each connection.")] = 64,
    size: Annotated[int, typer.Option(min=0, help="Bytes of payload.")] = 32,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds.")] = 5.0,
    connections: Annotated[int, typer.Option(min=1, help="Connections to open.")] = 1,
    one_way: Annotated[bool, typer.Option("--one-way", help="Send one-way messages instead of requests.")] = False,
    json: Json = False,
) -> None:
    """Load a server that answers requests, and print rate and latency."""
    plan = BenchPlan(in_flight=in_flight, size=size, duration=duration, connections=connections, one_way=one_way)
    result = _run(bench(uri, plan, progress=not json and sys.stderr.isatty()))
    if json:
        typer.echo(msgspec.json.encode(result))
        return
    typer.echo(f"{uri}: payloads of {size} bytes, connections: {connections}")
    table = Table()
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_row("one-way messages" if one_way else f"requests, {in_flight} in flight each", f"{result.count:,}")
    table.add_row("per second", f"{result.per_second:,.0f}")
    if not one_way:
        for name, milliseconds in (
            ("p50", result.p50_ms),
            ("p90", result.p90_ms),
            ("p99", result.p99_ms),
            ("p99.9", result.p999_ms),
            ("slowest", result.max_ms),
        ):
            table.add_row(name, f"{milliseconds:.3f} ms")
    if result.errors:
        table.add_row("failed", f"{result.errors:,}")
    Console().print(table)


def _run(work: Coroutine[object, object, T]) -> T:
    try:
        return run(work)
    except ConfigurationError as error:
        _fail(str(error), 2)
    except TransportError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
