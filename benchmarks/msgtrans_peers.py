"""MsgTrans beside other libraries that carry messages: requests per second, latency and processor time of an echo.

Client and server of each library are a process each, all on uvloop, started once and measured in turns: every round
goes through all of them with 1 and 64 requests under way and payloads of 32 bytes and 1 KiB. Medians of the rounds
are printed, and the medians of the rounds' ratios. Processor time is that of client and server together (Linux).

    python benchmarks/msgtrans_peers.py [NAME ...] [--rounds 7] [--seconds 0.25] [--json] [--charts DIRECTORY]

Not here: the programs (`peers/`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

from comparison import ratios
from figures import machine, print_table, write
from peers.broker import nats_server

HERE = Path(__file__).parent
IN_FLIGHT, SIZES = (1, 64), (32, 1024)
TCP, WEBSOCKET, BARE, PICOWS = "msgtrans_tcp", "msgtrans_websocket", "bare_echo", "bare_picows"


class Peer(NamedTuple):
    """A program of peers/: how tables call it, the package it needs, the ours it is compared with."""

    title: str
    package: str
    ours: str


PEERS = {
    TCP: Peer("MsgTrans TCP", "msgtrans", TCP),
    WEBSOCKET: Peer("MsgTrans WebSocket", "picows", TCP),
    BARE: Peer("bare uvloop echo", "uvloop", TCP),
    PICOWS: Peer("bare picows echo", "picows", WEBSOCKET),
    "grpc_aio": Peer("grpc.aio", "grpc", TCP),
    "pyzmq_asyncio": Peer("pyzmq (asyncio)", "zmq", TCP),
    "nats_py": Peer("nats-py, nats-server", "nats", TCP),
    "websockets_asyncio": Peer("websockets", "websockets", WEBSOCKET),
    "aiohttp_websocket": Peer("aiohttp WebSocket", "aiohttp", WEBSOCKET),
    "aiohttp_http": Peer("aiohttp HTTP", "aiohttp", TCP),
}


class Cell(NamedTuple):
    """How much was under way, in messages of how many bytes."""

    in_flight: int
    size: int


class Measured(NamedTuple):
    """One cell of one round."""

    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float


Rounds = Mapping[str, Mapping[Cell, Sequence[Measured]]]
COLUMNS = (
    "",
    "req/s",
    "p50 µs",
    "p99 µs",
    "CPU µs",
    "TCP by it",
    "WebSocket by it",
    "it by bare",
)
CELLS = [Cell(in_flight, size) for size in SIZES for in_flight in IN_FLIGHT]


class Pair:
    """A running server and its client; `with Pair(name) as pair`."""

    def __init__(self, name: str) -> None:
        self.server = program(name, "serve")
        self.client: subprocess.Popen[str] | None = None
        self.name = name

    def connect(self) -> None:
        """Start the client, once the server has told where it listens."""
        told = json.loads(line_of(self.server, self.name))
        self.pids = (self.server.pid, *told["children"])
        self.client = program(self.name, "ask", str(told["port"]))

    def measure(self, cell: Cell, seconds: float) -> Measured:
        """Let the client load the server for `seconds`."""
        assert self.client is not None
        assert self.client.stdin is not None
        before = sum(map(processor_time, self.pids))
        print(json.dumps({**cell._asdict(), "seconds": seconds}), file=self.client.stdin, flush=True)
        told = json.loads(line_of(self.client, self.name))
        served = (sum(map(processor_time, self.pids)) - before) / told["answers"] * 1e6
        return Measured(told["per_second"], told["p50_us"], told["p99_us"], told["client_cpu_us"] + served)

    def end(self) -> None:
        """End both."""
        if self.client is not None:
            end(self.client)
        end(self.server)


def end(process: subprocess.Popen[str]) -> None:
    """End a program by the end of its input; kill it if it has not ended ten seconds later."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def program(name: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one of the programs."""
    command = [sys.executable, "-m", f"peers.{name}", *arguments]
    return subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line_of(process: subprocess.Popen[str], name: str) -> str:
    """The next line of its output."""
    assert process.stdout is not None
    if line := process.stdout.readline():
        return line
    raise SystemExit(f"peers.{name} ended with {process.wait()}")


def processor_time(pid: int) -> float:
    """Seconds that all threads of another process have computed: Linux derives the number of its clock from its id."""
    return time.clock_gettime(~pid << 3 | 2)


def left_out(name: str) -> str | None:
    """Why a program cannot run here; None if it can."""
    if find_spec(PEERS[name].package) is None:
        return f"{PEERS[name].title} is left out: the package {PEERS[name].package} is not installed (make bench does)"
    if name == "nats_py" and nats_server() is None:
        return f"{PEERS[name].title} is left out: there is no nats-server (Debian has a package of that name)"
    return None


@contextmanager
def running(names: Sequence[str]) -> Iterator[list[Pair]]:
    """All pairs, connected; none of them is left behind."""
    with ExitStack() as all_of:
        pairs = []
        for name in names:
            pairs.append(Pair(name))
            all_of.callback(pairs[-1].end)
        for pair in pairs:
            pair.connect()
        for pair in pairs:
            assert pair.client is not None
            line_of(pair.client, pair.name)
        yield pairs


def measure(names: Sequence[str], rounds: int, seconds: float, cells: Sequence[Cell] = CELLS) -> Rounds:
    """Every cell of every program, `rounds` times; each round begins with another program."""
    found: dict[str, dict[Cell, list[Measured]]] = {name: {cell: [] for cell in cells} for name in names}
    with running(names) as pairs:
        for number in range(rounds):
            at = number % len(pairs)
            for cell in cells:
                for pair in pairs[at:] + pairs[:at]:
                    found[pair.name][cell].append(pair.measure(cell, seconds))
    return found


def column(found: Rounds, name: str, cell: Cell, figure: str) -> list[float]:
    """One figure of one program, round by round."""
    return [measured._asdict()[figure] for measured in found[name][cell]]


def ratio(found: Rounds, ours: str, theirs: str, cell: Cell, figure: str) -> list[float]:
    """Ours by theirs, round by round."""
    return ratios(column(found, ours, cell, figure), column(found, theirs, cell, figure))


def table(found: Rounds, cell: Cell) -> list[list[str]]:
    """A line for each program, the fastest first: medians, and MsgTrans and bare echo beside its rate."""
    lines = []
    for name in sorted(found, key=lambda name: -median(column(found, name, cell, "per_second"))):
        rate, p50, p99, cpu = (median(column(found, name, cell, figure)) for figure in Measured._fields)
        beside = ((TCP, name), (WEBSOCKET, name), (name, BARE))
        times = [
            f"{median(ratio(found, ours, theirs, cell, 'per_second')):.2f}"
            if ours in found and theirs in found and ours != theirs
            else ""
            for ours, theirs in beside
        ]
        lines.append([PEERS[name].title, f"{rate:,.0f}", f"{p50:,.0f}", f"{p99:,.0f}", f"{cpu:.1f}", *times])
    return lines


def as_json(found: Rounds) -> dict[str, list[dict[str, object]]]:
    """Medians of every program and cell, and the ratios of MsgTrans to each."""
    medians = [
        {"peer": name, **cell._asdict()}
        | {figure: median(column(found, name, cell, figure)) for figure in Measured._fields}
        for name, cells in found.items()
        for cell in cells
    ]
    beside = [
        {"ours": peer.ours, "peer": name, **cell._asdict()}
        | {figure: median(ratio(found, peer.ours, name, cell, figure)) for figure in Measured._fields}
        for name, peer in PEERS.items()
        if name in found and peer.ours in found and peer.ours != name
        for cell in found[name]
    ]
    return {"medians": medians, "ratios": beside}


def main() -> None:
    """Measure what is there, print, write, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.25, help="of each measurement")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--charts", type=Path, metavar="DIRECTORY", help="also draw charts, PNG files")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PEERS):
        parser.error(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    chosen = arguments.names or list(PEERS)
    absent = {name: why for name in chosen if (why := left_out(name))}
    for why in absent.values():
        print(why, file=sys.stderr)
    found = measure([name for name in chosen if name not in absent], arguments.rounds, arguments.seconds)
    told = as_json(found)
    whole = {**machine(), "rounds": arguments.rounds, "seconds": arguments.seconds, **told}
    write("peers", whole)
    if arguments.charts:
        from charts import draw_peers

        draw_peers(told["medians"], {name: peer.title for name, peer in PEERS.items()}, arguments.charts)
    if arguments.json:
        print(json.dumps(whole))
        return
    for cell in CELLS:
        print_table(
            f"{cell.in_flight} in flight, {cell.size} bytes; medians of {arguments.rounds} rounds",
            COLUMNS,
            table(found, cell),
        )


if __name__ == "__main__":
    main()
