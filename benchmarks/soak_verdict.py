"""Whether a process that has worked for long has become larger: plain functions on samples taken at quiet moments.

At a quiet moment nothing is connected and nothing under way. The first one after the warm-up is the baseline. After it

- sessions, pending requests, kept bytes, descriptors, tasks and threads must be exactly what they were;
- of the objects of msgtrans, each type may have `OWN` more, and all objects `OBJECTS` or `OBJECTS_PART` more;
- memory in use, by a line fitted through all quiet moments but the first, may not grow by more than `GROWTH` over the
  time seen; where that is `LONG` or more, and `ENOUGH` moments were seen, nor by more than `SLOPE` per hour, twice the
  standard error of the fit left aside;
- there must be no faults.

Not here: taking samples (`soak_samples.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

Sample: TypeAlias = Mapping[str, object]
EXACT: Final = ("sessions", "pending", "kept", "descriptors", "tasks", "threads")
OWN: Final = 5
OBJECTS: Final = 400
OBJECTS_PART: Final = 0.01
GROWTH: Final = 8 << 20  # bytes
SLOPE: Final = 0.01  # per hour
LONG: Final = 1800.0  # seconds
ENOUGH: Final = 4
MIB: Final = 1 << 20


class Broken(NamedTuple):
    """A row that broke: in which process what was another than it may be, when (seconds of the run)."""

    process: str
    at: float
    what: str
    found: str
    allowed: str


class Line(NamedTuple):
    """A line through points, by least squares. error: the standard error of its slope."""

    start: float
    slope: float
    error: float


def judge(process: str, samples: Sequence[Sample]) -> list[Broken]:
    """All that broke in a process, given its samples at quiet moments in order."""
    if not samples:
        return [Broken(process, 0.0, "samples", "none", "at least one")]
    baseline = samples[0]
    broken = [row for one in samples[1:] for row in _compare(process, baseline, one)]
    broken += _judge_memory(process, samples[1:])
    if faults := number(samples[-1], "faults"):
        broken.append(Broken(process, number(samples[-1], "at"), "faults", f"{faults:.0f}", "0"))
    return broken


def number(sample: Sample, name: str) -> float:
    """A figure of a sample; 0 where it has none."""
    value = sample.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """The line through two points or more; one alone gives a level line."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return Line(mean_y, 0.0, math.inf)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    start = mean_y - slope * mean_x
    rest = sum((y - start - slope * x) ** 2 for x, y in points)
    error = math.sqrt(rest / (count - 2) / spread) if count > 2 else math.inf
    return Line(start, slope, error)


def _compare(process: str, baseline: Sample, one: Sample) -> list[Broken]:
    at = number(one, "at")
    broken = [
        Broken(process, at, what, f"{number(one, what):.0f}", f"{number(baseline, what):.0f}")
        for what in EXACT
        if number(one, what) != number(baseline, what)
    ]
    most = number(baseline, "objects") + max(OBJECTS, number(baseline, "objects") * OBJECTS_PART)
    if (found := number(one, "objects")) > most:
        broken.append(Broken(process, at, "objects", f"{found:.0f}", f"{most:.0f}"))
    before, ours = _types(baseline), _types(one)
    for kind, found in ours.items():
        if found > (most := before.get(kind, 0) + OWN):
            broken.append(Broken(process, at, kind, f"{found:.0f}", f"{most:.0f}"))
    return broken


def _judge_memory(process: str, samples: Sequence[Sample]) -> list[Broken]:
    """What a line through the memory in use says, given the samples after the baseline."""
    if len(samples) < 2:
        return []
    points = [(number(one, "at"), number(one, "rss")) for one in samples]
    line = fit(points)
    at, seconds = points[-1][0], points[-1][0] - points[0][0]
    broken = []
    if (grown := line.slope * seconds) > GROWTH:
        broken.append(Broken(process, at, "memory in all", f"+{grown / MIB:.1f} MiB", f"+{GROWTH / MIB:.0f} MiB"))
    middle = line.start + line.slope * (points[0][0] + seconds / 2)
    sure = (line.slope - 2 * line.error) * 3600 / middle if middle else 0.0
    if seconds >= LONG and len(points) >= ENOUGH and sure > SLOPE:
        broken.append(Broken(process, at, "memory per hour", f"+{sure:.2%} at least", f"+{SLOPE:.0%}"))
    return broken


def _types(sample: Sample) -> Mapping[str, int]:
    ours = sample.get("ours")
    return ours if isinstance(ours, Mapping) else {}
