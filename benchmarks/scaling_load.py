"""Load for a cluster, in a process of its own: clients of every node that register, heartbeat and look up.

It reads a `Load` as JSON from standard input, says `ready` when everybody is connected, begins, and prints what became
of it as JSON. A flow without a rate keeps `in_flight` messages under way on each connection; one with a rate sends so
many a second, spread evenly over all connections, whether answers come or not.
Not here: raw connections (`load`), who wants the load (`scaling_nodes`).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import uvloop
from load import PacketLoad, Result
from scaling_cores import REGION, ZONE, instance

from artemis.model import RegistryRequest, encode

OPERATIONS = {"register": 1, "heartbeat": 2, "unregister": 3, "lookup": 16, "subscribe": 24}
MARK = b"@@@@@@@@"
_PACE = 0.001


class Flow(msgspec.Struct, kw_only=True):
    """Messages of one kind: `per_message` instances each, of all from `first` on, `count` of them; each node has its
    share of them, and each of its `connections` sends the same messages again and again. A lookup asks for one service.
    `rate` is messages a second to all nodes together, 0 for as many as
    are answered. `once` ends when each instance was sent once. Only nodes in `only` get any, all if it is empty."""

    kind: Literal["register", "heartbeat", "unregister", "lookup", "subscribe"]
    rate: float = 0.0
    connections: int = 8
    in_flight: int = 1
    per_message: int = 1
    first: int = 0
    count: int
    once: bool = False
    only: list[int] = []


class Load(msgspec.Struct, kw_only=True):
    """Flows that go at the same time, for so many seconds, which begin after `warm` seconds."""

    addresses: list[str]
    services: int
    flows: list[Flow]
    seconds: float
    warm: float = 0.3


class Told(msgspec.Struct, kw_only=True):
    """What became of a flow: messages answered, how many of them with a failure, and milliseconds."""

    answers: int
    failed: int
    seconds: float
    p50: float
    p99: float
    processor: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


class Speaker(PacketLoad):
    """One connection. `failed` counts answers that tell of a failure."""

    failed = 0
    lost = False

    def data_received(self, data: bytes) -> None:
        """Count answers and failures."""
        self.failed += data.count(b'_fail"') + data.count(b'"status":"fail"')
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Note that it is gone."""
        self.lost = True

    def say(self) -> None:
        """Send one message now."""
        self.sent.append(time.perf_counter())
        self.transport.write(next(self.requests))


def packets(kind: str, bodies: Sequence[bytes], *, once: bool, changing: bool) -> Iterator[bytes]:
    """Requests with these bodies in turn; each round with another mark if they are `changing`."""
    pack = struct.Struct(">BBBBIHIH").pack
    operation, number = OPERATIONS[kind], 0
    for turn in itertools.count(1):
        mark = b"%08d" % (turn % 10**8)
        for body in bodies:
            number = number % 2**31 + 1
            said = body.replace(MARK, mark) if changing else body
            yield pack(1, 0, 1, operation, number, 0, len(said), 0) + said
        if once:
            return


def bodies_of(flow: Flow, services: int, numbers: Sequence[int]) -> list[bytes]:
    """Return the bodies of a connection's messages."""
    if flow.kind in {"lookup", "subscribe"}:
        names = dict.fromkeys(f"demo.service{number % services}" for number in numbers)
        if flow.kind == "subscribe":
            return [json.dumps({"serviceIds": [name]}, separators=(",", ":")).encode() for name in names]
        asks = ({"discoveryConfigs": [{"serviceId": name}], "regionId": REGION, "zoneId": ZONE} for name in names)
        return [json.dumps(ask, separators=(",", ":")).encode() for ask in asks]
    whole = [
        RegistryRequest(instances=[instance(number, services) for number in numbers[at : at + flow.per_message]])
        for at in range(0, len(numbers), flow.per_message)
    ]
    mark = MARK if flow.kind == "register" and not flow.once else b"00000000"
    return [encode(request).replace(b'"mark":"00000000"', b'"mark":"' + mark + b'"') for request in whole]


async def connect(load: Load, flow: Flow, result: Result) -> list[Speaker]:
    """Open the connections of a flow; their order goes round the nodes."""
    loop = asyncio.get_running_loop()
    nodes = flow.only or list(range(len(load.addresses)))
    share = -(-flow.count // len(nodes))
    speakers = []
    for connection in range(flow.connections):
        for place, node in enumerate(nodes):
            mine = range(flow.first + place * share, flow.first + min((place + 1) * share, flow.count))
            # Who subscribes does so to all services that there are.
            numbers = mine if flow.kind == "subscribe" else mine[connection :: flow.connections]
            if not numbers:
                continue
            bodies = bodies_of(flow, load.services, numbers)
            said = packets(flow.kind, bodies, once=flow.once, changing=flow.kind == "register" and not flow.once)
            host, _, port = load.addresses[node].rpartition(":")
            _, speaker = await loop.create_connection(
                lambda said=said: Speaker(said, result, flow.in_flight), host, int(port)
            )
            speakers.append(speaker)
    return speakers


async def pace(flow: Flow, speakers: Sequence[Speaker], seconds: float) -> None:
    """Send as many messages as are due, in turn on all connections."""
    began, sent, order = time.perf_counter(), 0, itertools.cycle(speakers)
    while (passed := time.perf_counter() - began) < seconds:
        while sent < passed * flow.rate:
            next(order).say()
            sent += 1
        await asyncio.sleep(_PACE)


async def once(speakers: Sequence[Speaker]) -> None:
    """Send everything, the next message when one was answered."""
    waiting = set(speakers)
    for speaker in speakers:
        speaker.sent = []
        speaker.say()
    while waiting:
        await asyncio.sleep(_PACE)
        for speaker in [each for each in waiting if not each.sent]:
            try:
                speaker.say()
            except (StopIteration, RuntimeError):
                waiting.discard(speaker)


async def run(load: Load) -> list[Told]:
    """Do it all; the figures of each flow."""
    results = [Result() for _ in load.flows]
    speakers = [await connect(load, flow, result) for flow, result in zip(load.flows, results, strict=True)]
    print("ready", flush=True)
    began, cpu = time.perf_counter(), time.process_time()
    timed = not any(flow.once for flow in load.flows)
    tasks = []
    for flow, those in zip(load.flows, speakers, strict=True):
        if flow.once:
            tasks.append(asyncio.create_task(once(those)))
        elif flow.rate:
            tasks.append(asyncio.create_task(pace(flow, those, load.warm + load.seconds)))
        else:
            for speaker in those:
                speaker.begin()
    if timed:
        await asyncio.sleep(load.warm)
        for result in results:
            result.answers = 0
            result.latencies.clear()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(load.seconds)
        seconds = time.perf_counter() - began
    await asyncio.gather(*tasks)
    if not timed:
        seconds = time.perf_counter() - began
    found = [
        figures(result, those, seconds, time.process_time() - cpu)
        for result, those in zip(results, speakers, strict=True)
    ]
    for speaker in itertools.chain(*speakers):
        speaker.running = False
    await asyncio.sleep(0.1)
    for speaker in itertools.chain(*speakers):
        speaker.transport.close()
    return found


def figures(result: Result, speakers: Sequence[Speaker], seconds: float, processor: float) -> Told:
    """Return the figures of a flow."""
    if any(speaker.lost for speaker in speakers):
        raise SystemExit("a node closed a connection")
    result.seconds = seconds
    return Told(
        answers=result.answers,
        failed=sum(speaker.failed for speaker in speakers),
        seconds=seconds,
        p50=result.percentile(0.5) if result.latencies else 0.0,
        p99=result.percentile(0.99) if result.latencies else 0.0,
        processor=processor,
    )


def main() -> None:
    """Read what is wanted, do it, print what became of it."""
    load = msgspec.json.decode(sys.stdin.read(), type=Load)
    print(msgspec.json.encode(uvloop.run(run(load))).decode(), flush=True)


if __name__ == "__main__":
    main()
