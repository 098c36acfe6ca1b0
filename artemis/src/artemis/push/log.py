"""The change log: the bounded history of what callers saw, and from it exactly what somebody missed (design 4.1).

An entry remembers of a change only what callers saw before (as a hash), because what they see now is in the catalog. So
what was missed is the difference between two moments: one change for each instance that looks different now.
A cursor that this node gave, in this life, is a moment of this history. One of another node is answered by what has
touched the records since, see `touches`: each is told as it is now, whatever the holder saw of it.
Not here: who is told, see `stream`; how a cursor looks, see `artemis.model.cursors`; how a change looks, see `changes`.
"""

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from artemis.discovery import Catalog, Transition
from artemis.model.cursors import MESH, Cursor
from artemis.push.changes import CHANGE, DELETE, NEW, SeenChange, deleted_instance
from artemis.push.entries import Entry, LogCounters, Mark, Missed, ServiceHistory, Start, digest
from artemis.push.touches import AT_ONCE, Alterations, Touched, Touches
from artemis.registry import Registry

MARK = 64
"""Entries between two of which the vector is remembered, for cursors of that time."""

RESUMED = 256
"""Cursors of other nodes whose answers are remembered: those who come from a dead node mostly have the same."""

FRESH = 4_096
"""Latest entries that also keep the content that callers saw before, so that prompt subscribers see what is deleted."""


_LIVES = 64
"""Lives of nodes that a cursor may name in any case; more than four times what this node knows is no cursor of ours."""


class ChangeLog:
    """The history of one node, at most `max_entries` transitions, `max_per_service` of them of one service.

    Owned by the node and its event loop. `wall` gives the milliseconds of the wall clock for the time of changes.
    `alterations` knows what hides and shows instances beside their records; without it, what a former life of this
    node has altered is not known, so that cursors of that time cost a full sync. `kind` is that of the cursors; with
    another than `mesh` only those that this log gave are of use.
    """

    def __init__(
        self,
        catalog: Catalog,
        registry: Registry,
        *,
        wall: Callable[[], int],
        max_entries: int = 50_000,
        max_per_service: int = 5_000,
        alterations: Alterations | None = None,
        kind: str = MESH,
    ) -> None:
        if max_entries < 1 or max_per_service < 1:
            raise ValueError("a change log keeps at least one entry, of each service too")
        self.counters = LogCounters()
        self.wall = wall
        self._catalog = catalog
        self._registry = registry
        self._kind = kind
        self._max_entries = max_entries
        self._max_per_service = max_per_service
        self._start = catalog.version
        self._entries: deque[Entry] = deque()
        self._fresh: deque[Entry] = deque()
        self._services: dict[str, ServiceHistory] = {}
        self._floor: Entry | None = None
        self._alterations = alterations
        self._touches = Touches(registry)
        self._touched: OrderedDict[tuple[str, int], Touched] = OrderedDict()
        self._marks: deque[Mark] = deque()
        self._mark()
        registry.on_change(self._touches.changed)
        catalog.on_transition(self._transition)

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._entries)

    # -- what was missed

    def since(self, service: str, cursor: Cursor | None) -> Missed:
        """Return what the holder of `cursor` missed of a service; full without one, or when it is of no use here.

        It is of no use when it is of another kind or region, ahead of this node, or older than what is remembered, and
        when the service was to be looked up again meanwhile. `service` in any letter case.
        """
        key = service.lower()
        start = None if cursor is None else self.start(key, cursor)
        missed = None if start is None else self._missed(key, start)
        missed = missed or self.full(key)
        if cursor is not None:
            self.counters.full_syncs += missed.full
            self.counters.resumed += not missed.full
        return missed

    def _missed(self, service: str, start: Start) -> Missed | None:
        if isinstance(start, int):
            return self.after(service, start)
        changes = self.touched_changes(service, start)
        return None if changes is None else Missed(full=False, changes=changes, entries=len(changes))

    def after(self, service: str, version: int) -> Missed:
        """Return what changed of a service, id in lower case, since a version of the catalog; full when unknown."""
        entries = self.entries_after(service, version)
        if entries is None or not all(entry.instance for entry in entries):
            return self.full(service)
        return Missed(full=False, changes=self.changes(entries), entries=len(entries))

    def full(self, service: str) -> Missed:
        """Return all instances that are shown of a service, id in lower case, as new."""
        at = self.wall()
        shown = self._catalog.instances(service)
        return Missed(full=True, changes=[SeenChange(at, NEW, content) for _, content in shown])

    def behind(self, cursor: Cursor) -> bool:
        """Tell whether this node lacks changes that the holder of a cursor may know; they may be on their way here."""
        registry = self._registry
        if self._is_own(cursor) or not self._of_use(cursor):
            return False
        (vector, _), base = registry.position(), registry.base
        return any(base.get(node, 0) < epoch for node, epoch in cursor.base.items()) or any(
            seq > vector.get(origin, 0) and origin.epoch >= base.get(origin.node, 0)
            for numbers in (cursor.vector, cursor.ahead)
            for origin, seq in numbers.items()
        )

    def work(self, service: str, cursor: Cursor) -> Iterator[None] | None:
        """Return the steps, a few milliseconds each, after which `start` takes no time; None when it takes none now.

        `service` is its id in lower case, empty for all services.
        """
        if self._is_own(cursor) or not self._of_use(cursor) or self.behind(cursor):
            return None
        if self._remembered(service, cursor) is not None:
            return None
        if self._touches.cost(service, cursor, self._alterations) <= AT_ONCE:
            return None
        return self._look_through(service, cursor)

    def start(self, service: str, cursor: Cursor) -> Start | None:
        """Return from where on the holder of a cursor is to be told of a service; None when only a full sync helps.

        That is also the answer while this node is `behind` the cursor. `service` is its id in lower case, empty for all
        services. What has cost a search is remembered, for all who come with the same cursor.
        """
        if self._is_own(cursor):
            return cursor.version if self.entries_after(service, cursor.version, 1) is not None else None
        if not self._of_use(cursor) or self.behind(cursor):
            return None
        touched = self._remembered(service, cursor)
        if touched is None:
            for _ in self._look_through(service, cursor):
                pass
            touched = self._remembered(service, cursor)
        return touched

    def touched_changes(self, service: str, touched: Touched) -> list[SeenChange] | None:
        """Return what the holder of a cursor of another node is told of a service now; None when that is everything.

        What is shown is told as new, also what he may know already, and what is not as deleted.
        """
        names = dict.fromkeys(touched.instances.get(service, ()))
        entries = self.entries_after(service, touched.version)
        if entries is None:
            return None
        names.update(dict.fromkeys([entry.instance for entry in entries]))
        if "" in names:
            return None
        at, current = self.wall(), self._catalog.current(service, names) if names else {}
        return [
            SeenChange(at, NEW, current[name]) if name in current else SeenChange(at, DELETE, self._last(service, name))
            for name in names
        ]

    @property
    def version(self) -> int:
        """Return the version of the catalog that the latest entry made."""
        return self._catalog.version

    def entries_after(self, service: str, version: int, most: int | None = None) -> Sequence[Entry] | None:
        """Return the entries of a service since a version of the catalog; None when the log does not reach back.

        `service` is its id in lower case, empty for all services; `most` bounds the entries returned, oldest first.
        """
        floor = self._floor_of(service)
        if version < self._start or version > self._catalog.version or (floor is not None and floor.version > version):
            return None
        entries = self._of(service)
        if not entries or entries[-1].version <= version:
            return ()
        first = bisect_right(entries, version, key=_version)
        end = None if most is None else first + most
        return entries[first:end] if isinstance(entries, list) else list(islice(entries, first, end))

    def latest(self, most: int) -> Sequence[Entry]:
        """Return the latest entries of all services, oldest first, `most` at most."""
        entries = list(islice(reversed(self._entries), most))
        entries.reverse()
        return entries

    def reaches(self, version: int) -> bool:
        """Tell whether the log knows all that happened since a version of the catalog."""
        return self._start <= version <= self._catalog.version and (
            self._floor is None or self._floor.version <= version
        )

    def services_after(self, version: int) -> set[str]:
        """Return the services, ids in lower case, with entries since a version that the log reaches back to."""
        return {entry.service for entry in islice(reversed(self._entries), self._catalog.version - version)}

    def last_version(self, service: str) -> int:
        """Return a version since which a service, id in lower case, has looked as now; it grows when that changes."""
        history = self._services.get(service)
        if history is not None and history.entries:
            return history.entries[-1].version
        return self._start if self._floor is None else self._floor.version

    def cursor_at(self, version: int) -> Cursor | None:
        """Return a cursor of those who know everything up to a version of the catalog; None beyond the log, and where
        all has been forgotten since.

        For this node it is exact. At another one its holder may be told again what he has heard up to `MARK`
        transitions before, but misses nothing.
        """
        if not self.reaches(version):
            return None
        mark = next(mark for mark in reversed(self._marks) if mark.version <= version)
        registry = self._registry
        forgotten = mark.base != registry.base
        if forgotten:
            # What he knows of epochs that were forgotten since cannot be said any more: it is of use here alone.
            mark = Mark(version, {}, {})
        now = registry.vector | registry.ahead
        # Whatever he knows beyond the mark, he knows from here.
        ahead = {origin: seq for origin, seq in now.items() if seq > mark.vector.get(origin, 0)}
        if forgotten and not ahead:
            return None  # it would look like one of a node that never knew anything
        return Cursor(
            kind=self._kind,
            name=registry.region,
            vector=mark.vector,
            base=mark.base,
            ahead=ahead,
            issuer=registry.origin,
            version=version,
        )

    def changes(self, entries: Sequence[Entry]) -> list[SeenChange]:
        """Return the difference that entries of one service make now: one change per instance, in order of the latest.

        Instances that look again as they did before are left out.
        """
        first: dict[str, Entry] = {}
        last: dict[str, Entry] = {}
        for entry in entries:
            first.setdefault(entry.instance, entry)
            last.pop(entry.instance, None)
            last[entry.instance] = entry
        current = self._catalog.current(entries[0].service, last) if entries else {}
        changes = []
        for name, entry in last.items():
            seen, shown = first[name].seen, current.get(name)
            if shown is not None:
                if digest(shown) != seen:
                    changes.append(SeenChange(entry.at, CHANGE if seen else NEW, shown))
            elif seen:
                content = entry.before or deleted_instance(self._registry.region, entry.service, name)
                changes.append(SeenChange(entry.at, DELETE, content))
        return changes

    def _of(self, service: str) -> list[Entry] | deque[Entry]:
        if not service:
            return self._entries
        history = self._services.get(service)
        return [] if history is None else history.entries

    def _floor_of(self, service: str) -> Entry | None:
        history = self._services.get(service)
        return self._floor if history is None else history.floor

    # -- cursors of other nodes

    def _is_own(self, cursor: Cursor) -> bool:
        """Tell whether this node gave a cursor, in this life: then it is a moment of this history."""
        registry = self._registry
        return (
            cursor.issuer == registry.origin
            and cursor.name == registry.region
            and self._start <= cursor.version <= self._catalog.version
        )

    def _of_use(self, cursor: Cursor) -> bool:
        """Tell whether nothing that a cursor lacks has been forgotten here; else only a full sync helps [base, floor].

        A node that lacks changes itself may be of use later.
        """
        registry = self._registry
        if cursor.kind != MESH or self._kind != MESH or cursor.name != registry.region:
            return False
        if not cursor.vector and cursor.ahead:
            return False  # what its holder knows of others cannot be said; without either there was nothing to know
        if len(cursor.vector) + len(cursor.ahead) > _LIVES + 4 * len(registry.vector):
            return False  # no node of this cluster has given it
        known, base = cursor.vector.get, cursor.base.get
        if any(base(node, 0) < epoch for node, epoch in registry.base.items()):
            return False
        if any(
            known(origin, 0) < seq for origin, seq in registry.floor.items() if origin.epoch >= base(origin.node, 0)
        ):
            return False
        # What a former life of this node has altered is known to whoever keeps that, and to nobody else.
        me = registry.origin.node
        return self._alterations is not None or all(
            origin.node != me or origin == registry.origin or cursor.covers(origin, seq)
            for origin, seq in registry.vector.items()
        )

    def _look_through(self, service: str, cursor: Cursor) -> Iterator[None]:
        """Find what was touched since a cursor, step by step, and remember it unless the cursor is of no use then."""
        version = self._catalog.version
        for found in self._touches.steps(service, cursor, self._alterations):
            if found is None:
                yield
            elif self._of_use(cursor):
                self._touched[service, id(cursor)] = Touched(cursor, version, found)
                if len(self._touched) > RESUMED:
                    self._touched.popitem(last=False)

    def _remembered(self, service: str, cursor: Cursor) -> Touched | None:
        """Return what was found for the same cursor object, unless much has happened since."""
        touched = self._touched.get((service, id(cursor)))
        if touched is None or touched.cursor is not cursor or not self._of_use(cursor):
            return None
        entries = self.entries_after(service, touched.version, RESUMED)
        return None if entries is None or len(entries) == RESUMED else touched

    def _last(self, service: str, name: str) -> bytes:
        """Return what is known of an instance that is not shown: its last content, or only the ids."""
        lease = self._registry.find(service, name)
        content = b"" if lease is None else lease.record.content
        return content or deleted_instance(self._registry.region, service, name)

    # -- what happens

    def _transition(self, transition: Transition) -> None:
        service, before = transition.service, transition.before
        if transition.altered:
            self._touches.altered(transition)
        entry = Entry(
            transition.version,
            service,
            transition.instance,
            0 if before is None else digest(before),
            self.wall(),
            before,
        )
        history = self._services.get(service)
        if history is None:
            history = self._services[service] = ServiceHistory(self._floor)
        history.entries.append(entry)
        self._entries.append(entry)
        self.counters.entries += 1
        if not self.counters.entries % MARK:
            self._mark()
        if before is not None:
            self._fresh.append(entry)
            if len(self._fresh) > FRESH:
                self._fresh.popleft().before = None
        if len(history.entries) > self._max_per_service:
            history.floor = history.entries.pop(0)
        if len(self._entries) > self._max_entries:
            self._evict()

    def _mark(self) -> None:
        registry = self._registry
        vector, _ = registry.position()
        self._marks.append(Mark(self._catalog.version, dict(vector), dict(registry.base)))

    def _evict(self) -> None:
        """Forget the oldest entry; a service without any is known only by the floor of all."""
        self.counters.evicted += 1
        self._floor = oldest = self._entries.popleft()
        if len(self._marks) > 1 and self._marks[1].version <= oldest.version:
            self._marks.popleft()
        history = self._services.get(oldest.service)
        if history is None:
            return
        if history.entries and history.entries[0] is oldest:
            history.floor = history.entries.pop(0)
        if not history.entries:
            del self._services[oldest.service]


def _version(entry: Entry) -> int:
    return entry.version
