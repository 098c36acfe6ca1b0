"""Snapshots of 100 000 instances: how long they take, how long they hold up the loop, and how long a start with one is.

One process, one loop: a node with a data directory takes a snapshot beside a sampler that wakes every millisecond and
notes how late it was, and how much of the CPU each turn of the loop took; then all leases expire at once; then the node
stops, which writes the final snapshot, and starts again.

    python benchmarks/registry_restart.py [--instances 100000] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import structlog
import uvloop
from load import pin_self

from artemis.model import Instance
from artemis.server.app import NodeServer
from artemis.server.clock import now_ms, wall_ms
from artemis.server.config import ServeConfig

TTL = 5.0


def instance(number: int) -> Instance:
    """An instance of about 330 bytes of JSON."""
    ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Instance(
        health_check_url=f"http://{ip}:8080/health",
        instance_id=ip,
        ip=ip,
        machine_name=f"host-{number}",
        metadata={"version": "1.4.2"},
        port=8080,
        protocol="http",
        region_id="r1",
        service_id=f"demo.service{number % 2000}",
        status="up",
        url=f"http://{ip}:8080/",
        zone_id="z1",
    )


class Sampler:
    """How late a wake-up every millisecond is, and the CPU time between two of them, in ms. Restarted by `take`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = loop.time() + 0.001
        self._cpu = time.thread_time()
        self._late: list[float] = []
        self._busy: list[float] = []
        loop.call_at(self._due, self._wake)

    def take(self, what: str) -> dict[str, float]:
        """The longest of each since the last call."""
        longest = {f"{what}: longest stall ms": max(self._late), f"{what}: most CPU in a turn ms": max(self._busy)}
        self._late.clear()
        self._busy.clear()
        return longest

    def _wake(self) -> None:
        now, cpu = self._loop.time(), time.thread_time()
        self._late.append((now - self._due) * 1000)
        self._busy.append((cpu - self._cpu) * 1000)
        self._cpu = cpu
        self._due = now + 0.001
        self._loop.call_at(self._due, self._wake)


async def measure(count: int, directory: Path) -> dict[str, float]:
    """All figures."""
    config = ServeConfig(
        port=0,
        region="r1",
        zone="z1",
        self_url="http://127.0.0.1:1/",
        data_dir=directory,
        snapshot_interval=0,
        lease_ttl=3600,
        self_preservation=False,
    )
    server = NodeServer(config, structlog.get_logger())
    await server.start()
    for number in range(count):
        server.node.registry.register(instance(number), now_ms())
        if not number % 500:
            await asyncio.sleep(0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    sampler = Sampler(asyncio.get_running_loop())
    await asyncio.sleep(0.2)
    sampler.take("before")
    assert server.persistence is not None
    await server.persistence.write(server.node.cut(now_ms(), wall_ms()))
    figures = {"snapshot s": server.persistence.last["snapshot_seconds"], **sampler.take("snapshot")}
    figures["snapshot MiB"] = server.persistence.last["snapshot_bytes"] / 2**20
    server.reconfigure(config.model_copy(update={"lease_ttl": TTL}))
    server.node.pardon(now_ms())
    await asyncio.sleep(TTL - 0.5)
    sampler.take("waiting")
    began = time.perf_counter()
    while len(server.node.registry):  # noqa: ASYNC110 - nothing signals the end, and the loop is being watched
        await asyncio.sleep(0.005)
    figures["all expire s"] = time.perf_counter() - began - 0.5
    figures |= sampler.take("all expire")
    began = time.perf_counter()
    await server.stop()
    figures["stop with final snapshot s"] = time.perf_counter() - began
    began = time.perf_counter()
    server = NodeServer(config, structlog.get_logger())
    await server.start()
    figures["start from it s"] = time.perf_counter() - began
    await server.stop()
    return figures


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    pin_self(0)
    with tempfile.TemporaryDirectory() as directory:
        figures = uvloop.run(measure(options.instances, Path(directory)))
    if options.json:
        json.dump({name: round(value, 3) for name, value in figures.items()}, sys.stdout, indent=2)
        return
    for name, value in figures.items():
        print(f"{name:40}{value:>12,.2f}")


if __name__ == "__main__":
    main()
