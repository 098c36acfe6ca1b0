"""What tests of machines with several workers wait for, of processes that tell nobody, and what they do meanwhile."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
from worker_machines import DEADLINE, REGISTER, Connection, Machine, instance

from artemis.testing.java import JavaNode

HERE = {"regionId": "local", "zoneId": "zone1"}


async def until(look: Callable[[], Awaitable[object]], expected: object) -> None:
    """Wait until a look shows this; in vain, it is said what the last one has shown."""
    shown: object = "nothing: it did not end"
    try:
        async with asyncio.timeout(DEADLINE):
            while expected != (shown := await look()):  # noqa: ASYNC110 - another process shows it
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not {expected!r} within {DEADLINE} s: the last look shows {shown!r}") from None


async def until_all_show(connections: list[Connection], names: set[str]) -> None:
    """Wait until all workers show these instances, and no others."""

    async def shown() -> list[set[str]]:
        return [await each.found() for each in connections]

    await until(shown, [names] * len(connections))


async def offered(connection: Connection, kind: str) -> list[str]:
    """The nodes that clients are told of."""
    answer = await connection.ask(f"/api/cluster/up-{kind}-nodes.json", HERE)
    return [node["url"] for node in answer.json()["nodes"] or []]  # type: ignore[attr-defined]


async def until_offered(connections: list[Connection], *machines: Machine) -> None:
    """Wait until all workers offer these nodes to clients, each once."""

    async def all_offered() -> list[list[str]]:
        return [sorted(await offered(each, kind)) for each in connections for kind in ("registry", "discovery")]

    await until(all_offered, [sorted(each.url for each in machines)] * 2 * len(connections))


async def until_whole(connections: list[Connection], *machines: Machine) -> None:
    """Wait until all workers offer these nodes, and know every process of the others to serve: then each can be missed.

    Of a machine that is offered, one process is known to serve, and another one may have said so a moment later."""
    await until_offered(connections, *machines)

    async def known() -> set[tuple[str, str]]:
        told = [(await each.ask("/api/v1/cluster")).json()["members"] for each in connections]
        return {(member["status"], member.get("why") or "") for members in told for member in members}  # type: ignore[attr-defined]

    await until(known, {("up", "")})


@asynccontextmanager
async def always_offered(connections: list[Connection], *machines: Machine) -> AsyncIterator[None]:
    """Look all the while whether all of these workers offer these nodes; they must not be used for anything else."""
    expected, ended = sorted(each.url for each in machines), asyncio.Event()

    async def look() -> int:
        looks = 0
        while not ended.is_set():
            for connection in connections:
                for kind in ("registry", "discovery"):
                    assert expected == sorted(await offered(connection, kind)), f"{connection.worker} in look {looks}"
            looks += 1
            await asyncio.sleep(0.005)  # so often that no limit of requests is reached
        return looks

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        ended.set()
        assert await looking > 0


async def until_forced(connection: Connection) -> None:
    """Wait until a worker knows that an operator has switched its registry."""

    async def forced() -> bool:
        return bool((await connection.ask("/api/v1/node/forced")).json()["registry"])

    await until(forced, expected=True)


async def command(*arguments: str) -> tuple[int, str]:
    """Run a command of `artemis`; its exit code, and what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "artemis", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode()


async def reloaded(machine: Machine, shown: set[str]) -> int:
    """Have a machine replace its workers while four look up, who come back where they are sent away and always find
    these; returns how many lookups the one was answered that was answered fewest."""
    before, ended = machine.processes(), asyncio.Event()

    async def look_up() -> int:
        connection, answered = await machine.connect(), 0
        while not ended.is_set():
            try:
                found = await connection.found()
            except (OSError, EOFError):  # it has moved on
                connection = await machine.connect()
                continue
            assert shown == found
            answered += 1
        return answered

    looking = [asyncio.create_task(look_up()) for _ in range(4)]
    machine.process.send_signal(signal.SIGHUP)
    await machine.until_said("the rolling reload is done")
    ended.set()
    answered = [await each for each in looking]
    after = machine.processes()
    assert (set(), len(before)) == (set(before) & set(after), len(after))
    return min(answered)


async def until_told(java: JavaNode, name: str, connections: list[Connection]) -> None:
    """Have a Java node accept an instance of `s`, and again until these workers show it: of what it could not tell in
    5 s it forgets all but the first."""
    async with aiohttp.ClientSession() as session:

        async def told() -> bool:
            async with session.post(f"{java.url}{REGISTER}", json={"instances": [instance(name)]}) as answer:
                assert 200 == answer.status
            await asyncio.sleep(0.1)
            return all([name in await each.found() for each in connections])

        await until(told, expected=True)


async def until_held(java: JavaNode, accepted: Mapping[str, Connection]) -> None:
    """Wait until a Java node has these instances of `s`, and no others.

    Each is renewed meanwhile where it was accepted, as by its client: what a node of Java could not be told for 5 s
    goes with the next heartbeat."""

    async def held() -> set[str]:
        for name, connection in accepted.items():
            await connection.ask("/api/registry/heartbeat.json", {"instances": [instance(name)]})
        await asyncio.sleep(0.1)
        return {str(each["instanceId"]) for each in java.leases.of("s")}

    await until(held, set(accepted))
