"""Worker processes that are killed, stopped or cannot be made, under load: who is served all the same (case 31)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from fault_shim import needs_shim
from fault_table import CALLS
from worker_program import LIMIT, Workers, open_on

from msgtrans import ConnectionPool, ReconnectingClient, RetryConfig, SmartPoolConfig, WorkersConfig
from msgtrans.errors import TransportConnectionError
from msgtrans.workers.actions import Start
from msgtrans.workers.plan import Plan

if TYPE_CHECKING:
    from pathlib import Path

FAST = {"report_interval": 0.1, "restart_delay": 0.01, "max_restart_delay": 0.02, "max_failures": 1000}
QUICK = RetryConfig(max_retries=None, retry_interval=0.001, max_retry_interval=0.05)
KILLS = 6
CANNOT = """
import ctypes, errno, logging, os, sys
from msgtrans import TransportServer, WorkersConfig

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="log %(levelname)s %(message)s")
config = WorkersConfig(count=2, restart_delay=0.01, max_restart_delay=0.02, max_failures=3)
server = TransportServer(tcp="127.0.0.1:0", workers=config)
server.on_request(lambda context: b"%d" % (os.getpid() if context.payload == b"pid" else server.worker.index))

def ready(uris):
    ctypes.CDLL(None).fault_plan({call}, errno.{error}, 0, 0, 0, 8)
    print("listening", *uris, flush=True)

server.run(ready=ready)
"""


@needs_shim
@pytest.mark.parametrize(("call", "error"), [("fork", "EAGAIN"), ("fork", "ENOMEM"), ("socketpair", "EMFILE")])
def test_a_supervisor_that_cannot_make_a_worker_says_so_and_goes_on(shim: Path, call: str, error: str) -> None:
    """However often the system refuses a process or a channel to it: while another worker serves, it is tried again."""
    program = CANNOT.format(call=CALLS.index(call), error=error)
    with Workers("env", f"LD_PRELOAD={shim}", sys.executable, "-c", program) as workers:
        uri = workers.uri()

        async def visit() -> None:
            clients = await open_on(uri, {0, 1})
            os.kill(int((await clients[0].request(b"pid")).payload), signal.SIGKILL)
            await asyncio.to_thread(workers.until, "worker 0 is ready")
            assert b"1" == (await clients[1].request(b"index")).payload
            (back,) = (await open_on(uri, {0})).values()
            for client in (clients[1], back):
                await client.close()

        asyncio.run(visit())
        assert 0 == workers.end()
        assert 8 == len(workers.said("log WARNING worker 0 ended: it could not be started: [Errno "))


def test_workers_that_cannot_be_made_at_all_are_given_up() -> None:
    """While nobody serves, what could not be started counts as what ended, and after some of these that is the end."""
    plan = Plan(WorkersConfig(count=1, max_failures=2), 0.0)
    plan.begin(0.0)
    why = "it could not be started: no room"
    for life in (1, 2):
        (told,) = plan.exited(life, why, float(life), started=False)
        assert f"worker 0 ended: {why}" in told.text
        assert [Start(life + 1, 0)] == plan.tick(float(life) + 0.5)
    *_, end = plan.exited(3, why, 3.0, started=False)
    assert "2 times is the limit" in end.failure


@pytest.mark.parametrize("seed", [1, 2])
def test_workers_killed_at_random_under_load(tmp_path: Path, seed: int) -> None:
    """kill -9 of workers at any moment: idempotent requests are all answered, no other one runs twice or is lost
    without an error, and a pool hands out what works."""
    chance, notes = random.Random(seed), tmp_path / "notes"  # noqa: S311 - no secret
    with Workers(workers={**FAST, "count": 3}) as workers:
        uri = workers.uri()
        killed = asyncio.Event()

        async def ask_again(client: ReconnectingClient) -> int:
            count = 0
            while not killed.is_set():
                count += len((await client.request(b"index", idempotent=True, timeout=LIMIT)).payload)
            return count

        async def ask_once(client: ReconnectingClient, who: int) -> tuple[set[str], int]:
            answered, failed, number = set(), 0, 0
            while not killed.is_set():
                number += 1
                try:
                    await client.request(f"note {notes} {who}-{number}".encode(), timeout=LIMIT)
                except TransportConnectionError:
                    failed += 1  # it may have run, and is not sent again
                else:
                    answered.add(f"{who}-{number}")
            return answered, failed

        async def borrow(pool: ConnectionPool) -> int:
            count = 0
            while not killed.is_set():
                with contextlib.suppress(TransportConnectionError):
                    await pool.request(b"index", timeout=LIMIT)
                    count += 1
            return count

        async def kill() -> None:
            async with ReconnectingClient(uri, retry=QUICK) as client:
                for _ in range(KILLS):
                    for _ in range(chance.randrange(1, 50)):
                        pid = int((await client.request(b"pid", idempotent=True, timeout=LIMIT)).payload)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            killed.set()

        async def visit() -> None:
            size = SmartPoolConfig(initial_size=4, max_size=4, min_connections=1)
            async with contextlib.AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(ReconnectingClient(uri, retry=QUICK)) for _ in range(4)]
                pool = await stack.enter_async_context(ConnectionPool([uri], config=size, retry=QUICK))
                again, borrowed, *once = await asyncio.gather(
                    ask_again(clients[0]),
                    borrow(pool),
                    *(ask_once(client, who) for who, client in enumerate(clients[1:])),
                    kill(),
                )
                assert again > 0
                assert borrowed > 0
                assert b"0" <= (await clients[1].request(b"index", timeout=LIMIT)).payload <= b"2"
            handled = notes.read_text().split()
            answered = set().union(*(found[0] for found in once[:-1]))
            assert len(handled) == len(set(handled))
            assert answered <= set(handled)
            assert len(handled) <= len(answered) + sum(found[1] for found in once[:-1])

        asyncio.run(visit())
        for _ in range(KILLS):  # the end of the last one is noticed a moment later
            workers.until("ended: SIGKILL")
        assert 0 == workers.end()
        assert KILLS == len(workers.said("ended: SIGKILL"))


def test_a_stopped_worker_is_replaced_and_what_it_was_asked_is_answered() -> None:
    """A worker that gets no processor time at all counts as hanging: its requests go to another one."""
    with Workers(workers={**FAST, "hang_timeout": 3.0}) as workers:
        uri = workers.uri()

        async def visit() -> None:
            async with ReconnectingClient(uri, retry=QUICK) as client:
                pid = int((await client.request(b"pid")).payload)
                os.kill(pid, signal.SIGSTOP)
                answer = await client.request(b"pid", idempotent=True, timeout=LIMIT)
                assert pid != int(answer.payload)

        asyncio.run(visit())
        assert 0 == workers.end()
        assert workers.said("has not turned its loop for 3 s and is killed")


def test_a_server_killed_as_a_whole_leaves_its_port_and_is_found_again() -> None:
    """kill -9 of the supervisor ends all workers, and its port is free; clients go on when another one is started."""
    with Workers(workers={"graceful_timeout": 0.1}) as workers:
        uri = workers.uri()
        address = uri.removeprefix("tcp://")

        async def visit() -> None:
            async with ReconnectingClient(uri, retry=QUICK) as client:
                await client.request(b"index")
                workers.process.kill()
                assert -signal.SIGKILL == await asyncio.to_thread(workers.end, None)
                host, _, port = address.rpartition(":")
                with socket.socket() as other:
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    other.bind((host, int(port)))
                    other.listen()  # refused while anybody else does
                waiting = asyncio.ensure_future(client.request(b"index", timeout=LIMIT))
                with Workers(tcp=address) as second:
                    await asyncio.to_thread(second.uri)
                    assert (await waiting).payload in {b"0", b"1"}
                    assert 0 == await asyncio.to_thread(second.end)

        asyncio.run(visit())
