"""What a node serves, whom, and as of when (spec 6.3, 6.5; design 4.1 "Age of an answer").

Synchronous and pure, like the node whose part it is. Not here: what wins when several things speak against serving
(`artemis.cluster.standing`), and what is served (`node`).
"""

from collections.abc import Callable, Iterable
from zlib import crc32

import msgspec

from artemis._version import __version__
from artemis.cluster.members import Members
from artemis.cluster.retiring import SHARES, Retiring
from artemis.cluster.standing import Availability, ByHand, Service, Standing, Switch
from artemis.model import (
    Instance,
    NodeStatusRequest,
    NodeStatusResponse,
    ResponseStatus,
    ServiceNode,
    ServiceNodeStatus,
    Zone,
)
from artemis.model.nodes import STARTING, UP
from artemis.model.responses import NO_PERMISSION, SERVICE_UNAVAILABLE, SUCCESS, failure
from artemis.server.outcomes import not_ours
from artemis.server.regions import Regions


class NodeIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a node is. `epoch` grows at each start of the node; `url` is where clients and peers reach it. One worker of
    several has an id of its own, and to everybody else that of the `machine`; empty for a node in one process."""

    node_id: str
    epoch: int
    region: str
    zone: str
    url: str
    machine: str = ""


class Condition:
    """The condition of one node. Made and owned as a part of it.

    `as_of` is the `now` from which on what is shown may lack something, None when it cannot; `missing_nodes` counts
    other nodes that ought to be there and that it does not speak of, as they are down or were never met.
    `availability` decides what is served, as `status`, `serves_registry`, `serves_discovery` and `standing` tell;
    `members` are the other nodes, None for a node without. `generation` changes whenever something changes that the
    outcome of all requests depends on. `retiring` says how far the node is with being taken out of service.
    `recognises`: whether a client's heartbeat may be known by its bytes. `regions` are other regions that are shown to
    those who name them.
    """

    def __init__(
        self, identity: NodeIdentity, *, allow_registry_from_other_zone: bool, allow_discovery_from_other_zone: bool
    ) -> None:
        self.identity = identity
        self.members: Members | None = None
        #: What a worker waits for before its machine counts as ready, although it serves itself; empty for nothing.
        self.unready = ""
        #: Self-preservation as an operator has switched it by hand, None for not at all.
        self.preserves: bool | None = None
        #: Called when an operator has switched something by hand, and what, which holds for all workers of a machine.
        self.switched: Callable[[ByHand, int], None] = lambda *_: None
        self.availability = Availability()
        self.status = STARTING
        self.standing = Standing()
        self.serves_registry = self.serves_discovery = False
        self.retiring: Retiring | None = None
        self.generation = -1
        self.recognises = True
        self.as_of: int | None = None
        self.missing_nodes = 0
        self.regions = Regions(identity.region)
        self._stale_since: int | None = None
        self._contact: int | None = None
        self._region = identity.region.lower()
        self._zone = identity.zone.lower()
        self._allow_registry = allow_registry_from_other_zone
        self._allow_discovery = allow_discovery_from_other_zone
        self._settle()

    # -- what is served, and whom

    @property
    def gives_up(self) -> bool:
        """Tell whether silent instances are given up here.

        Not while the own wall clock is the wrong one: peers refuse this node, and its clients are sent to them, so its
        silence says nothing of what they hear. A node that an operator makes serve registry nevertheless hears clients.
        """
        return self.availability.clock is None or self.serves_registry

    @property
    def serving(self) -> bool:
        """Tell whether clients are served whatever they ask for (spec 6.3)."""
        return self.status == UP

    def unavailable(self, what: str) -> ResponseStatus:
        """Say that `registry` or `discovery` is not served now, in the original's words, and why where that helps."""
        why = "".join(f"; {reason}" for reason in self.availability.reasons)
        return failure(SERVICE_UNAVAILABLE, f"Serivce {what} is not in up state. Current status: {self.status}{why}")

    def accepts(self, zone: str | None) -> bool:
        """Tell whether instances of a zone of this region may be written here (spec 6.5)."""
        return self._allow_registry or (zone is not None and zone.lower() == self._zone)

    def answers(self, zone: str) -> bool:
        """Tell whether lookups from a zone of this region are served here (spec 6.5)."""
        return self._allow_discovery or zone.lower() == self._zone

    def refuse_discovery(self, region: str | None, zone: str | None) -> ResponseStatus | None:
        """Say why callers of a region and zone are shown nothing, None when they are (spec 2.2, 6.5)."""
        if not self.serves_discovery:
            return self.unavailable("discovery")
        if region is None or region.lower() != self._region:
            return failure(NO_PERMISSION, self.regions.refused(region, self.identity.region))
        if not self._allow_discovery and (zone is None or zone.lower() != self._zone):
            return failure(NO_PERMISSION, not_ours("zone", zone, self.identity.zone))
        return None

    def node_status(self, request: NodeStatusRequest | None, now: int) -> NodeStatusResponse:  # noqa: ARG002
        """Tell the status of this node (spec 2.4, 6.3)."""
        identity = self.identity
        zone = Zone(region_id=identity.region, zone_id=identity.zone)
        undecided = None if self.availability.starting else False
        status = ServiceNodeStatus(
            allow_discovery_from_other_zone=self._allow_discovery,
            allow_registry_from_other_zone=self._allow_registry,
            can_service_discovery=self.standing.discovery or undecided,
            can_service_registry=self.standing.registry or undecided,
            node=ServiceNode(
                node_id=identity.machine or identity.node_id,
                region_id=identity.region,
                url=identity.url,
                zone=zone,
                zone_id=identity.zone,
            ),
            status=self.standing.status,
        )
        return NodeStatusResponse(node_status=status, response_status=SUCCESS)

    def allow_other_zones(self, *, registry: bool, discovery: bool) -> None:
        """Say whether instances and lookups of other zones of the region are served (spec 6.5)."""
        self._allow_registry = registry
        self._allow_discovery = discovery
        self._settle()

    def recognise_heartbeats(self, recognise: bool) -> None:
        """Let heartbeats be known by their bytes, or have each of them parsed; what was learnt is void."""
        self.recognises = recognise
        self._settle()

    def wait_for(self, what: str | None) -> None:
        """Stay `starting`, and say what is waited for; None ends the start (spec 6.4)."""
        if what != self.availability.waiting:
            self.availability.waiting = what
            self._settle()

    def copy_first(self, what: str | None) -> None:
        """Stay `starting` also while something is copied, and say what; None: that is over."""
        if what != self.availability.copying:
            self.availability.copying = what
            self._settle()

    def blame_clock(self, why: str | None) -> None:
        """Serve no registry while the own wall clock is the wrong one, and say so; None: it is right (design 4.1)."""
        if why != self.availability.clock:
            self.availability.clock = why
            self._settle()

    def force(self, service: Service, switch: Switch | None) -> None:
        """Switch a service on or off by hand, None leaves it to itself again, at once (defect 11).

        It is this node's alone, and lasts as long as the process: the next start decides anew.
        """
        if switch is None:
            self.availability.release(service)
        else:
            self.availability.force(service, switch)
        self._settle()

    def drain(self, now: int) -> None:  # noqa: ARG002
        """Stop serving, for good: every request from now on is answered `service-unavailable`."""
        self.availability.draining = True
        self._settle()

    def retire(self, retiring: Retiring | None) -> None:
        """Let an operator take this node out of service, which somebody carries out; None: it stays."""
        self.retiring = retiring
        self.settle()

    def settle(self) -> None:
        """Take over how far the node is with being taken out of service."""
        available, retiring = self.availability, self.retiring
        available.retiring = "" if retiring is None else retiring.sentence
        available.offered = retiring is None or retiring.phase == "waiting"
        self._settle()

    def sends_away(self, instances: Iterable[Instance | None]) -> bool:
        """Tell whether who registers or renews these is to do so at another node from now on."""
        retiring = self.retiring
        if retiring is None or not retiring.share:
            return False
        first = next((each for each in instances if each is not None), None)
        name = "" if first is None else f"{first.service_id}/{first.instance_id}".lower()
        return crc32(name.encode()) % SHARES < retiring.share

    def alone(self, now: int) -> str:
        """Say without which other nodes this one serves, and why; empty when none is missing or it does not serve."""
        missing = [] if self.members is None or not self.serving else self.members.missing(now)
        return f"it serves without {'; without '.join(missing)}" if missing else ""

    # -- as of when

    def age(self, now: int) -> int:
        """Return how many milliseconds old the data may be: 0, unless `as_of` names an earlier moment (design 4.1).

        Data of a former life are as old as their snapshot until they are confirmed. In a cluster they are as old as the
        last contact with that member which has been silent longest of those that are up or suspected: one that went
        silent without a farewell makes the age grow until it is taken for down.
        """
        return 0 if self.as_of is None else max(0, now - self.as_of)

    @property
    def stale_since(self) -> int | None:
        """The `now` since which leases of a former life wait to be confirmed, None when all are."""
        return self._stale_since

    @stale_since.setter
    def stale_since(self, since: int | None) -> None:
        self._stale_since = since
        self._date()

    def in_contact(self, since: int | None) -> None:
        """Say when all members that may have accepted something were heard last; None without any."""
        self._contact = since
        self._date()

    def _date(self) -> None:
        moments = [moment for moment in (self.stale_since, self._contact) if moment is not None]
        self.as_of = min(moments, default=None)

    def _in_zone(self, instance: Instance) -> bool:
        return instance.zone_id is not None and instance.zone_id.lower() == self._zone

    def _settle(self) -> None:
        """Take over what the availability says now, and tell whoever remembers outcomes."""
        available = self.availability
        self.status = available.told
        self.serves_registry, self.serves_discovery = available.serves("registry"), available.serves("discovery")
        self.standing = Standing(
            status=self.status,
            registry=self.serves_registry and available.offered,
            discovery=self.serves_discovery and available.offered,
            draining=self.retiring is not None,
            registry_from_other_zones=self._allow_registry,
            discovery_from_other_zones=self._allow_discovery,
            why="; ".join(available.reasons),
            metadata={"version": __version__},
        )
        self.generation += 1
