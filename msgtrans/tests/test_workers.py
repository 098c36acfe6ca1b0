"""Servers with several processes: real ones, which crash, hang, are killed and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest
from worker_program import LIMIT, Workers, open_on

from msgtrans import (
    ConfigurationError,
    ReconnectingClient,
    RetryConfig,
    SessionClosedError,
    TcpClientConfig,
    TransportClient,
    TransportServer,
    WorkersConfig,
)
from msgtrans.middleware import fetch_statistics
from msgtrans.workers import run
from msgtrans.workers.sockets import SPREADS

if TYPE_CHECKING:
    from pathlib import Path

FAST = {"report_interval": 0.1, "restart_delay": 0.01, "max_restart_delay": 0.01}


def test_the_levels_of_alerts_hold_in_each_worker() -> None:
    """What a server's performance options say of alerts, the monitor of each worker does."""

    async def levels(uri: str) -> list[bytes]:
        clients = await open_on(uri, {0, 1})
        found = [(await client.request(b"level")).payload for client in clients.values()]
        await asyncio.gather(*(client.close() for client in clients.values()))
        return found

    with Workers(expert={"performance": {"alerts": {"p99_latency": 0.75}}}) as workers:
        assert [b"0.75", b"0.75"] == asyncio.run(levels(workers.uri()))


async def word(uri: str, *words: bytes) -> list[bytes]:
    """What a worker answers to these, over one connection."""
    async with TransportClient(uri) as client:
        return [(await client.request(payload)).payload for payload in words]


@pytest.mark.parametrize("reuse_port", [True, False])
def test_workers_serve_on_one_port_until_told_to_stop(reuse_port: bool) -> None:
    """Port 0 is one port for all, and in use for others; handlers know which worker they are in; SIGTERM ends all with
    exit code 0.
    """
    with Workers(workers={"reuse_port": reuse_port}, ws="127.0.0.1:0") as workers:
        uris = [workers.uri(), workers.uri()]
        assert ["tcp", "ws"] == [uri.partition(":")[0] for uri in uris]

        async def visit() -> None:
            for uri in uris:
                clients = await open_on(uri, {0, 1})
                assert 2 == len({(await client.request(b"pid")).payload for client in clients.values()})
                await asyncio.gather(*(client.close() for client in clients.values()))

        asyncio.run(visit())
        address = uris[0].removeprefix("tcp://")
        with Workers(workers={"reuse_port": reuse_port}, tcp=address) as second:
            assert 1 == second.end(None)
            assert f"cannot listen on {address}: the port is in use" in second.lines[-1]
        assert 0 == workers.end()
        assert ["stops 0", "stops 1"] == sorted(workers.said("stops"))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(uris[0].rpartition(":")[2])), timeout=LIMIT)


def test_a_killed_worker_loses_only_its_own_sessions() -> None:
    """kill -9 of a worker breaks its connections and no others; it is replaced, and its counters are kept."""
    with Workers(workers={**FAST, "graceful_timeout": 0.2}) as workers:
        uri = workers.uri()

        async def visit() -> None:
            clients = await open_on(uri, {0, 1})
            for client in clients.values():
                for _ in range(100):
                    await client.request(b"index")
            before = await fetch_statistics(clients[1])
            assert [0, 1] == [worker.index for worker in before.workers]
            assert before.counters.packets_received == sum(
                worker.counters.packets_received for worker in before.workers
            )
            lost = asyncio.ensure_future(clients[0].request(b"wait"))
            kept = asyncio.ensure_future(clients[1].request(b"wait", timeout=LIMIT))
            os.kill(before.workers[0].pid, signal.SIGKILL)
            with pytest.raises(SessionClosedError):
                await lost
            workers.until("worker 0 is ready")
            assert b"1" == (await clients[1].request(b"index")).payload
            assert not kept.done()
            kept.cancel()
            replaced = await open_on(uri, {0})
            after = await fetch_statistics(replaced[0])
            assert (1, 2) == (after.restarts, len(after.workers))
            assert before.workers[0].pid not in {worker.pid for worker in after.workers}
            assert after.counters.packets_received >= before.counters.packets_received
            assert after.counters.connections_total > before.counters.connections_total
            assert after.counters.connections_open == 2
            for client in (clients[1], replaced[0]):
                await client.close(graceful=False)  # a handler waits still

        asyncio.run(visit())
        assert workers.said("log WARNING worker 0 ended: SIGKILL")
        assert 0 == workers.end()


def test_a_rolling_reload_refuses_nobody_and_repeats_nothing(tmp_path: Path) -> None:
    """While all workers are replaced, each connect succeeds, and no request that is not idempotent runs twice."""
    notes = tmp_path / "notes"
    with Workers(workers={"graceful_timeout": 5}) as workers:
        uri = workers.uri()
        done = asyncio.Event()

        async def connect() -> int:
            count = 0
            config = TcpClientConfig(target_address=uri, retry_config=RetryConfig(max_retries=0))
            while not done.is_set():
                async with TransportClient(config):
                    count += 1
            return count

        async def ask(client: ReconnectingClient, who: int) -> tuple[list[str], int]:
            answered, failed, number = [], 0, 0
            while not done.is_set():
                number += 1
                try:
                    await client.request(f"note {notes} {who}-{number}".encode())
                except SessionClosedError:
                    failed += 1  # it may have run, and is not sent again
                else:
                    answered.append(f"{who}-{number}")
            return answered, failed

        async def visit() -> None:
            clients = [ReconnectingClient(uri) for _ in range(4)]
            for client in clients:
                await client.connect()
            asking = [asyncio.ensure_future(ask(client, who)) for who, client in enumerate(clients)]
            connecting = asyncio.ensure_future(connect())
            workers.send(signal.SIGHUP)
            await asyncio.to_thread(workers.until, "the rolling reload is done")
            done.set()
            found = await asyncio.gather(*asking)
            assert await connecting > 0
            handled = notes.read_text().split()
            assert len(handled) == len(set(handled))
            answered = {number for numbers, _ in found for number in numbers}
            assert answered <= set(handled)
            assert len(handled) <= len(answered) + sum(failed for _, failed in found)
            for client in clients:
                await client.close()

        asyncio.run(visit())
        assert 0 == workers.end()
        assert 4 == len(workers.said("begins "))


FACTORY = """
from msgtrans import TransportServer

def make():
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda context: b"{answer}")
    return {result}
"""


def test_a_factory_brings_new_code_and_bad_code_changes_nothing(tmp_path: Path) -> None:
    """Workers of a factory import it again at a reload; if the new ones cannot start, those of before stay.

    They find modules where their parent does: not in the directory that it happens to be in.
    """
    module, elsewhere = tmp_path / "shop.py", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "socket.py").write_text("raise ImportError('not this one')")
    module.write_text(FACTORY.format(answer="old", result="server"))
    with Workers(factory="shop:make", folder=str(tmp_path), cwd=elsewhere, workers={"count": 1}) as workers:
        uri = workers.uri()
        assert [b"old"] == asyncio.run(word(uri, b""))
        module.write_text(FACTORY.format(answer="newer", result="server"))
        workers.send(signal.SIGHUP)
        workers.until("the rolling reload is done")
        assert [b"newer"] == asyncio.run(word(uri, b""))
        module.write_text(FACTORY.format(answer="worst of all", result="None"))
        workers.send(signal.SIGHUP)
        assert "give a TransportServer" in workers.until("the reload is given up")
        assert [b"newer"] == asyncio.run(word(uri, b""))
        assert 0 == workers.end(signal.SIGINT)


def test_stopping_is_bounded() -> None:
    """Handlers that would go on for minutes, and even a loop that hangs, do not hold up SIGTERM."""
    with Workers(workers={"graceful_timeout": 0.2}, late=0.5) as workers:
        uri = workers.uri()

        async def visit() -> None:
            clients = await open_on(uri, {0, 1})
            waiting = [asyncio.ensure_future(clients[0].request(b"wait")) for _ in range(3)]
            waiting.append(asyncio.ensure_future(clients[1].request(b"hang")))
            await clients[0].request(b"index")
            workers.send(signal.SIGTERM)
            assert all(isinstance(end, Exception) for end in await asyncio.gather(*waiting, return_exceptions=True))

        asyncio.run(visit())
        assert 0 == workers.end(None)
        assert workers.said("worker 1 does not end and is killed")
        assert ["stops 0"] == workers.said("stops")


def test_workers_that_still_start_end_at_once() -> None:
    """What a worker does before it serves is cancelled when it is told to end, and nothing is killed."""
    with Workers(waits=True) as workers:
        for _ in range(2):
            workers.until("begins")
        assert 0 == workers.end()
        assert not workers.said("killed")


def test_workers_end_with_their_supervisor() -> None:
    """kill -9 of the supervisor ends all workers, one that hangs, too."""
    with Workers(workers={"graceful_timeout": 0.1}, late=0.5) as workers:
        uri = workers.uri()

        async def visit() -> None:
            clients = await open_on(uri, {0, 1})
            hanging = asyncio.ensure_future(clients[0].request(b"hang"))
            await clients[1].request(b"index")
            workers.process.kill()
            with pytest.raises(SessionClosedError):
                await hanging
            await clients[1].close()

        asyncio.run(visit())
        assert -signal.SIGKILL == workers.end(None)  # and nobody has its output open
        assert workers.said("its supervisor is gone")


def test_a_crash_loop_is_given_up() -> None:
    """Workers that end again and again are given up, with a sentence that says why, and an exit code."""
    with Workers(workers={**FAST, "max_failures": 3}, crashes=True) as workers:
        assert 1 == workers.end(None)
        why = workers.lines[-1]
        assert why.startswith("msgtrans.errors.WorkerError: worker ")
        assert "ended: exit code 7; workers ended 4 times within 60 s, and 3 times is the limit" in why


def test_an_exit_is_told_as_it_was_asked_for() -> None:
    """`sys.exit` in a forked worker gives its exit code, as in any program."""
    with Workers(workers={**FAST, "max_failures": 0}, exits=4) as workers:
        assert 1 == workers.end(None)
        assert "ended: exit code 4; workers ended 1 times" in workers.lines[-1]


def test_workers_that_cannot_start_are_not_tried_again() -> None:
    """What fails before any worker has served fails at once, with the reason of the worker."""
    with Workers(fails=True) as workers:
        assert 1 == workers.end(None)
        assert "msgtrans.errors.WorkerError: a worker raised RuntimeError: no database" == workers.lines[-1]


def test_a_worker_that_hangs_is_replaced() -> None:
    """A loop that does not turn is noticed; the worker says where it hangs, and another one takes its place."""
    with Workers(workers={**FAST, "hang_timeout": 1.5}) as workers:
        uri = workers.uri()

        async def visit() -> None:
            clients = await open_on(uri, {1})
            with pytest.raises(SessionClosedError):
                await clients[1].request(b"hang", timeout=LIMIT)
            await clients[1].close()
            (client,) = (await open_on(uri, {1})).values()
            await client.close()

        asyncio.run(visit())
        assert 0 == workers.end()
        assert workers.said("worker 1 has not turned its loop for 1.5 s and is killed")
        assert workers.said("in answer")  # of the stack


def test_a_worker_that_talks_nonsense_is_replaced() -> None:
    """What is no message ends the worker that said it, not the supervisor."""
    with Workers(workers=FAST) as workers:
        uri = workers.uri()
        for nonsense in ("00000001ff", "ffffffff"):
            with contextlib.suppress(SessionClosedError):  # it may have answered before
                asyncio.run(word(uri, f"garble {nonsense}".encode()))
            workers.until("says what no worker says, and is killed")
            workers.until("is ready")
        assert 0 == workers.end()


def test_more_and_fewer_workers() -> None:
    """SIGTTIN adds a worker, SIGTTOU takes the last one away; the counters of that stay."""
    with Workers(workers={"count": 1}) as workers:
        uri = workers.uri()
        workers.send(signal.SIGTTIN)
        workers.until("worker 1 is ready")

        async def visit() -> None:
            clients = await open_on(uri, {0, 1})
            before = await fetch_statistics(clients[0])
            workers.send(signal.SIGTTOU)
            await asyncio.to_thread(workers.until, "stops 1")
            with pytest.raises(SessionClosedError):
                await clients[1].request(b"index")
            assert {b"0"} == {index for _ in range(8) for index in await word(uri, b"index")}
            async with asyncio.timeout(LIMIT):
                while len((after := await fetch_statistics(clients[0])).workers) > 1:
                    pass
            assert after.counters.connections_total >= before.counters.connections_total
            assert (0, [0]) == (after.restarts, [worker.index for worker in after.workers])
            await clients[0].close()

        asyncio.run(visit())
        assert 0 == workers.end(signal.SIGQUIT)
        assert ["stops 1"] == workers.said("stops")  # the other one was killed


def test_one_process_needs_no_supervisor() -> None:
    """`run` with one worker serves in the process itself, with the same handlers, until SIGTERM."""
    program = (
        "from msgtrans import TransportServer\n"
        "server = TransportServer(tcp='127.0.0.1:0')\n"
        "server.on_request(lambda context: b'%d' % server.worker.index)\n"
        "server.on_worker_start(lambda worker: print(worker, flush=True))\n"
        "server.on_worker_stop(lambda worker: print('stops', flush=True))\n"
        "server.run(ready=lambda uris: print('listening', *uris, flush=True))\n"
    )
    with Workers(sys.executable, "-c", program) as workers:
        assert [b"0"] == asyncio.run(word(workers.uri(), b""))
        assert 0 == workers.end()
        assert ["Worker(index=0, count=1, life=1)", "stops"] == [workers.lines[0], workers.lines[-1]]


async def test_workers_are_not_started_inside_of_a_loop() -> None:
    """`async with` and `run` inside of a loop are refused, and say what to call instead."""
    server = TransportServer(tcp="127.0.0.1:0", workers=2)
    with pytest.raises(ConfigurationError, match=r"call server\.run\(\) outside of any event loop"):
        await server.start()
    with pytest.raises(ConfigurationError, match=r"call run\(\) outside of it"):
        server.run()


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "4", 513])
def test_wrong_numbers_of_workers(workers: int) -> None:
    """A number of workers that cannot be is refused when it is given, by the name of the option."""
    with pytest.raises(ConfigurationError, match=r"^(workers: is|count: is 513)"):
        TransportServer(workers=workers)


@pytest.mark.parametrize("target", ["shop", ":make", "shop:"])
def test_wrong_targets(target: str) -> None:
    """A factory is named by module and name."""
    with pytest.raises(ConfigurationError, match=r"write package\.module:name"):
        run(target, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"count": 0},
        {"count": 1, "hang_timeout": 2.9},
        {"count": 1, "max_restart_delay": 0.05},
        {"count": 1, "graceful_timeout": 0},
        {"count": 1, "max_failures": -1},
    ],
)
def test_wrong_options(options: dict[str, float]) -> None:
    """Options of workers that cannot work are refused."""
    with pytest.raises(ConfigurationError):
        WorkersConfig(**options)


@pytest.mark.skipif(not SPREADS, reason="only Linux spreads connections")
def test_nobody_waits_at_an_empty_place() -> None:
    """While a worker is about to be restarted, new connections go to the others."""
    options = {**FAST, "restart_delay": 60, "max_restart_delay": 60}
    with Workers(workers=options) as workers:
        uri = workers.uri()

        async def visit() -> None:
            (client,) = (await open_on(uri, {0})).values()
            with pytest.raises(SessionClosedError):
                await client.request(b"exit 3")
            await client.close()

        asyncio.run(visit())
        workers.until("worker 0 ended: exit code 3; the next one starts in 60 s")
        assert {b"1"} == {index for _ in range(20) for index in asyncio.run(word(uri, b"index"))}
        assert 0 == workers.end()


def test_closing_the_terminal_ends_workers() -> None:
    """SIGHUP of a terminal that is closed ends the workers gracefully; any other one is a reload."""
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with Workers(preexec_fn=take_terminal) as workers:
        os.close(theirs)
        workers.uri()
        workers.send(signal.SIGHUP)
        workers.until("the rolling reload is done")
        os.close(ours)
        assert 0 == workers.end(None)
        assert 4 == len(workers.said("stops "))


PLAIN = """
import asyncio
from msgtrans import WorkersConfig
from msgtrans.workers import Entry, Supervisor

asked = 0

async def serve(link, greeting):
    async def answer(reader, writer):
        global asked
        asked += 1
        group = await link.group()
        writer.write(f"{greeting} {group.total['asked']} {len(group.workers)}\\n".encode())
        writer.close()

    link.counters = lambda: {"asked": asked}
    link.attach()
    sockets = await link.listen(["127.0.0.1"], 0)
    server = await asyncio.start_server(answer, sock=sockets[0])
    link.ready(["%s:%d" % sockets[0].getsockname()])
    await link.stopping.wait()
    server.close()
    link.detach()

def work(link, greeting="forked"):
    asyncio.run(serve(link, greeting))

if __name__ == "__main__":
    import sys
    what = Entry(call="plain:work", arguments=("imported",)) if sys.argv[1:] else work
    Supervisor(what, WorkersConfig(count=2), ready=lambda uris: print("listening", *uris, flush=True)).run()
"""


@pytest.mark.parametrize("words", [[], ["imported"]])
def test_anything_can_be_supervised(tmp_path: Path, words: list[str]) -> None:
    """A supervisor keeps workers that are no TransportServer, forked or imported, with sockets and counters."""
    program = tmp_path / "plain.py"
    program.write_text(PLAIN)
    with Workers(sys.executable, str(program), *words) as workers:
        host, _, port = workers.uri().rpartition(":")

        def ask() -> str:
            with socket.create_connection((host, int(port)), timeout=LIMIT) as peer:
                return peer.makefile().readline().strip()

        kind = "imported" if words else "forked"
        assert [f"{kind} {number} 2" for number in range(1, 6)] == [ask() for _ in range(5)]
        assert 0 == workers.end()


ENOUGH = """
import asyncio
import os
import sys
from msgtrans import WorkerError, WorkersConfig
from msgtrans.workers import Supervisor

async def serve(link, together, failure):
    link.attach()
    link.ready([])
    if together or link.worker.index == 1:
        link.end_all("enough", failure=failure, together=together)
    await link.stopping.wait()
    os.write(1, f"worker {link.worker.index} was told: {link.word}\\n".encode())  # print writes several times
    link.detach()

def work(link):
    asyncio.run(serve(link, "together" in sys.argv, "had to" if "failing" in sys.argv else ""))

if __name__ == "__main__":
    try:
        Supervisor(work, WorkersConfig(count=2)).run()
    except WorkerError as error:
        sys.exit(f"ended: {error}")
"""


@pytest.mark.parametrize(
    ("words", "code", "said"), [([], 0, ""), (["together"], 0, ""), (["failing"], 1, "ended: worker 1 had to")]
)
def test_a_worker_can_have_all_of_them_end(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    """They are told why, and so is whoever runs the supervisor where it is a failure."""
    program = tmp_path / "enough.py"
    program.write_text(ENOUGH)
    ended = subprocess.run(
        [sys.executable, str(program), *words], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    told = {line for line in ended.stdout.splitlines() if "was told: enough" in line}
    assert (2, code) == (len(told), ended.returncode), ended.stderr
    assert said in ended.stderr


def test_serve_echo_with_workers() -> None:
    """`msgtrans serve-echo --workers` says where it listens, and any of its workers tells of all."""
    with Workers(sys.executable, "-m", "msgtrans", "serve-echo", "--tcp", "127.0.0.1:0", "--workers", "2") as workers:
        uri = workers.uri()

        async def visit() -> list[int]:
            async with TransportClient(uri) as client:
                assert b"hello" == (await client.request(b"hello")).payload
                return [worker.index for worker in (await fetch_statistics(client)).workers]

        assert [0, 1] == asyncio.run(visit())
        command = [
            sys.executable,
            "-m",
            "msgtrans",
            "serve-echo",
            "--tcp",
            uri.removeprefix("tcp://"),
            "--workers",
            "2",
        ]
        with Workers(*command) as second:
            assert 1 == second.end(None)
            assert "the port is in use" in second.lines[-1]
            assert not second.said("Traceback")
        assert 0 == workers.end()
