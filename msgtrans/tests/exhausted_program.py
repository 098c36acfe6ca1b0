"""Processes that run out of descriptors, for the tests of that: python exhausted_program.py ROLE LOOP [URI | FILE].

server: says "listening URI", lowers its limit to `SPARE` more descriptors than it has, and answers how many sessions it
has and how much processor time it took. clients: has no descriptor to spare when it connects, and then again has; says
what came of it. certificates: the same for certificates that change, FILE.
Not here: what should have come of it (`test_exhausted`).
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from typing import TYPE_CHECKING

from msgtrans import (
    ConnectionPool,
    Context,
    ReconnectingClient,
    RetryConfig,
    SmartPoolConfig,
    TransportClient,
    TransportServer,
)
from msgtrans.config import NO_RETRY, TcpClientConfig, TlsClientConfig, TlsServerConfig
from msgtrans.tls import ServerTls, client_context

if TYPE_CHECKING:
    from collections.abc import Awaitable

SPARE = 32  # descriptors
QUICK = RetryConfig(max_retries=None, retry_interval=0.001, max_retry_interval=0.05)


def leave_to_spare(descriptors: int) -> None:
    """Let this process open so many descriptors more."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    limit = highest + 1 + descriptors
    while highest > 0:  # fill the gaps below
        lowest = os.dup(0)
        if lowest > highest:
            os.close(lowest)
            break
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def say(line: str) -> None:
    """Tell whoever started this process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve() -> None:
    """The server."""
    server = TransportServer(tcp="127.0.0.1:0")

    @server.on_request
    def answer(context: Context) -> bytes:
        if context.payload == b"sessions":
            return b"%d" % len(server.sessions)
        if context.payload == b"processor time":
            return b"%f" % time.process_time()
        return context.payload

    async with server:
        leave_to_spare(SPARE)
        say(f"listening {server.uris[0]}")
        await asyncio.to_thread(sys.stdin.read)


async def told(work: Awaitable[object]) -> str:
    """What a call came to."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - to be told, whatever it is
        return f"{type(error).__name__}: {error}"
    return "done"


async def connect(uri: str) -> None:
    """The clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    leave_to_spare(0)
    client = TransportClient(TcpClientConfig(target_address=uri, retry_config=NO_RETRY))
    say(await told(client.connect()))
    pool = ConnectionPool([uri], config=SmartPoolConfig(initial_size=2, max_size=2, min_connections=1), retry=QUICK)
    say(await told(pool.start()))
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        coming_back = ReconnectingClient([uri], retry=QUICK)
        connecting = group.create_task(coming_back.connect())
        await asyncio.sleep(0)  # it has begun
        async for change in coming_back.states():
            if change.error is not None:
                say(f"{type(change.error).__name__}: {change.error}")
                break
        assert not connecting.done()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await connecting
        say(await told(coming_back.request(b"hello")))
        await coming_back.close()
    say(await told(client.connect()))
    await client.close()
    async with pool:
        say(await told(pool.request(b"hello")))


async def reload(file: str) -> None:
    """The certificates."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ServerTls(TlsServerConfig(certificate_file=file, reload_interval=0.01)) as tls:
        leave_to_spare(0)
        os.utime(file)
        while not tls.counters.certificate_failures:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        say(await told(read_authority(file)))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        while not tls.counters.certificate_reloads:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        say(await told(read_authority(file)))


async def read_authority(file: str) -> None:
    """What a client does before it connects."""
    client_context(TlsClientConfig(ca_file=file))


def main() -> None:
    """What the command line says."""
    role, loop, *words = sys.argv[1:]
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        match role:
            case "server":
                runner.run(serve())
            case "clients":
                runner.run(connect(*words))
            case _:
                runner.run(reload(*words))


if __name__ == "__main__":
    main()
