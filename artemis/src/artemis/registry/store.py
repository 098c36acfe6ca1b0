"""The store behind a registry: records as leases, the tables they stand in, and the changes they make (design 4.1).

Not here: what clients ask (`registry`), and what other nodes bring (`merging`). Time comes in as milliseconds of a
monotonic clock; one event loop owns a store.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import msgspec

from artemis.model import Instance
from artemis.registry.clock import HybridClock
from artemis.registry.leases import Lease, LeaseTable
from artemis.registry.records import ZERO, Change, Dot, Origin, Record, Stamp
from artemis.registry.settings import NodeLimits, NodeTimings

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
    repaired: int = 0
    overtaken: int = 0
    refused_invalid: int = 0
    refused_region: int = 0
    refused_full: int = 0
    refused_large: int = 0
    listener_failures: int = 0


class Marks(Protocol):
    """Who keeps something about every lease, such as a digest of its record."""

    def changed(self, lease: Lease) -> None:
        """Note that the record of a lease, maybe a new one, was replaced."""

    def gone(self, lease: Lease) -> None:
        """Note that a lease was forgotten."""


class RecordStore:
    """The records of one region as this node knows them, with the changes that made them. Nothing here waits.

    `origin` names this life of the node and signs its changes. `vector` says up to which sequence number of every
    origin the records are complete; `base`, by node, below which epoch everything is included without being named;
    `unnamed` where records name no changes of epochs that are beyond that, mostly nowhere;
    `floor` below which sequence numbers of an origin no cursor can be served, as records of then were swept. `ahead`
    names what a repair under way, or one that broke off, has brought beyond the vector: what is shown depends on it
    too, so a cursor made meanwhile is of use only to nodes that have as much. Mostly empty. `pending` names the first
    number of each origin that is in the vector but not in effect everywhere yet, as the pull-out of a server with many
    instances: callers may see what was before. Mostly empty.
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
        self.base: dict[str, int] = {}
        self.unnamed: dict[str, int] = {}
        self.floor: dict[Origin, int] = {}
        self.ahead: dict[Origin, int] = {}
        self.pending: dict[Origin, int] = {}
        self._clock = HybridClock(origin.node, now, wall)
        self.live_services = 0
        self._live = 0
        self._services: dict[str, ServiceLeases] = {}
        self._normal, self._legacy = (
            LeaseTable(ttl, ttl - timings.heartbeat, timings.hold, now, timings.grace)
            for ttl in (timings.ttl, timings.legacy_ttl)
        )
        self._dead: OrderedDict[Lease, int] = OrderedDict()
        self._listeners: list[Listener] = []
        self._witnesses: list[Callable[[Lease], None]] = []
        self._marks: Marks | None = None

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
                yield current(lease)

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with every change from now on, in order, while it happens.

        It must not call back into the registry's operations. When it raises, the registry logs and counts that and goes
        on: the change has happened.
        """
        self._listeners.append(listener)

    def watch(self, witness: Callable[[Lease], None]) -> None:
        """Call `witness` with every lease right before its record is replaced or forgotten, until `unwatch`.

        It must neither raise nor call back into the registry's operations.
        """
        self._witnesses.append(witness)

    def unwatch(self, witness: Callable[[Lease], None]) -> None:
        """Call it no longer; once more is fine."""
        if witness in self._witnesses:
            self._witnesses.remove(witness)

    def mark(self, marks: Marks) -> None:
        """Tell `marks` of every lease that changes or goes from now on. One at a time; it must not raise."""
        self._marks = marks

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

    def wall(self, now: int) -> int:
        """Return the wall clock's milliseconds at `now`, as of the last tick."""
        return self._clock.wall(now)

    # -- a restart

    def resume(
        self,
        *,
        vector: Mapping[Origin, int],
        floor: Mapping[Origin, int],
        base: Mapping[str, int],
        ahead: Mapping[Origin, int],
        unnamed: Mapping[str, int],
        clock: int,
    ) -> None:
        """Go on from what a former life of this node knew; for a registry that is still empty."""
        self.vector.update(vector)
        self.floor.update(floor)
        self.base.update(base)
        self.unnamed.update(unnamed)
        self.ahead.update(ahead)
        self._clock.observe((clock, self.origin.node))

    def put_back(self, record: Record, dead_for: int, now: int) -> None:
        """Take back a record of a former life, quietly: no change is made and nobody is told.

        A live one begins a fresh TTL, a dead one has been dead for `dead_for` milliseconds; those that died first come
        first. The key must be new.
        """
        _, service, name = record.key
        # Nobody knows when it was heard last, so whoever asks hears of an age that asserts nothing [aged].
        unheard = now - max(self.timings.ttl, self.timings.legacy_ttl)
        lease = self._adopt(service, name, unheard, legacy=is_legacy_content(record.content))
        lease.record, lease.renewed, lease.live = record, record.renewed, record.live
        if not lease.live:
            self._dead[lease] = now - dead_for
            return
        self._table(lease).place(lease, now)
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

    # -- time

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

    def sequence(self) -> int:
        """Take the next sequence number of our own for a change that is not a record's, such as an operator's."""
        seq = self.vector[self.origin] = self.vector[self.origin] + 1
        return seq

    def stamp(self, now: int) -> Stamp:
        """Return a stamp above everything that this node has seen, for a record that is not an instance's."""
        return self._clock.next(now)

    def observe(self, stamp: Stamp) -> None:
        """Let the stamps of this node be above one of another node."""
        self._clock.observe(stamp)

    def raise_floor(self, dots: Iterable[Dot]) -> None:
        """Serve no cursor any more that lacks one of these dots: what they made was swept [floor]."""
        for dot in dots:
            if dot.origin.epoch >= self.base.get(dot.origin.node, 0):
                self.floor[dot.origin] = max(dot.seq, self.floor.get(dot.origin, 0))

    # -- changes

    def _find(self, service: str, name: str) -> Lease | None:
        entry = self._services.get(service)
        return None if entry is None else entry.leases.get(name)

    def _table(self, lease: Lease) -> LeaseTable:
        return self._legacy if lease.legacy else self._normal

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

    def _replace(
        self, lease: Lease, record: Record, origin: Origin | None, seq: int, now: int, *, legacy: bool
    ) -> None:
        """Put a record in the place of another, keep tables and counts, and tell the listeners.

        Without `origin` nobody is told: no change made it, and callers see no difference.
        """
        for witness in self._witnesses:
            witness(lease)
        previous = lease.record.content if lease.live else None
        live = record.live
        # Who was heard neither sooner nor later keeps its place in the order.
        stays = live and lease.live and record.renewed == lease.renewed and legacy == lease.legacy
        if lease.live and not stays:
            self._table(lease).discard(lease)
        entry = self._services[record.key[1]]
        entry.changed = now
        if live != lease.live:
            step = 1 if live else -1
            entry.live += step
            self._live += step
            if entry.live == (1 if live else 0):
                self.live_services += step
        lease.record, lease.renewed, lease.live, lease.legacy = record, record.renewed, live, legacy
        if self._marks is not None:
            self._marks.changed(lease)
        if stays:
            pass
        elif live:
            if lease.heard == now:
                self._table(lease).add(lease)
            else:
                self._table(lease).place(lease, now)
            self._dead.pop(lease, None)
        elif lease not in self._dead:
            self._dead[lease] = now
            if len(self._dead) > self.limits.max_instances:
                self.counters.swept_early += 1
                self._sweep()
        if origin is None:
            return
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
        for witness in self._witnesses:
            witness(lease)
        del self._dead[lease]
        _, service, name = lease.record.key
        entry = self._services[service]
        del entry.leases[name]
        if not entry.leases:
            del self._services[service]
        self.raise_floor(lease.record.dots)
        self.counters.swept += 1
        if self._marks is not None:
            self._marks.gone(lease)


def current(lease: Lease) -> Record:
    """Return the record of a lease as of now: that of its last change, with the latest renewal."""
    record = lease.record
    return record if lease.renewed == record.renewed else msgspec.structs.replace(record, renewed=lease.renewed)


def is_legacy(instance: Instance) -> bool:
    """Tell whether an instance has the longer lease (spec 4.4)."""
    mark = instance.metadata and instance.metadata.get(LEGACY_MARK)
    return bool(mark and mark.strip())


def is_legacy_content(content: bytes) -> bool:
    """Tell whether the instance of this JSON, empty for a tombstone, has the longer lease."""
    return LEGACY_MARK.encode() in content and is_legacy(msgspec.json.decode(content, type=Instance))
