"""The change log: the bounded history of what callers saw, and from it exactly what somebody missed (design 4.1).

An entry remembers of a change only what callers saw before (as a hash), because what they see now is in the catalog. So
what was missed is the difference between two moments: one change for each instance that looks different now.
Not here: who is told, see `stream`; how a cursor looks, see `cursor`; how a change looks, see `changes`.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from artemis.discovery import Catalog, Transition
from artemis.push.changes import CHANGE, DELETE, NEW, SeenChange, deleted_instance
from artemis.push.cursor import MESH, Cursor
from artemis.registry import Change, Origin, Registry

MAX_RUNS = 10_000
"""Times that the origin of changes may alternate before cursors from before that are answered by a full sync."""

FRESH = 4_096
"""Latest entries that also keep the content that callers saw before, so that prompt subscribers see what is deleted."""


class Entry(msgspec.Struct, gc=False, eq=False):
    """One transition of the catalog. `seen` is a hash of what callers saw before, 0 for nothing; `at` the wall clock in
    ms. `before` is what they saw, as long as the entry is fresh. An empty `instance` is a reload of the service.
    """

    version: int
    origin: Origin
    seq: int
    service: str
    instance: str
    seen: int
    at: int
    before: bytes | None


class Missed(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What somebody missed: with `full` everything that is shown now, else one change per instance, oldest first.

    `entries` says how many transitions they stand for.
    """

    full: bool
    changes: list[SeenChange]
    entries: int = 0


class LogCounters(msgspec.Struct, gc=False):
    """What happened to the log since the start; every counter only grows."""

    entries: int = 0
    evicted: int = 0
    resumed: int = 0
    full_syncs: int = 0


class ServiceHistory:
    """The entries of one service, oldest first, and the latest one that was forgotten, of it or maybe of it."""

    __slots__ = ("entries", "floor")

    def __init__(self, floor: Entry | None) -> None:
        self.entries: list[Entry] = []
        self.floor = floor


class ChangeLog:
    """The history of one node, at most `max_entries` transitions, `max_per_service` of them of one service.

    Owned by the node and its event loop. `wall` gives the milliseconds of the wall clock for the time of changes.
    """

    def __init__(
        self,
        catalog: Catalog,
        registry: Registry,
        *,
        wall: Callable[[], int],
        max_entries: int = 50_000,
        max_per_service: int = 5_000,
    ) -> None:
        if max_entries < 1 or max_per_service < 1:
            raise ValueError("a change log keeps at least one entry, of each service too")
        self.counters = LogCounters()
        self.wall = wall
        self._catalog = catalog
        self._registry = registry
        self._max_entries = max_entries
        self._max_per_service = max_per_service
        self._start = catalog.version
        self._entries: deque[Entry] = deque()
        self._fresh: deque[Entry] = deque()
        self._services: dict[str, ServiceHistory] = {}
        self._floor: Entry | None = None
        # Which origin's numbers came in which order: origin, first and last number of each run.
        self._runs: deque[_Run] = deque(maxlen=MAX_RUNS)
        self._run: _Run | None = None
        registry.on_change(self._changed)
        catalog.on_transition(self._transition)

    def __len__(self) -> int:
        """Count the entries."""
        return len(self._entries)

    # -- what was missed

    def since(self, service: str, cursor: Cursor | None) -> Missed:
        """Return what the holder of `cursor` missed of a service; full without one, or when it is of no use here.

        It is of no use when it is of another kind or region, names an origin that is not known here, is ahead of this
        node, or older than the log reaches back, and when the service was to be looked up again meanwhile. `service` in
        any letter case.
        """
        key = service.lower()
        version = None if cursor is None else self.version_at(key, cursor)
        missed = self.full(key) if version is None else self.after(key, version)
        if cursor is not None:
            self.counters.full_syncs += missed.full
            self.counters.resumed += not missed.full
        return missed

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

    def version_at(self, service: str, cursor: Cursor) -> int | None:
        """Return the version of the catalog up to which the holder knows a service; None when only a full sync helps.

        `service` is its id in lower case, empty for all services.
        """
        if cursor.kind != MESH or cursor.name != self._registry.region or not self._is_past(cursor):
            return None
        floor = self._floor_of(service)
        if floor is not None and not cursor.covers(floor.origin, floor.seq):
            return None
        entries = self._of(service)
        # The cursor is a moment of this node's past, so what it covers is a beginning of the entries.
        first = bisect_left(entries, 1, key=lambda entry: not cursor.covers(entry.origin, entry.seq))
        return self._catalog.version if first == len(entries) else entries[first].version - 1

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
        """Return the cursor of those who know everything up to a version of the catalog; None beyond the log."""
        if not self.reaches(version):
            return None
        moment = dict(self._registry.vector)
        entries = self.entries_after("", version, 1)
        if entries:
            entry = entries[0]
            for run in reversed(self._runs):
                if run.origin == entry.origin and run.first <= entry.seq:
                    moment[run.origin] = entry.seq - 1
                    break
                moment[run.origin] = run.first - 1
            else:
                return None
        return Cursor(kind=MESH, name=self._registry.region, vector=moment)

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

    def _is_past(self, cursor: Cursor) -> bool:
        """Tell whether a cursor is a moment of this node's own past: what it lacks came after all that it covers."""
        now, known = self._registry.vector, cursor.vector
        if not known or any(seq > now.get(origin, -1) for origin, seq in known.items()):
            return False
        moment = dict(now)
        for run in reversed(self._runs):
            seq = known.get(run.origin, 0)
            if seq >= run.first:
                moment[run.origin] = min(seq, moment[run.origin])
                break
            moment[run.origin] = run.first - 1
        return all(known.get(origin, 0) == seq for origin, seq in moment.items())

    # -- what happens

    def _changed(self, change: Change) -> None:
        run = self._run
        if run is not None and run.origin is change.origin:
            run.last = change.seq
        else:
            self._note(change.origin, change.seq)

    def _note(self, origin: Origin, seq: int) -> None:
        run = self._run
        if run is not None and run.origin == origin:
            run.last = seq
        else:
            self._run = _Run(origin, seq, seq)
            self._runs.append(self._run)

    def _transition(self, transition: Transition) -> None:
        origin, seq, service, before = transition.origin, transition.seq, transition.service, transition.before
        run = self._run
        if run is not None and run.origin is origin:
            run.last = seq
        else:
            self._note(origin, seq)
        entry = Entry(
            transition.version,
            origin,
            seq,
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
        if before is not None:
            self._fresh.append(entry)
            if len(self._fresh) > FRESH:
                self._fresh.popleft().before = None
        if len(history.entries) > self._max_per_service:
            history.floor = history.entries.pop(0)
        if len(self._entries) > self._max_entries:
            self._evict()

    def _evict(self) -> None:
        """Forget the oldest entry; a service without any is known only by the floor of all."""
        self.counters.evicted += 1
        self._floor = oldest = self._entries.popleft()
        history = self._services.get(oldest.service)
        if history is None:
            return
        if history.entries and history.entries[0] is oldest:
            history.floor = history.entries.pop(0)
        if not history.entries:
            del self._services[oldest.service]


class _Run(msgspec.Struct, gc=False, eq=False):
    """Changes of one origin that no other origin's came between: its first and last number."""

    origin: Origin
    first: int
    last: int


def digest(content: bytes) -> int:
    """Return a keyed hash of what callers see, never 0."""
    return hash(content) or 1


def _version(entry: Entry) -> int:
    return entry.version
