"""What the benchmarks decide about figures: ratios of rounds, how far they spread, and whether one got worse.

Pure: figures come in as arguments. Not here: measuring (`msgtrans_peers.py`, `phase3.py`), files and tables
(`bench_check.py`).

Two programs that take turns on a noisy machine are compared round by round: the ratio of a round sees the same minute
on both sides, and the median of the rounds leaves out a round that was disturbed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import Enum
from statistics import median
from typing import NamedTuple

# Of a normal distribution: sigma for each unit of the median absolute deviation, and the standard error of a median
# for each of a mean.
SIGMA_OF_DEVIATION, ERROR_OF_MEDIAN = 1.4826, 1.2533
# How many standard errors apart two runs may be, each of them with an error of its own, before a change is believed.
ERRORS_APART = 3.0 * math.sqrt(2)


class Better(Enum):
    """Which way is good."""

    HIGHER = "higher"
    LOWER = "lower"


class Row(NamedTuple):
    """A ratio of the baseline: it may be worse by the share `tolerance` of itself before that counts."""

    ratio: float
    tolerance: float
    better: Better = Better.HIGHER

    @property
    def limit(self) -> float:
        """The worst ratio that still passes."""
        return self.ratio * (1 - self.tolerance if self.better is Better.HIGHER else 1 + self.tolerance)


class Outcome(Enum):
    """What became of a row."""

    SAME = "same"
    IMPROVED = "better"
    WORSE = "WORSE"
    MISSING = "missing"
    NEW = "new"


class Verdict(NamedTuple):
    """A row, what was measured now, and what that means."""

    name: str
    outcome: Outcome
    baseline: Row | None
    ratio: float | None

    @property
    def change(self) -> float | None:
        """Growth of the ratio as a share of the baseline's."""
        if self.baseline is None or self.ratio is None:
            return None
        return self.ratio / self.baseline.ratio - 1


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours divided by theirs, round by round; both have as many rounds."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def relative_error(rounds: Sequence[float]) -> float:
    """Standard error of the median of these rounds, as a share of it; 0 for a single round."""
    middle = median(rounds)
    deviation = median(abs(value - middle) for value in rounds)
    return ERROR_OF_MEDIAN * SIGMA_OF_DEVIATION * deviation / math.sqrt(len(rounds)) / middle


def tolerance_for(runs: Sequence[Sequence[float]], *, least: float) -> float:
    """How much worse a later run may be, as a share, so that noise alone hardly ever passes it.

    runs: the ratios of each run's rounds. The larger of two: what the spread of the rounds within a run makes likely
    (3 standard errors of the difference of two medians), and one and a half times the greatest distance between the
    medians of two runs, which also sees what changes from one run to the next. At least `least`, rounded up to a
    hundredth.
    """
    medians = [median(rounds) for rounds in runs]
    within = ERRORS_APART * median(relative_error(rounds) for rounds in runs)
    between = 1.5 * (max(medians) - min(medians)) / median(medians)
    return math.ceil(round(max(within, between, least) * 100, 6)) / 100


def judge(baseline: Mapping[str, Row], measured: Mapping[str, float]) -> list[Verdict]:
    """A verdict for each row of the baseline, in its order, then for each that is only measured."""
    known = [_verdict(name, row, measured.get(name)) for name, row in baseline.items()]
    return known + [Verdict(name, Outcome.NEW, None, ratio) for name, ratio in measured.items() if name not in baseline]


def _verdict(name: str, row: Row, ratio: float | None) -> Verdict:
    if ratio is None:
        return Verdict(name, Outcome.MISSING, row, None)
    gain = ratio / row.ratio - 1 if row.better is Better.HIGHER else 1 - ratio / row.ratio
    if gain < -row.tolerance:
        return Verdict(name, Outcome.WORSE, row, ratio)
    return Verdict(name, Outcome.IMPROVED if gain > row.tolerance else Outcome.SAME, row, ratio)


def confirmed(first: Sequence[Verdict], second: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of the second run that find worse what the first one found worse."""
    suspects = {verdict.name for verdict in first if verdict.outcome is Outcome.WORSE}
    return [verdict for verdict in second if verdict.outcome is Outcome.WORSE and verdict.name in suspects]
