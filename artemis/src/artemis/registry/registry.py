"""The registry: what clients register, renew and unregister, as records and sequenced changes (spec 4, design 4.1).

Not here: the records themselves (`store`), what other nodes bring (`merging`), node status, zones and answers
(`artemis.server.node`), and what callers are shown (`artemis.discovery`). Time comes in as milliseconds of a monotonic
clock; one event loop owns a registry.
"""

import logging
from collections.abc import Callable, Sequence

import msgspec

from artemis.model import Instance, encode_canonical
from artemis.registry.errors import IdTooLong, InstanceTooLarge, InvalidInstance, TooManyInstances, WrongRegion
from artemis.registry.leases import Lease, LeaseState, SelfPreservation
from artemis.registry.merging import MergingStore
from artemis.registry.rates import RenewalRate
from artemis.registry.records import Origin, Record, Stamp
from artemis.registry.rewrites import OFTEN, Rewrites
from artemis.registry.settings import MAX_ID, NodeLimits, NodeTimings
from artemis.registry.store import is_legacy

logger = logging.getLogger(__name__)


class RenewalPlan(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The leases that a heartbeat message meant, each with the record it saw. Void once any of the records changed.

    Made by `Registry.plan`, kept by whoever recognises the message, honoured by `Registry.renew`. `generation` is the
    state of the node it was made in; the node checks it.
    """

    generation: int
    normal: tuple[Lease, ...]
    legacy: tuple[Lease, ...]
    records: list[Record]


class Registry(MergingStore):
    """The instances of one region as this node knows them. Owned by a node and its event loop; nothing here waits.

    `origin` names this life of the node and signs its changes. Every method that takes `now` expects milliseconds of
    one monotonic clock that never goes back; `wall` is the wall clock, which may.
    """

    def __init__(
        self,
        origin: Origin,
        region: str,
        *,
        timings: NodeTimings | None = None,
        limits: NodeLimits | None = None,
        now: int,
        wall: int,
    ) -> None:
        super().__init__(origin, region, timings=timings, limits=limits, now=now, wall=wall)
        self.rewrites = Rewrites()

    # -- what clients ask

    def register(self, instance: Instance, now: int, known: Stamp | None = None) -> Lease:
        """Register an instance or replace its content, as a new version (spec 4.3).

        `known` is the version of the client's last answer; the new one is above it. Raises RegistryError.
        """
        service, name, content = self._check(instance)
        lease = self._find(service, name)
        if (lease is None or not lease.live) and self._live >= self.limits.max_instances:
            self.counters.refused_full += 1
            raise TooManyInstances(self.limits.max_instances)
        self.counters.registered += 1
        stamp = self._version(lease, known, now)
        legacy = is_legacy(instance)
        if lease is None:
            lease = self._adopt(service, name, now, legacy=legacy)
        lease.heard = now
        expired = lease.record.expired
        self._commit(lease, stamp, content, (stamp, expired, stamp), now, legacy=legacy)
        return lease

    def heartbeat(self, instance: Instance, now: int, known: Stamp | None = None) -> Lease | None:
        """Renew a lease; None when the client must register: the lease is unknown, removed, or older than `known`.

        An expired lease returns. Without `known`, content that differs from what is registered counts as a register;
        with it, the content of the message is not looked at. Raises RegistryError.
        """
        service, name, region = instance.service_id, instance.instance_id, instance.region_id
        lease = None if service is None or name is None else self._find(service.lower(), name.lower())
        if lease is None or lease.record.removed or region is None or region.lower() != self.region:
            self._check(instance)
            self.counters.unknown_leases += 1
            return None
        record = lease.record
        if known is None:
            if encode_canonical(instance) != record.content:
                return self._rewrite(instance, record, now)
        elif record.version < known:
            self._clock.observe(known)
            self.counters.unknown_leases += 1
            return None
        return self.revive(lease, now)

    def revive(self, lease: Lease, now: int) -> Lease:
        """Renew a lease that is not removed, whatever its content; an expired one returns. Raises RegistryError."""
        record = lease.record
        self.counters.renewed += 1
        if lease.live:
            (self._legacy if lease.legacy else self._normal).hear(lease, now, self._clock.current(now))
            return lease
        if self._live >= self.limits.max_instances:
            self.counters.refused_full += 1
            raise TooManyInstances(self.limits.max_instances)
        stamp = self._clock.next(now)
        lease.heard = now
        self._table(lease).renewals += 1
        self._commit(lease, record.version, record.content, (stamp, record.expired, stamp), now)
        return lease

    def unregister(self, instance: Instance, now: int, known: Stamp | None = None) -> Lease:
        """Remove an instance at once; an unknown one leaves a tombstone (spec 4.3). Raises RegistryError."""
        service, name, _ = self._check(instance)
        return self.remove(service, name, now, known)

    def remove(self, service: str, name: str, now: int, known: Stamp | None = None) -> Lease:
        """Remove the instance of these ids, in lower case, as `unregister` does. Raises IdTooLong."""
        self._bound("serviceId", service)
        self._bound("instanceId", name)
        lease = self._find(service, name)
        self.counters.unregistered += 1
        stamp = self._version(lease, known, now)
        if lease is None:
            lease = self._adopt(service, name, now, legacy=False)
        record = lease.record
        self._commit(lease, stamp, None, (lease.renewed, record.expired, record.asserted), now)
        return lease

    def plan(self, leases: Sequence[Lease], generation: int) -> RenewalPlan:
        """Return a plan that renews these leases, all live, as long as none of their records changes."""
        distinct = dict.fromkeys(leases)
        normal = tuple(lease for lease in distinct if not lease.legacy)
        legacy = tuple(lease for lease in distinct if lease.legacy)
        return RenewalPlan(generation, normal, legacy, [lease.record for lease in (*normal, *legacy)])

    def renew(self, plan: RenewalPlan, now: int) -> bool:
        """Renew all leases of a plan; False, and nothing is renewed, when any of them changed since it was made."""
        normal, legacy = plan.normal, plan.legacy
        # Every change of a lease, its end included, replaces its record, so the same records mean that nothing changed.
        if [lease.record for lease in (*normal, *legacy)] != plan.records:
            return False
        stamp = self._clock.current(now)
        self._normal.hear_all(normal, now, stamp)
        if legacy:
            self._legacy.hear_all(legacy, now, stamp)
        self.counters.renewed_by_plan += len(plan.records)
        return True

    # -- what others read

    def lease_state(self, lease: Lease) -> LeaseState:
        """Tell whether a live lease is silent or held, and when it expires; of a dead one only the times count."""
        return self._table(lease).state(lease)

    def renewals(self, now: int) -> tuple[RenewalRate, RenewalRate]:
        """Return how many normal and legacy leases were renewed of late (spec 1.6)."""
        return self._normal.rate(now), self._legacy.rate(now)

    def self_preservation(self) -> tuple[SelfPreservation, SelfPreservation]:
        """Return the state of self-preservation of normal and of legacy leases."""
        return self._normal.status(), self._legacy.status()

    def enable_self_preservation(self, enabled: bool) -> None:
        """Switch self-preservation on or off with the next tick. When it ends, every lease gets a fresh TTL."""
        self._normal.enabled = self._legacy.enabled = enabled

    def preserve_below(self, share: int, least: int) -> None:
        """Let self-preservation begin when less than `share` percent of at least `least` live leases were heard."""
        for table in (self._normal, self._legacy):
            table.share, table.least = share, least

    def retime(self, timings: NodeTimings) -> None:
        """Use other times from now on, for the leases that exist as well; the next tick judges by them."""
        self.timings = timings
        for table, ttl in ((self._normal, timings.ttl), (self._legacy, timings.legacy_ttl)):
            table.retime(ttl, ttl - timings.heartbeat, timings.hold, timings.grace)

    def listen(self, hears: bool, now: int) -> None:
        """Say whether other nodes are heard; while they are not, leases that others heard last are kept."""
        for table in (self._normal, self._legacy):
            table.listen(hears, now)

    def rank_by(self, rank: Callable[[Lease], int]) -> None:
        """Let `rank` tell how many other members give a lease up before this node does [ranks]."""
        for table in (self._normal, self._legacy):
            table.rank = rank

    # -- judging

    def _rewrite(self, instance: Instance, record: Record, now: int) -> Lease:
        """Replace the content by that of a heartbeat: the last writer wins, and flapping is noticed."""
        lease = self.register(instance, now)
        self.counters.rewritten += 1
        _, service, name = record.key
        if self.rewrites.note((service, name), now):
            logger.warning(
                "heartbeats replaced the content of an instance more than %d times within a minute, "
                "do two owners share its id? service=%.100r instance=%.100r",
                OFTEN,
                service,
                name,
            )
        return lease

    def _check(self, instance: Instance) -> tuple[str, str, bytes]:
        """Return service and instance id in lower case and the canonical content; raise RegistryError (spec 1.3)."""
        if instance.region_id is None or instance.region_id.lower() != self.region:
            self.counters.refused_region += 1
            raise WrongRegion(instance.region_id or "", self.region)
        service, name, url = instance.service_id, instance.instance_id, instance.url
        if service is None or not service.strip():
            raise self._blank("serviceId")
        if name is None or not name.strip():
            raise self._blank("instanceId")
        if url is None or not url.strip():
            raise self._blank("url")
        content = encode_canonical(instance)
        if len(content) > self.limits.max_content_bytes:
            self.counters.refused_large += 1
            raise InstanceTooLarge(len(content), self.limits.max_content_bytes)
        service, name = service.lower(), name.lower()
        if len(content) > MAX_ID:  # a shorter text has no longer id in it
            self._bound("serviceId", service)
            self._bound("instanceId", name)
            self._bound("groupId", instance.group_id or "")
            self._bound("zoneId", instance.zone_id or "")
        return service, name, content

    def _bound(self, field: str, name: str) -> None:
        if len(name) > MAX_ID:
            self.counters.refused_large += 1
            raise IdTooLong(field, len(name), MAX_ID)

    def _blank(self, field: str) -> InvalidInstance:
        self.counters.refused_invalid += 1
        return InvalidInstance(field)

    def _version(self, lease: Lease | None, known: Stamp | None, now: int) -> Stamp:
        """Return a stamp for a new version: above what the client knows and above all of the record."""
        if known is not None:
            self._clock.observe(known)
        stamp = self._clock.current(now)
        if lease is not None and (stamp <= lease.record.version or stamp <= lease.record.expired):
            return self._clock.next(now)
        return stamp
