"""What a subscriber is told: the messages for what he missed, encoded once for all who missed the same.

Not here: who is told and when, see `stream`; and what was missed, see `log`.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple

from artemis.push.changes import SeenChange, java_change, native_message, reload_change
from artemis.push.limits import PushCounters, PushLimits
from artemis.push.log import ChangeLog, Entry

_CACHED = 256
_CACHED_BYTES = 8 * 1024 * 1024

CHUNK = 256
"""Changes of all services that one look at them handles, about 3 ms. Looks end at multiples of it, so that subscribers
that have fallen behind get the same messages, made once."""

JAVA_MESSAGE = 8 * 1024
"""Bytes of the longest message that a Java client takes: a longer one ends its connection (spec 0.8)."""


class Dialect(Enum):
    """How changes are told: `JAVA` is one InstanceChange a message, with `new` for other content; `NATIVE` one
    `service_change` for each service, with a list (spec 3.3, artemis-rust 2).
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


_Key = tuple[str, int, int, Dialect, int]  # service, first and last version, dialect, unsure up to which version
_NOTHING = Told([])


class Teller:
    """Makes the messages. Owned by a change stream; `cursor` gives the position of the node as text."""

    __slots__ = ("_cache", "_cached_bytes", "_counters", "_cursor", "_latest", "_limits", "_log")

    def __init__(self, log: ChangeLog, cursor: Callable[[], str], limits: PushLimits, counters: PushCounters) -> None:
        self._log = log
        self._cursor = cursor
        self._limits = limits
        self._counters = counters
        self._cache: dict[_Key, Told] = {}
        self._cached_bytes = 0
        # What was told last, of which service, since when and at which version: most often the next one gets the same.
        self._latest: tuple[tuple[str, int, int, Dialect] | None, Told] = None, Told([])

    def service(self, service: str, version: int, dialect: Dialect) -> list[bytes]:
        """Return the messages for what changed of a service, id in lower case, since a version of the catalog."""
        same = (service, version, self._log.version, dialect)
        if self._latest[0] != same:
            self._latest = same, self._service(service, version, dialect)
        return self._counted(self._latest[1])

    def everything(self, version: int, unsure: int, dialect: Dialect) -> tuple[list[bytes], int] | None:
        """Return the messages for what changed in all services, and the version up to which they reach.

        They reach as far as CHUNK changes do. Those that do not reach the version of the catalog still show what is
        seen then, so later ones are made with that version as `unsure`. None when the log does not reach back.
        """
        entries = self._log.entries_after("", version, CHUNK - (version + 1) % CHUNK)
        if entries is None:
            return None
        if not entries:
            return [], version
        first, last = entries[0].version, entries[-1].version
        unsure = min(unsure, last) if unsure >= first else 0
        key = ("", first, last, dialect, unsure)
        told = self._cache.get(key)
        if told is None:
            # With more to come they have no cursor: nobody may resume from there.
            cursor = self._cursor() if last == self._log.version else None
            told = self._keep(key, self._all_changes(entries, dialect, cursor, unsure))
        return self._counted(told), last

    def _service(self, service: str, version: int, dialect: Dialect) -> Told:
        entries = self._log.entries_after(service, version)
        if entries is None:
            return self._whole(service, dialect)
        if not entries:
            return _NOTHING
        key = (service, entries[0].version, entries[-1].version, dialect, 0)
        told = self._cache.get(key)
        if told is None:
            told = self._keep(key, self._changes(service, entries, dialect, self._cursor()))
        return told

    def _all_changes(self, entries: Sequence[Entry], dialect: Dialect, cursor: str | None, unsure: int) -> Told:
        services: dict[str, list[Entry]] = {}
        for entry in entries:
            # In the order of the latest change of each, so that the one with the cursor comes last.
            its = services.pop(entry.service, None) or []
            its.append(entry)
            services[entry.service] = its
        last = entries[-1].service
        every = [
            self._changes(service, its, dialect, cursor if service == last else None, unsure)
            for service, its in services.items()
        ]
        messages = [message for told in every for message in told.messages]
        return Told(messages, *[sum(numbers) for numbers in zip(*[told[1:] for told in every], strict=True)])

    def _changes(
        self, service: str, entries: Sequence[Entry], dialect: Dialect, cursor: str | None, unsure: int = 0
    ) -> Told:
        if not all(entry.instance for entry in entries):
            return self._reload(service, dialect, cursor)
        changes = self._log.changes(entries, unsure)
        if len(changes) > self._limits.changes or _size(changes) > self._limits.change_bytes:
            return self._reload(service, dialect, cursor)
        coalesced = len(entries) - len(changes)
        if dialect is Dialect.NATIVE:
            messages = [native_message(service, changes, cursor)] if changes else []
        else:
            last = len(changes) - 1
            messages = [
                java_change(service, change, cursor if at == last else None) for at, change in enumerate(changes)
            ]
            if any(len(message) > JAVA_MESSAGE for message in messages):
                return self._reload(service, dialect, cursor)
        return Told(messages, len(changes), coalesced)

    def _whole(self, service: str, dialect: Dialect) -> Told:
        """Tell a service as a whole: the log does not reach back to what the subscriber knows."""
        if dialect is Dialect.JAVA:
            return self._reload(service, dialect, self._cursor())
        changes = self._log.full(service).changes
        if _size(changes) > self._limits.sync_bytes:
            return self._reload(service, dialect, self._cursor())
        return Told([native_message(service, changes, self._cursor(), full=True)], full_syncs=1)

    def _reload(self, service: str, dialect: Dialect, cursor: str | None) -> Told:
        change = reload_change(service, self._log.wall())
        if dialect is Dialect.JAVA:
            return Told([java_change(service, change, cursor)], reloads=1)
        return Told([native_message(service, [change], cursor)], reloads=1)

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
