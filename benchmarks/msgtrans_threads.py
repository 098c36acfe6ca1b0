"""Messages that other threads send on a session: through `ThreadSender`, and with a wake-up of the loop for each.

The receiving server has a process of its own. Threads send as fast as they can; the clock stops when a request behind
the last message is answered, so every message has arrived. Processor time is that of the sending process. The kinds
alternate; figures are medians.

    python benchmarks/msgtrans_threads.py [--rounds 5] [--messages 40000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import time
from statistics import median
from typing import TYPE_CHECKING

import uvloop

from msgtrans import BackpressureError, Context, ThreadSender, TransportClient, TransportServer

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = (1, 2, 8)
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
KINDS = ("each wakes the loop", "ThreadSender")
PAYLOAD = bytes(32)


async def serve() -> None:
    """Count messages, and answer requests with the count, until killed."""
    server = TransportServer(tcp="127.0.0.1:0")
    seen = 0

    @server.on_message
    def count(context: Context) -> None:  # noqa: ARG001 - messages carry nothing to look at
        nonlocal seen
        seen += 1

    @server.on_request
    def answer(context: Context) -> bytes:  # noqa: ARG001 - as above
        return b"%d" % seen

    await server.start()
    print(server.tcp_address.port, flush=True)
    await server.serve_forever()


def patiently(sender: ThreadSender) -> Callable[[], None]:
    """Send one message, waiting where there is no room."""

    def send() -> None:
        while True:
            try:
                sender.send(PAYLOAD)
            except BackpressureError:
                time.sleep(0.001)
            else:
                return

    return send


async def measure(port: int, kind: str, threads: int, messages: int) -> tuple[float, float, float]:
    """Messages per second, microseconds of the processor for each, wake-ups of the loop for each."""
    loop = asyncio.get_running_loop()
    async with TransportClient(f"tcp://127.0.0.1:{port}") as client:
        session, sender = client.session, ThreadSender(client.session)
        send = patiently(sender)
        if kind != "ThreadSender":

            def send() -> None:
                loop.call_soon_threadsafe(session.send_nowait, PAYLOAD)

        def work() -> None:
            for _ in range(messages // threads):
                send()

        before = int((await client.request(b"?")).payload)
        start, used = time.perf_counter(), time.process_time()
        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            await loop.run_in_executor(None, thread.join)
        await sender.close()
        arrived = int((await client.request(b"?", timeout=60)).payload) - before
        took, used = time.perf_counter() - start, time.process_time() - used
    assert arrived == messages // threads * threads
    wakeups = sender.stats().wakeups if kind == "ThreadSender" else arrived
    return arrived / took, used / arrived * 1e6, wakeups / arrived


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=40_000, help="of each measurement")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve())
        return
    cells = [(loop, threads, kind) for loop in LOOPS for threads in THREADS for kind in KINDS]
    seen: dict[tuple[str, int, str], list[tuple[float, float, float]]] = {cell: [] for cell in cells}
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            for _ in range(arguments.rounds):
                for cell in cells:
                    loop, threads, kind = cell
                    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                        seen[cell].append(runner.run(measure(port, kind, threads, arguments.messages)))
        finally:
            server.kill()
    rows = [(*cell, *(median(column) for column in zip(*seen[cell], strict=True))) for cell in cells]
    if arguments.json:
        columns = ("loop", "threads", "kind", "per_second", "cpu_us", "wakeups_each")
        print(json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
        return
    print(f"{'loop':8} {'threads':>7}  {'':20} {'per second':>10} {'CPU us':>7} {'wake-ups each':>13}")
    for loop, threads, kind, rate, cpu, wakeups in rows:
        print(f"{loop:8} {threads:7}  {kind:20} {rate:10,.0f} {cpu:7.2f} {wakeups:13.4f}")


if __name__ == "__main__":
    main()
