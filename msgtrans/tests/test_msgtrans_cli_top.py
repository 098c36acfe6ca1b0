"""`msgtrans top`: what it compares, what its screen shows, and how it lives with servers that come and go."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.console import Console
from typer.testing import CliRunner

from msgtrans import EndpointStats
from msgtrans.cli import app
from msgtrans.cli.screen import screen
from msgtrans.cli.top import Look, compare
from msgtrans.cli.words import duration, plural, volume
from msgtrans.middleware import ProtocolSummary, ServerStatistics, SessionSummary, Watched, WorkerSummary
from msgtrans.monitor import Latencies

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 30.0  # seconds after which a wait has failed


def statistics(uptime: float, *, packets: tuple[int, ...] = (), **counters: int) -> ServerStatistics:
    """A server with one session for each number of packets, which went both ways in 10 bytes each."""
    sessions = [
        SessionSummary(
            id=number,
            protocol="wss",
            peer=f"[2001:db8::{number}]:54321",
            seconds=uptime,
            packets_sent=count,
            packets_received=count,
            bytes_sent=10 * count,
            bytes_received=10 * count,
            outbound_bytes=1500,
            pending=3,
        )
        for number, count in enumerate(packets, 1)
    ]
    total = sum(packets)
    stats = EndpointStats(
        connections_open=len(packets),
        packets_received=total,
        packets_sent=total,
        bytes_received=10 * total,
        bytes_sent=10 * total,
        **counters,
    )
    return ServerStatistics(
        name="orders",
        version="1.2.3",
        time=1e9 + uptime,
        uptime=uptime,
        listeners=["tcp://127.0.0.1:8001", "ws://127.0.0.1:8002"],
        counters=stats,
        sessions=sessions,
    )


def shown(look: Look, *, width: int = 80, hint: str = "") -> list[str]:
    output = StringIO()
    Console(width=width, height=24, file=output).print(screen(look, columns=width, hint=hint))
    return output.getvalue().splitlines()


def test_rates_are_what_came_between_two_looks() -> None:
    """Rates are differences by the server's own clock, in total and for sessions that were there both times."""
    first = compare("tcp://h:1", None, statistics(10, packets=(100,)))
    assert (first.rates, first.sessions, first.grown) == (None, {}, {})
    second = compare("tcp://h:1", first, statistics(12, packets=(300, 50), connections_total=4, unhandled=2))
    assert second.rates is not None
    assert (second.rates.packets_in, second.rates.bytes_out) == (125, 1250)
    assert {number: rate.packets_in for number, rate in second.sessions.items()} == {1: 100}
    assert second.opened == 2
    assert second.grown["unhandled"] == 2
    assert "handler_errors" not in second.grown


def test_a_server_that_began_anew_is_not_compared() -> None:
    """After a restart the counters are small again: there are no rates then, rather than negative ones."""
    first = compare("tcp://h:1", None, statistics(10, packets=(100,)))
    assert compare("tcp://h:1", first, statistics(1, packets=(5,))).rates is None


def test_the_same_answer_again_changes_nothing() -> None:
    """A server that gives the same answer twice within half a second keeps the rates it had."""
    first = compare("tcp://h:1", None, statistics(10, packets=(100,)))
    second = compare("tcp://h:1", first, statistics(11, packets=(200,)))
    assert compare("tcp://h:1", second, statistics(11, packets=(200,))) == second


def test_the_busiest_sessions_come_first() -> None:
    """Sessions are sorted by what they do now, and by what they have done where that is the same."""
    first = compare("tcp://h:1", None, statistics(10, packets=(500, 100, 200)))
    second = compare("tcp://h:1", first, statistics(11, packets=(500, 101, 200)))
    assert [2, 1, 3] == [session.id for session, _ in second.busiest()]


def test_the_screen_fits_a_small_terminal() -> None:
    """Fifty sessions take no more than 24 lines of 80 columns, and with every counter in use no column more."""
    names = [name for name in EndpointStats.__struct_fields__ if name.split("_")[0] not in {"packets", "bytes"}]
    failing = dict.fromkeys([name for name in names if name != "connections_open"], 7)
    look = compare("tcp://h:1", None, statistics(10, packets=tuple(range(50, 0, -1))))
    calm = shown(compare("tcp://h:1", look, statistics(11, packets=tuple(range(950, 900, -1)))), hint="Ctrl-C ends")
    assert max(map(len, calm)) <= 80
    assert len(calm) == 24
    assert calm[-1].strip() == "Ctrl-C ends"
    wild = shown(compare("tcp://h:1", look, statistics(11, packets=tuple(range(950, 900, -1)), **failing)))
    assert max(map(len, wild)) <= 80
    told = " ".join(wild)
    assert all(f"{name.replace('_', ' ')} 7" in told for name in failing if name != "connections_total")


def test_the_screen_fits_a_narrow_terminal() -> None:
    """With few columns totals and queues are left out, and what is shown stays whole."""
    look = compare("tcp://h:1", None, statistics(10, packets=(1, 2)))
    look = compare("tcp://h:1", look, statistics(11, packets=(1_000_001, 100_002)))
    narrow = shown(look, width=50)
    assert max(map(len, narrow)) <= 50
    traffic = narrow[2:4]
    assert [line.split() for line in traffic] == [
        [way, "1,100,000", "packets/s", "11.00", "MB/s"] for way in ("in", "out")
    ]
    assert narrow[5].split() == ["session", "on", "peer", "open", "in/s", "out/s"]
    assert narrow[6].split()[-2:] == ["1,000,000", "1,000,000"]


def test_the_screen_tells_of_trouble() -> None:
    """A look that could not be renewed says why, in place of the listeners."""
    look = compare("tcp://h:1", None, statistics(10))
    assert "listening on tcp://127.0.0.1:8001" in shown(look)[1]
    lost = Look(uri=look.uri, statistics=look.statistics, trouble="no news, trying again: nothing listens there")
    assert shown(lost)[1].strip() == "no news, trying again: nothing listens there"


def test_workers_are_shown() -> None:
    """Each worker has a line, as far as there is room, with its rates, and with what is wrong with it."""

    def at(uptime: float, count: int) -> ServerStatistics:
        workers = [
            WorkerSummary(
                index=index,
                pid=7000 + index,
                ready=index != 1,
                uptime=uptime,
                reported=60.0 if index == 2 else 0.1,
                counters=EndpointStats(connections_open=index, packets_received=packets, packets_sent=2 * packets),
            )
            for index in range(count)
            for packets in [int(uptime) * 10 * (index + 1)]
        ]
        told = msgspec.structs.replace(statistics(uptime), workers=workers, restarts=4, watched=Watched(health=100))
        return msgspec.structs.replace(told, worker=3 if workers else None)

    look = compare("tcp://orders:1", compare("tcp://orders:1", None, at(10, 1)), at(12, 20))
    lines = shown(look)
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == ["worker"] and "up" in line)
    assert "12 more not shown, 4 restarts" in lines[start]
    rows = [line.split() for line in lines[start + 1 : start + 9]]
    assert ["0", "7000", "12", "s", "0", "10", "20"] == rows[0]
    assert ["1", "7001", "starting", "12", "s", "1", "-", "-"] == rows[1]
    assert ["2", "7002", "silent", "for"] == rows[2][:4]
    assert "in 20 workers together" in "\n".join(lines)
    assert "worker 3: health 100, p99 0 us" in [line.strip() for line in lines]
    assert any("peer, worker 3 only" in line for line in lines)
    nameless = msgspec.structs.replace(look.statistics, worker=None)
    assert any("peer, one worker only" in line for line in shown(msgspec.structs.replace(look, statistics=nameless)))
    assert len(lines) <= 24
    assert not any("worker" in line for line in shown(compare("tcp://orders:1", None, at(1, 0))))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds: float, told: str) -> None:
    """Durations are told in the two units that matter."""
    assert told == duration(seconds)


@pytest.mark.parametrize(("size", "told"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (3 * 10**13, "30.0 TB")])
def test_volumes(size: int, told: str) -> None:
    """Volumes are told in the unit that suits."""
    assert told == volume(size)


@pytest.mark.parametrize(("count", "told"), [(0, "0 answers"), (1, "1 answer"), (2000, "2,000 answers")])
def test_plurals(count: int, told: str) -> None:
    """One of a thing is not several."""
    assert told == plural(count, "answer")


# The command


@contextmanager
def serving(*options: str) -> Iterator[str]:
    words = [sys.executable, "-m", "msgtrans", "serve-echo", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[1]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """The URI of a running serve-echo."""
    with serving("--tcp", "127.0.0.1:0") as uri:
        yield uri


def test_once(echo: str) -> None:
    """In a pipe, top prints what one interval shows and ends: its own session at least, with its rate."""
    done = CliRunner().invoke(app, ["top", echo, "--interval", "0.5"])
    assert done.exit_code == 0
    assert "msgtrans serve-echo" in done.stdout
    assert "1 session open" in done.stdout
    assert re.search(r"^ in +\d+ packets/s", done.stdout, re.MULTILINE)


def test_for_machines(echo: str) -> None:
    """With --json top prints one look as one object, rates included."""
    done = CliRunner().invoke(app, ["top", echo, "--interval", "0.5", "--json"])
    look = json.loads(done.stdout)
    assert (look["uri"], look["statistics"]["listeners"]) == (echo, [echo])
    assert look["statistics"]["counters"]["connections_open"] == 1
    assert look["rates"]["packets_in"] > 0


def test_a_server_without_statistics() -> None:
    """A server that gives no statistics is told apart from one that does not run, with what to switch on."""
    with serving("--tcp", "127.0.0.1:0", "--no-statistics") as uri:
        done = CliRunner().invoke(app, ["top", uri, "--once"])
    assert done.exit_code == 1
    assert "server.use(StatisticsMiddleware())" in done.stderr
    assert "tell of itself elsewhere, as a registry node does at its /metrics" in done.stderr
    gone = CliRunner().invoke(app, ["top", uri, "--once"])
    assert gone.exit_code == 1
    assert "nothing listens there" in gone.stderr


class Screen:
    """A process on a terminal of 80 columns and 24 lines, and all that it has drawn so far."""

    def __init__(self, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": "xterm"} | dict.fromkeys(("COLUMNS", "LINES"), "")
        environment.pop("COLUMNS"), environment.pop("LINES")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "msgtrans", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=environment,
        )
        os.close(theirs)
        self.drawn = ""

    def wait_for(self, text: str) -> None:
        """Read until `text` is drawn, and forget what came before."""
        deadline = time.monotonic() + LIMIT
        while text not in self.drawn:
            ready, _, _ = select.select([self._ours], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{text!r} was never drawn: {self.drawn}"
            self.drawn += os.read(self._ours, 65_536).decode()
        self.drawn = self.drawn.partition(text)[2]

    def press(self, key: str) -> None:
        """Type one key."""
        os.write(self._ours, key.encode())

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed, as it did in the beginning."""
        return bool(termios.tcgetattr(self._ours)[3] & termios.ECHO)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self._ours)


@pytest.fixture
def port() -> int:
    """A port that was free just now, for a server that must come back where it was."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_live_across_a_restart(port: int) -> None:
    """On a terminal top draws again and again, says when the server is gone, and goes on when it is back."""
    address = f"127.0.0.1:{port}"
    with serving("--tcp", address) as uri:
        top = Screen("top", uri, "--interval", "0.5")
        top.wait_for(" session open")
        top.wait_for("packets/s")
    top.wait_for("no news, trying again")
    with serving("--tcp", address):
        top.wait_for(f"listening on tcp://{address}")
        top.close()


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, "q"])
def test_live_ends_well(echo: str, way: signal.Signals | str) -> None:
    """q, Ctrl-C and SIGTERM end top with exit code 0, and give the terminal back as it was."""
    top = Screen("top", echo)
    top.wait_for(" session open")
    assert not top.echoes
    if isinstance(way, str):
        top.press(f"x{way}")
    else:
        top.process.send_signal(way)
    top.wait_for("\x1b[?1049l")  # the screen it had before
    assert top.process.wait(LIMIT) == 0
    assert top.echoes
    top.close()


def test_what_is_watched_is_shown() -> None:
    """The trend, health with its alerts, protocols and decisions have a line each, and the screen still fits."""
    watched = Watched(
        health=75,
        p99_latency_us=2500,
        alerts=["p99_latency 2.5 ms, level 1 ms"],
        protocols=[
            ProtocolSummary(name=name, sessions=1, packets_sent=10, packets_received=20, bytes_sent=0, bytes_received=0)
            for name in ("tcp", "ws")
        ],
        decisions=["batch_size 32 -> 100"],
    )
    look = None
    for second, count in enumerate((0, 100, 300, 700)):
        told = statistics(10 + second, packets=(count, *range(49)))
        look = compare("tcp://h:1", look, msgspec.structs.replace(told, watched=watched))
    assert look is not None
    assert (200, 400, 800) == look.trend
    lines = [line.strip() for line in shown(look, hint="q ends")]
    assert len(lines) == 24
    assert "▃▅█ 800 packets/s at most" in lines
    assert "health 75, p99 2,500 us; p99 latency 2.5 ms, level 1 ms" in lines
    assert "tcp 1 session 20 in/s 10 out/s; ws 1 session 20 in/s 10 out/s" in lines
    assert "tuned batch size 32 -> 100" in lines


@pytest.mark.parametrize("peer", ["[fe80::1]:5000", "[/nope]", "[bold]", "127.0.0.1:1"])
def test_what_a_server_says_is_no_markup(peer: str) -> None:
    """Peers and protocols are shown letter by letter, IPv6 addresses too."""
    told = statistics(1, packets=(1,))
    told = msgspec.structs.replace(told, sessions=[msgspec.structs.replace(told.sessions[0], peer=peer)])
    assert any(f" {peer} " in line for line in shown(compare("tcp://h:1", None, told)))


def test_what_a_server_says_does_not_reach_the_terminal() -> None:
    """Control characters of any text, and what is very long, are not printed."""
    told = statistics(1, packets=(1,))
    evil = "\x1b[2J\x07\u202e" + "n" * 10**5
    session = msgspec.structs.replace(told.sessions[0], peer=evil, protocol=evil)
    told = msgspec.structs.replace(told, name=evil, version=evil, listeners=[evil], sessions=[session])
    look = msgspec.structs.replace(compare("tcp://h:1", None, told), trouble=evil)
    text = "".join(shown(look))
    assert not {*"\x1b\x07\u202e"} & {*text}
    assert len(text) < 3000


def test_counters_that_fall_and_strange_times() -> None:
    """A counter that is lower than before has a rate of 0; other buckets than ours are not compared."""
    look = None
    for uptime, packets in ((1.0, 5), (2.0, 10), (3.0, 0), (3.0000000000000004, 2**62)):
        told = statistics(uptime, packets=(packets,))
        watched = msgspec.structs.replace(told.watched, asked=Latencies((packets,) * (packets % 7 + 1)))
        look = compare("tcp://h:1", look, msgspec.structs.replace(told, watched=watched))
        assert all(rate >= 0 for rate in look.trend)
        assert shown(look)
    assert Latencies((0, 1)) == Latencies((1, 2)).since(Latencies((3, 1)))
