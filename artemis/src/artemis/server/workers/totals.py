"""The numbers of a whole machine, whichever worker is asked: what all count together, and what each of them says.

Every worker tells its supervisor its numbers once a second, and when somebody asks; who asks gets those of all, with
what workers counted that have ended. Not here: which numbers there are (`artemis.server.numbers`, `metrics`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from artemis.model.status import ShownWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from structlog.typing import FilteringBoundLogger

    from msgtrans.workers import Group, WorkerLink, WorkerState

_ADDED = frozenset(
    f"artemis_{name}"
    for name in (
        "open_connections",
        "websocket_sessions",
        "rate_limit_callers",
        "narrowed_views",
        "push_subscribers",
        "push_subscriptions",
        "long_polls",
    )
)
"""Gauges whose sum is that of the machine."""

_SAME = frozenset(
    f"artemis_{name}"
    for name in ("instances", "services", "operations", "dead_records", "certificate_expiry_timestamp_seconds")
)
"""Gauges that are the same at all workers, but for a moment: the largest is told. Others are told of each worker."""

_SESSIONS = "sessions"
_DOORS = "doors"

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Of a number: its family, the name of its sample, and its labels."""


class Totals:
    """Owned by a worker, on its event loop. `own` gives the families of this worker, `doors` and `sessions` what it
    has open, by door and by endpoint.
    """

    def __init__(self, link: WorkerLink, log: FilteringBoundLogger) -> None:
        self.own: Callable[[], Iterable[Metric]] = tuple
        self.doors: Callable[[], Mapping[str, int]] = dict
        self.sessions: Callable[[], Mapping[str, int]] = dict
        self._link = link
        self._log = log
        self._group: Group | None = None
        link.figures = self._figures

    async def gather(self) -> None:
        """Ask for the numbers of all; those of before stay when nobody answers soon."""
        try:
            self._group = await self._link.group()
        except TimeoutError:
            self._log.warning("numbers of the other workers are old", reason="the supervisor did not answer in time")

    def open_doors(self) -> dict[str, int]:
        """Return the open connections of the machine by door, as of the last `gather`."""
        return self._states(_DOORS, self.doors())

    def open_sessions(self) -> dict[str, int]:
        """The same for sessions by endpoint."""
        return self._states(_SESSIONS, self.sessions())

    def workers(self) -> list[ShownWorker]:
        """Return all workers, as of the last `gather`; none before it."""
        return [
            ShownWorker(
                index=each.index,
                process=each.pid,
                ready=each.ready,
                silent_ms=round(each.reported * 1000),
                uptime_ms=round(each.uptime * 1000),
            )
            for each in (() if self._group is None else self._group.workers)
        ]

    def families(self) -> Iterator[Metric]:
        """Yield the families of the machine, as of the last `gather`."""
        known = {family.name: family for family in self.own()}
        group = self._group
        if group is None:
            yield from known.values()
            return
        counted: dict[str, list[tuple[Key, float]]] = defaultdict(list)
        for text, value in group.sums.items():
            key = _key(text)
            counted[key[0]].append((key, value))
        for name, family in known.items():
            if family.type == "counter":
                yield _filled(family, counted[name])
            else:
                yield _filled(family, self._gauges(name, group))
        yield from _about(group)

    def _figures(self) -> tuple[dict[str, float], dict[str, float]]:
        """What reports tell: numbers that add up, and those of this worker now."""
        sums: dict[str, float] = {}
        states: dict[str, float] = {}
        for family in self.own():
            numbers = sums if family.type == "counter" else states
            for sample in family.samples:
                numbers[_text((family.name, sample.name, tuple(sorted(sample.labels.items()))))] = float(sample.value)
        for kind, found in ((_DOORS, self.doors()), (_SESSIONS, self.sessions())):
            states.update({_text((kind, name, ())): float(count) for name, count in found.items()})
        return sums, states

    def _states(self, kind: str, own: Mapping[str, int]) -> dict[str, int]:
        if self._group is None:
            return dict(own)
        found = dict.fromkeys(own, 0)
        for _, (family, name, _), value in _of_each(self._group):
            if family == kind:
                found[name] = found.get(name, 0) + round(value)
        return found

    def _gauges(self, name: str, group: Group) -> list[tuple[Key, float]]:
        together: dict[Key, float] = {}
        for worker, key, value in _of_each(group):
            family, sample, labels = key
            if family != name:
                continue
            if name in _ADDED:
                together[key] = together.get(key, 0.0) + value
            elif name in _SAME:
                together[key] = max(together.get(key, value), value)
            else:
                together[family, sample, (*labels, ("worker", str(worker.index)))] = value
        return list(together.items())


def _about(group: Group) -> Iterator[Metric]:
    """Yield what there is to say of the workers themselves."""
    ready = sum(worker.ready for worker in group.workers)
    yield GaugeMetricFamily("artemis_workers", "Workers that listen.", value=ready)
    restarts = CounterMetricFamily("artemis_worker_restarts", "How often a worker that had ended was started again.")
    restarts.add_metric([], group.restarts)
    yield restarts


def _of_each(group: Group) -> Iterator[tuple[WorkerState, Key, float]]:
    for worker in group.workers:
        for text, value in worker.states.items():
            yield worker, _key(text), value


def _filled(family: Metric, numbers: list[tuple[Key, float]]) -> Metric:
    """Return a family like this one, with these numbers."""
    filled = Metric(family.name, family.documentation, family.type)
    for (_, sample, labels), value in sorted(numbers):
        filled.add_sample(sample, dict(labels), value)
    return filled


def _text(key: Key) -> str:
    return msgspec.json.encode(key).decode()


def _key(text: str) -> Key:
    return _KEYS.decode(text)


_KEYS: msgspec.json.Decoder[Key] = msgspec.json.Decoder(Key)
