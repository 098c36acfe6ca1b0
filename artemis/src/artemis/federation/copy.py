"""The copy of one other region: what its nodes showed last, and since when that may have changed.

Pure: listings, changes and confirmations come in with the time, answers and pushes come out of `catalog`, `log` and
`stream`, which are those of a node over other records. A copy never forgets by time what it was told: when nobody can
be asked it gets older, and says so.
Not here: how the other region is asked (`following`), and who may look (`artemis.server`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from artemis.client.discovery.guard import Guard
from artemis.discovery import Catalog
from artemis.discovery.narrowing import NarrowedViews
from artemis.federation.records import CopiedRecords
from artemis.federation.rules import NOTHING, Beside, CopiedRules
from artemis.model import encode_canonical
from artemis.push import FEDERATED, ChangeLog, ChangeStream, Positions
from artemis.registry import NodeLimits, RegistryError

if TYPE_CHECKING:
    from artemis.model import Instance
    from artemis.registry import Origin

Key = tuple[str, str]
"""Service and instance id in lower case."""

EACH = 1024
"""Bytes of JSON that instances of a copy may have on average."""

AGAIN = 60_000
"""Milliseconds after which a copy that left something out, and has room now, is made again."""


class CopyCounters(msgspec.Struct, gc=False):
    """What happened since the copy was begun; every counter only grows.

    `changes`: instances that were put, replaced or taken out. `listings`: times that all was copied anew. `refused`:
    instances that cannot be used, as without an id or of a third region. `left_out`: those that found no room.
    `doubted`: instances that a listing lacked and that were kept for a while.
    """

    changes: int = 0
    listings: int = 0
    refused: int = 0
    left_out: int = 0
    doubted: int = 0


class Held(NamedTuple):
    """Instances that a listing lacked although nobody told that they went: how many are kept, and why."""

    instances: int
    why: str


class RegionCopy:
    """What this node knows of the region `region`. Owned by the federation of a node; used from one event loop.

    `issuer` names the copy in its cursors, so it must never have been used before. At most `max_instances` are held,
    of `EACH` bytes of JSON on average; what finds no room is left out, counted in `left_out`, and copied when there is
    room again. `guard` says what is doubted of a listing. `now` is milliseconds of a monotonic clock, `wall` the wall
    clock, `wall_clock` gives that for the times of changes. `where` are the URLs that the region is copied from.
    """

    def __init__(
        self,
        region: str,
        issuer: Origin,
        *,
        max_instances: int = 100_000,
        guard: Guard | None = None,
        wall_clock: Callable[[], int],
        now: int,
        wall: int,
        where: tuple[str, ...] = (),
    ) -> None:
        self.region = region
        self.where = where
        self.counters = CopyCounters()
        self.max_instances = max_instances
        self.registry = CopiedRecords(
            issuer, region, limits=NodeLimits(max_instances=max_instances), now=now, wall=wall
        )
        self._rules = CopiedRules()
        self.catalog = Catalog(self.registry, filters=(self._rules,), wall=wall)
        self.log = ChangeLog(self.catalog, self.registry, wall=wall_clock, kind=FEDERATED)
        self.stream = ChangeStream(self.catalog, self.log, self.cursor, region=region)
        self.narrowed = NarrowedViews()
        self.missing_nodes = 0
        #: The position in the other region that is known here, None where nothing can be gone on from.
        self.upstream: str | None = None
        #: Instances that found no room since the last listing began.
        self.left_out = 0
        #: False once the region is followed no more: whoever still holds the copy is to be told.
        self.current = True
        self.why_not = "it has not been copied yet"
        self._positions = Positions(self.registry, FEDERATED)
        self._guard = guard or Guard(share=0.5, hold=30_000)
        self._confirmed: int | None = None
        self._listed = now
        self._bytes = 0
        self._held: dict[Key, float] = {}
        self._doubt = ""

    # -- what is shown

    @property
    def copy(self) -> RegionCopy:
        """It is one; see `Showing` of the server."""
        return self

    @property
    def ready(self) -> bool:
        """Tell whether the region was copied at least once, so that there is something to show."""
        return self._confirmed is not None

    @property
    def held(self) -> Held:
        """What is kept although a listing lacked it."""
        return Held(len(self._held), self._doubt if self._held else "")

    @property
    def bytes(self) -> int:
        """JSON of everything that is held."""
        return self._bytes

    @property
    def rules(self) -> tuple[str, ...]:
        """The services, ids in lower case, that have something beside their instances."""
        return tuple(self._rules.services)

    def cursor(self) -> str:
        """Return the position of this copy; the same object until something changes."""
        return self._positions.text(self.catalog.version)

    def age(self, now: int) -> int:
        """Return how many milliseconds old the copy may be: what its nodes said of theirs, and the time since."""
        return 0 if self._confirmed is None else max(0, now - self._confirmed)

    # -- what comes

    def begin(self, now: int) -> Listing:
        """Begin to take in everything that the region shows; until `Listing.finish` is through, nothing goes."""
        self._listed = now
        self.left_out = 0
        return Listing(self)

    def put(self, instance: Instance, now: int) -> Key | None:
        """Take in one instance; return its key, None for one that cannot be used or found no room."""
        content = encode_canonical(instance)
        key = (instance.service_id or "").lower(), (instance.instance_id or "").lower()
        lease = self.registry.find(*key)
        old = lease.record.content if lease is not None and lease.live else None
        if old == content:
            self._held.pop(key, None)
            return key
        if not self._has_room(len(content) - len(old or b""), new=old is None):
            # What is known of it is not so any more.
            self.remove(key, now)
            self.left_out += 1
            self.counters.left_out += 1
            return None
        try:
            self.registry.register(instance, now)
        except RegistryError:
            self.counters.refused += 1
            return None
        self.counters.changes += 1
        self._held.pop(key, None)
        self._bytes += len(content) - len(old or b"")
        return key

    def remove(self, key: Key, now: int) -> None:
        """Take out one instance; an unknown one changes nothing."""
        self._held.pop(key, None)
        lease = self.registry.find(*key)
        if lease is not None and lease.live:
            self._bytes -= len(lease.record.content)
            self.registry.remove(*key, now)
            self.counters.changes += 1

    def put_beside(self, service: str, found: Beside) -> None:
        """Take in what is shown of a service, id in lower case, beside its instances."""
        old = self._rules.services.get(service, NOTHING)
        if old == found or not self._has_room(found.size - old.size, new=False):
            return
        self._bytes += found.size - old.size
        if found == NOTHING:
            del self._rules.services[service]
        else:
            self._rules.services[service] = found
        self.catalog.reload(service)

    def confirm(self, moment: int, missing: int, upstream: str | None) -> None:
        """Note that everything here was so at `moment`, but for `missing` nodes of the region."""
        self._confirmed = moment if self._confirmed is None else max(moment, self._confirmed)
        self.missing_nodes = missing
        self.upstream = upstream or self.upstream

    def doubt(self, lacking: list[Key], *, kept: int, reported: int, broken: bool, now: int) -> list[Key]:
        """Return which of those that a listing lacks go now; the others are kept for a while. See `Guard`."""
        shown = kept + len(lacking)
        if not self._guard.doubts(shown, reported, kept, broken=broken):
            return [key for key in lacking if key not in self._held]
        fresh = [key for key in lacking if key not in self._held]
        self._held.update(dict.fromkeys(fresh, now + self._guard.hold))
        self.counters.doubted += len(fresh)
        if fresh:
            self._doubt = (
                f"the region showed {kept} of the {shown} instances that are known, and nobody told that the others "
                f"went; they are kept for {self._guard.hold / 1000:g} s"
            )
        return []

    def tick(self, now: int, wall: int, limit: int = 500) -> bool:
        """Do what time has made due, at most `limit` of each; return whether more is due now."""
        more = self.registry.tick(now, wall, limit)
        self.stream.tick(now)
        late = [key for key, until in self._held.items() if until <= now][:limit]
        for key in late:
            self.remove(key, now)
        return more or len(late) == limit

    def wants_listing(self, now: int) -> bool:
        """Tell whether something was left out for which there is room now."""
        return bool(self.left_out) and now - self._listed >= AGAIN and len(self.registry) < 0.9 * self.max_instances

    def bound(self, max_instances: int) -> None:
        """Hold so many instances at most from now on; what is held stays."""
        self.max_instances = max_instances
        self.registry.limits = NodeLimits(max_instances=max_instances)

    def end(self) -> None:
        """The region is followed no more."""
        self.current = False

    def instances(self) -> Iterator[Key]:
        """Yield the keys of everything that is held, as of now."""
        for service, entry in list(self.registry.services.items()):
            for name in [name for name, lease in entry.leases.items() if lease.live]:
                yield service, name

    def certain(self, service: str) -> list[Key]:
        """Return the keys of a service, id in lower case, but for those that are kept in doubt."""
        entry = self.registry.services.get(service)
        keys = [] if entry is None else [(service, name) for name, lease in entry.leases.items() if lease.live]
        return [key for key in keys if key not in self._held] if self._held else keys

    def counts(self) -> dict[str, int]:
        """Return how many instances each service has, id in lower case, but for those that are kept in doubt."""
        doubted = Counter(service for service, _ in self._held)
        return {name: entry.live - doubted[name] for name, entry in self.registry.services.items()}

    def _has_room(self, more: int, *, new: bool) -> bool:
        if new and len(self.registry) >= self.max_instances:
            return False
        return more <= 0 or self._bytes + more <= self.max_instances * EACH


class Listing:
    """Everything that a region shows, as it is taken in; made by `RegionCopy.begin`."""

    def __init__(self, copy: RegionCopy) -> None:
        self._copy = copy
        self._seen: set[Key] = set()
        self._beside: set[str] = set()
        self._reported = 0

    def instance(self, instance: Instance, now: int) -> None:
        """Take in an instance."""
        self._reported += 1
        key = self._copy.put(instance, now)
        if key is not None:
            self._seen.add(key)

    def beside(self, service: str, found: Beside) -> None:
        """Take in what a service has beside its instances; id in lower case."""
        self._beside.add(service)
        self._copy.put_beside(service, found)

    def finish(self, now: int, *, broken: bool) -> Iterator[None]:
        """Let go, in steps of about a millisecond, of what was not among it; `broken` as for `Guard.doubts`."""
        copy, seen = self._copy, self._seen
        lacking: list[Key] = []
        kept = 0
        for number, key in enumerate(copy.instances()):
            if key in seen:
                kept += 1
            else:
                lacking.append(key)
            if number % 2_000 == 1_999:
                yield
        for number, key in enumerate(copy.doubt(lacking, kept=kept, reported=self._reported, broken=broken, now=now)):
            copy.remove(key, now)
            if number % 50 == 49:
                yield
        for service in [name for name in copy.rules if name not in self._beside]:
            copy.put_beside(service, NOTHING)
        copy.counters.listings += 1
