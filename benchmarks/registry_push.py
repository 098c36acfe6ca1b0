"""What telling of changes costs: fan-out to WebSocket sessions and long polls, idle sessions, and the worst moments.

The node runs in a process of its own on one core, all clients in this one on the other. Fan-out is the time from
sending a registration that changes a service to the bytes that tell of it, of all waiters of many rounds; a client that
takes 1 000 messages is itself busy for some of it. The worst moments are those in which much happens at once: all
sessions are cut, and all instances expire while thousands of sessions watch. A sampler in the node's loop wakes
every millisecond; a stall is how late it was, `of it CPU` what the node computed between two of its wakings: the
difference is other processes on that core.

    python benchmarks/registry_push.py [--watchers 1000] [--instances 100000] [--rounds 30] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request

import structlog
import uvloop
from load import pin_self, resident, server
from registry_scale import instance
from watchers import Address, Watcher, open_all, open_polls, text

from msgtrans import TransportClient

REGISTER, HEARTBEAT, PER_SESSION = 1, 2, 150
SHARED = "demo.shared"
NATIVE, JAVA, ALL_JAVA = "/ws", "/ws/discovery/instance-change", "/ws/discovery/all-instance-change"
TTL = 12.0
SERVICES = 2000


# -- the node


async def serve(ttl: float, port: int = 0) -> None:
    """Serve, sample the loop; SIGUSR1 prints what was sampled and begins anew."""
    from artemis.server.app import NodeServer
    from artemis.server.collector import Collector
    from artemis.server.config import ServeConfig

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    longest = [0.0, 0.0]
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    config = ServeConfig(port=port, region="r1", zone="z1", lease_ttl=ttl, self_preservation=False, rate_limits=False)
    node = NodeServer(config, structlog.get_logger())
    await node.start()
    collector = Collector(loop, lambda: len(node.node.registry))
    due, used = loop.time() + 0.001, time.thread_time()

    def sample() -> None:
        nonlocal due, used
        now, cpu = loop.time(), time.thread_time()
        longest[:] = max(longest[0], now - due), max(longest[1], cpu - used)
        due, used = now + 0.001, cpu
        loop.call_at(due, sample)

    def report() -> None:
        print(json.dumps([round(seconds * 1000, 1) for seconds in longest]), flush=True)
        longest[:] = 0.0, 0.0

    loop.add_signal_handler(signal.SIGUSR1, report)
    loop.call_at(due, sample)
    print("listening", node.url, flush=True)
    await stop.wait()
    collector.stop()
    await node.stop()


async def stalls(process: subprocess.Popen[str]) -> dict[str, float]:
    """The longest stall of the node since this was asked last, in milliseconds."""
    assert process.stdout is not None
    process.send_signal(signal.SIGUSR1)
    late, cpu = json.loads(await asyncio.to_thread(process.stdout.readline))
    return {"longest stall ms": late, "of it CPU ms": cpu}


# -- what is measured


def percentiles(times: list[float]) -> dict[str, float]:
    """p50, p99 and the longest, in milliseconds."""
    times.sort()
    shares = {"p50 ms": 0.5, "p99 ms": 0.99}
    found = {name: round(times[int(len(times) * share)] * 1000, 2) for name, share in shares.items()}
    return {**found, "max ms": round(times[-1] * 1000, 2)}


async def change(client: TransportClient, number: int) -> None:
    """Give the watched service's instance other content."""
    value = {**instance(0), "serviceId": SHARED, "instanceId": "shared", "metadata": {"number": str(number)}}
    await client.request(json.dumps({"instances": [value]}).encode(), biz_type=REGISTER, timeout=30)


async def fan_out(
    process: subprocess.Popen[str], client: TransportClient, watchers: list[Watcher], rounds: int
) -> dict[str, float]:
    """Change the service; when did each session hear of it?"""
    spent: list[float] = []
    await stalls(process)
    for number in range(rounds):
        told = [watcher.told() for watcher in watchers]
        began = time.perf_counter()
        await change(client, number)
        await asyncio.gather(*told)
        spent += [watcher.at - began for watcher in watchers]
        await asyncio.sleep(0.05)
    return {**percentiles(spent), **await stalls(process)}


async def long_polls(client: TransportClient, address: Address, polls: list[Watcher], rounds: int) -> dict[str, float]:
    """Change the service; when did each long poll hear of it?"""
    url = f"http://{address[0]}:{address[1]}/api/v1/services/{SHARED}"
    spent: list[float] = []
    for number in range(rounds):
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
        cursor = json.loads(body)["cursor"]
        request = f"GET /api/v1/services/{SHARED}?wait=30s&cursor={cursor} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        told = [poll.told() for poll in polls]
        for poll in polls:
            poll.transport.write(request)
        await reached(address, "artemis_long_polls", len(polls))
        began = time.perf_counter()
        await change(client, rounds + number)
        await asyncio.gather(*told)
        spent += [poll.at - began for poll in polls]
    return percentiles(spent)


async def idle(process: subprocess.Popen[str], address: Address, count: int) -> dict[str, float]:
    """Open sessions and do nothing with them, then let each subscribe to a service of its own."""
    empty = resident(process)
    watchers = await open_all(address, [NATIVE] * count, lambda _: None)
    await asyncio.sleep(0.5)
    opened = resident(process)
    for number, watcher in enumerate(watchers):
        watcher.transport.write(text({"type": "subscribe", "service_id": f"demo.service{number}"}))
    await asyncio.sleep(0.5)
    subscribed = resident(process)
    await stalls(process)
    for watcher in watchers:
        watcher.transport.abort()
    await reached(address, "artemis_push_subscribers", 0)
    cut = await stalls(process)
    return {
        "KiB of a session": round((opened - empty) / count / 1024, 2),
        "KiB with a subscription": round((subscribed - empty) / count / 1024, 2),
        **{f"all cut at once, {name}": value for name, value in cut.items()},
    }


async def expiry(
    process: subprocess.Popen[str], address: Address, count: int, sessions: int, everything: int
) -> dict[str, float]:
    """Register all, heartbeat all at once, fall silent: what does it cost to tell everybody?"""
    bodies = [
        json.dumps(
            {"instances": [instance(n) for n in range(at, min(at + PER_SESSION, count))]}, separators=(",", ":")
        ).encode()
        for at in range(0, count, PER_SESSION)
    ]
    paths = [NATIVE, JAVA] * (sessions // 2)

    def subscribe(number: int) -> bytes:
        name = f"demo.service{number % SERVICES}"
        return text({"type": "subscribe", "service_id": name} if number % 2 == 0 else {"serviceId": name})

    watchers = await open_all(address, paths, subscribe)
    clients = [TransportClient(f"tcp://{address[0]}:{address[1]}") for _ in bodies]
    for client, body in zip(clients, bodies, strict=True):
        await client.connect()
        await client.request(body, biz_type=REGISTER, timeout=30)
    for _ in range(2):
        await asyncio.gather(
            *(c.request(b, biz_type=HEARTBEAT, timeout=30) for c, b in zip(clients, bodies, strict=True))
        )
    of_all = await open_all(address, [NATIVE, ALL_JAVA] * (everything // 2), subscribe_all)
    await asyncio.sleep(1.0)
    await stalls(process)
    before = sum(watcher.taken for watcher in of_all)
    await reached(address, "artemis_instances", 0)
    await asyncio.sleep(1.5)
    worst = await stalls(process)
    for client in clients:
        await client.close()
    told = sum(b"{" in watcher.latest for watcher in watchers)
    return {
        **worst,
        "sessions told": told,
        "MiB to those of everything": round((sum(watcher.taken for watcher in of_all) - before) / 2**20, 1),
        "sessions closed": sum(watcher.lost for watcher in (*watchers, *of_all)),
    }


def subscribe_all(number: int) -> bytes | None:
    """What a session that wants everything says first; those of Java need not ask."""
    return text({"type": "subscribe", "service_id": "*"}) if number % 2 == 0 else None


def gauge(address: Address, name: str) -> int:
    """One number of /metrics."""
    page = urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=10).read().decode()
    return int(float(next(line.split()[1] for line in page.splitlines() if line.startswith(name + " "))))


async def reached(address: Address, name: str, value: int) -> None:
    """Wait until a number of /metrics has this value."""
    for _ in range(1_000):
        if gauge(address, name) == value:
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f"{name} did not become {value}")


async def measure_fan_out(
    process: subprocess.Popen[str], address: Address, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Everything that needs no expiry."""
    client = TransportClient(f"tcp://{address[0]}:{address[1]}")
    await client.connect()
    await change(client, -1)
    idlers = await idle(process, address, options.sessions)
    await asyncio.sleep(0.5)
    shown = text({"type": "subscribe", "service_id": SHARED})
    watchers = await open_all(address, [NATIVE] * options.watchers, lambda _: shown)
    found = {
        f"change told to {options.watchers} /ws sessions": await fan_out(process, client, watchers, options.rounds)
    }
    for watcher in watchers:
        watcher.transport.close()
    polls = await open_polls(address, options.watchers)
    found[f"change told to {options.watchers} long polls"] = await long_polls(client, address, polls, options.rounds)
    for poll in polls:
        poll.transport.close()
    found[f"{options.sessions} idle /ws sessions"] = idlers
    await client.close()
    return found


def main() -> None:
    """Run both processes and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--watchers", type=int, default=1_000, help="sessions, and long polls, that are told of a change"
    )
    parser.add_argument("--sessions", type=int, default=4_000, help="idle sessions")
    parser.add_argument("--instances", type=int, default=100_000, help="instances that expire")
    parser.add_argument("--everything", type=int, default=4, help="sessions that are told of all of them")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="fewer of everything, about 30 s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=float, metavar="TTL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
        return
    if options.quick:
        options.rounds, options.sessions, options.instances = 10, 1_000, 20_000
    pin_self(1)
    with server(__file__, "--serve", "3600", core=0) as (process, address):
        found = uvloop.run(measure_fan_out(process, address, options))
    with server(__file__, "--serve", str(TTL), core=0) as (process, address):
        title = f"{options.instances} instances expire, {SERVICES} sessions watch one service each"
        title += f", {options.everything} all"
        found[title] = uvloop.run(expiry(process, address, options.instances, SERVICES, options.everything))
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        return
    for name, figures in found.items():
        print(name)
        for what, value in figures.items():
            print(f"  {what:40}{value:>12,}")


if __name__ == "__main__":
    main()
