"""What all workers count, together, and the workers that ask for it.

A question is answered when every worker has reported since, or when it has waited long enough. Time comes in as an
argument; the supervisor sends what is to be sent.
Not here: the sums themselves (`totals`), and processes and channels (`supervisor`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgtrans.workers.messages import Group, WorkerState
from msgtrans.workers.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from msgtrans.workers.children import Child
    from msgtrans.workers.messages import Report

SOON: Final = 0.5  # seconds to wait for the reports of all workers, when one asks for the group


class Question:
    """A worker wants to know of all. missing: lives whose reports are awaited."""

    def __init__(self, child: Child, request: int, missing: set[int], until: float) -> None:
        self.child = child
        self.request = request
        self.missing = missing
        self.until = until


class Together:
    """The counters of all workers, of those that ended too, and the questions for them.

    gauges: counters of a worker that mean nothing once it has ended. now: when it begins; started_at: the same as a
    date.
    """

    def __init__(self, gauges: Iterable[str], now: float, started_at: float) -> None:
        self._totals: Totals[int] = Totals(gauges)
        self._sums: Totals[float] = Totals()
        self._questions: list[Question] = []
        self._began, self._started_at = now, started_at

    def wait(self, now: float) -> float | None:
        """Seconds until a question has waited long enough; None without any."""
        return max(self._questions[0].until - now, 0.0) if self._questions else None

    def reported(self, child: Child, report: Report, now: float) -> None:
        """A worker tells what it counts."""
        child.counters, child.sums, child.states = report.counters, report.sums, report.states
        child.reported, child.asked_at = now, None
        self._await_no_more(child)

    def ended(self, child: Child) -> None:
        """A worker is gone: what it counted stays, and what it asked for nobody wants."""
        self._totals.keep(child.counters)
        self._sums.keep(child.sums)
        self._questions = [question for question in self._questions if question.child is not child]
        self._await_no_more(child)

    def _await_no_more(self, child: Child) -> None:
        for question in self._questions:
            question.missing.discard(child.life)

    def ask(self, child: Child, request: int, children: Collection[Child], now: float) -> list[Child]:
        """`child` wants to know of all; the workers that are to be asked for a report now."""
        asked = [other for other in children if other.asked_at is None and other.uris]
        for other in asked:
            other.asked_at = now
        missing = {
            other.life
            for other in children
            if other.asked_at is not None and now - other.asked_at < SOON  # later it is not waited for
        }
        self._questions.append(Question(child, request, missing, now + SOON))
        return asked

    def due(self, now: float) -> list[Question]:
        """The questions for which all have reported, or that have waited long enough; they are to be answered now."""
        due = [question for question in self._questions if not question.missing or question.until <= now]
        if due:
            self._questions = [question for question in self._questions if question not in due]
        return due

    def group(self, children: Iterable[Child], restarts: int, now: float) -> Group:
        """What there is to be told of all."""
        ordered = sorted(children, key=lambda child: (child.place, child.life))
        return Group(
            uptime=now - self._began,
            started_at=self._started_at,
            restarts=restarts,
            total=self._totals.sum(child.counters for child in ordered),
            sums=self._sums.sum(child.sums for child in ordered),
            workers=[
                WorkerState(
                    index=child.place,
                    pid=child.pid,
                    ready=bool(child.uris),
                    uptime=now - child.started,
                    reported=now - child.reported,
                    counters=dict(child.counters),
                    states=child.states,
                )
                for child in ordered
            ],
        )
