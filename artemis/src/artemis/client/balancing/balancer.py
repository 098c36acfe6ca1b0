"""Which instance the next request goes to. Weights, groups and route rules are not its business yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from artemis.client.errors import NoInstancesError
from artemis.client.names import check_text, instance_key

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from artemis.client.discovery.discovery import Discovery
    from artemis.model import Instance

Strategy = Literal["round-robin", "random"]
"""``round-robin``: one after another, from a random start; ``random``: each with the same chance."""


class Balancer:
    """Chooses among the live instances of one service, as the client last saw them; made by ``client.balancer``.

    Every choice uses the current list, so instances come and go between two choices. Never waits for the network.
    """

    def __init__(self, discovery: Discovery, service_id: str, strategy: Strategy, random: Random) -> None:
        if strategy not in get_args(Strategy):
            raise ValueError(f"no such strategy: {strategy!r} (there are {', '.join(get_args(Strategy))})")
        self.service_id = check_text("service_id", service_id)
        self.strategy = strategy
        self._discovery = discovery
        self._random = random

    async def ready(self) -> None:
        """Wait until the service has been looked up once; raises what that first lookup raises."""
        await self._discovery.service(self.service_id)

    def next(self, *, avoid: Collection[Instance] = ()) -> Instance:
        """Return the instance for the next request.

        ``avoid`` names instances that just failed the caller; they are chosen only if there is no other.
        Raises ``NoInstancesError`` if none is live, or if the service has not been looked up yet (see ``ready``).
        """
        view = self._discovery.known(self.service_id)
        if view is None:
            raise NoInstancesError(self.service_id, "it has not been looked up yet; `await balancer.ready()` first")
        if not view.instances:
            raise NoInstancesError(self.service_id, f"none was live {view.age:.1f} s ago")
        candidates: tuple[Instance, ...] = view.instances
        if avoid:
            avoided = {instance_key(instance) for instance in avoid}
            candidates = tuple(one for one in candidates if instance_key(one) not in avoided) or candidates
        if self.strategy == "random":
            return self._random.choice(candidates)
        return candidates[self._discovery.next_turn(self.service_id) % len(candidates)]
