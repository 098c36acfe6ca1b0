"""The clients of the soak program, in one process: all loads at once, begun and ended by command.

    python benchmarks/soak_clients.py DIRECTORY [--seed N] [--uvloop]

Not here: what the loads do (`soak_loads.py`, `soak_peers.py`), and when (`soak.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import soak_peers
import uvloop
from soak_loads import loads
from soak_samples import Faults, handshakes, obey, sample
from soak_world import World

LIFETIME = 4.0  # seconds, of what goes through links that cut
PATIENCE = 90.0  # seconds for loads to end


class Clients:
    """Runs the loads between `load` and `rest`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loads = {**loads(), "rude": soak_peers.rude, "vanishing": soak_peers.vanishing, "slow": soak_peers.slow}
        self.running: dict[str, asyncio.Task[None]] = {}

    async def load(self) -> dict[str, object]:
        """Begin."""
        self.world.ending.clear()
        await self.world.cut(LIFETIME)
        self.running = {name: asyncio.ensure_future(self._run(name, load)) for name, load in self.loads.items()}
        return {"loads": len(self.running)}

    async def rest(self) -> dict[str, object]:
        """End, with all connections."""
        self.world.ending.set()
        if self.running:
            _, late = await asyncio.wait(self.running.values(), timeout=PATIENCE)
            for name, task in self.running.items():
                if task in late:
                    self.world.faults.note(f"{name} does not end within {PATIENCE} s: {task.get_stack(limit=3)}")
                    task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self.running.clear()
        await self.world.end_cutting()
        return {}

    async def now(self) -> dict[str, object]:
        """A sample."""
        return self._told(whole=False)

    async def quiet(self) -> dict[str, object]:
        """A sample at a quiet moment."""
        return self._told(whole=True)

    async def open_sessions(self) -> dict[str, object]:
        """How many sessions, tasks and handshakes there are."""
        tasks = len(asyncio.all_tasks()) - 1
        sessions = sum(len(endpoint.sessions) for endpoint in self.world.endpoints)
        return {"sessions": sessions, "tasks": tasks, "handshakes": handshakes()}

    def _told(self, *, whole: bool) -> dict[str, object]:
        told = sample(self.world.endpoints, whole=whole)
        seen = dict(sorted(self.world.seen.items()))
        return {**told, "seen": seen, **self.world.faults.told()}

    async def _run(self, name: str, load: Callable[[World], Awaitable[None]]) -> None:
        while not self.world.ending.is_set():
            try:
                await load(self.world)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                self.world.faults.note(f"{name}: {type(error).__name__}: {error}")
                await asyncio.sleep(1.0)


async def run(directory: Path, seed: int) -> None:
    """Obey until whoever commands has gone."""
    faults = Faults()
    faults.install()
    told = {
        **json.loads((directory / "server.json").read_text()),
        **json.loads((directory / "workers.json").read_text()),
    }
    ports = {name: int(uri.rstrip("/").rpartition(":")[2]) for name, uri in told.items()}
    clients = Clients(World(ports, str(directory / "authority.pem"), faults, random.Random(seed)))  # noqa: S311
    ended = asyncio.Event()
    commands = {
        "sample": clients.now,
        "quiet": clients.quiet,
        "sessions": clients.open_sessions,
        "load": clients.load,
        "rest": clients.rest,
    }
    commanded = await obey(str(directory / "clients.sock"), commands, ended.set)
    await ended.wait()
    await clients.rest()
    commanded.close()


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--uvloop", action="store_true", help="instead of asyncio's own loop")
    arguments = parser.parse_args()
    (uvloop if arguments.uvloop else asyncio).run(run(arguments.directory, arguments.seed))


if __name__ == "__main__":
    main()
