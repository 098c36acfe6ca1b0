"""Which operations are recorded for instances and servers: the operator state of a node (spec 8.2, 8.3, design 4.1).

It belongs to nobody's registration: a client that registers again, expires or reconnects changes nothing here.
Not here: what callers stop seeing and how they are told (`filter`, `pullouts`), how decisions of two nodes are joined
(`decisions`), and any storage: the state lives in this node's memory; `dump.OperationsCut` and `load` carry it across
restarts. Groups and zones are not part of it yet.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from artemis.management.decisions import (
    Decision,
    DecisionKey,
    InstanceTarget,
    OperationRecord,
    ServerTarget,
    Target,
)
from artemis.registry import Stamp

MAX_RECORDS = 10_000
"""Operations that a node records by default; further ones are refused."""

Place = tuple[str, str]
"""Region and service of instances, in lower case; an empty service stands for the region's servers."""

Listener = Callable[[Decision | None, Decision | None], None]
"""Called with the decision that was known and the one that is from now on; None where there is none."""


class OperationEntry(msgspec.Struct, gc=False, eq=False):
    """The operations of one target by name in lower case, never empty, in the order of recording."""

    decisions: dict[str, Decision]

    @property
    def target(self) -> Target:
        """Return the target as it was spelt at the first recording."""
        return next(iter(self.decisions.values())).target

    @property
    def records(self) -> dict[str, OperationRecord]:
        """Return the operations by name in lower case."""
        return {word: decision.record for word, decision in self.decisions.items()}

    @property
    def names(self) -> list[str]:
        """Return the names as they were first spelt, in the order of recording."""
        return [decision.operation for decision in self.decisions.values()]


class TooManyOperations(Exception):  # noqa: N818 - what happened, as the registry's refusals are named
    """The node records no more operations; the text says what to do."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this node records {limit} operations at most; complete some, or raise max-operations")
        self.limit = limit


class Operations:
    """The recorded operations of instances and servers. Owned by a node and its event loop; nothing here waits.

    Any recorded operation means down, whatever its name. Regions, ids and names compare without regard to letter case.
    `max_records` bounds the operations of all targets together that are recorded here, and those that have ended and
    are still remembered. `revision` grows with everything that is decided.
    """

    def __init__(self, *, max_records: int = MAX_RECORDS) -> None:
        self.max_records = max_records
        self.refused = 0
        self.revision = 0
        self._count = 0
        self._entries: dict[Place, dict[str, OperationEntry]] = {}
        self._decisions: dict[Place, dict[DecisionKey, Decision]] = {}
        #: The ended ones in the order in which this node saw them end, and when, in monotonic milliseconds.
        self._ended: OrderedDict[DecisionKey, int] = OrderedDict()
        self._listener: Listener = _nobody

    def __len__(self) -> int:
        """Count the recorded operations."""
        return self._count

    # -- what is recorded

    def entry(self, target: Target) -> OperationEntry | None:
        """Return what is recorded for exactly this target; an instance's server is another target."""
        target = target.lowered()
        return self._entries.get(_place(target), _NOTHING).get(target[-1])

    def of_service(self, region: str, service: str) -> Mapping[str, OperationEntry]:
        """Return the entries of a service's instances by instance id; all in lower case. Do not change."""
        return self._entries.get((region, service), _NOTHING)

    def of_servers(self, region: str) -> Mapping[str, OperationEntry]:
        """Return the entries of a region's servers by server id; all in lower case. Do not change."""
        return self._entries.get((region, ""), _NOTHING)

    def down(self, region: str, service: str, instance: str, ip: str) -> list[OperationEntry]:
        """Return why an instance is down (spec 8.3), empty when it is not: entries of its key and of its server."""
        found = (
            self.entry(InstanceTarget(region, service, instance)),
            self.entry(ServerTarget(region, ip)),
        )
        return [entry for entry in found if entry is not None]

    def instance_entries(self) -> Iterator[OperationEntry]:
        """Yield the entries of instances service by service; what changes meanwhile is in or not."""
        for place, table in list(self._entries.items()):
            if place[1]:
                yield from list(table.values())

    def server_entries(self) -> Iterator[OperationEntry]:
        """Yield the entries of servers region by region; what changes meanwhile is in or not."""
        for place, table in list(self._entries.items()):
            if not place[1]:
                yield from list(table.values())

    # -- what was decided

    def recorded(self, target: Target, record: OperationRecord, version: Stamp) -> Decision:
        """Return the decision that records an operation; it has no dots, and is not yet `put`. Raises
        TooManyOperations.

        A name that is recorded already keeps its spelling and place and takes the new operator and token.
        """
        known = self.decision((target.lowered(), record.operation.lower()))
        if known is not None and not known.ended:
            return msgspec.structs.replace(known, version=version, operator=record.operator, token=record.token)
        if self._count >= self.max_records:
            self.refused += 1
            raise TooManyOperations(self.max_records)
        return Decision(target, record.operation, version, version, False, record.operator, record.token, ())

    def completed(self, target: Target, operation: str, version: Stamp) -> Decision:
        """Return the decision that ends the operation of that name, also one that is unknown here: another node may
        have recorded it. It has no dots, and is not yet `put`.
        """
        known = self.decision((target.lowered(), operation.lower()))
        if known is not None:
            return msgspec.structs.replace(known, version=version, ended=True)
        return Decision(target, operation, version, version, True, "", None, ())

    def decision(self, key: DecisionKey) -> Decision | None:
        """Return what was decided last about an operation, also that it has ended."""
        return self._decisions.get(_place(key[0]), _UNDECIDED).get(key)

    def decisions(self) -> Iterator[Decision]:
        """Yield all decisions; nothing may change meanwhile."""
        for table in self._decisions.values():
            yield from table.values()

    def decided(self, region: str, service: str) -> Iterable[Decision]:
        """Return all decisions about instances of a service, or about servers if it is empty; ids in lower case."""
        return self._decisions.get((region, service), _UNDECIDED).values()

    def places(self) -> Iterable[Place]:
        """Return of which regions and services anything is known."""
        return self._decisions

    def ended_at(self, decision: Decision) -> int | None:
        """Return when this node saw an operation end, in monotonic milliseconds; None for a recorded one."""
        return self._ended.get(decision.key)

    @property
    def remembered(self) -> int:
        """Count the operations that have ended and are still remembered."""
        return len(self._ended)

    def put(self, decision: Decision, now: int) -> bool:
        """Let a decision count instead of what is known about its operation; tell whether its target is down now and
        was not, or the other way round.
        """
        key = decision.key
        target, word = key
        place = _place(target)
        table = self._decisions.setdefault(place, {})
        known = table.get(key)
        table[key] = decision
        self.revision += 1
        if decision.ended:
            self._ended.setdefault(key, now)
        else:
            self._ended.pop(key, None)
        self._count += (not decision.ended) - (known is not None and not known.ended)
        self._listener(known, decision)
        return self._show(place, target[-1], word, decision)

    def oldest_ended(self, before: int) -> Decision | None:
        """Return the operation that ended first, if it did before a moment or if too many have."""
        for key, at in self._ended.items():
            if at < before or len(self._ended) > self.max_records:
                return self.decision(key)
            break
        return None

    def forget(self, decision: Decision) -> None:
        """Forget an operation that has ended."""
        key = decision.key
        del self._ended[key]
        place = _place(key[0])
        table = self._decisions[place]
        del table[key]
        if not table:
            del self._decisions[place]
        self._listener(decision, None)

    def trim(self, base: Mapping[str, int]) -> None:
        """Let go of the dots of epochs below `base`."""
        for table in self._decisions.values():
            for key, decision in table.items():
                kept = decision.without_forgotten(base)
                if kept is not decision:
                    table[key] = kept

    def on_decision(self, listener: Listener) -> None:
        """Call `listener` with every decision that is put or forgotten from now on. One at a time; it must not
        raise.
        """
        self._listener = listener

    def _show(self, place: Place, name: str, word: str, decision: Decision) -> bool:
        """Bring the entry of a target up to date; tell whether there was none and is one, or the other way round."""
        table = self._entries.setdefault(place, {})
        entry = table.get(name)
        left = {} if entry is None else {each: known for each, known in entry.decisions.items() if each != word}
        if not decision.ended:
            left[word] = decision
        if left:
            ordered = dict(sorted(left.items(), key=_recording))
            if entry is None:
                table[name] = OperationEntry(ordered)
                return True
            entry.decisions = ordered
            return False
        table.pop(name, None)
        if not table:
            del self._entries[place]
        return entry is not None


def _place(target: Target) -> Place:
    """Return the table of a target in lower case."""
    return (target.region, target.service if isinstance(target, InstanceTarget) else "")


def _recording(item: tuple[str, Decision]) -> tuple[Stamp, str]:
    word, decision = item
    return decision.since, word


def _nobody(known: Decision | None, decision: Decision | None) -> None:
    """Nobody listens."""


_NOTHING: Mapping[str, OperationEntry] = {}
_UNDECIDED: Mapping[DecisionKey, Decision] = {}
