"""One-way messages per second over TCP, client and server in a process each, through the public API.

The client sends as fast as `await send()` lets it; the clock stops when a request behind the last message is answered,
so every counted message has reached the handler of the server, which counts them too.

    python benchmarks/msgtrans_oneway.py [--rounds 5] [--seconds 2] [--size 32] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import uvloop

from msgtrans import Context, TransportClient, TransportServer

BATCH = range(100)


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


async def measure(port: int, rounds: int, seconds: float, size: int) -> list[float]:
    """Messages per second of each round."""
    payload, rates, total = b"x" * size, [], 0
    async with TransportClient(f"tcp://127.0.0.1:{port}") as client:
        for _ in range(rounds):
            sent, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                for _ in BATCH:
                    await client.send(payload)
                sent += len(BATCH)
            total += sent
            assert int((await client.request(b"", timeout=60)).payload) == total
            rates.append(sent / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--size", type=int, default=32, help="bytes of payload")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve())
        return
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            rates = uvloop.run(measure(port, arguments.rounds, arguments.seconds, arguments.size))
        finally:
            server.kill()
    if arguments.json:
        print(json.dumps({"size": arguments.size, "per_second": median(rates), "rounds": rates}))
        return
    print(f"one-way messages of {arguments.size} bytes, uvloop, {arguments.rounds} rounds")
    print(f"{median(rates):12,.0f} per second (median)")
    print(f"{min(rates):12,.0f} slowest round")
    print(f"{max(rates):12,.0f} fastest round")


if __name__ == "__main__":
    main()
