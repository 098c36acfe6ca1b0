"""Ratios, tolerances and verdicts of `make bench-check`."""

from __future__ import annotations

import pytest
from comparison import Better, Outcome, Row, Verdict, confirmed, judge, ratios, relative_error, tolerance_for
from hypothesis import given
from hypothesis import strategies as st

HIGHER = Row(ratio=10.0, tolerance=0.2)
LOWER = Row(ratio=2.0, tolerance=0.5, better=Better.LOWER)
FIGURES = st.floats(0.01, 1e6)


def outcome(row: Row, ratio: float) -> Outcome:
    """What a single row becomes."""
    return judge({"row": row}, {"row": ratio})[0].outcome


def test_ratios_are_taken_round_by_round() -> None:
    """Each round of one program is divided by the same round of the other."""
    assert [2.0, 0.5] == ratios([4.0, 3.0], [2.0, 6.0])


def test_rounds_that_do_not_pair_are_refused() -> None:
    """Different numbers of rounds cannot be compared."""
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ratios([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("row", "ratio", "expected"),
    [
        (HIGHER, 10.0, Outcome.SAME),
        (HIGHER, 8.01, Outcome.SAME),
        (HIGHER, 7.99, Outcome.WORSE),
        (HIGHER, 11.99, Outcome.SAME),
        (HIGHER, 12.01, Outcome.IMPROVED),
        (LOWER, 2.99, Outcome.SAME),
        (LOWER, 3.01, Outcome.WORSE),
        (LOWER, 1.01, Outcome.SAME),
        (LOWER, 0.99, Outcome.IMPROVED),
    ],
)
def test_a_ratio_is_worse_only_beyond_its_tolerance(row: Row, ratio: float, expected: Outcome) -> None:
    """The tolerance is a share of the baseline, to the side that the row calls bad."""
    assert expected is outcome(row, ratio)


def test_the_limit_is_the_worst_ratio_that_passes() -> None:
    """What the table shows as limit is where the verdict turns."""
    assert 8.0 == pytest.approx(HIGHER.limit)
    assert 3.0 == pytest.approx(LOWER.limit)


def test_rows_that_one_side_lacks_are_told() -> None:
    """A row that was not measured, and one that the baseline does not know, each get a verdict and fail nothing."""
    verdicts = judge({"gone": HIGHER}, {"fresh": 3.0})

    assert [
        Verdict("gone", Outcome.MISSING, HIGHER, None),
        Verdict("fresh", Outcome.NEW, None, 3.0),
    ] == verdicts
    assert [None, None] == [verdict.change for verdict in verdicts]


def test_the_change_is_a_share_of_the_baseline() -> None:
    """A ratio of 12 where 10 was is a growth of a fifth."""
    assert 0.2 == pytest.approx(judge({"row": HIGHER}, {"row": 12.0})[0].change)


def test_only_what_two_runs_find_worse_is_worse() -> None:
    """A row that is worse in one run only was disturbed."""
    baseline = {"both": HIGHER, "first": HIGHER, "second": HIGHER}
    first = judge(baseline, {"both": 5.0, "first": 5.0, "second": 10.0})
    second = judge(baseline, {"both": 6.0, "first": 10.0, "second": 5.0})

    assert [("both", 6.0)] == [(verdict.name, verdict.ratio) for verdict in confirmed(first, second)]


def test_rounds_that_agree_have_no_error() -> None:
    """No spread, no error; a single round tells of none either."""
    assert 0.0 == relative_error([3.0, 3.0, 3.0])
    assert 0.0 == relative_error([3.0])


def test_the_error_of_a_median_shrinks_with_the_root_of_the_rounds() -> None:
    """Four times the rounds halve the error."""
    rounds = [0.9, 1.0, 1.1]

    assert relative_error(rounds) / 2 == pytest.approx(relative_error(rounds * 4))


def test_one_disturbed_round_does_not_widen_the_tolerance() -> None:
    """The deviation of the rounds is a median too."""
    quiet, disturbed = [0.99, 1.0, 1.0, 1.0, 1.01], [0.99, 1.0, 1.0, 1.0, 40.0]

    assert tolerance_for([quiet], least=0.05) == tolerance_for([disturbed], least=0.05)


def test_the_tolerance_sees_what_changes_between_runs() -> None:
    """Runs that each agree with themselves and differ by a tenth from each other ask for one and a half tenths."""
    assert 0.15 == tolerance_for([[1.0] * 5, [0.95] * 5, [1.05] * 5], least=0.05)


@given(st.lists(st.lists(FIGURES, min_size=1, max_size=9), min_size=1, max_size=4))
def test_what_was_measured_for_a_baseline_passes_against_it(runs: list[list[float]]) -> None:
    """Whatever the spread, none of the runs that made a baseline is worse than it, on either side."""
    medians = sorted(sorted(rounds)[len(rounds) // 2] for rounds in runs if len(rounds) % 2)
    odd = [rounds for rounds in runs if len(rounds) % 2]
    if len(odd) % 2 == 0:
        return
    tolerance = tolerance_for(odd, least=0.05)
    for better in Better:
        row = Row(medians[len(medians) // 2], tolerance, better)
        assert all(outcome(row, ratio) is not Outcome.WORSE for ratio in medians)


@given(FIGURES, FIGURES, st.floats(0.01, 0.9))
def test_better_and_worse_are_mirrored(baseline: float, now: float, tolerance: float) -> None:
    """A ratio never counts as improved where higher is better and also where lower is better."""
    both = {outcome(Row(baseline, tolerance, better), now) for better in Better}

    assert both in ({Outcome.SAME}, {Outcome.WORSE, Outcome.IMPROVED})
