"""The command line: `msgtrans serve-echo | ping | bench | top | transports`. Needs the extra `cli`.

Move messages over TCP, WebSocket and QUIC, and see how fast.
Exit codes: 0 done, 1 it did not work out (refused, timed out), 2 the command line is wrong.
Not here: what the commands do (`echo`, `ping`, `load`, `top`), and anything a program would import.
"""

from __future__ import annotations

import logging
import sys
from contextlib import aclosing, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from msgtrans import __version__
from msgtrans.adapters.registry import transports
from msgtrans.cli.echo import echo_server, metrics_server, quic_listener, run_workers, serve, server_tls
from msgtrans.cli.files import raise_file_limit
from msgtrans.cli.live import live
from msgtrans.cli.load import BenchPlan, BenchResult, Load, bench
from msgtrans.cli.options import (
    Ca,
    ClientCertificate,
    ClientKey,
    Headers,
    Insecure,
    Json,
    JsonArray,
    QuicMapping,
    QuicMappings,
    Size,
    Token,
    Uri,
    seconds,
    whole_number,
)
from msgtrans.cli.output import say, saying
from msgtrans.cli.ping import PingResult, Pings
from msgtrans.cli.progress import shown
from msgtrans.cli.screen import screen
from msgtrans.cli.target import TargetOptions, plain, target
from msgtrans.cli.top import looks
from msgtrans.cli.words import plural
from msgtrans.errors import ConfigurationError, TransportError
from msgtrans.loops import run
from msgtrans.middleware.statistics import BIZ_TYPE, FRESH

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager
    from typing import TypeVar

    from msgtrans.monitor import MetricsServer
    from msgtrans.server import TransportServer

    T = TypeVar("T")

PURPOSE = "Move messages over TCP, WebSocket and QUIC, and see how fast."

app = typer.Typer(
    help=PURPOSE,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"msgtrans {__version__}")
        raise typer.Exit


@app.callback(help=PURPOSE)
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("serve-echo")
def serve_echo_command(
    *,
    tcp: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen for TCP; port 0 picks one.")
    ] = None,
    ws: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen for WebSocket; port 0 picks one.")
    ] = None,
    quic: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen for QUIC, on UDP; port 0 picks one.")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(metavar="FILE", help="Serve tls://, wss:// and quic:// with this certificate, PEM.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, if not in the same file.")] = None,
    client_ca: Annotated[
        str | None, typer.Option(metavar="FILE", help="Ask clients for a certificate of these authorities.")
    ] = None,
    statistics: Annotated[
        bool, typer.Option("--statistics/--no-statistics", help="Tell `msgtrans top` what goes on.")
    ] = True,
    workers: Annotated[int, whole_number(least=1, most=512, about="Processes that serve.")] = 1,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve metrics for Prometheus there, under /metrics.")
    ] = None,
) -> None:
    """Answer each request with its payload, and send each one-way message back.

    Listens on 127.0.0.1:8001 for TCP and on 127.0.0.1:8002 for WebSocket, or only where it is told.
    QUIC is always inside TLS: without --certificate it makes one, which signs itself.
    """
    if tcp is None and ws is None and quic is None:
        tcp, ws = "127.0.0.1:8001", "127.0.0.1:8002"

    def made() -> tuple[TransportServer, MetricsServer | None, str | None]:
        tls, watched = server_tls(certificate, key, client_ca), metrics is not None
        listener, fingerprint = quic_listener(quic, tls) if quic is not None else (None, None)
        server = echo_server(tcp, ws, quic=listener, tls=tls, statistics=statistics, workers=workers, watched=watched)
        scraped = metrics_server(server, metrics, workers=workers) if metrics is not None else None
        return server, scraped, fingerprint

    async def work() -> None:
        server, scraped, fingerprint = made()
        await serve(server, ready=say, told=partial(say, err=True), metrics=scraped, fingerprint=fingerprint)

    with saying():
        if workers == 1:
            _run(work())
            return
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("msgtrans.workers").setLevel(logging.INFO)  # what comes of signals, and of workers
        with _told():
            server, scraped, _ = made()
            run_workers(server, ready=say, metrics=scraped)


@app.command("ping")
def ping_command(
    uri: Uri,
    *,
    count: Annotated[int, whole_number(least=1, about="Requests to send.")] = 4,
    interval: Annotated[float, seconds(least=0, about="Seconds between them.")] = 1.0,
    size: Size = 32,
    timeout: Annotated[float, seconds(least=0.001, about="Seconds to wait for an answer.")] = 5.0,
    json: Json = False,
    ca: Ca = None,
    insecure: Insecure = False,
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    header: Headers = None,
    token: Token = None,
    quic_mapping: QuicMapping = None,
) -> None:
    """Measure the round trip to a server that answers requests."""
    options = _options(ca, insecure, client_certificate, client_key, header, token, quic_mapping)

    def show(sequence: int, milliseconds: float | None) -> None:
        if not json:
            told = "no answer" if milliseconds is None else f"{milliseconds:.3f} ms"
            typer.echo(f"{uri}: {plural(size, 'byte')}, request {sequence}: {told}")

    pings = Pings()

    async def work() -> None:
        whom = target(uri, options)
        await pings.ping(whom, count=count, interval=interval, size=size, timeout=timeout, seen=show)

    def summary() -> None:
        if pings.sent:
            result = pings.result()
            typer.echo(msgspec.json.encode(result) if json else _ping_summary(result))

    _run(work(), cut_short=summary)
    summary()
    if not pings.result().answered:
        _fail("no request was answered; is there a request handler behind this address?", 1)


def _ping_summary(result: PingResult) -> str:
    """One line of a ping."""
    told = f"{plural(result.sent, 'request')}, {plural(result.answered, 'answer')}"
    if result.answered:
        told += f"; ms: min {result.min_ms:.3f}, median {result.median_ms:.3f}, max {result.max_ms:.3f}"
    return told


@app.command("bench")
def bench_command(
    uri: Uri,
    *,
    in_flight: Annotated[int, whole_number(least=1, about="Requests under way at once on each connection.")] = 64,
    size: Size = 32,
    duration: Annotated[float, seconds(least=0.1, about="Seconds.")] = 5.0,
    warm_up: Annotated[float, seconds(least=0, about="Seconds of load before anything is counted.")] = 0.5,
    connections: Annotated[int, whole_number(least=1, about="Connections to open.")] = 1,
    one_way: Annotated[bool, typer.Option("--one-way", help="Send one-way messages instead of requests.")] = False,
    timeout: Annotated[float, seconds(least=0.001, about="Seconds each request may take.")] = 10.0,
    json: Json = False,
    ca: Ca = None,
    insecure: Insecure = False,
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    header: Headers = None,
    token: Token = None,
    quic_mapping: QuicMapping = None,
) -> None:
    """Load a server that answers requests, and print rate and latency."""
    options = _options(ca, insecure, client_certificate, client_key, header, token, quic_mapping)
    plan = BenchPlan(
        in_flight=in_flight,
        size=size,
        duration=duration,
        warm_up=warm_up,
        connections=connections,
        one_way=one_way,
        timeout=timeout,
    )

    def watch(load: Load) -> AbstractAsyncContextManager[None]:
        return shown(load) if not json and sys.stderr.isatty() else nullcontext()

    async def work() -> BenchResult:
        return await bench(target(uri, options), plan, watch)

    result = _run(work())
    if json:
        typer.echo(msgspec.json.encode(result))
    else:
        typer.echo(f"{result.uri}: {plural(connections, 'connection')}, payloads of {plural(size, 'byte')}")
        Console().print(_bench_table(result))


def _bench_table(result: BenchResult) -> Table:
    """What people want to see of a bench."""
    table = Table()
    table.add_column("what")
    table.add_column("figure", justify="right")
    what = "one-way messages" if result.one_way else f"requests, {result.in_flight} in flight each"
    table.add_row(what, f"{result.count:,}")
    table.add_row("per second", f"{result.per_second:,.0f}")
    for name, milliseconds in (
        ("p50", result.p50_ms),
        ("p90", result.p90_ms),
        ("p95", result.p95_ms),
        ("p99", result.p99_ms),
        ("p99.9", result.p999_ms),
        ("slowest", result.max_ms),
    ):
        if milliseconds is not None:
            table.add_row(name, f"{milliseconds:.3f} ms")
    if result.errors:
        table.add_row("not answered", f"{result.errors:,}")
    return table


@app.command("top")
def top_command(
    uri: Uri,
    *,
    interval: Annotated[float, seconds(least=FRESH, about="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print what one interval shows; so it is in a pipe.")] = False,
    biz_type: Annotated[int, whole_number(least=0, most=255, about="What the server gives statistics for.")] = BIZ_TYPE,
    json: Json = False,
    ca: Ca = None,
    insecure: Insecure = False,
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    header: Headers = None,
    token: Token = None,
    quic_mapping: QuicMapping = None,
) -> None:
    """Watch a server that uses StatisticsMiddleware: rates, sessions, and what goes wrong."""
    options = _options(ca, insecure, client_certificate, client_key, header, token, quic_mapping)
    console = Console()

    async def work() -> None:
        seen = looks(target(uri, options), interval=interval, biz_type=biz_type)
        if not (once or json) and console.is_terminal:
            await live(console, seen, f"every {interval:g} s, q or Ctrl-C ends")
            return
        async with aclosing(seen):
            await anext(seen)
            look = await anext(seen)
        if json:
            typer.echo(msgspec.json.encode(look))
        else:
            console.print(screen(look, lines=len(look.statistics.sessions) + 100, columns=console.width))

    _run(work())


@app.command("transports")
def transports_command(json: JsonArray = False) -> None:
    """List the transports there are, plug-ins included.

    The usual port is where serve-echo and the examples listen; a URI names its own.
    """
    known = transports.list()
    if json:
        typer.echo(msgspec.json.encode(known))
        return
    table = Table()
    for column in ("transport", "schemes", "usual port", "what it is"):
        table.add_column(column)
    for info in known:
        table.add_row(info.name, " ".join(info.schemes), str(info.default_port or "-"), info.description)
    Console().print(table)


def _options(
    ca: str | None,
    insecure: bool,
    certificate: str | None,
    key: str | None,
    headers: list[str] | None,
    token: str | None,
    mapping: QuicMappings | None,
) -> TargetOptions:
    if insecure:
        typer.echo("warning: --insecure takes any certificate; whoever is in between can read along", err=True)
    return TargetOptions(
        ca=ca,
        insecure=insecure,
        certificate=certificate,
        key=key,
        headers=tuple(headers or ()),
        token=token,
        mapping=mapping.value if mapping is not None else None,
    )


def _run(work: Coroutine[object, object, T], cut_short: Callable[[], None] = lambda: None) -> T:
    """The result of `work`; whatever ends it otherwise ends the command. cut_short: called before that."""
    with _told(cut_short):
        return run(work)


@contextmanager
def _told(cut_short: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Whatever fails in here ends the command with a sentence."""
    raise_file_limit()
    try:
        yield
    except ConfigurationError as error:
        _fail(plain(error), 2)
    except TransportError as error:
        cut_short()
        _fail(plain(error), 1)
    except KeyboardInterrupt:
        cut_short()
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
