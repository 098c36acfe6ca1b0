"""Nodes of several workers for the same cases: real processes, shared by all cases with the same options.

Each way alternates between two workers, call by call, so that whatever is said to one is asked of the other. Between
two cases a machine is emptied.
"""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from artemis.testing.node import RunningNode, arguments_of

WORKERS = 2
T = TypeVar("T")


class Machine:
    """A node of two workers; as much of a `NodeServer` as those need who only ask it."""

    def __init__(self, options: dict[str, object]) -> None:
        words = {name: _word(value) for name, value in options.items()}
        # Also where processes wait for a processor, what was said to one is to be asked of the other at once.
        own = {"region": "r1", "zone": "z1", "workers": WORKERS, "workers_wait": 10}
        self._running = RunningNode(arguments_of({**own, **words}))
        self._running.wait_ready()
        self.url = self._running.url
        self.address = ("127.0.0.1", self._running.port)
        self.prefix = str(options.get("path_prefix", ""))

    def ask(self, path: str, request: object) -> dict[str, object]:
        """The answer to a POST, at any worker."""
        url = f"{self.url}{self.prefix}/api/{path}"
        body = json.dumps(request).encode()
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - our own node
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            decoded: dict[str, object] = json.loads(answer.read())
            return decoded

    def empty(self) -> None:
        """Remove all instances and end all operations."""
        for kind in ("instance", "server"):
            answer = self.ask(f"management/all-{kind}-operations.json", {})
            for found in answer[f"all{kind.capitalize()}Operations"] or ():
                for operation in found["operations"]:
                    key = {f"{kind}Key": found[f"{kind}Key"]}
                    more = {"operation": operation, "operatorId": "test", "operationComplete": True}
                    self.ask(f"management/operate-{kind}.json", {**key, **more})
        services = self.ask("replication/registry/services.json", {"regionId": "r1", "zoneId": "z1"})["services"]
        for service in services or ():
            self.ask("replication/registry/unregister.json", {"instances": service["instances"]})

    async def at_each(
        self, connect: Callable[[], Awaitable[tuple[str, T]]], close: Callable[[T], Awaitable[None]]
    ) -> list[T]:
        """Connect until there is a connection with each worker; `connect` also returns where it came to."""
        found: dict[str, T] = {}
        while len(found) < WORKERS:
            name, connection = await connect()
            if name in found:
                await close(connection)
            else:
                found[name] = connection
        return [found[name] for name in sorted(found)]

    def stop(self) -> None:
        """End it."""
        code = self._running.stop()
        assert 0 == code, self._running.output


class Machines:
    """Machines by their options."""

    def __init__(self) -> None:
        self._running: dict[str, Machine] = {}

    @asynccontextmanager
    async def serving(self, *, untouched: bool = False, **options: object) -> AsyncIterator[Machine]:
        """`async with machines.serving(**options) as machine`; it is empty, and remembers nothing if `untouched`."""
        if not untouched:
            options = {"rate_limit_status": 0, **options}  # it would be reached by all cases together
        key = json.dumps(options, sort_keys=True)
        running = self._running.get(key)
        if running is not None and not untouched:
            await asyncio.to_thread(running.empty)
        else:
            if running is not None:
                await asyncio.to_thread(running.stop)
            self._running[key] = await asyncio.to_thread(Machine, options)
        yield self._running[key]

    def stop(self) -> None:
        """End all."""
        for machine in self._running.values():
            machine.stop()


@contextmanager
def machines() -> Iterator[Machines]:
    """Machines that end with the block."""
    running = Machines()
    try:
        yield running
    finally:
        running.stop()


def _word(value: object) -> str | int | float | bool:
    if isinstance(value, dict):
        return ",".join(f"{name}:{limit}" for name, limit in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    assert isinstance(value, str | int | float | bool)
    return value
