"""A node of the registry: judges requests and answers them (spec 2.1, 2.2, 2.4, 6.3).

Synchronous and pure: requests, milliseconds and wall clock come in, responses go out. Failures are answers, never
exceptions. Not here: what is registered and renewed (`registering`), bytes and connections, which are the doors', and
the table of operations (`operations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from artemis.discovery import (
    Catalog,
    DiscoveryFilter,
    Elsewhere,
    LookupAnswer,
    Picker,
    ServiceAnswer,
    ServicesAnswer,
    ServiceView,
)
from artemis.discovery.narrowing import MAX_NARROWED, NarrowedViews
from artemis.management import OperationFilter, Operations, OperationsCut, PullOuts, read_pieces
from artemis.model import (
    DiscoveryConfig,
    LookupRequest,
    ResponseStatus,
    ServiceRequest,
    ServicesDeltaRequest,
    ServicesRequest,
)
from artemis.model.responses import (
    BAD_REQUEST,
    SUCCESS,
    failure,
)
from artemis.push import ChangeLog, ChangeStream, Positions, PushLimits, ServicesDeltaAnswer
from artemis.registry import (
    Cut,
    NodeLimits,
    NodeTimings,
    Origin,
    Registry,
    RenewalPlan,
    Saved,
    SelfPreservation,
)
from artemis.registry.restore import restore, version_after
from artemis.server.about import NodeAbout
from artemis.server.backups import Backups
from artemis.server.condition import NodeIdentity
from artemis.server.outcomes import REGISTRY_SUCCESS
from artemis.server.regions import Showing, elsewhere
from artemis.server.registering import Registering

if TYPE_CHECKING:
    from artemis.cluster.java.peers import JavaPeers
    from artemis.server.cluster_control import ClusterControl

__all__ = ["REGISTRY_SUCCESS", "Node", "NodeIdentity", "NodeLimits", "NodeStats", "NodeTimings", "RenewalPlan"]

TOO_MUCH_TO_NARROW = failure(
    BAD_REQUEST,
    f"discoveryData may narrow services of {MAX_NARROWED} instances together. Look up fewer at once, or ask for pages.",
)


class NodeStats(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers about a node at one moment. Those from `registered` on count since the start and only grow."""

    status: str
    instances: int
    services: int
    dead_records: int
    cached_views: int
    version: int
    changes: int
    self_preservation: SelfPreservation
    legacy_self_preservation: SelfPreservation
    registered: int
    renewed: int
    renewed_by_plan: int
    rewritten: int
    unregistered: int
    unknown_leases: int
    expired: int
    swept: int
    swept_early: int
    repaired: int
    overtaken: int
    refused_invalid: int
    refused_region: int
    refused_zone: int
    refused_full: int
    refused_large: int
    listener_failures: int
    filter_failures: int
    operations: int
    operations_refused: int


class Node(Registering):
    """One node. Owned by the assembly and used from one event loop; nothing here waits.

    `now` is milliseconds of a monotonic clock that never goes back, `wall` milliseconds of the wall clock. Every
    operation takes the decoded request, None for a literal null, and always returns a response. Instances and lookups
    from another zone are welcome unless the `allow` switches say no; another region never is (spec 6.5).
    `wall_clock` gives the wall clock for the times of changes; without one it is that of the last tick. `log` and
    `stream` tell of changes (`max_changes` of them are remembered), `as_of` is the `now` from which on what is shown
    may lack something, None when it cannot. `availability` decides what is served, as `status`, `serves_registry`,
    `serves_discovery` and `standing` tell; `members` are the other nodes, `control` what operators do with them, `java`
    the nodes of the Java product, each None for a node without; `regions` are the other regions that are shown.
    `saved` is what a former life of this node knew. `first_version` is that of the catalog, the wall clock's unless it
    says otherwise.
    `generation` changes whenever something changes that the outcome of all requests depends on. `about` is what the
    assembly knows and status operations show, `cluster_name` that of the cluster it is in, empty for none, `picker`
    chooses instances for callers who want one.
    """

    def __init__(
        self,
        identity: NodeIdentity,
        *,
        timings: NodeTimings | None = None,
        limits: NodeLimits | None = None,
        allow_registry_from_other_zone: bool = True,
        allow_discovery_from_other_zone: bool = True,
        filters: Iterable[DiscoveryFilter] = (),
        push_limits: PushLimits | None = None,
        max_changes: int = 50_000,
        wall_clock: Callable[[], int] | None = None,
        saved: Saved | None = None,
        first_version: int | None = None,
        now: int,
        wall: int,
    ) -> None:
        super().__init__(
            identity,
            allow_registry_from_other_zone=allow_registry_from_other_zone,
            allow_discovery_from_other_zone=allow_discovery_from_other_zone,
        )
        self.registry = Registry(
            Origin(identity.node_id, identity.epoch),
            identity.region,
            timings=timings,
            limits=limits,
            now=now,
            wall=wall,
        )
        self.operations = Operations(max_records=self.registry.limits.max_operations)
        hiding = OperationFilter(self.operations, identity.region)
        version = wall if first_version is None else first_version
        self.catalog = Catalog(self.registry, filters=(*filters, hiding), wall=version)
        self.pullouts = PullOuts(self.operations, hiding, self.registry, self.catalog)
        self.picker = Picker(self.catalog, seed=identity.epoch)
        self.narrowed = NarrowedViews()
        self.about = NodeAbout()
        self.backups = Backups(identity.node_id)
        self.cluster_name = ""
        self.control: ClusterControl | None = None
        self.java: JavaPeers | None = None
        self._restored = now
        if saved is not None:
            self._restore(saved, now, wall)
        self._wall = wall
        self._born = (now, wall)
        self._positions = Positions(self.registry)
        clock = wall_clock or (lambda: self._wall)
        self.log = ChangeLog(
            self.catalog, self.registry, wall=clock, max_entries=max_changes, alterations=self.pullouts
        )
        self.stream = ChangeStream(self.catalog, self.log, self.cursor, push_limits)
        self._refused_zone = 0

    # -- discovery

    @property
    def copy(self) -> None:
        """It shows its own region; see `Showing`."""

    def lookup(self, request: LookupRequest | None, now: int) -> LookupAnswer:
        """Show several services in the order of the request (spec 2.2, v2 behaviour: failures are visible)."""
        if request is None or not request.discovery_configs:
            return LookupAnswer(failure(BAD_REQUEST, "Request is null or request.discoveryConfigs is empty."))
        configs = request.discovery_configs
        showing: Showing = self
        place: Elsewhere | None = None
        if self.regions:
            found = self.regions.named(request.region_id, [each.region_id for each in configs if each is not None])
            if isinstance(found, ResponseStatus):
                return LookupAnswer(found)
            if found is not None:
                showing, place = found, elsewhere(found, now)
        refusal = self.refuse_discovery(request.region_id if place is None else self._region, request.zone_id)
        if refusal is not None:
            return LookupAnswer(refusal)
        limits = self.registry.limits
        if len(configs) > limits.max_lookup_services:
            text = f"One lookup may name {limits.max_lookup_services} services at most. Look up fewer at once."
            return LookupAnswer(failure(BAD_REQUEST, text))
        view = showing.catalog.view
        views = [
            view(config.service_id)
            for config in configs
            if config is not None and config.service_id and not config.service_id.isspace()
        ]
        for config in configs:
            if config is not None and config.discovery_data:
                narrowed = _narrowed(showing, configs)
                if narrowed is None:
                    return LookupAnswer(TOO_MUCH_TO_NARROW)
                views = narrowed
                break
        if len(views) > 1 and sum(len(view.json) for view in views) > limits.max_lookup_bytes:
            text = f"The answer would be larger than {limits.max_lookup_bytes} bytes. Look up fewer services at once."
            return LookupAnswer(failure(BAD_REQUEST, text))
        return LookupAnswer(SUCCESS, views, place)

    def service(self, request: ServiceRequest | None, now: int) -> ServiceAnswer:
        """Show one service; an unknown one is shown empty (spec 2.2)."""
        config = None if request is None else request.discovery_config
        if request is None or config is None or not config.service_id or config.service_id.isspace():
            return ServiceAnswer(failure(BAD_REQUEST, "Request is null or request.discoveryConfig is null."))
        showing: Showing = self
        place: Elsewhere | None = None
        if self.regions:
            found = self.regions.named(request.region_id, [config.region_id])
            if isinstance(found, ResponseStatus):
                return ServiceAnswer(found)
            if found is not None:
                showing, place = found, elsewhere(found, now)
        refusal = self.refuse_discovery(request.region_id if place is None else self._region, request.zone_id)
        if refusal is not None:
            return ServiceAnswer(refusal)
        view = showing.catalog.view(config.service_id)
        if not config.discovery_data:
            return ServiceAnswer(SUCCESS, view, place)
        narrowed = showing.narrowed.all_narrowed([view], [config.discovery_data])
        return ServiceAnswer(SUCCESS, narrowed[0], place) if narrowed else ServiceAnswer(TOO_MUCH_TO_NARROW)

    def services(self, request: ServicesRequest | None, now: int) -> ServicesAnswer:  # noqa: ARG002
        """Show all services that have live instances; region and zone of the request are ignored (spec 2.2), but for a
        region of which there is a copy."""
        if not self.serves_discovery:
            return ServicesAnswer(self.unavailable("discovery"))
        refusal = self.regions.whole(None if request is None else request.region_id)
        if refusal is not None:
            return ServicesAnswer(refusal)
        return ServicesAnswer(SUCCESS, self.catalog)

    def services_delta(self, request: ServicesDeltaRequest | None, now: int) -> ServicesDeltaAnswer:  # noqa: ARG002
        """Show what changed in all services since a version; nothing for the current one (spec 5.2, defect 8)."""
        if not self.serves_discovery:
            return ServicesDeltaAnswer(self.unavailable("discovery"))
        refusal = self.regions.whole(None if request is None else request.region_id)
        if refusal is not None:
            return ServicesDeltaAnswer(refusal)
        return ServicesDeltaAnswer(SUCCESS, self.log, self.catalog, 0 if request is None else request.version)

    def cursor(self) -> str:
        """Return the position of everything that is shown now (design 4.1); the same object until something changes."""
        return self._positions.text(self.catalog.version)

    # -- status and time

    def tick(self, now: int, wall: int, limit: int = 500) -> bool:
        """Do what time has made due, at most `limit` leases of each kind; return whether more is due now.

        The first tick takes a node that waits for nobody from `starting` to `up` (spec 6.4, defect 11).
        """
        self._wall = wall
        if self.availability.waiting == "":
            self.wait_for(None)
        more = self.pullouts.tick(now)
        if not self.gives_up:
            self.registry.pardon(now)
        more = self.registry.tick(now, wall, limit) or more
        self.stream.tick(now)
        self.backups.tick(now)
        if self.stale_since is not None:
            self._confirm(now)
        return more

    def cut(
        self,
        now: int,
        wall: int,
        *,
        final: bool = False,
        cluster: str = "",
        bucket: tuple[str, int, int] | None = None,
    ) -> Cut:
        """Return everything this node knows at this moment, to be written bit by bit while it goes on.

        `final` promises that nothing changes any more, so that all cursors and versions hold for the next life.
        `cluster` is the name of the one that this node is in, `bucket` how far that of its engine is read.
        """
        return Cut(
            self.registry,
            version=self.catalog.version,
            operations=OperationsCut(self.operations, now),
            now=now,
            wall=wall,
            final=final,
            cluster=cluster,
            bucket=bucket,
        )

    def pardon(self, now: int) -> None:
        """Give every lease a fresh TTL, after a time in which this node could hear nobody."""
        self.registry.pardon(now)

    def steady_wall(self, now: int) -> int:
        """Return the milliseconds of a wall clock that was right at the start and that nobody sets: it only grows."""
        born, wall = self._born
        return wall + now - born

    def retime(self, timings: NodeTimings) -> None:
        """Change the times of all leases, those that exist included (spec 10.1: TTLs are read at every check)."""
        self.registry.retime(timings)

    def stats(self) -> NodeStats:
        """Return the numbers of this moment."""
        registry = self.registry
        normal, legacy = registry.self_preservation()
        return NodeStats(
            status=self.status,
            instances=len(registry),
            services=registry.live_services,
            dead_records=registry.dead,
            cached_views=self.catalog.cached_views,
            version=self.catalog.version,
            changes=registry.vector[registry.origin],
            self_preservation=normal,
            legacy_self_preservation=legacy,
            refused_zone=self._refused_zone,
            filter_failures=self.catalog.filter_failures,
            operations=len(self.operations),
            operations_refused=self.operations.refused,
            **msgspec.structs.asdict(registry.counters),
        )

    def _restore(self, saved: Saved, now: int, wall: int) -> None:
        """Go on from what a former life knew: same records, same versions, nothing to push."""
        restore(self.registry, saved, now, wall)
        self.pullouts.load(read_pieces(saved.operations), now)
        self.catalog.version = version_after(saved, wall)
        self.stale_since = now - max(0, wall - saved.header.wall)

    def _confirm(self, now: int) -> None:
        """Notice when every lease of the former life was renewed, changed or given up, or had time enough for that."""
        timings = self.registry.timings
        longest = max(timings.ttl, timings.legacy_ttl) + timings.hold
        if self.registry.heard_all_since(self._restored) or now - self._restored > longest:
            self.stale_since = None


def _narrowed(showing: Showing, configs: list[DiscoveryConfig | None]) -> list[ServiceView] | None:
    """Return the views of these configs, narrowed by their discovery data; None when that is too much at once."""
    named = [each for each in configs if each is not None and each.service_id and not each.service_id.isspace()]
    views = [showing.catalog.view(each.service_id or "") for each in named]
    return showing.narrowed.all_narrowed(views, [each.discovery_data for each in named])
