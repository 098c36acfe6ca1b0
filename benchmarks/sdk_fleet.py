"""The client processes of `sdk_restart`: many `ArtemisClient` in one event loop, told what to do by their parent.

It prints `ready` when all clients are registered and linked. At each line on its standard input it prints what happened
since the one before, and begins anew; it ends with its standard input.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import sys
import time
from contextlib import AsyncExitStack
from random import Random
from typing import TypedDict

from artemis import ArtemisClient, ArtemisError, Instance
from artemis.client import LinkChanged, LinkKind, Registered

SERVICES = 50
TOGETHER = 25
"""Clients that start at the same time."""
SWEEP = 0.5
"""Seconds in which every client looks its service up once."""


class Report(TypedDict):
    """What happened, as monotonic seconds, which all processes of a machine share."""

    connected: list[float]
    registered: list[float]
    linked: list[float]
    lookups: int
    failed: int
    fewer: int
    late: float


class InStep(Random):
    """Randomness for clients without jitter: wherever others wait for up to some time, they wait for all of it."""

    def uniform(self, a: float, b: float) -> float:
        """The end of the range."""
        return max(a, b)


class CountingLoop(asyncio.SelectorEventLoop):
    """Notes every connection that was made, whoever made it."""

    def __init__(self) -> None:
        super().__init__()
        self.connected: list[float] = []

    async def sock_connect(self, sock: socket.socket, address: object) -> None:
        """See the base."""
        await super().sock_connect(sock, address)  # type: ignore[arg-type]
        self.connected.append(time.monotonic())


class Fleet:
    """Clients `first` to `first + count`; each registers one instance and follows the service that it belongs to."""

    def __init__(self, url: str, first: int, count: int, *, jitter: bool) -> None:
        self.registered: list[float] = []
        self.linked: list[float] = []
        self.lookups = self.failed = self.fewer = 0
        self.late = 0.0
        self._numbers = range(first, first + count)
        self._clients = [
            ArtemisClient(servers=[url], region_id="r1", zone_id="z1", random=None if jitter else InStep())
            for _ in self._numbers
        ]
        self._linked: set[int] = set()
        self._all_linked = asyncio.Event()

    async def start(self, stack: AsyncExitStack) -> None:
        """Register all, follow all; returns when all are linked."""
        for at in range(0, len(self._clients), TOGETHER):
            await asyncio.gather(*(self._begin(stack, at + more) for more in range(TOGETHER)))
        await self._all_linked.wait()

    async def _begin(self, stack: AsyncExitStack, at: int) -> None:
        if at >= len(self._clients):
            return
        client, number = self._clients[at], self._numbers[at]
        await stack.enter_async_context(client)
        task = asyncio.create_task(self._listen(at, client))
        stack.callback(task.cancel)
        name = service(number)
        await stack.enter_async_context(
            client.registered(Instance(service_id=name, instance_id=f"i{number}", ip="10.0.0.1", port=8080))
        )
        await client.service(name)

    async def _listen(self, at: int, client: ArtemisClient) -> None:
        async for event in client.events():
            match event:
                case LinkChanged(new=LinkKind.POLL):
                    pass
                case LinkChanged():
                    self.linked.append(time.monotonic())
                    self._linked.add(at)
                    if len(self._linked) == len(self._clients):
                        self._all_linked.set()
                case Registered():
                    self.registered.append(time.monotonic())

    async def look(self, instances: int) -> None:
        """Look all services up, over and over; a lookup that raises or shows nothing has failed."""
        due = time.monotonic()
        while True:
            for client, number in zip(self._clients, self._numbers, strict=True):
                due += SWEEP / len(self._clients)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self.late = max(self.late, time.monotonic() - due)
                self.lookups += 1
                try:
                    shown = len((await client.service(service(number))).instances)
                except ArtemisError:
                    shown = 0
                self.failed += not shown
                self.fewer += 0 < shown < instances
            due = max(due, time.monotonic())


def service(number: int) -> str:
    """The service of a client."""
    return f"demo.service{number % SERVICES}"


async def run(loop: CountingLoop, url: str, first: int, count: int, everyone: int, *, jitter: bool) -> None:
    """The life of the process."""
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    fleet = Fleet(url, first, count, jitter=jitter)
    gc.set_threshold(50_000, 50, 100)
    async with AsyncExitStack() as stack:
        await fleet.start(stack)
        print("ready", flush=True)
        await lines.readline()
        gc.collect()
        gc.freeze()
        looking = asyncio.create_task(fleet.look(everyone // SERVICES))
        stack.callback(looking.cancel)
        print(json.dumps(report(loop, fleet)), flush=True)
        while await lines.readline():
            print(json.dumps(report(loop, fleet)), flush=True)
            if looking.done():
                looking.result()


def report(loop: CountingLoop, fleet: Fleet) -> Report:
    """What happened since this was asked last."""
    found = Report(
        connected=loop.connected,
        registered=fleet.registered,
        linked=fleet.linked,
        lookups=fleet.lookups,
        failed=fleet.failed,
        fewer=fleet.fewer,
        late=fleet.late,
    )
    loop.connected, fleet.registered, fleet.linked = [], [], []
    fleet.lookups = fleet.failed = fleet.fewer = 0
    fleet.late = 0.0
    return found


def main() -> None:
    """URL, first number, count, count of all processes, and `in-step` for no jitter."""
    url, first, count, everyone, *more = sys.argv[1:]
    logging.disable()
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, CountingLoop)
        runner.run(run(loop, url, int(first), int(count), int(everyone), jitter=not more))


if __name__ == "__main__":
    main()
