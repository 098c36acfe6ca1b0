"""What a node serves and why: what it says of itself to the others and to clients (spec 6.3, 6.4).

A node starts, may be held by its start or by a clock that is wrong, and may be told otherwise by an operator; here is
which of that wins. Pure. Not here: how long a start takes (`joining`), and who judges clocks (`skew`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from artemis.model.nodes import DOWN, STARTING, UNKNOWN, UP

Service = Literal["registry", "discovery"]
SERVICES: tuple[Service, ...] = ("registry", "discovery")
Direction = Literal["up", "down"]
ByHand = Literal["registry", "discovery", "self-preservation", "retirement"]
"""What operators can switch by hand at a node, each by itself."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself with its signs of life (spec 1.4, 6.3).

    `status` is one of `starting`, `up`, `down`, `unknown`, `registry` and `discovery` whether it serves these, the next
    two whether it does so for other zones of the region. `why` is a sentence for operators, empty when nothing is to be
    said. `metadata` is what else there is to know, such as the `version` of its software. `draining`: it is being
    taken out of service, still serves who has not gone yet, and is nobody to hand over to.
    """

    status: str = UNKNOWN
    registry: bool = False
    discovery: bool = False
    registry_from_other_zones: bool = False
    discovery_from_other_zones: bool = False
    why: str = ""
    metadata: dict[str, str] = {}
    draining: bool = False


class Switch(msgspec.Struct, frozen=True):
    """A service that an operator has switched: in which direction, who did, and when, in ms of the wall clock."""

    direction: Direction
    operator: str
    since: int


class Availability:
    """Decides what one node serves. Owned by the node, used from one event loop.

    `waiting` is the sentence on what the start waits for, empty for one that waits for nobody, None once it is over;
    `copying` the one on what else is copied first, None for nothing; `clock` the one on a clock that is wrong, None
    while it is not. An operator's switch wins over both, and the drain,
    which is for good, over all. `retiring` is the sentence on why it is taken out of service, and while it is not
    `offered` no further clients are to come.

    `status` is `up` with both services, `down` when the node drains or both are forced down, else `starting`, also with
    one of them: that leaves the word to the two flags (spec 6.3).
    """

    __slots__ = ("_forced", "clock", "copying", "draining", "offered", "retiring", "waiting")

    def __init__(self) -> None:
        self.waiting: str | None = ""
        self.copying: str | None = None
        self.clock: str | None = None
        self.draining = False
        self.retiring = ""
        self.offered = True
        self._forced: dict[Service, Switch] = {}

    @property
    def forced(self) -> dict[Service, Switch]:
        """The services that operators have switched."""
        return dict(self._forced)

    def force(self, service: Service, switch: Switch) -> None:
        """Switch a service on or off, whatever else there is, until `release`."""
        self._forced[service] = switch

    def release(self, service: Service) -> None:
        """Leave a service to itself again: at once it is what it would be without the switch (defect 11)."""
        self._forced.pop(service, None)

    def serves(self, service: Service) -> bool:
        """Whether clients are served."""
        if self.draining:
            return False
        switch = self._forced.get(service)
        if switch is not None:
            return switch.direction == "up"
        return not self.starting and (service == "discovery" or self.clock is None)

    @property
    def starting(self) -> bool:
        """Whether the start is not over."""
        return self.waiting is not None or self.copying is not None

    @property
    def status(self) -> str:
        """The status in the words of spec 6.3."""
        if all(self.serves(service) for service in SERVICES):
            return UP
        switches = [self._forced.get(service) for service in SERVICES]
        by_hand = all(switch is not None and switch.direction == "down" for switch in switches)
        return DOWN if self.draining or by_hand else STARTING

    @property
    def told(self) -> str:
        """The status as it is told to others."""
        return self.status if self.offered else DOWN

    @property
    def reasons(self) -> list[str]:
        """Sentences on what keeps the node from what it would be otherwise; none for a drain."""
        if self.draining:
            return []
        forced = ((service, self._forced[service]) for service in SERVICES if service in self._forced)
        found = [f"{service} is forced {switch.direction} by {switch.operator}" for service, switch in forced]
        return found + [each for each in (self.waiting, self.copying, self.clock, self.retiring) if each]
