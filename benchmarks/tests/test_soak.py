"""The soak program: what its verdict is by example, and that it tells a server that grows from one that does not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import soak_payloads
from soak_verdict import GROWTH, MIB, OBJECTS, OWN, fit, judge

PROGRAM = Path(__file__).parent.parent / "soak.py"
HOUR = 3600.0


def moments(count: int = 12, period: float = 300.0, **changes: float) -> list[dict[str, object]]:
    """Samples at quiet moments, all alike; of `changes`, so much comes to each with each moment."""
    level: dict[str, float] = {"rss": 40 * MIB, "objects": 30_000, "descriptors": 20, "tasks": 1, "threads": 1}
    return [
        {
            "at": 60 + period * index,
            **{name: value + changes.get(name, 0) * index for name, value in level.items()},
            "ours": {"msgtrans.session.Session": changes.get("sessions", 0) * index},
        }
        for index in range(count)
    ]


def what_broke(samples: list[dict[str, object]]) -> set[str]:
    """Names of the rows."""
    return {row.what for row in judge("server", samples)}


def test_what_stays_as_it_was_passes() -> None:
    """Nothing breaks where all quiet moments are alike."""
    assert [] == judge("server", moments())


@pytest.mark.parametrize("name", ["sessions", "pending", "kept", "descriptors", "tasks", "threads"])
def test_one_more_is_too_many(name: str) -> None:
    """What must be exactly as it was, breaks with one more, and with one less."""
    for other in (1, -1):
        samples = moments(3)
        samples[1][name] = samples[0].get(name, 0) + other  # type: ignore[operator]

        assert {name} == what_broke(samples)


def test_a_few_more_objects_pass() -> None:
    """Objects may become a few more than at the first moment, as often as they like."""
    samples = moments(3)
    samples[2]["objects"] = samples[0]["objects"] + OBJECTS  # type: ignore[operator]
    assert set() == what_broke(samples)

    samples[2]["objects"] += 1  # type: ignore[operator]
    assert {"objects"} == what_broke(samples)


def test_each_type_of_ours_is_looked_at() -> None:
    """A few objects of msgtrans that stay break the verdict though they are nothing beside all objects."""
    samples = moments(3)
    samples[2]["ours"] = {"msgtrans.session.Session": OWN + 1}

    assert {"msgtrans.session.Session"} == what_broke(samples)


def test_memory_that_grows_in_all_breaks() -> None:
    """More than `GROWTH` over the time seen breaks, however short that is; the first moment does not count."""
    assert {"memory in all"} == what_broke(moments(4, period=5.0, rss=GROWTH / 2 + MIB))
    assert set() == what_broke(moments(4, period=5.0, rss=GROWTH / 2 - MIB))

    first = moments(4, period=5.0)
    first[0]["rss"] = 0
    assert set() == what_broke(first)


def test_memory_that_grows_slowly_breaks() -> None:
    """Over an hour, 2 % of growth is seen, through noise of the same size; noise alone is not."""
    chance = random.Random(3)  # noqa: S311 - no secret
    noise = [chance.gauss(0, 0.2 * MIB) for _ in range(13)]
    growing, level = moments(13, rss=0.8 * MIB / 12), moments(13)
    for samples in (growing, level):
        for sample, more in zip(samples, noise, strict=True):
            sample["rss"] += more  # type: ignore[operator]

    assert {"memory per hour"} == what_broke(growing)
    assert set() == what_broke(level)


def test_faults_break() -> None:
    """A single fault is one too many, also in the baseline."""
    samples = moments(3)
    for sample in samples:
        sample["faults"] = 1

    assert {"faults"} == what_broke(samples)


def test_nothing_seen_is_no_success() -> None:
    """A process without a quiet moment breaks."""
    assert {"samples"} == what_broke([])


def test_a_line_is_fitted() -> None:
    """Start and slope are those of the points; the error tells how far off they are."""
    line = fit([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)])

    assert (1.0, 2.0, 0.0) == pytest.approx(tuple(line))
    assert fit([(0.0, 1.0), (1.0, 3.5), (2.0, 5.0)]).error > 0


def test_payloads_tell_damage() -> None:
    """A payload has its number; one byte that is another, or missing, is noticed."""
    payload = soak_payloads.make(soak_payloads.numbered(3, 9), 1000)

    assert soak_payloads.numbered(3, 9) == soak_payloads.check(payload)
    for damaged in (payload[:-1], payload[:-1] + b"?", b"", payload + b"0"):
        with pytest.raises(soak_payloads.DamagedError):
            soak_payloads.check(damaged)
    soak_payloads.check_answer(payload, soak_payloads.answer(payload))
    with pytest.raises(soak_payloads.DamagedError):
        soak_payloads.check_answer(payload, payload)


def soak(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program for some seconds."""
    return subprocess.run(
        [sys.executable, str(PROGRAM), "--hours", "0.002", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_short_soak_ends_well() -> None:
    """Servers and clients work, pause, and have not grown; each has its samples in the file."""
    ended = soak()

    assert "verdict: nothing has grown" in ended.stdout, ended.stdout + ended.stderr
    assert 0 == ended.returncode
    path = Path(ended.stdout.partition("samples: ")[2].partition("\n")[0])
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.unlink()
    quiet = [row["process"] for row in rows if row["phase"] == "quiet"]
    assert {"server", "worker-0", "worker-1", "clients", "supervisor"} == set(quiet)
    assert all(number > 0 for number in rows[-2]["seen"].values())
    assert {"requests", "messages", "requests through cuts"} <= rows[-2]["seen"].keys()


def test_a_server_that_leaks_is_found() -> None:
    """A server that never closes what it opened ends the soak with 1, and the row that says so."""
    ended = soak("--leak", "descriptors")

    assert 1 == ended.returncode, ended.stdout + ended.stderr
    assert "verdict: broken" in ended.stdout
    assert "descriptors" in ended.stdout.partition("What broke")[2]
    Path(ended.stdout.partition("samples: ")[2].partition("\n")[0]).unlink()
