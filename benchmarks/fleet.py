"""The generator process of `java_fleet`: many Java-shaped clients in one event loop, told what to do by its parent.

It prints `ready` when all clients have started and their instances are registered, with what that phase measured; at a
line on its standard input it measures anew, at the next it reports and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import time
from typing import NamedTuple

from artemis.testing.java import Deadlines, DeadlinesState, JavaClient, Kind, OwnLateness
from artemis.testing.java.beans import Json
from artemis.testing.java.discovery import ServiceCopy

SERVICES = 2000
SHARED = "demo.shared"


class Report(NamedTuple):
    """What a phase measured. `late`: how late the generator's own loop was, in seconds."""

    deadlines: DeadlinesState
    late: dict[str, float]
    cpu: float
    seconds: float


class Fleet:
    """Clients `first` to `first + count`; each holds one instance and watches three services."""

    def __init__(self, url: str, first: int, count: int) -> None:
        self.lateness = OwnLateness()
        self.deadlines = Deadlines(self.lateness)
        self.numbers = range(first, first + count)
        self.clients = [JavaClient(url, region_id="r1", zone_id="z1", deadlines=self.deadlines) for _ in self.numbers]
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, seconds: float) -> None:
        """Start all clients, spread over so many seconds, and wait until their instances are registered."""
        self.lateness.start()
        began = time.monotonic()
        for at in range(len(self.clients)):
            await asyncio.sleep(began + seconds * at / len(self.clients) - time.monotonic())
            self._begin(self._begin_client(at))
        await asyncio.gather(*self._tasks)

    async def live(self, share: float) -> None:
        """Until cancelled, each second this share of the clients deploys anew, and as many reload their services."""
        chance = random.Random(1)  # noqa: S311 - spreads load
        each = max(1, round(len(self.clients) * share))
        while True:
            for at in chance.sample(range(len(self.clients)), each):
                self._begin(self._deploy(at))
                self._begin(self.clients[-1 - at].discovery.reload())
                await asyncio.sleep(1 / each)

    async def stop(self) -> None:
        """End all clients."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(client.stop() for client in self.clients))
        self.lateness.stop()

    async def _begin_client(self, at: int) -> None:
        client, number = self.clients[at], self.numbers[at]
        await client.start()
        await client.registry.register(own_instance(number))
        await client.discovery.service(f"demo.service{number % SERVICES}")
        await client.discovery.service(f"demo.service{(number * 7 + 1) % SERVICES}")
        await client.discovery.service(SHARED, self._pushed)
        await client.until(lambda: client.registry.registrations > 0, timeout=120)

    async def _deploy(self, at: int) -> None:
        registry = self.clients[at].registry
        await registry.unregister(own_instance(self.numbers[at]))
        await registry.register(own_instance(self.numbers[at]))

    def _pushed(self, kind: str, copy: ServiceCopy) -> None:
        """The last instance of the shared service is the changed one; it says when it was sent."""
        if kind in {"new", "change"}:
            metadata = list(copy.instances.values())[-1]["metadata"]
            if isinstance(metadata, dict):
                self.deadlines.times[Kind.PUSH].add(time.monotonic() - float(str(metadata["at"])))

    def _begin(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def own_instance(number: int) -> dict[str, Json]:
    """The instance of a client."""
    ip = f"172.16.{number >> 8}.{number & 255}"
    return {
        "regionId": "r1",
        "zoneId": "z1",
        "serviceId": f"demo.service{number % SERVICES}",
        "instanceId": ip,
        "ip": ip,
        "port": 8080,
        "url": f"http://{ip}:8080/",
        "healthCheckUrl": f"http://{ip}:8080/health",
        "machineName": f"host-{number}",
        "metadata": {"version": "1.4.2"},
        "status": "up",
    }


def late(lateness: OwnLateness) -> dict[str, float]:
    """The generator's own lateness."""
    return {"p99.9": lateness.histogram.percentile(0.999), "longest": lateness.histogram.longest}


async def run(url: str, first: int, count: int, ramp: float, churn: float) -> None:
    """The life of the generator process."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    fleet = Fleet(url, first, count)
    gc.set_threshold(50_000, 50, 100)
    began, cpu = time.monotonic(), os.times()
    await fleet.start(ramp)
    gc.collect()
    gc.freeze()
    tell("ready", report(fleet, began, cpu))
    await lines.readline()
    fleet.deadlines.clear()
    fleet.lateness.clear()
    began, cpu = time.monotonic(), os.times()
    living = asyncio.ensure_future(fleet.live(churn))
    await lines.readline()
    tell("done", report(fleet, began, cpu))
    living.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await living
    await fleet.stop()


def report(fleet: Fleet, began: float, cpu: os.times_result) -> Report:
    """What was measured since `began`."""
    now = os.times()
    used = now.user + now.system - cpu.user - cpu.system
    return Report(fleet.deadlines.state(), late(fleet.lateness), used, time.monotonic() - began)


def tell(word: str, what: Report) -> None:
    """A line for the parent."""
    print(word, json.dumps(what._asdict()), flush=True)
