"""100 000 instances on one node: memory above an empty node, and the longest stall of its loop while they heartbeat.

The node runs in a process of its own on one core, the clients on the other: 500 MsgTrans sessions of 200 instances each
heartbeat every five seconds, spread evenly; lookups and a list of everything run beside them; at the end a tenth of the
instances falls silent and expires. A sampler in the node's loop wakes every millisecond and notes how late it was.

    python benchmarks/registry_scale.py [--instances 100000] [--seconds 15] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
import urllib.request

import structlog
import uvloop
from load import pin_self, resident, server

PER_SESSION, INTERVAL, TTL = 200, 5.0, 12.0


def instance(number: int) -> dict[str, object]:
    """An instance of about 330 bytes of JSON."""
    ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return {
        "groupId": None,
        "healthCheckUrl": f"http://{ip}:8080/health",
        "instanceId": ip,
        "ip": ip,
        "machineName": f"host-{number}",
        "metadata": {"version": "1.4.2"},
        "port": 8080,
        "protocol": "http",
        "regionId": "r1",
        "serviceId": f"demo.service{number % 2000}",
        "status": "up",
        "url": f"http://{ip}:8080/",
        "zoneId": "z1",
    }


async def serve() -> None:
    """The node's process: serve, sample the loop, report at SIGTERM; SIGUSR1 starts the sampling anew."""
    from artemis.server.app import NodeServer
    from artemis.server.collector import Collector, settle
    from artemis.server.config import ServeConfig

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    late: list[float] = []
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, late.clear)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    node = NodeServer(
        ServeConfig(port=0, region="r1", zone="z1", lease_ttl=TTL, heartbeat_interval=INTERVAL), structlog.get_logger()
    )
    settle()
    await node.start()
    collector = Collector(loop, lambda: len(node.node.registry))
    print("listening", node.url, flush=True)
    due = loop.time() + 0.001

    def sample() -> None:
        nonlocal due
        now = loop.time()
        late.append(now - due)
        due = now + 0.001
        loop.call_at(due, sample)

    loop.call_at(due, sample)
    await stop.wait()
    collector.stop()
    late.sort()
    print(
        json.dumps({"longest": late[-1] * 1000, "p99.9": late[int(len(late) * 0.999)] * 1000, "samples": len(late)}),
        flush=True,
    )
    await node.stop()


async def heartbeats(address: tuple[str, int], count: int, seconds: float) -> dict[str, float]:
    """Register and heartbeat all instances, look things up beside, let a tenth expire."""
    from msgtrans import TransportClient

    bodies = [
        json.dumps(
            {"instances": [instance(n) for n in range(at, min(at + PER_SESSION, count))]}, separators=(",", ":")
        ).encode()
        for at in range(0, count, PER_SESSION)
    ]
    clients = [TransportClient(f"tcp://{address[0]}:{address[1]}") for _ in bodies]
    for client in clients:
        await client.connect()
    spent: list[float] = []

    async def session(number: int, rounds: int) -> None:
        await asyncio.sleep(INTERVAL * number / len(bodies))
        for _ in range(rounds):
            start = time.perf_counter()
            answer = await clients[number].request(bodies[number], biz_type=2, timeout=30)
            spent.append(time.perf_counter() - start)
            if b'"success"' not in answer.payload[-70:]:
                raise SystemExit(answer.payload[:300])
            await asyncio.sleep(INTERVAL)

    for number, client in enumerate(clients):
        await client.request(bodies[number], biz_type=1, timeout=30)
    rounds = max(1, round(seconds / INTERVAL))
    running = asyncio.gather(*(session(number, rounds) for number in range(len(bodies))))
    base = f"http://{address[0]}:{address[1]}/api/discovery/"
    for n in range(rounds):
        await asyncio.to_thread(lambda: urllib.request.urlopen(base + "services.json", timeout=60).read())
        for k in range(200):
            target = f"service.json?serviceId=demo.service{n * 200 + k}&regionId=r1"
            await asyncio.to_thread(lambda t=target: urllib.request.urlopen(base + t, timeout=60).read())
    await running
    rounds = round((TTL + 4) / INTERVAL) + 1
    await asyncio.gather(*(session(number, rounds) for number in range(len(bodies) // 10, len(bodies))))
    for client in clients:
        await client.close()
    spent.sort()
    return {"heartbeat of 200 p50 ms": spent[len(spent) // 2] * 1000, "p99 ms": spent[int(len(spent) * 0.99)] * 1000}


def gauge(address: tuple[str, int], name: str) -> int:
    """One number of /metrics."""
    text = urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=10).read().decode()
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " "))))


def main() -> None:
    """Run both processes and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve())
        return
    pin_self(1)
    with server(__file__, "--serve", core=0) as (process, address):
        gauge(address, "artemis_instances")
        empty = resident(process)
        latencies = uvloop.run(heartbeats(address, options.instances, options.seconds))
        full = resident(process)
        expired = gauge(address, 'artemis_registry_events_total{event="expired"}')
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        stall = json.loads(process.stdout.readline())
    figures = {
        "instances": options.instances,
        "MiB above an empty node": round((full - empty) / 2**20, 1),
        "longest stall ms": round(stall["longest"], 1),
        "stall p99.9 ms": round(stall["p99.9"], 1),
        "expired": expired,
        **{name: round(value, 2) for name, value in latencies.items()},
    }
    if options.json:
        json.dump(figures, sys.stdout, indent=2)
        return
    for name, value in figures.items():
        print(f"{name:28}{value:>12,}")


if __name__ == "__main__":
    main()
