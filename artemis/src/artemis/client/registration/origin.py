"""What a client adds to the instances that it registers: where it is, and where it can be reached.

Not here: the rules by which an instance is completed, see `artemis.client.registration.instances`.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from artemis.client.calls.api import REGISTER
from artemis.client.errors import Attempt, UnreachableError
from artemis.client.nodes.names import Names
from artemis.client.registration.address import own_address
from artemis.client.registration.instances import completed, needs_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artemis.model import Instance

SLICE: Final = 500
"""So many instances are completed without giving the loop a turn: 4 us each on the reference machine."""

UNKNOWN: Final = "0.0.0.0"  # noqa: S104 - stands for an address that is not known yet, and goes nowhere


@dataclass(frozen=True, slots=True)
class Origin:
    """Region and zone of a client, and the node that it talks to: towards it, this process has an address.

    ``patience`` is how many seconds finding that address may take.
    """

    region_id: str | None
    zone_id: str | None
    node: Callable[[], str]
    patience: float
    machine_name: str = field(default_factory=lambda: socket.gethostname().encode(errors="replace").decode())
    names: Names = field(default_factory=Names)

    def checked(self, instance: Instance) -> Instance:
        """Return the instance completed, or as it is if that takes an address; raise what `completed` raises."""
        whole = self._completed(instance, UNKNOWN)
        return instance if needs_address(instance) else whole

    async def whole(self, instances: Sequence[Instance]) -> list[Instance]:
        """Return the instances completed; raise what `completed` raises, or ``UnreachableError`` without a route."""
        address: str | None = None
        whole: list[Instance] = []
        for number, instance in enumerate(instances, 1):
            one = self._completed(instance, address or UNKNOWN)
            if address is None and needs_address(instance):
                address = await self._address()
                one = self._completed(instance, address)
            whole.append(one)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        return whole

    def _completed(self, instance: Instance, address: str) -> Instance:
        return completed(
            instance,
            region_id=self.region_id,
            zone_id=self.zone_id,
            address=address,
            machine_name=self.machine_name,
        )

    async def _address(self) -> str:
        node = self.node()
        try:
            return await own_address(node, within=self.patience, names=self.names)
        except OSError as error:
            reason = f"no own address towards it ({error}); Instance(ip=...) or ARTEMIS_IP can tell it"
            raise UnreachableError(REGISTER.path, [Attempt(node, reason)]) from error
