"""A core that keeps what it is told, for tests of what carries out its commands over real servers."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import structlog

from artemis.cluster.engine.port import Command, Entry, Opening, Put, Read, Told
from artemis.cluster.nats.bucket import BucketOptions
from artemis.cluster.nats.carrier import Carrier, CarrierTimings, EngineOptions
from artemis.cluster.nats.login import Login
from artemis.cluster.nats.servers import parse_servers
from artemis.cluster.nats.trouble import EngineState
from artemis.testing.nats_servers import NatsServer

WAIT = 40.0

Make = Callable[..., NatsServer]


class KeepingCore:
    """Reads on from where it was, and keeps the present entries and everything else it is told."""

    def __init__(self) -> None:
        self.openings: list[Opening] = []
        self.losses: list[str] = []
        self.entries: dict[str, Entry] = {}
        self.sequences: list[int] = []
        self.read_up_to = 0
        self.lasts: list[int] = []
        self.gotten: list[tuple[str, Entry | None]] = []
        self.outcomes: dict[int, str] = {}
        self.full: list[str] = []
        self.told: list[tuple[str, Told]] = []
        self.beats: list[tuple[str, int, bytes]] = []
        self.changed = asyncio.Event()
        self.hold = False
        self.untold = False
        self._commands: list[Command] = []
        self._numbers = itertools.count()

    def give(self, *commands: Command) -> None:
        """Have commands carried out."""
        self._commands += commands

    def put(self, key: str, value: bytes, revision: int = 0) -> int:
        """Have an entry put; returns its number."""
        number = next(self._numbers)
        self.give(Put(number, key, value, revision))
        return number

    def stored_all(self, numbers: Sequence[int]) -> bool:
        """Tell whether these were all stored."""
        return all(self.outcomes.get(number) == "stored" for number in numbers)

    # -- what a carrier calls

    def opened(self, opening: Opening, now: int) -> None:
        if self.openings and self.openings[-1].identity != opening.identity:
            self.entries.clear()
            self.sequences.clear()
            self.read_up_to = 0
        self.openings.append(opening)
        self.give(Read(self.read_up_to))
        self.changed.set()

    def lost(self, why: str, now: int) -> None:
        self.losses.append(why)
        self._commands.clear()
        self.changed.set()

    def entry(self, entry: Entry, now: int) -> None:
        self.entries[entry.key] = entry
        self.sequences.append(entry.sequence)
        self.read_up_to = entry.sequence
        self.changed.set()

    def at(self, sequence: int, now: int) -> None:
        self.read_up_to = max(self.read_up_to, sequence)
        self.changed.set()

    def doubted(self, now: int) -> None:
        self.give(Read(0))

    def last(self, sequence: int, now: int) -> None:
        self.lasts.append(sequence)
        self.changed.set()

    def got(self, key: str, entry: Entry | None, now: int) -> None:
        self.gotten.append((key, entry))
        self.changed.set()

    def stored(self, number: int, sequence: int, now: int) -> None:
        self._outcome(number, "stored")

    def conflicted(self, number: int, now: int) -> None:
        self._outcome(number, "conflicted")

    def refused(self, number: int, full: bool, why: str, now: int) -> None:
        self._outcome(number, "full" if full else f"refused: {why}")

    def unknown(self, number: int, now: int) -> None:
        self._outcome(number, "unknown")

    def receive(self, node: str, message: Told, now: int) -> None:
        self.told.append((node, message))
        self.changed.set()

    def flush(self, now: int) -> None:
        """Nothing is changed here but by `give`."""

    def tick(self, now: int, wall: int) -> None:
        """Time does nothing here."""

    def take(self) -> Sequence[Command]:
        commands, self._commands = self._commands, []
        return commands

    def _outcome(self, number: int, outcome: str) -> None:
        assert number not in self.outcomes, f"put {number}: {self.outcomes[number]}, then {outcome}"
        self.outcomes[number] = outcome
        self.changed.set()


class CarriedCore:
    """A core and what carries it."""

    def __init__(self, core: KeepingCore, carrier: Carrier) -> None:
        self.core, self.carrier = core, carrier

    async def until(self, condition: Callable[[], bool], why: str = "") -> None:
        """Wait until something holds, as long as a cluster may take to come back."""
        try:
            async with asyncio.timeout(WAIT):
                while not condition():
                    self.core.changed.clear()
                    await self.core.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{why} {self.carrier.state} {self.carrier.why} {self.carrier.counters}") from None

    async def puts(self, keys: Sequence[str], value: bytes = b"v" * 300) -> None:
        """Put entries under new keys, and wait until all are stored; after a loss, what is not there again."""
        missing = list(keys)
        while missing:
            losses = len(self.core.losses)
            await self.until(lambda: self.carrier.state.open, "no bucket:")
            numbers = [self.core.put(key, value) for key in missing]

            def over(wanted: int = len(self.core.outcomes) + len(numbers), losses: int = losses) -> bool:
                return len(self.core.losses) > losses or len(self.core.outcomes) >= wanted

            self.carrier.soon()
            await self.until(over, "puts:")
            outcomes = [self.core.outcomes.get(number) for number in numbers]
            missing = [key for key, one in zip(missing, outcomes, strict=True) if one not in ("stored", "conflicted")]


@asynccontextmanager
async def carried(
    urls: str,
    *,
    node: str = "a",
    cluster: str = "tests",
    region: str = "here",
    max_entries: int = 200_000,
    login: Login | None = None,
    ca_file: str | None = None,
    timings: CarrierTimings | None = None,
) -> AsyncIterator[CarriedCore]:
    """A core that reaches for the engine, with ticks."""
    core = KeepingCore()

    def heard(other: str, epoch: int, beat: bytes) -> None:
        core.beats.append((other, epoch, beat))
        core.changed.set()

    carrier = Carrier(
        core,
        EngineOptions(
            servers=parse_servers(urls),
            bucket=BucketOptions(cluster=cluster, region=region, max_entries=max_entries),
            login=login or Login(),
            ca_file=ca_file,
        ),
        node=node,
        epoch=1,
        heard=heard,
        now=lambda: int(time.monotonic() * 1000),
        wall=lambda: int(time.time() * 1000),
        log=structlog.get_logger(),
        timings=timings,
    )

    async def ticks() -> None:
        while True:
            await asyncio.sleep(0.1)
            carrier.tick()
            core.changed.set()

    carrier.start()
    ticking = asyncio.get_running_loop().create_task(ticks())
    try:
        yield CarriedCore(core, carrier)
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
        await carrier.stop()


async def ready(one: CarriedCore) -> None:
    """Wait until its bucket can be used."""
    await one.until(lambda: one.carrier.state is EngineState.READY, "not ready:")


async def in_state(one: CarriedCore, state: EngineState, words: str) -> None:
    """Wait until it says that it is in this state, and why in such words."""
    await one.until(lambda: one.carrier.state is state and words in one.carrier.why, f"not {state}:")
