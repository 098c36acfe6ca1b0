"""What befalls the links of a mesh: partitions, of one direction too, and nodes that come and go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from artemis.testing.simulation.faults import Faults

if TYPE_CHECKING:
    from artemis.testing.simulation.mesh.network import Network, Pair
    from artemis.testing.simulation.world import World

LENGTHS = (3_000, 8_000, 18_000, 35_000)
"""Milliseconds that a partition lasts."""


class MeshFaults(Faults):
    """Faults of machines, and of the links between them."""

    def __init__(self, world: World, network: Network) -> None:
        super().__init__(world)
        self._network = network

    def between(self) -> dict[Callable[[], None], int]:
        """Return what befalls links."""
        return {self.partition: 30, self.one_way: 15, self.flapping: 8}

    def partition(self) -> None:
        """Two halves that do not reach each other; some clients are caught on one side."""
        world, rnd = self._world, self._world.rnd
        names = [*world.members]
        side = {name for name in names if rnd.random() < 0.5} or {names[0]}
        self._network.blocked = {(a, b) for a in names for b in names if (a in side) != (b in side)}
        world.cut = set()
        for client in world.clients:
            if rnd.random() < 0.6:
                inside = rnd.random() < 0.5
                world.cut |= {(client, name) for name in names if (name in side) != inside}
        world.log("partition", sorted(side))
        world.schedule.after(rnd.choice(LENGTHS), partial(self._heal, self._network.blocked))

    def one_way(self) -> None:
        """Single directions fail."""
        world, rnd = self._world, self._world.rnd
        pairs = [(a, b) for a in world.members for b in world.members if a != b and rnd.random() < 0.35]
        self._network.blocked, world.cut = set(pairs), set()
        world.log("one-way cuts", pairs)
        world.schedule.after(rnd.choice(LENGTHS[:3]), partial(self._heal, self._network.blocked))

    def flapping(self) -> None:
        """One node comes and goes several times."""
        world, rnd = self._world, self._world.rnd
        name = rnd.choice([*world.members])
        pairs = {pair for other in world.members if other != name for pair in ((name, other), (other, name))}
        world.log("flapping", name)
        for turn in range(rnd.randint(2, 6)):
            start = turn * 4_500
            world.schedule.after(start, partial(self._block, pairs))
            world.schedule.after(start + rnd.choice((500, 2_000, 4_000)), partial(self._heal, pairs))

    def _block(self, pairs: set[Pair]) -> None:
        if self._world.faults:
            self._network.blocked = pairs

    def _heal(self, pairs: set[Pair]) -> None:
        world = self._world
        if self._network.blocked is pairs:
            self._network.blocked, world.cut = set(), set()
            world.log("healed")
