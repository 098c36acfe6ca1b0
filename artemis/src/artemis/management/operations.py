"""Which operations are recorded for instances and servers: the operator state of a node (spec 8.2, 8.3, design 4.1).

It belongs to nobody's registration: a client that registers again, expires or reconnects changes nothing here.
Not here: what callers stop seeing and how they are told (`filter`, `pullouts`), and any storage: the state lives in
this node's memory; `dump.OperationsCut` and `load` carry it across restarts. Groups and zones are not part of it yet.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

MAX_RECORDS = 10_000
"""Operations that a node records by default; further ones are refused."""


class InstanceTarget(NamedTuple):
    """An instance as operations name it. `lowered` is what counts: keys compare without regard to letter case."""

    region: str
    service: str
    instance: str

    def lowered(self) -> "InstanceTarget":
        """Return it in lower case."""
        return InstanceTarget(self.region.lower(), self.service.lower(), self.instance.lower())


class ServerTarget(NamedTuple):
    """A machine as operations name it: `server` is the `ip` of its instances."""

    region: str
    server: str

    def lowered(self) -> "ServerTarget":
        """Return it in lower case."""
        return ServerTarget(self.region.lower(), self.server.lower())


Target = InstanceTarget | ServerTarget


class OperationRecord(msgspec.Struct, frozen=True, gc=False):
    """One operation: its name, who recorded it last and that call's token, which is for audits only and may be None."""

    operation: str
    operator: str
    token: str | None


class OperationEntry(msgspec.Struct, gc=False, eq=False):
    """The operations of one target by name in lower case, never empty. `target` is spelt as at the first recording."""

    target: Target
    records: dict[str, OperationRecord]

    @property
    def names(self) -> list[str]:
        """Return the names as they were first spelt, in the order of recording."""
        return [record.operation for record in self.records.values()]


class InstanceOperation(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One recorded operation of an instance, as a dump holds it."""

    region_id: str
    service_id: str
    instance_id: str
    operation: str
    operator_id: str
    token: str | None = None


class ServerOperation(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One recorded operation of a machine, as a dump holds it."""

    region_id: str
    server_id: str
    operation: str
    operator_id: str
    token: str | None = None


class OperationsDump(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """All operations, each on its own, ready for any msgspec encoder."""

    instances: list[InstanceOperation] = []
    servers: list[ServerOperation] = []


Witness = Callable[[Target, OperationEntry | None], None]
"""Called with a target and what is recorded for it, None for nothing, right before that changes."""


class TooManyOperations(Exception):  # noqa: N818 - what happened, as the registry's refusals are named
    """The node records no more operations; the text says what to do."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this node records {limit} operations at most; complete some, or raise max-operations")
        self.limit = limit


class Operations:
    """The recorded operations of instances and servers. Owned by a node and its event loop; nothing here waits.

    Any recorded operation means down, whatever its name. Regions, ids and names compare without regard to letter case.
    `max_records` bounds the operations of all targets together. `revision` grows with everything that is recorded.
    """

    def __init__(self, *, max_records: int = MAX_RECORDS) -> None:
        self.max_records = max_records
        self.refused = 0
        self.revision = 0
        self._count = 0
        self._instances: dict[tuple[str, str], dict[str, OperationEntry]] = {}
        self._servers: dict[str, dict[str, OperationEntry]] = {}
        self._witness: Witness | None = None

    def __len__(self) -> int:
        """Count the recorded operations."""
        return self._count

    def record(self, target: Target, record: OperationRecord) -> bool:
        """Record an operation; return whether it is the first of its target. Raises TooManyOperations.

        A name that is recorded already keeps its spelling and place and takes the new operator and token.
        """
        table, name = self._table(target)
        entry = table.get(name)
        word = record.operation.lower()
        if entry is not None and (known := entry.records.get(word)) is not None:
            self._tell(target, entry)
            entry.records[word] = msgspec.structs.replace(record, operation=known.operation)
            self.revision += 1
            return False
        if self._count >= self.max_records:
            self.refused += 1
            self._drop_if_empty(target)
            raise TooManyOperations(self.max_records)
        self._tell(target, entry)
        self._count += 1
        self.revision += 1
        if entry is None:
            table[name] = OperationEntry(target, {word: record})
            return True
        entry.records[word] = record
        return False

    def complete(self, target: Target, operation: str) -> bool:
        """End the operation of that name; return whether it was the last of its target. An unknown one is fine."""
        table, name = self._table(target)
        entry = table.get(name)
        word = operation.lower()
        if entry is None or word not in entry.records:
            self._drop_if_empty(target)
            return False
        self._tell(target, entry)
        del entry.records[word]
        self._count -= 1
        self.revision += 1
        if entry.records:
            return False
        del table[name]
        self._drop_if_empty(target)
        return True

    def entry(self, target: Target) -> OperationEntry | None:
        """Return what is recorded for exactly this target; an instance's server is another target."""
        if isinstance(target, InstanceTarget):
            return self.of_service(target.region.lower(), target.service.lower()).get(target.instance.lower())
        return self.of_servers(target.region.lower()).get(target.server.lower())

    def of_service(self, region: str, service: str) -> Mapping[str, OperationEntry]:
        """Return the entries of a service's instances by instance id; all in lower case. Do not change."""
        return self._instances.get((region, service), _NOTHING)

    def of_servers(self, region: str) -> Mapping[str, OperationEntry]:
        """Return the entries of a region's servers by server id; all in lower case. Do not change."""
        return self._servers.get(region, _NOTHING)

    def down(self, region: str, service: str, instance: str, ip: str) -> list[OperationEntry]:
        """Return why an instance is down (spec 8.3), empty when it is not: entries of its key and of its server."""
        found = (
            self.entry(InstanceTarget(region, service, instance)),
            self.entry(ServerTarget(region, ip)),
        )
        return [entry for entry in found if entry is not None]

    def instance_entries(self) -> Iterator[OperationEntry]:
        """Yield the entries of instances service by service; what changes meanwhile is in or not."""
        for table in list(self._instances.values()):
            yield from list(table.values())

    def server_entries(self) -> Iterator[OperationEntry]:
        """Yield the entries of servers region by region; what changes meanwhile is in or not."""
        for table in list(self._servers.values()):
            yield from list(table.values())

    def tables(self) -> list[Mapping[str, OperationEntry]]:
        """Return the entries of each service's instances and of each region's servers. Do not change."""
        return [*self._instances.values(), *self._servers.values()]

    def watch(self, witness: Witness) -> None:
        """Call `witness` before every change from now on, instead of the one before; it must not raise."""
        self._witness = witness

    def unwatch(self, witness: Witness) -> None:
        """Call `witness` no longer; one that is not called is fine."""
        if self._witness == witness:
            self._witness = None

    def load(self, dump: OperationsDump) -> None:
        """Take everything of a dump instead of what is recorded; for a node that does not serve yet.

        More than `max_records` are taken too: a lowered limit is no reason to show an instance that was pulled out.
        """
        self._instances, self._servers, self._count = {}, {}, 0
        limit, self.max_records = self.max_records, len(dump.instances) + len(dump.servers)
        try:
            self._load(dump.instances)
            self._load(dump.servers)
        finally:
            self.max_records = limit

    def _load(self, saved: Iterable[InstanceOperation | ServerOperation]) -> None:
        for one in saved:
            target: Target
            if isinstance(one, InstanceOperation):
                target = InstanceTarget(one.region_id, one.service_id, one.instance_id)
            else:
                target = ServerTarget(one.region_id, one.server_id)
            self.record(target, OperationRecord(one.operation, one.operator_id, one.token))

    def _tell(self, target: Target, entry: OperationEntry | None) -> None:
        if self._witness is not None:
            self._witness(target, entry)

    def _table(self, target: Target) -> tuple[dict[str, OperationEntry], str]:
        if isinstance(target, InstanceTarget):
            key = (target.region.lower(), target.service.lower())
            return self._instances.setdefault(key, {}), target.instance.lower()
        return self._servers.setdefault(target.region.lower(), {}), target.server.lower()

    def _drop_if_empty(self, target: Target) -> None:
        """Forget the table of a service or region that holds no entry."""
        if isinstance(target, InstanceTarget):
            key = (target.region.lower(), target.service.lower())
            if not self._instances.get(key, True):
                del self._instances[key]
        elif not self._servers.get(target.region.lower(), True):
            del self._servers[target.region.lower()]


_NOTHING: Mapping[str, OperationEntry] = {}
