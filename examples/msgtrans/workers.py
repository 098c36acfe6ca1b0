"""A server of two processes: each prepares what it needs of its own, any of them tells about all.

python examples/msgtrans/workers.py serve [HOST:PORT]     (SIGHUP replaces the workers, one by one)
python examples/msgtrans/workers.py ask tcp://HOST:PORT
"""

import asyncio
import os
import sys

from msgtrans import Context, TransportClient, TransportError, TransportServer, Worker
from msgtrans.middleware import StatisticsMiddleware, fetch_statistics

QUESTIONS = 20


def make_server(address: str) -> TransportServer:
    server = TransportServer(tcp=address, workers=2)
    server.use(StatisticsMiddleware())
    prepared: dict[str, bytes] = {}

    @server.on_worker_start
    async def prepare(worker: Worker) -> None:
        # In the process of the worker, before it listens: what must not be shared is opened here.
        prepared["name"] = f"worker {worker.index}, process {os.getpid()}".encode()

    @server.on_request
    def greet(context: Context) -> bytes:
        return b"hello " + context.payload + b", this is " + prepared["name"]

    return server


async def ask(uri: str) -> None:
    # A worker has all requests of a connection, so it takes some connections to meet them all.
    answers = set()
    for _ in range(QUESTIONS):
        async with TransportClient(uri) as client:
            answers.add((await client.request(b"Ada")).payload.decode())
    print(*sorted(answers), sep="\n")
    async with TransportClient(uri) as client:
        statistics = await fetch_statistics(client)
    processes = " and ".join(str(worker.pid) for worker in statistics.workers)
    print(f"{statistics.counters.connections_total} connections so far, to the processes {processes}")


def main() -> None:
    match sys.argv[1:]:
        case ["serve", *address]:
            server = make_server(address[0] if address else "127.0.0.1:8001")
            server.run(ready=lambda uris: print("serving", *uris, flush=True))
        case ["ask", uri]:
            asyncio.run(ask(uri))
        case _:
            sys.exit("say: serve [HOST:PORT], or: ask tcp://HOST:PORT")


if __name__ == "__main__":
    try:
        main()
    except TransportError as error:
        sys.exit(str(error))
