"""Operators who pull instances and servers out, and put them back, at any node.

Not here: what callers may see of that (`judge`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from artemis.management import InstanceTarget, OperationRecord, ServerTarget
from artemis.testing.simulation.plan import REGION, SKEW
from artemis.testing.simulation.process import Process

if TYPE_CHECKING:
    from artemis.testing.simulation.clients import Client
    from artemis.testing.simulation.world import World

Target = InstanceTarget | ServerTarget


class Said(NamedTuple):
    """The last word about a target: whether it is pulled out, by which life of which node, and when."""

    out: bool
    process: Process
    at: int


class Operators:
    """Decides something every few seconds, about each target seldom enough that wall clocks agree on the order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._said: dict[tuple[Target, str], Said] = {}

    def decide(self) -> None:
        """Say a word about some target, and another one later."""
        world, rnd = self._world, self._world.rnd
        if not world.faults:
            return
        world.schedule.after(rnd.randint(500, 6_000), self.decide)
        process = world.process(rnd.choice(world.serving()))
        if process is None or not process.ready:
            return
        client = world.clients[rnd.choice([*world.clients])]
        target: Target = InstanceTarget(REGION, client.service, client.name)
        if rnd.random() < 0.3:
            target = ServerTarget(REGION, client.ip)
        key = target, rnd.choice(("down", "canary"))
        last = self._said.get(key)
        if last is not None and world.schedule.now - last.at <= 2 * SKEW:
            return
        out = rnd.random() < 0.5 if last is None else not last.out
        pullouts, now = process.node.pullouts, process.member.now
        if out:
            pullouts.operate(target, OperationRecord(key[1], "ops", None), now)
        else:
            pullouts.complete(target, key[1], now)
        world.log("operators", "pull out" if out else "put back", target, key[1], "at", process.member.name)
        world.stats["decisions"] += 1
        self._said[key] = Said(out, process, world.schedule.now)
        process.member.soon()

    def hidden(self, client: Client) -> bool | None:
        """Tell whether an instance is pulled out, by the last words about it; None if one may have been lost."""
        targets = InstanceTarget(REGION, client.service, client.name), ServerTarget(REGION, client.ip)
        words = [said for (target, _), said in self._said.items() if target in targets]
        if words and self._world.plan.jumps:
            return None  # a clock that was ahead may have had the last word
        if any(said.process.member.process is not said.process for said in words):
            return None
        return any(said.out for said in words)
