"""100 000 connections at the same time on one machine, with traffic on all of them.

A server of several workers, several client processes, plain TCP on the loopback device, source addresses spread over
127.0.0.0/8. Connections are made in steps; then, for a while, each asks once per PERIOD and has its answer compared
byte by byte; then every worker broadcasts to all of its sessions, many connections are cut at once and made again, the
workers are replaced one by one if --reload says so, and all is closed. Ends with 1 if a connection or an answer is
lost, a broadcast does not come or comes twice, or something remains; with 2 if the system cannot hold so many, which
is looked at first. Linux only.

    python benchmarks/scale_connections.py [--connections 100000] [--quick] [--hold 120] [--period 30] [--reload]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Self

from figures import machine, write
from scale_connections_figures import Told, histogram, loops, most, percentiles, show, total
from scale_connections_system import (
    MIB,
    SPARE_FILES,
    UNEVEN,
    Memory,
    Plan,
    available,
    descriptors,
    lacking,
    memory,
    processor_seconds,
    raise_limit,
)

from msgtrans import TransportClient

SIDES = Path(__file__).with_name("scale_connections_sides.py")
OF_A_WORKER, OF_A_CLIENT = 14_000, 17_000  # connections, of the 20 000 files that a process may often open
STEPS = 10
PATIENCE = 180.0  # seconds for any one instruction
MOST_MEMORY = 16 * 1024 * MIB  # all in all, more than at the beginning
REMAINING_OBJECTS = 2000  # of a worker more than at the beginning; a session has 11
REMAINS = 8  # descriptors of a process more than at the beginning that are nobody's connection


class Failure(Exception):  # noqa: N818 - the end of a run, with its reason
    """The run cannot go on."""


class Side:
    """One process that does what lines say."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, *words: str) -> Self:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(sys.executable, str(SIDES), *words, stdin=pipe, stdout=pipe))

    async def hear(self) -> Told:
        """The next line it tells."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                line = await self.process.stdout.readline()
        except TimeoutError:
            raise Failure(f"process {self.pid} does not answer") from None
        if not line:
            raise Failure(f"process {self.pid} has ended")
        told = json.loads(line)
        assert isinstance(told, dict)
        return told

    async def tell(self, do: str, **words: object) -> Told:
        """Have something done, and hear of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **words}).encode() + b"\n")
        return await self.hear()

    async def end(self) -> None:
        """Let it end, by force if it does not."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            async with asyncio.timeout(30):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


class Desk:
    """The line to one worker."""

    def __init__(self, told: Told) -> None:
        self.index, self.pid = int(str(told["worker"])), int(str(told["pid"]))
        self.client = TransportClient(str(told["desk"]))

    async def tell(self, do: str, **words: object) -> Told:
        """Have something done, and hear of it."""
        answer = await self.client.request(json.dumps({"do": do, **words}).encode(), timeout=PATIENCE)
        told = json.loads(answer.payload)
        assert isinstance(told, dict)
        return told


class Run:
    """One run. figures: what was found so far. problems: what may not be, and how often."""

    def __init__(self, plan: Plan, arguments: argparse.Namespace, opened: AsyncExitStack) -> None:
        self.plan, self.arguments, self._opened = plan, arguments, opened
        self.figures: Told = {}
        self.problems: Counter[str] = Counter()
        self.desks: list[Desk] = []
        self.crowds: list[Side] = []
        self.shares: list[int] = []
        self.objects: list[int] = []  # of the workers, at the beginning

    # Its parts

    async def start(self) -> None:
        """Start all processes."""
        most = math.ceil(self.plan.connections / self.plan.workers * UNEVEN) + SPARE_FILES
        self.server = await Side.start("serve", str(self.plan.workers), str(most))
        self._opened.push_async_callback(self.server.end)
        for _ in range(self.plan.workers):
            await self._meet(await self.server.hear())
        uri = str((await self.server.hear())["uri"]).removeprefix("tcp://")
        self.desks.sort(key=lambda desk: desk.index)
        for number in range(self.plan.clients):
            count = self.plan.connections * (number + 1) // self.plan.clients
            self.shares.append(count - sum(self.shares))
            words = ("ask", str(number), str(self.shares[-1]), str(self.arguments.period), uri)
            self.crowds.append(await Side.start(*words))
            self._opened.push_async_callback(self.crowds[-1].end)
        await self._all("look")
        await self._desks("look", begin=True)
        self.objects = [int(str(one["objects"])) for one in await self._desks("tidy")]
        await self._all("tidy")
        self.before, self.open_files = self._memory(), self._descriptors()

    async def ramp(self) -> None:
        """Make the connections, in steps; each is asked once."""
        steps, times, longest = [], Counter[int](), 0.0
        begin = time.monotonic()
        for step in range(1, STEPS + 1):
            start = time.monotonic()
            told = await asyncio.gather(
                *(
                    crowd.tell("open", to=share * step // STEPS)
                    for crowd, share in zip(self.crowds, self.shares, strict=True)
                )
            )
            self._note(told)
            took, opened = time.monotonic() - start, total(told, "open")
            times += histogram(told)
            longest = max(longest, most(told, "longest"))
            steps.append({"open": opened, "seconds": took, "available": available()})
            say(f"{opened:,} open, {took:.1f} s, {available() // MIB:,} MiB left")
        seconds = time.monotonic() - begin
        found = await self._desks("look", begin=True)
        self.figures["ramp"] = {
            "seconds": seconds,
            "per_second": self.plan.connections / seconds,
            "steps": steps,
            "of_workers": [one["open"] for one in found],
            **percentiles(times, longest),
        }
        self.figures["ramp_loops"] = loops(found)
        if (opened := total(found, "open")) != self.plan.connections:
            self.problems["connections that the workers do not have"] += self.plan.connections - opened
        self.problems["connections refused"] += total(found, "refused")

    async def hold(self) -> None:
        """Ask on all of them for a while."""
        grown = self._memory().since(self.before)
        self.figures["memory"] = {**grown._asdict(), "kernel": grown.kernel}
        if self.arguments.profile:
            await self.desks[0].tell("profile")
        await self._all("ask")
        await self._desks("look", begin=True)
        computed = self._computed()
        start = time.monotonic()
        while (left := self.arguments.hold - (time.monotonic() - start)) > 0:
            await asyncio.sleep(min(left, 20.0))
            told = await self._all("look")
            worst = most(told, "longest")
            say(f"{total(told, 'open'):,} open, {total(told, 'answered'):,} answers, worst {worst:.3f} s")
        seconds = time.monotonic() - start
        told, found = await self._all("look"), await self._desks("look", begin=True)
        spent = [now - then for now, then in zip(self._computed(), computed, strict=True)]
        answered = total(told, "answered")
        self.figures["requests"] = {
            "seconds": seconds,
            "answered": answered,
            "per_second": answered / seconds,
            "of_planned": answered * self.arguments.period / seconds / self.plan.connections,
            "server_cpu": sum(spent[: self.plan.workers]) / seconds,
            "client_cpu": sum(spent[self.plan.workers :]) / seconds,
            **percentiles(histogram(told), most(told, "longest")),
        }
        self.figures["loops"] = {"workers": loops(found), "clients": loops(told)}
        self.figures["stats_computed"] = most(found, "stats_computed")
        if self.arguments.profile:
            print((await self.desks[0].tell("profile"))["profile"])
        self._expect(told)

    async def broadcast(self) -> None:
        """One message from each worker to all of its sessions."""
        await self._all("listen")
        start = time.monotonic()
        sent = await self._desks("broadcast")
        told = await self._all("hear", within=60.0)
        self.figures["broadcast"] = {
            "seconds": most(told, "last") - start,
            "to": total(sent, "to"),
            "of_a_worker": max(float(str(one["took"])) for one in sent),
            "computed_of_a_worker": max(float(str(one["computed"])) for one in sent),
            **percentiles(histogram(told), most(told, "longest")),
        }
        self.problems["broadcasts that came twice"] += total(told, "heard_twice")
        self.problems["broadcasts that did not come"] += self.plan.connections - total(told, "heard")
        self._expect(told)

    async def cut(self) -> None:
        """Cut many connections at once, and see them come back."""
        await self._all("mend", begin=True)
        start = time.monotonic()
        each = math.ceil(self.arguments.cut / self.plan.workers)
        count = total(await self._desks("cut", count=each), "cut")
        self.figures["cut"] = {"cut": count, **await self._mended(count, start)}

    async def reload(self) -> None:
        """Replace the workers one by one, as for new code."""
        await self._all("mend", begin=True)
        start = time.monotonic()
        old, self.desks = self.desks, []
        self.server.process.send_signal(1)  # SIGHUP
        for _ in old:
            await self._meet(await self.server.hear())
            say(f"worker {self.desks[-1].index} is replaced, {time.monotonic() - start:.1f} s")
        for desk in old:
            await desk.client.close()
        self.desks.sort(key=lambda desk: desk.index)
        found = await self._mended(self.plan.connections, start)
        self.figures["reload"] = {"seconds": time.monotonic() - start, **found}

    async def close(self) -> None:
        """Close all connections, and see what remains."""
        await self._all("rest")
        start = time.monotonic()
        await self._all("close")
        while total(found := await self._desks("look"), "open"):
            if time.monotonic() - start > PATIENCE:
                break
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - start
        self.figures["close"] = {"seconds": seconds, "per_second": self.plan.connections / seconds}
        found = await self._desks("look", begin=True)
        kept = self._memory().since(self.before)
        objects = [int(str(one["objects"])) for one in await self._desks("tidy")]
        await self._all("tidy")
        left = self._memory().since(self.before)
        grown = max(now - then for now, then in zip(objects, self.objects, strict=True))
        more = [now - then for now, then in zip(self._descriptors(), self.open_files, strict=True)]
        self.figures["remains"] = {
            **left._asdict(),
            "kernel": left.kernel,
            "sessions": total(found, "open"),
            "descriptors": max(more),
            "objects": grown,
            "server_kept": kept.server_once,
        }
        self.problems["objects that remain in a worker"] += grown if grown > REMAINING_OBJECTS else 0
        self.problems["sessions that remain"] += total(found, "open")
        self.problems["descriptors that remain"] += sum(one for one in more if one > REMAINS)

    # What they need

    async def _meet(self, told: Told) -> None:
        desk = Desk(told)
        await self._opened.enter_async_context(desk.client)
        self.desks.append(desk)

    async def _all(self, do: str, **words: object) -> list[Told]:
        told = await asyncio.gather(*(crowd.tell(do, **words) for crowd in self.crowds))
        self._note(told)
        return list(told)

    async def _desks(self, do: str, **words: object) -> list[Told]:
        return list(await asyncio.gather(*(desk.tell(do, **words) for desk in self.desks)))

    async def _mended(self, count: int, start: float) -> Told:
        """Wait until so many connections were made again."""
        until = time.monotonic() + PATIENCE
        while total(told := await self._all("look"), "again") < count and time.monotonic() < until:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)
        again = total(told, "again")
        if again < count:
            self.problems["connections that were cut and not made again"] += count - again
        await self._all("mend", begin=False)
        self._expect(told)
        return {
            "seconds_until_all_were_back": most(told, "last") - start,
            "interrupted": total(told, "interrupted"),
            **percentiles(histogram(told), most(told, "longest")),
        }

    def _note(self, told: Iterable[Told]) -> None:
        for one in told:
            problems = one["problems"]
            assert isinstance(problems, dict)
            self.problems.update(problems)

    def _expect(self, told: list[Told]) -> None:
        if (opened := total(told, "open")) != self.plan.connections:
            self.problems["connections not open"] += self.plan.connections - opened

    def _pids(self) -> list[int]:
        return [desk.pid for desk in self.desks] + [crowd.pid for crowd in self.crowds]

    def _memory(self) -> Memory:
        return memory([desk.pid for desk in self.desks], [crowd.pid for crowd in self.crowds])

    def _descriptors(self) -> list[int]:
        return [descriptors(pid) for pid in self._pids()]

    def _computed(self) -> list[float]:
        return [processor_seconds(pid) for pid in self._pids()]


# All


def say(text: str) -> None:
    """A line on how far it is."""
    print(text, flush=True)


async def guard(before: int) -> None:
    """End the run when memory goes."""
    while True:
        await asyncio.sleep(1)
        now = available()
        if before - now > MOST_MEMORY or now < 1024 * MIB:
            raise Failure(f"{(before - now) // MIB} MiB are in use, {now // MIB} are left: fewer --connections")


async def measure(plan: Plan, arguments: argparse.Namespace) -> tuple[Told, Counter[str]]:
    """All of it; figures and problems."""
    async with AsyncExitStack() as opened:
        run = Run(plan, arguments, opened)
        parts = [
            run.start,
            run.ramp,
            run.hold,
            run.broadcast,
            run.cut,
            *([run.reload] if arguments.reload else []),
            run.close,
        ]

        async def work() -> None:
            for part in parts:
                say(f"-- {part.__name__}")
                await part()

        doing = [asyncio.create_task(work()), asyncio.create_task(guard(available()))]
        try:
            done, _ = await asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED, timeout=arguments.within)
        finally:
            for task in doing:
                task.cancel()
        if not done:
            run.problems[f"it did not end within {arguments.within:g} s"] += 1
        for outcome in await asyncio.gather(*doing, return_exceptions=True):
            if isinstance(outcome, Failure):
                run.problems[str(outcome)] += 1
            elif isinstance(outcome, Exception):
                raise outcome
        return run.figures, +run.problems


def planned(arguments: argparse.Namespace) -> Plan:
    """How many processes, unless the command line says so."""
    count = arguments.connections
    return Plan(
        count,
        arguments.workers or max(2, math.ceil(count / OF_A_WORKER)),
        arguments.clients or max(2, math.ceil(count / OF_A_CLIENT)),
    )


def main(words: list[str] | None = None) -> int:
    """Look whether it can be, do it, tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--workers", type=int, help=f"default one for {OF_A_WORKER} connections, two at least")
    parser.add_argument("--clients", type=int, help=f"default one for {OF_A_CLIENT} connections, two at least")
    parser.add_argument("--hold", type=float, default=120.0, help="seconds of requests on all of them")
    parser.add_argument("--period", type=float, default=30.0, help="seconds between two requests of a connection")
    parser.add_argument("--cut", type=int, default=5000, help="connections to cut at once")
    parser.add_argument("--reload", action="store_true", help="also replace the workers")
    parser.add_argument("--within", type=float, default=600.0, help="seconds for all")
    parser.add_argument("--profile", action="store_true", help="where the first worker computes during the requests")
    parser.add_argument("--quick", action="store_true", help="2 000 connections, 6 s, each asks every 3 s, 500 are cut")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.connections, arguments.hold, arguments.period, arguments.cut = 2000, 6.0, 3.0, 500
    plan = planned(arguments)
    if found := lacking(plan, raise_limit(), available()):
        print(f"this system does not hold {plan.connections:,} connections with {plan.workers} workers:")
        print("\n".join(f"- {sentence}" for sentence in found))
        return 2
    figures, problems = asyncio.run(measure(plan, arguments))
    show(plan, figures)
    told = {**machine(), **plan._asdict(), "hold": arguments.hold, "period": arguments.period, **figures}
    path = write("scale_connections", {**told, "problems": dict(problems)})
    print(f"as JSON: {path}")
    for problem, count in problems.most_common():
        print(f"{count:,} times: {problem}" if count > 1 else problem)
    print("FAILED" if problems else "nothing was lost, and nothing remains")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
