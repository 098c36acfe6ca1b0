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

CHUNK = 500
"""Changes of all services that one look at them handles, about 5 ms."""


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


class Teller:
    """Makes the messages. Owned by a change stream; `cursor` gives the position of the node as text."""

    __slots__ = ("_cache", "_cached_bytes", "_counters", "_cursor", "_limits", "_log")

    def __init__(self, log: ChangeLog, cursor: Callable[[], str], limits: PushLimits, counters: PushCounters) -> None:
        self._log = log
        self._cursor = cursor
        self._limits = limits
        self._counters = counters
        self._cache: dict[tuple[str, int, int, Dialect], Told] = {}
        self._cached_bytes = 0

    def service(self, service: str, version: int, dialect: Dialect) -> list[bytes]:
        """Return the messages for what changed of a service, id in lower case, since a version of the catalog."""
        entries = self._log.entries_after(service, version)
        if entries is None:
            return self._counted(self._whole(service, dialect))
        if not entries:
            return []
        key = (service, entries[0].version, entries[-1].version, dialect)
        told = self._cache.get(key)
        if told is None:
            told = self._keep(key, self._changes(service, entries, dialect, self._cursor()))
        return self._counted(told)

    def everything(self, version: int, dialect: Dialect) -> tuple[list[bytes], int] | None:
        """Return the messages for what changed in all services, and the version up to which they reach.

        They reach as far as CHUNK changes do. None when the log does not reach back.
        """
        entries = self._log.entries_after("", version)
        if entries is None:
            return None
        if not entries:
            return [], version
        final = len(entries) <= CHUNK
        entries = entries[:CHUNK]
        key = ("", entries[0].version, entries[-1].version, dialect)
        # With more to come they have no cursor, so they are not those that others get for the same entries.
        told = self._cache.get(key) if final else self._all_changes(entries, dialect, None)
        if told is None:
            told = self._keep(key, self._all_changes(entries, dialect, self._cursor()))
        return self._counted(told), entries[-1].version

    def _all_changes(self, entries: Sequence[Entry], dialect: Dialect, cursor: str | None) -> Told:
        services: dict[str, list[Entry]] = {}
        for entry in entries:
            # In the order of the latest change of each, so that the one with the cursor comes last.
            its = services.pop(entry.service, None) or []
            its.append(entry)
            services[entry.service] = its
        last = entries[-1].service
        every = [
            self._changes(service, its, dialect, cursor if service == last else None)
            for service, its in services.items()
        ]
        messages = [message for told in every for message in told.messages]
        return Told(messages, *[sum(numbers) for numbers in zip(*[told[1:] for told in every], strict=True)])

    def _changes(self, service: str, entries: Sequence[Entry], dialect: Dialect, cursor: str | None) -> Told:
        if not all(entry.instance for entry in entries):
            return self._reload(service, dialect, cursor)
        changes = self._log.changes(entries)
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

    def _keep(self, key: tuple[str, int, int, Dialect], told: Told) -> Told:
        size = sum(map(len, told.messages))
        if len(self._cache) >= _CACHED or self._cached_bytes + size > _CACHED_BYTES:
            self._cache.clear()
            self._cached_bytes = 0
        self._cache[key] = told
        self._cached_bytes += size
        return told


def _size(changes: Sequence[SeenChange]) -> int:
    return sum([len(change.content) for change in changes])
