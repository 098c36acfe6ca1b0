"""What a subscriber is told: the messages for what he missed, encoded once for all who missed the same.

Not here: who is told and when, see `stream`; and what was missed, see `log`.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from artemis.model.cursors import NOTHING, encode_cursor
from artemis.push.changes import EVERYTHING, SeenChange, java_change, native_message, reload_change
from artemis.push.entries import Entry, Start
from artemis.push.limits import PushCounters, PushLimits
from artemis.push.log import ChangeLog
from artemis.push.touches import Touched

_CACHED = 256
_CACHED_BYTES = 8 * 1024 * 1024

JAVA_MESSAGE = 8 * 1024
"""Bytes of the longest message that a Java client takes: a longer one ends its connection (spec 0.8)."""


class Dialect(Enum):
    """How changes are told: `JAVA` is one InstanceChange a message, with `new` for other content; `NATIVE` one
    `service_change` for each service, or for all, with a list (spec 3.3, artemis-rust 2).
    """

    JAVA = "java"
    NATIVE = "native"


class Told(NamedTuple):
    """Messages and what they stand for: changes, those left out, services told as a whole by reload or full sync."""

    messages: list[bytes]
    changes: int = 0
    coalesced: int = 0
    reloads: int = 0
    full_syncs: int = 0


class _Part(NamedTuple):
    """What is told of one service, and how many changes that leaves out; a `reload` is its only change."""

    service: str
    changes: list[SeenChange]
    coalesced: int = 0
    reload: bool = False


_Key = tuple[str, Start, int, Dialect]  # service, from where (0: a full sync) to which version, dialect
_NOTHING = Told([])
_NO_POSITION = encode_cursor(NOTHING)


class Teller:
    """Makes the messages. Owned by a change stream; `cursor` gives the position of the node as text.

    `region` is that of a copy, empty for the node's own.

    The cursor of a message holds when all messages up to it were applied. Only the last Java message of a moment has
    one; whoever goes on from the others gets a full sync.
    """

    __slots__ = ("_cache", "_cached_bytes", "_counters", "_cursor", "_latest", "_limits", "_log", "_region")

    def __init__(
        self, log: ChangeLog, cursor: Callable[[], str], limits: PushLimits, counters: PushCounters, region: str = ""
    ) -> None:
        self._log = log
        self._region = region
        self._cursor = cursor
        self._limits = limits
        self._counters = counters
        self._cache: dict[_Key, Told] = {}
        self._cached_bytes = 0
        # What was told last, of which service, since when and at which version: most often the next one gets the same.
        self._latest: tuple[_Key | None, Told] = None, Told([])

    def service(self, service: str, start: Start, dialect: Dialect) -> list[bytes]:
        """Return the messages for what changed of a service, id in lower case."""
        same = (service, start, self._log.version, dialect)
        if self._latest[0] != same:
            if isinstance(start, int):
                self._latest = same, self._service(service, start, dialect)
            else:
                self._latest = same, self._touched(service, start, dialect)
        return self._counted(self._latest[1])

    def everything(self, start: Start, dialect: Dialect) -> list[bytes] | None:
        """Return the messages for what changed in all services, in one moment.

        When that is too much, or unknown, it is a reload: of everything in our own dialect, of each service that has
        changed in Java's. None when those are too many or unknown.
        """
        key = ("", start, self._log.version, dialect)
        told = self._latest[1] if self._latest[0] == key else self._cache.get(key)
        if told is None:
            made = self._everything(start, dialect)
            if made is None:
                return None
            told = self._keep(key, made)
        self._latest = key, told
        return self._counted(told)

    def _service(self, service: str, version: int, dialect: Dialect) -> Told:
        entries = self._log.entries_after(service, version)
        if entries is None:
            return self._whole(service, dialect)
        if not entries:
            return _NOTHING
        key = (service, entries[0].version, entries[-1].version, dialect)
        told = self._cache.get(key)
        if told is None:
            told = self._keep(key, self._told(service, [self._part(service, entries)], dialect))
        return told

    def _touched(self, service: str, touched: Touched, dialect: Dialect) -> Told:
        """Tell what may look different to somebody who comes from another node."""
        key = (service, touched, self._log.last_version(service), dialect)
        told = self._cache.get(key)
        if told is None:
            part = self._touched_part(service, touched)
            if part is None:
                return self._whole(service, dialect)
            told = self._keep(key, self._told(service, [part] if part.changes else [], dialect))
        return told

    def _touched_part(self, service: str, touched: Touched) -> _Part | None:
        changes = self._log.touched_changes(service, touched)
        return None if changes is None else self._bounded(service, changes, 0)

    def _everything(self, start: Start, dialect: Dialect) -> Told | None:
        version = start if isinstance(start, int) else start.version
        touched = {} if isinstance(start, int) else start.instances
        behind = self._log.version - version + (0 if isinstance(start, int) else start.count)
        if self._log.reaches(version) and behind <= self._limits.behind:
            parts = self._parts(version) if isinstance(start, int) else self._touched_parts(start)
            if sum(_size(part.changes) for part in parts) <= self._limits.sync_bytes:
                return self._told(EVERYTHING, parts, dialect)
        if dialect is Dialect.NATIVE:
            return self._told(EVERYTHING, [self._reload(EVERYTHING)], dialect)
        changed = sorted({*touched, *self._log.services_after(version)}) if self._log.reaches(version) else ()
        if not changed or len(changed) > self._limits.reloads:
            return None
        at = self._log.wall()
        return self._told(
            EVERYTHING, [_Part(each, [reload_change(each, at)], reload=True) for each in changed], dialect
        )

    def _parts(self, version: int) -> list[_Part]:
        services: dict[str, list[Entry]] = {}
        for entry in self._log.latest(self._log.version - version):
            if entry.version > version:
                # In the order of the latest change of each.
                its = services.pop(entry.service, None) or []
                its.append(entry)
                services[entry.service] = its
        return [self._part(service, its) for service, its in services.items()]

    def _touched_parts(self, touched: Touched) -> list[_Part]:
        services = dict.fromkeys([*touched.instances, *sorted(self._log.services_after(touched.version))])
        parts = [self._touched_part(service, touched) or self._reload(service) for service in services]
        return [part for part in parts if part.changes]

    def _part(self, service: str, entries: Sequence[Entry]) -> _Part:
        if not all(entry.instance for entry in entries):
            return self._reload(service)
        changes = self._log.changes(entries)
        return self._bounded(service, changes, len(entries) - len(changes))

    def _bounded(self, service: str, changes: list[SeenChange], coalesced: int) -> _Part:
        if len(changes) > self._limits.changes or _size(changes) > self._limits.change_bytes:
            return self._reload(service)
        return _Part(service, changes, coalesced)

    def _whole(self, service: str, dialect: Dialect) -> Told:
        """Tell a service as a whole: the log does not reach back to what the subscriber knows."""
        key = (service, 0, self._log.last_version(service), dialect)
        told = self._cache.get(key)
        if told is not None:
            return told
        changes = [] if dialect is Dialect.JAVA else self._log.full(service).changes
        if dialect is Dialect.JAVA or _size(changes) > self._limits.sync_bytes:
            told = self._told(service, [self._reload(service)], dialect)
        else:
            told = Told(
                [native_message(service, changes, self._cursor(), full=True, region=self._region)], full_syncs=1
            )
        return self._keep(key, told)

    def _reload(self, service: str) -> _Part:
        return _Part(service, [reload_change(service, self._log.wall())], reload=True)

    def _told(self, name: str, parts: list[_Part], dialect: Dialect) -> Told:
        """Tell the parts of one moment; `name` is the service, or stands for all."""
        cursor = self._cursor()
        if dialect is Dialect.JAVA:
            parts, messages = self._in_java(parts, cursor)
        else:
            changes = [change for part in parts for change in part.changes]
            messages = [native_message(name, changes, cursor, region=self._region)] if changes else []
        reloads = sum(part.reload for part in parts)
        return Told(
            messages, sum(len(part.changes) for part in parts) - reloads, sum(part.coalesced for part in parts), reloads
        )

    def _in_java(self, parts: list[_Part], cursor: str) -> tuple[list[_Part], list[bytes]]:
        """Return the messages, and the parts: a service with one that no Java client takes is reloaded."""
        told: list[_Part] = []
        messages: list[bytes] = []
        last: _Part | None = None
        most = JAVA_MESSAGE - len(cursor)
        for part in parts:
            its = [java_change(part.service, change, _NO_POSITION) for change in part.changes]
            if not part.reload and max(map(len, its), default=0) > most:
                part = self._reload(part.service)  # noqa: PLW2901 - it is told instead
                its = [java_change(part.service, part.changes[0], _NO_POSITION)]
            told.append(part)
            messages += its
            last = part if its else last
        if last is not None:
            messages[-1] = java_change(last.service, last.changes[-1], cursor)
        return told, messages

    def _counted(self, told: Told) -> list[bytes]:
        counters = self._counters
        counters.delivered += told.changes
        counters.coalesced += told.coalesced
        counters.reloads += told.reloads
        counters.full_syncs += told.full_syncs
        return told.messages

    def _keep(self, key: _Key, told: Told) -> Told:
        size = sum(map(len, told.messages))
        if len(self._cache) >= _CACHED or self._cached_bytes + size > _CACHED_BYTES:
            self._cache.clear()
            self._cached_bytes = 0
        self._cache[key] = told
        self._cached_bytes += size
        return told


def _size(changes: Sequence[SeenChange]) -> int:
    return sum([len(change.content) for change in changes])
