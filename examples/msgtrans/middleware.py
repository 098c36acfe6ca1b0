"""What stands between the wire and the handlers: log lines, tokens, a stopwatch, and a guard for known operations.

python examples/msgtrans/middleware.py      (server and clients in one process)
"""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable
from inspect import isawaitable

from msgtrans import Context, Session, TransportClient, TransportError, TransportServer
from msgtrans.handlers import Answer, RequestHandler
from msgtrans.middleware import (
    AuthenticationMiddleware,
    LoggingMiddleware,
    Middleware,
    StatisticsMiddleware,
    TokenMiddleware,
    fetch_statistics,
    fixed_tokens,
)

TOKENS = {"correct-horse-battery-staple": "Ada"}  # whom each belongs to; a real server reads them from somewhere safe


class Stopwatch(Middleware):
    """Tells how long each request took, whatever is inside."""

    def connected(self, session: Session) -> None:
        print(f"session {session.id} came over {session.protocol}")

    async def request(self, context: Context, call: RequestHandler) -> Answer:
        start = time.perf_counter()
        try:
            answer = call(context)
            return await answer if isawaitable(answer) else answer
        finally:
            print(f"operation {context.biz_type} took {(time.perf_counter() - start) * 1e3:.1f} ms")


class KnownOperations(Middleware):
    """Refuses what nobody here knows, before it costs anything."""

    def __init__(self, *known: int) -> None:
        self._known = known

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        if context.biz_type not in self._known:
            raise TransportError(f"operation {context.biz_type} does not exist; there are {self._known}")
        return call(context)


async def main() -> None:
    # The first is the outermost: it sees requests first and answers last. Past the second, we know who asks.
    server = TransportServer(
        tcp="127.0.0.1:0",
        middleware=[
            LoggingMiddleware(),
            AuthenticationMiddleware(fixed_tokens(TOKENS)),
            StatisticsMiddleware(),
            Stopwatch(),
            KnownOperations(1, 2),
        ],
    )

    @server.on_request
    async def work(context: Context) -> bytes:
        await asyncio.sleep(0.01 * context.biz_type)
        return f"done, {context.session.identity}".encode()

    @server.on_error
    def explain(_: Context, error: Exception) -> bytes:
        return str(error).encode()  # for refusals and failures alike; without it the requester waits in vain

    async with server:
        (token,) = TOKENS
        async with TransportClient(server.uris[0], middleware=[TokenMiddleware(token)]) as client:
            for operation in (1, 2, 3):
                answer = await client.request(b"please", biz_type=operation)
                print(f"operation {operation}: {answer.payload.decode()}")
            statistics = await fetch_statistics(client)  # what `msgtrans top` shows
            counters = statistics.counters
            print(f"{counters.packets_received} packets came, {counters.refused} was refused")

        async with TransportClient(server.uris[0], middleware=[TokenMiddleware("guessed")]) as stranger:
            try:
                told = (await stranger.request(b"please", biz_type=1)).payload.decode()  # from on_error
            except TransportError as error:  # or the connection was closed before it asked
                told = str(error)
            print(f"a stranger is told: {told}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="log: %(message)s")
    asyncio.run(main())
