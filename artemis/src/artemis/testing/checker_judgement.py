"""What is right about a history, law by law; `artemis.testing.checker` says what the laws are and reads the files.

Pure: events come in, a verdict goes out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from artemis.model.cursors import BadCursor, decode_cursor
from artemis.testing.histories import (
    ENDS,
    BadHistoryError,
    Completed,
    Event,
    Fault,
    Flagged,
    Invoked,
    Operation,
    Setting,
    Told,
)

LAWS = ("visible", "kept", "removed", "expired", "converged", "watch", "cursor", "answered")

_NEVER = 2**62
_AWAY = (*ENDS, "paused")


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that does not hold, and what shows it."""

    law: str
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a history shows; ``judged`` is how often each law was put to the test."""

    violations: tuple[Violation, ...]
    judged: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Done:
    """An operation with its end; ``end`` is far away for one that did not end or failed."""

    call: Invoked
    answer: Completed | None

    @property
    def op(self) -> Operation:
        return self.call.op

    @property
    def begun(self) -> int:
        return self.call.at

    @property
    def ok(self) -> bool:
        return self.answer is not None and self.answer.outcome == "ok"

    @property
    def end(self) -> int:
        """When it was done at the latest."""
        return _NEVER if self.answer is None or self.answer.outcome == "failed" else self.answer.at

    @property
    def shown(self) -> dict[str, str]:
        return {} if self.answer is None or self.answer.shown is None else self.answer.shown

    def __str__(self) -> str:
        call = self.call
        instance = f"/{call.instance}" if call.instance else ""
        return f"{call.op} {call.service}{instance} by {call.client} at {call.node or 'a node'} (begun {call.at})"


@dataclass(slots=True)
class _Key:
    """What was done to one instance, in the order in which it was begun."""

    registers: list[_Done] = field(default_factory=list)
    heartbeats: list[_Done] = field(default_factory=list)
    unregisters: list[_Done] = field(default_factory=list)


def judge(events: Sequence[Event]) -> Verdict:
    """Judge a history, whose first event is its setting."""
    return _Judgement(events).verdict()


class _Judgement:
    """One judgement of one history."""

    def __init__(self, events: Sequence[Event]) -> None:
        first = events[0]
        if not isinstance(first, Setting):
            raise BadHistoryError("a history begins with its setting")
        self._setting = first
        self._violations: list[Violation] = []
        self._judged: Counter[str] = Counter(dict.fromkeys(LAWS, 0))
        answers = {event.id: event for event in events if isinstance(event, Completed)}
        done = [_Done(event, answers.get(event.id)) for event in events if isinstance(event, Invoked)]
        self._done = sorted(done, key=lambda each: each.begun)
        self._lookups = [each for each in self._done if each.op == "lookup" and each.ok]
        self._keys: dict[tuple[str, str], _Key] = defaultdict(_Key)
        for each in self._done:
            key = self._keys[each.call.service, each.call.instance] if each.op != "lookup" else _Key()
            {"register": key.registers, "heartbeat": key.heartbeats, "unregister": key.unregisters}.get(
                each.op, []
            ).append(each)
        self._faults = list(_spans(event for event in events if isinstance(event, Fault)))
        self._watches: dict[str, list[Told]] = defaultdict(list)
        self._flagged: dict[tuple[str, str], list[int]] = defaultdict(list)
        for event in events:
            if isinstance(event, Told):
                self._watches[event.watch].append(event)
            elif isinstance(event, Flagged):
                self._flagged[event.client, event.service].append(event.at)

    def verdict(self) -> Verdict:
        for lookup in self._lookups:
            for (service, instance), key in self._keys.items():
                if service == lookup.call.service:
                    self._look(lookup, instance, key)
        self._converged()
        for name, told in self._watches.items():
            self._watch(name, told)
        self._cursors()
        for each in self._done:
            if each.call.sure:
                self._judge("answered", each.ok, each.begun, each, each.answer and each.answer.why)
        return Verdict(tuple(sorted(self._violations, key=lambda each: each.at)), dict(self._judged))

    # -- instances

    def _look(self, lookup: _Done, instance: str, key: _Key) -> None:
        """Judge whether a lookup showed what it must and nothing that it must not."""
        content = lookup.shown.get(instance)
        calm = self._calm(lookup)
        removal = self._removal(key, lookup)
        if removal is None:
            self._must_show(lookup, instance, key, content, calm)
        elif removal.ok and not any(each.end >= removal.begun for each in self._before(key.registers, lookup)):
            everywhere = calm and not self._lost(removal, lookup) and removal.end + self._setting.settle <= lookup.begun
            here = self._same_node(removal, lookup)
            if everywhere or here:
                self._judge(
                    "removed", content is None, lookup.begun,
                    lookup, "showed", instance, "unregistered at", removal.end, "by", removal,
                )  # fmt: skip
            return
        beats = self._before([*key.registers, *key.heartbeats], lookup)
        silent = max((each.begun if each.ok else each.end for each in beats), default=_NEVER)
        silent = max([silent, *(each.begun for each in beats)])
        if self._setting.expiry and calm and silent + self._setting.expiry <= lookup.begun:
            self._judge("expired", content is None, lookup.begun, lookup, "showed", instance, "renewed last at", silent)

    def _must_show(self, lookup: _Done, instance: str, key: _Key, content: str | None, calm: bool) -> None:
        registers = [each for each in self._before(key.registers, lookup) if each.ok and each.end <= lookup.begun]
        removed = max((each.end for each in self._before(key.unregisters, lookup)), default=-1)
        registers = [each for each in registers if each.begun > removed]
        if not registers or lookup.answer is None:
            return
        since = registers[0].begun
        beats = [
            each
            for each in self._before([*registers, *key.heartbeats], lookup)
            if each.ok
            and since <= each.begun
            and each.end <= lookup.begun
            and each.begun + self._setting.ttl > lookup.answer.at
        ]
        near = [each for each in beats if self._same_node(each, lookup)]
        if self._setting.several:  # one that heard of it renews what another one may not know yet
            near = [each for each in near if each.op == "register"]
        if near:
            self._judge(
                "kept", content is not None, lookup.begun,
                lookup, "did not show", instance, "after", near[-1], "ended at", near[-1].end,
            )  # fmt: skip
        sure = [each for each in registers if not self._lost(each, lookup)]
        renewed = [each for each in beats if not self._lost(each, lookup)]
        if not calm or not sure or not renewed or sure[0].end + self._setting.settle > lookup.begun:
            return
        self._judge(
            "visible", content is not None, lookup.begun,
            lookup, "did not show", instance, "registered at", sure[0].end, "renewed by", renewed[-1],
        )  # fmt: skip
        last = registers[-1]
        everybody = self._before(key.registers, lookup)
        alone = all(each is last or each.end < last.begun for each in everybody)
        if (
            content is not None
            and alone
            and not self._lost(last, lookup)
            and last.end + self._setting.settle <= lookup.begun
        ):
            self._judge(
                "visible", content == last.call.content, lookup.begun,
                lookup, "showed", instance, "as", repr(content), "not as", repr(last.call.content),
            )  # fmt: skip

    def _removal(self, key: _Key, lookup: _Done) -> _Done | None:
        """Return the last removal that was begun before a lookup ended, unless a registration follows it."""
        removals = self._before(key.unregisters, lookup)
        if not removals:
            return None
        last = removals[-1]
        again = any(each.ok and each.begun > last.end for each in self._before(key.registers, lookup))
        return None if again else last

    # -- views

    def _converged(self) -> None:
        """Judge the last calm look at each node, when nothing was registered or unregistered for long."""
        finals: dict[str, dict[str, _Done]] = defaultdict(dict)
        for lookup in self._lookups:
            if self._quiet(lookup) and lookup.call.node:
                finals[lookup.call.service][lookup.call.node] = lookup
        for looks in finals.values():
            for one, other in pairwise(looks.values()):
                self._judge(
                    "converged", one.shown == other.shown, other.begun,
                    one, "and", other, "showed different things:", _Difference(one.shown, other.shown),
                )  # fmt: skip

    def _quiet(self, lookup: _Done) -> bool:
        """Whether nothing was written for long before a lookup, nor while it lasted."""
        writes = [
            each
            for (service, _), key in self._keys.items()
            if service == lookup.call.service
            for each in (*key.registers, *key.unregisters)
        ]
        since = lookup.begun - self._setting.settle
        # One that failed was done by then or never, so the nodes agree on it too.
        over = all((each.answer is not None and each.answer.at < since) or each.begun > lookup.end for each in writes)
        return over and self._calm(lookup)

    def _watch(self, name: str, told: list[Told]) -> None:
        """Judge what one watch was told."""
        shown: dict[str, str] | None = None
        position: str | None = None
        for each in told:
            if each.last:
                self._watched(name, each, shown)
            if each.cursor is not None:
                if position is not None and not each.full:
                    self._forward(position, each.cursor, each.at, f"watch {name}")
                position = each.cursor
            if each.full:
                shown = {}
            for kind, instance, content in each.changes:
                if kind == "reload":
                    shown = None
                elif shown is not None:
                    self._change(name, each, shown, kind, instance, content)

    def _change(self, name: str, told: Told, shown: dict[str, str], kind: str, instance: str, content: str) -> None:
        if told.resumed and (kind, instance in shown) in {("delete", False), ("new", True)}:
            shown.update({instance: content} if kind == "new" else {})
            return
        fits = (instance in shown) == (kind != "new") and (kind != "change" or shown.get(instance) != content)
        self._judge(
            "watch", fits, told.at,
            "watch", name, "was told", kind, instance, repr(content), "when it knew", repr(shown.get(instance)),
        )  # fmt: skip
        if kind == "delete":
            shown.pop(instance, None)
        else:
            shown[instance] = content

    def _watched(self, name: str, end: Told, shown: dict[str, str] | None) -> None:
        """Judge what a watch knew in the end by the last lookup of quiet times before it."""
        looks = [
            each
            for each in self._lookups
            if each.call.service == end.service and each.end <= end.at and each.call.node and self._quiet(each)
        ]
        changed = any(
            looks[-1].begun <= each.begun if looks else True
            for (service, _), key in self._keys.items()
            if service == end.service
            for each in (*key.registers, *key.unregisters)
        )
        if not looks or shown is None or changed:
            return
        self._judge(
            "watch", shown == looks[-1].shown, end.at,
            "watch", name, "ended with other things than", looks[-1], _Difference(shown, looks[-1].shown),
        )  # fmt: skip

    # -- cursors

    def _cursors(self) -> None:
        """Judge the positions of nodes, between two looks at the same node, and those of clients that choose."""
        lines: dict[tuple[str, str], list[_Done]] = defaultdict(list)
        for lookup in self._lookups:
            call = lookup.call
            if call.node and self._setting.several:
                continue  # the next look may be answered by another worker
            if lookup.answer is not None and lookup.answer.cursor is not None:
                lines[(call.node, "") if call.node else (call.client, call.service)].append(lookup)
        for looks in lines.values():
            for one, other in pairwise(sorted(looks, key=lambda each: each.end)):
                ended = one.call.node and self._ended(one.call.node, one.begun, other.end)
                if one.answer is None or other.answer is None or one.end > other.begun or ended:
                    continue
                flags = () if one.call.node else self._flagged[one.call.client, one.call.service]
                if any(one.begun <= at <= other.end for at in flags):
                    continue
                before, after = one.answer.cursor or "", other.answer.cursor or ""
                self._forward(before, after, other.begun, other)

    def _forward(self, before: str, after: str, at: int, where: object) -> None:
        """Judge that a position does not go back."""
        try:
            fine = before == after or decode_cursor(after).dominates(decode_cursor(before))
        except BadCursor:
            fine = False
        self._judge("cursor", fine, at, where, "went back from", before, "to", after)

    # -- time

    def _calm(self, lookup: _Done) -> bool:
        """Whether all faults were over for long when a lookup began, and none came before it ended."""
        since = lookup.begun - self._setting.settle
        return not any(begun <= lookup.end and over >= since for _, _, begun, over in self._faults)

    def _same_node(self, write: _Done, lookup: _Done) -> bool:
        """Whether a node that accepted something was then asked, and has not been away in between."""
        node = write.call.node
        if not node or node != lookup.call.node or write.end > lookup.begun:
            return False
        return not any(
            what in _AWAY and node in nodes and begun <= lookup.end and over >= write.begun
            for what, nodes, begun, over in self._faults
        )

    def _ended(self, node: str, since: int, until: int) -> bool:
        """Whether a node ended in a time."""
        return any(
            what in ENDS and node in nodes and begun <= until and over >= since
            for what, nodes, begun, over in self._faults
        )

    def _lost(self, write: _Done, lookup: _Done) -> bool:
        """Whether, when a lookup ended, a node had ended so soon after it accepted something that it may not have
        passed it on.

        One that was asked to end has passed on what it could, unless links were bad; where they were, soon is until
        they were good for long.
        """
        deadline, bad = write.end + self._setting.settle, False
        for what, _, begun, over in sorted(self._faults, key=lambda each: each[2]):
            if what not in _AWAY and begun <= deadline and over >= write.begun:
                deadline, bad = max(deadline, over + self._setting.settle), True
        return any(
            what in (ENDS if bad else ("killed",))
            and (write.call.node in nodes or not write.call.node)
            and write.begun <= begun <= min(deadline, lookup.end)
            for what, nodes, begun, _ in self._faults
        )

    @staticmethod
    def _before(done: Iterable[_Done], lookup: _Done) -> list[_Done]:
        """Return what was begun before a lookup ended."""
        return [each for each in done if each.begun <= lookup.end]

    def _judge(self, law: str, holds: bool, at: int, *words: object) -> None:
        self._judged[law] += 1
        if not holds:
            self._violations.append(Violation(law, at, " ".join(map(str, words))))


def _spans(faults: Iterable[Fault]) -> Iterator[tuple[str, list[str], int, int]]:
    """Yield faults with nodes, begin and end; one that is never over lasts for ever."""
    open_ones: dict[tuple[str, tuple[str, ...]], int] = {}
    for fault in faults:
        key = fault.what, tuple(fault.nodes)
        if not fault.over:
            open_ones.setdefault(key, fault.at)
        elif key in open_ones:
            yield fault.what, fault.nodes, open_ones.pop(key), fault.at
    for (what, nodes), begun in open_ones.items():
        yield what, list(nodes), begun, _NEVER


@dataclass(frozen=True, slots=True)
class _Difference:
    """In what two views differ, as text."""

    one: dict[str, str]
    other: dict[str, str]

    def __str__(self) -> str:
        one, other = self.one, self.other
        keys = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
        shown = ", ".join(f"{key}: {one.get(key)!r} and {other.get(key)!r}" for key in keys[:5])
        return f"{shown} and {len(keys) - 5} more" if len(keys) > 5 else shown
