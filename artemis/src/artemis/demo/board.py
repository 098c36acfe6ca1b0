"""What is known about the running fleet, and what has happened; told by the supervisor, shown by `artemis.demo.screen`.

Pure: reports and the time come in. It starts no process and prints nothing.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.demo.fleet import MemberPlan
    from artemis.demo.member import Report


@dataclass(slots=True)
class Row:
    """One instance: whether its process runs, whether the registry shows it, and what it does."""

    plan: MemberPlan
    running: bool = False
    listed: bool = False
    url: str = ""
    last: Report | None = None
    last_at: float = 0.0
    served_rate: float = 0.0
    called_rates: dict[str, float] = field(default_factory=dict)
    retried: int = 0
    failed: int = 0

    @property
    def state(self) -> str:
        """One or a few words for people."""
        if self.running:
            return "up" if self.listed else "starting"
        return "dead, lease still live" if self.listed else "gone, lease expired"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something worth a line: seconds since the start, and the sentence."""

    at: float
    text: str


class Board:
    """The fleet as seen at this moment; times are seconds since the start of the demonstration."""

    def __init__(self, plans: Sequence[MemberPlan]) -> None:
        self.rows = {plan.instance_id: Row(plan) for plan in plans}
        self.happenings: deque[Happening] = deque(maxlen=200)
        self.told = 0
        """How many happenings there were in all."""
        self._noted: set[tuple[str, str]] = set()

    @property
    def complete(self) -> bool:
        """Whether every instance runs and is listed."""
        return all(row.running and row.listed for row in self.rows.values())

    def tell(self, at: float, text: str) -> None:
        """Note something worth a line."""
        self.happenings.append(Happening(at, text))
        self.told += 1

    def started(self, instance_id: str) -> None:
        """Note that the process of an instance runs; its counters begin again."""
        row = self.rows[instance_id]
        row.running = True
        row.last = None

    def ended(self, instance_id: str) -> None:
        """Note that the process of an instance is gone."""
        self._noted.clear()
        row = self.rows[instance_id]
        row.running = False
        row.served_rate = 0.0
        row.called_rates = {}

    def listed(self, instance_id: str, url: str) -> None:
        """Note that the registry shows an instance, and where."""
        row = self.rows[instance_id]
        row.listed = True
        row.url = url

    def delisted(self, instance_id: str) -> None:
        """Note that the registry shows an instance no longer."""
        row = self.rows[instance_id]
        row.listed = False
        row.url = ""

    def report(self, report: Report, at: float) -> None:
        """Take in the counters of an instance.

        Calls that it had to repeat on another instance are all counted, and told once per caller, service and outage.
        """
        row = self.rows[report.instance_id]
        last, row.last = row.last, report
        elapsed, row.last_at = at - row.last_at, at
        if last is None or elapsed <= 0:
            return
        row.served_rate = (report.served - last.served) / elapsed
        row.called_rates = {
            service_id: (count - last.called.get(service_id, 0)) / elapsed
            for service_id, count in report.called.items()
        }
        row.failed += report.failed - last.failed
        for service_id, count in report.retried.items():
            retried = count - last.retried.get(service_id, 0)
            if retried > 0:
                row.retried += retried
                if (report.instance_id, service_id) not in self._noted:
                    self._noted.add((report.instance_id, service_id))
                    what = f"got no answer from {service_id} and asked another instance"
                    self.tell(at, f"{report.instance_id} {what}")

    @property
    def repeated(self) -> int:
        """How many calls were repeated on another instance, in all."""
        return sum(row.retried for row in self.rows.values())

    def call_rates(self) -> dict[tuple[str, str], float]:
        """Return calls a second from service to service."""
        rates: defaultdict[tuple[str, str], float] = defaultdict(float)
        for row in self.rows.values():
            for service_id, rate in row.called_rates.items():
                rates[row.plan.service_id, service_id] += rate
        return dict(rates)
