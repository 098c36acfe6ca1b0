"""What befalls a machine beside another one, and what must hold then: in a mesh and around an engine alike."""

import signal

from worker_machines import Machine
from worker_waits import always_offered, reloaded, until_all_show, until_forced, until_offered, until_whole


async def kill_a_worker(a: Machine, b: Machine) -> None:
    """It comes back, with what was written meanwhile; the machine is offered all the time, by the other one too."""
    one, two = await a.at_each()
    others = await b.at_each()
    await until_whole([one, two, *others], a, b)
    async with always_offered(await b.at_each(), a, b):
        killed = a.signal(1, signal.SIGKILL)
        for number in range(50):
            await one.register(f"n{number}")
        again = (await a.at_each())[1]
    names = {f"n{number}" for number in range(50)}
    await until_all_show([again, one, *others], names)
    await again.register("late")
    await until_all_show([again, one, *others], names | {"late"})
    assert killed not in a.processes()


async def reload_it(a: Machine, b: Machine) -> None:
    """No lookup fails of those who come back where they are sent away, and the other machine offers it all the time."""
    connections = [*await a.at_each(), *await b.at_each()]
    await until_whole(connections, a, b)
    await connections[0].register("a", "b")
    await until_all_show(connections, {"a", "b"})
    async with always_offered(await b.at_each(), a, b):
        assert await reloaded(a, {"a", "b"}) > 0
    connections = [*await a.at_each(), *await b.at_each()]
    await until_offered(connections, a, b)
    for number, connection in enumerate(connections):
        await connection.register(f"at-{number}")
    await until_all_show(connections, {"a", "b", *(f"at-{number}" for number in range(4))})


async def switch_something(a: Machine, b: Machine) -> None:
    """Forced at one worker it is obeyed by its sibling, and by one that is started again, and by no other machine."""
    one, two = await a.at_each()
    other = await b.connect()
    await one.ask("/api/v1/node/force", {"service": "registry", "force": "down", "operatorId": "alice"})
    await until_forced(two)
    a.signal(1, signal.SIGKILL)
    await until_forced((await a.at_each())[1])
    assert not (await other.ask("/api/v1/node/forced")).json()["registry"]
