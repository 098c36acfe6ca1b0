"""The registry: what clients register, renew and unregister, as records and sequenced changes (spec 4, design 4.1).

Not here: node status, zones and answers (`artemis.server.node`), what callers are shown (`artemis.discovery`), and how
changes travel to other nodes. Time comes in as milliseconds of a monotonic clock; one event loop owns a registry.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from artemis.model import Instance, encode_canonical
from artemis.registry.clock import HybridClock
from artemis.registry.errors import IdTooLong, InstanceTooLarge, InvalidInstance, TooManyInstances, WrongRegion
from artemis.registry.leases import Lease, LeaseState, LeaseTable, SelfPreservation
from artemis.registry.rates import RenewalRate
from artemis.registry.records import ZERO, Change, Dot, Origin, Record, Stamp, merge
from artemis.registry.rewrites import OFTEN, Rewrites
from artemis.registry.settings import MAX_ID, NodeLimits, NodeTimings

Listener = Callable[[Change], None]

LEGACY_MARK = "java_registry"
"""Metadata entry whose non-blank value selects the longer lease (spec 4.4)."""

logger = logging.getLogger(__name__)


class ServiceLeases(msgspec.Struct, gc=False, eq=False):
    """All leases of one service by instance id in lower case, dead ones until they are swept. Read only for others.

    `live` counts the living ones, `changed` is when any of them last changed, in monotonic milliseconds.
    """

    name: str
    leases: dict[str, Lease]
    live: int
    changed: int = 0


class RegistryCounters(msgspec.Struct, gc=False):
    """What happened since the start; every counter only grows."""

    registered: int = 0
    renewed: int = 0
    renewed_by_plan: int = 0
    rewritten: int = 0
    unregistered: int = 0
    unknown_leases: int = 0
    expired: int = 0
    swept: int = 0
    swept_early: int = 0
    refused_invalid: int = 0
    refused_region: int = 0
    refused_full: int = 0
    refused_large: int = 0
    listener_failures: int = 0


class RenewalPlan(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The leases that a heartbeat message meant, each with the record it saw. Void once any of the records changed.

    Made by `Registry.plan`, kept by whoever recognises the message, honoured by `Registry.renew`. `generation` is the
    state of the node it was made in; the node checks it.
    """

    generation: int
    normal: tuple[Lease, ...]
    legacy: tuple[Lease, ...]
    records: list[Record]


class Registry:
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
        self.origin = origin
        self.region = region.lower()
        self.timings = timings = timings or NodeTimings()
        self.limits = limits or NodeLimits()
        self.counters = RegistryCounters()
        self.vector: dict[Origin, int] = {origin: 0}
        self.floor: dict[Origin, int] = {}
        self._clock = HybridClock(origin.node, now, wall)
        self.live_services = 0
        self._live = 0
        self._services: dict[str, ServiceLeases] = {}
        self._normal = LeaseTable(timings.ttl, timings.ttl - timings.heartbeat, timings.hold, now)
        self._legacy = LeaseTable(timings.legacy_ttl, timings.legacy_ttl - timings.heartbeat, timings.hold, now)
        self._dead: OrderedDict[Lease, int] = OrderedDict()
        self.rewrites = Rewrites()
        self._listeners: list[Listener] = []
        self._witness: Callable[[Lease], None] | None = None

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
        legacy = _is_legacy(instance)
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

    def __len__(self) -> int:
        """Count the live instances."""
        return self._live

    @property
    def services(self) -> Mapping[str, ServiceLeases]:
        """Return all services that have records, dead ones included, by service id in lower case. Do not change."""
        return self._services

    @property
    def dead(self) -> int:
        """Count the removed and expired records that are still remembered."""
        return len(self._dead)

    def records(self) -> Iterator[Record]:
        """Yield every record in its current state: as of its last change, with the latest renewal."""
        for service in self._services.values():
            for lease in service.leases.values():
                yield _current(lease)

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with every change from now on, in order, while it happens.

        It must not call back into the registry's operations. When it raises, the registry logs and counts that and goes
        on: the change has happened.
        """
        self._listeners.append(listener)

    def watch(self, witness: Callable[[Lease], None] | None) -> None:
        """Call `witness` with every lease right before its record is replaced or forgotten; None ends that.

        There is one at a time; it must neither raise nor call back into the registry's operations.
        """
        self._witness = witness

    @property
    def clock(self) -> int:
        """Return the highest value that the hybrid clock has given or seen."""
        return self._clock.value

    def find(self, service_id: str, instance_id: str) -> Lease | None:
        """Return the lease of an instance, dead ones included, whatever the letter case of the ids."""
        return self._find(service_id.lower(), instance_id.lower())

    def died(self, lease: Lease) -> int | None:
        """Return when a removed or expired lease died, in monotonic milliseconds, None for a live one."""
        return self._dead.get(lease)

    def lease_state(self, lease: Lease) -> LeaseState:
        """Tell whether a live lease is silent or held, and when it expires; of a dead one only the times count."""
        return self._table(lease).state(lease)

    def wall(self, now: int) -> int:
        """Return the wall clock's milliseconds at `now`, as of the last tick."""
        return self._clock.wall(now)

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
            table.retime(ttl, ttl - timings.heartbeat, timings.hold)

    # -- a restart

    def resume(self, *, vector: Mapping[Origin, int], floor: Mapping[Origin, int], clock: int) -> None:
        """Go on from what a former life of this node knew; for a registry that is still empty."""
        self.vector.update(vector)
        self.floor.update(floor)
        self._clock.observe((clock, self.origin.node))

    def put_back(self, record: Record, dead_for: int, now: int) -> None:
        """Take back a record of a former life, quietly: no change is made and nobody is told.

        A live one begins a fresh TTL, a dead one has been dead for `dead_for` milliseconds; those that died first come
        first. The key must be new.
        """
        _, service, name = record.key
        lease = self._adopt(service, name, now, legacy=_is_legacy_content(record.content))
        lease.record, lease.renewed, lease.live = record, record.renewed, record.live
        if not lease.live:
            self._dead[lease] = now - dead_for
            return
        self._table(lease).add(lease)
        entry = self._services[service]
        entry.live += 1
        self._live += 1
        self.live_services += entry.live == 1

    def heard_all_since(self, moment: int) -> bool:
        """Tell whether every live lease was heard after `moment`, in milliseconds of the monotonic clock."""
        return self._normal.heard_all_since(moment) and self._legacy.heard_all_since(moment)

    def pardon(self, now: int) -> None:
        """Give every lease a fresh TTL: after a pause of this node, silence says nothing about its clients."""
        self._normal.pardon(now)
        self._legacy.pardon(now)

    # -- time and other nodes

    def tick(self, now: int, wall: int, limit: int) -> bool:
        """Expire and sweep what is due, at most `limit` leases of each kind; return whether more is due now."""
        self._clock.adjust(now, wall)
        more = False
        for table in (self._normal, self._legacy):
            expired, rest = table.tick(now, limit)
            more = more or rest
            self.counters.expired += len(expired)
            for lease in expired:
                self._give_up(lease, now)
        horizon = now - self.timings.lifetime
        for _ in range(limit):
            if not self._dead or next(iter(self._dead.values())) >= horizon:
                return more
            self._sweep()
        return more or (bool(self._dead) and next(iter(self._dead.values())) < horizon)

    def apply(self, origin: Origin, seq: int, record: Record, age: int, now: int) -> bool:
        """Merge the record of another origin's change; False, and nothing happens, unless `seq` is that origin's next.

        `age` is how many milliseconds ago, on the sender's monotonic clock, its latest renewal was accepted. When the
        merge leaves a record live although the changes say it expired, a change of our own follows at once: the renewal
        is asserted if it is younger than the TTL, else given up too [assertion, aged]. The limit on instances does not
        apply: another node has accepted this one. A lease that was heard long ago joins at the end of the order, so it
        may go up to `age` later than its TTL, never earlier.
        """
        if seq != self.vector.get(origin, 0) + 1:
            return False
        self.vector[origin] = seq
        self._clock.observe(max(record.version, record.renewed))
        _, service, name = record.key
        lease = self._find(service, name) or self._adopt(service, name, now - age, legacy=False)
        mine = _current(lease)
        merged = merge(mine, record)
        if merged.renewed > mine.renewed:
            lease.heard = max(lease.heard, now - age)
        self._replace(lease, merged, origin, seq, now, legacy=_is_legacy_content(merged.content))
        if merged.live and merged.asserted <= merged.expired:
            if now - lease.heard < self._table(lease).ttl:
                stamps = (merged.renewed, merged.expired, merged.renewed)
                self._commit(lease, merged.version, merged.content, stamps, now)
            else:
                self._give_up(lease, now)
        return True

    def sequence(self) -> int:
        """Take the next sequence number of our own for a change that is not a record's, such as an operator's."""
        seq = self.vector[self.origin] = self.vector[self.origin] + 1
        return seq

    # -- changes

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

    def _find(self, service: str, name: str) -> Lease | None:
        entry = self._services.get(service)
        return None if entry is None else entry.leases.get(name)

    def _table(self, lease: Lease) -> LeaseTable:
        return self._legacy if lease.legacy else self._normal

    def _version(self, lease: Lease | None, known: Stamp | None, now: int) -> Stamp:
        """Return a stamp for a new version: above what the client knows and above all of the record."""
        if known is not None:
            self._clock.observe(known)
        stamp = self._clock.current(now)
        if lease is not None and (stamp <= lease.record.version or stamp <= lease.record.expired):
            return self._clock.next(now)
        return stamp

    def _adopt(self, service: str, name: str, heard: int, *, legacy: bool) -> Lease:
        """Make room for a key: a lease that is dead and older than everything, and is no record yet for anyone else."""
        entry = self._services.get(service)
        if entry is None:
            entry = self._services[service] = ServiceLeases(service, {}, 0)
        blank = Record((self.region, entry.name, name), ZERO, False, b"", ZERO, ZERO, ZERO, ())
        lease = entry.leases[name] = Lease(blank, ZERO, heard, live=False, legacy=legacy)
        return lease

    def _commit(
        self,
        lease: Lease,
        version: Stamp,
        content: bytes | None,
        stamps: tuple[Stamp, Stamp, Stamp],
        now: int,
        *,
        legacy: bool | None = None,
    ) -> None:
        """Make a change of our own: `content` None is a removal, `stamps` are renewed, expired and asserted."""
        origin = self.origin
        seq = self.vector[origin] = self.vector[origin] + 1
        renewed, expired, asserted = stamps
        key, dots = lease.record.key, (Dot(origin, seq),)
        record = Record(key, version, content is None, content or b"", renewed, expired, asserted, dots)
        self._replace(lease, record, origin, seq, now, legacy=lease.legacy if legacy is None else legacy)

    def _give_up(self, lease: Lease, now: int) -> None:
        record, renewed = lease.record, lease.renewed
        self._commit(lease, record.version, record.content, (renewed, renewed, record.asserted), now)

    def _replace(self, lease: Lease, record: Record, origin: Origin, seq: int, now: int, *, legacy: bool) -> None:
        """Put a record in the place of another, keep tables and counts, and tell the listeners."""
        if self._witness is not None:
            self._witness(lease)
        previous = lease.record.content if lease.live else None
        if lease.live:
            self._table(lease).discard(lease)
        live = record.live
        entry = self._services[record.key[1]]
        entry.changed = now
        if live != lease.live:
            step = 1 if live else -1
            entry.live += step
            self._live += step
            if entry.live == (1 if live else 0):
                self.live_services += step
        lease.record, lease.renewed, lease.live, lease.legacy = record, record.renewed, live, legacy
        if live:
            self._table(lease).add(lease)
            self._dead.pop(lease, None)
        elif lease not in self._dead:
            self._dead[lease] = now
            if len(self._dead) > self.limits.max_instances:
                self.counters.swept_early += 1
                self._sweep()
        change = Change(origin, seq, record, previous, record.content if live else None)
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                self.counters.listener_failures += 1
                logger.exception("change listener failed: service=%s instance=%s", record.key[1], record.key[2])

    def _sweep(self) -> None:
        """Forget the record that died first; its dots raise the floor below which no cursor can be served [floor]."""
        lease = next(iter(self._dead))
        if self._witness is not None:
            self._witness(lease)
        del self._dead[lease]
        _, service, name = lease.record.key
        entry = self._services[service]
        del entry.leases[name]
        if not entry.leases:
            del self._services[service]
        for dot in lease.record.dots:
            self.floor[dot.origin] = max(dot.seq, self.floor.get(dot.origin, 0))
        self.counters.swept += 1


def _current(lease: Lease) -> Record:
    record = lease.record
    return record if lease.renewed == record.renewed else msgspec.structs.replace(record, renewed=lease.renewed)


def _is_legacy(instance: Instance) -> bool:
    mark = instance.metadata and instance.metadata.get(LEGACY_MARK)
    return bool(mark and mark.strip())


def _is_legacy_content(content: bytes) -> bool:
    return LEGACY_MARK.encode() in content and _is_legacy(msgspec.json.decode(content, type=Instance))
