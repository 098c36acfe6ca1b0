"""Wall clocks that differ: who refuses whom, and who is the wrong one."""

import pytest

from artemis.cluster.skew import KEPT, Clocks

LIMIT = 2_500
WALL = 1_700_000_000_000


def clocks(*skews: int, error: int = 5) -> Clocks:
    """What a node measured at the moment 0 of nodes a, b, c, ..."""
    found = Clocks(LIMIT)
    found.fault(0, WALL)
    for node, skew in zip("abcdef", skews, strict=False):
        found.measure(node, skew, error, 0, WALL)
    return found


@pytest.mark.parametrize(
    ("skew", "error", "expected"),
    [
        (0, 0, False),
        (2_500, 0, False),
        (2_501, 0, True),
        (-2_501, 0, True),
        (2_600, 200, False),
        (10_000, 9_000, False),
    ],
)
def test_only_what_is_certain_is_held_against_a_clock(skew: int, error: int, expected: bool) -> None:
    """A slow link makes nobody's clock wrong."""
    assert expected == clocks(skew, error=error).too_far("a", 0, WALL)


def test_a_node_that_was_not_measured_is_not_too_far() -> None:
    """Nor one that was forgotten."""
    found = clocks(9_000)
    found.forget("a")
    assert (False, None) == (found.too_far("a", 0, WALL), found.skew("a", 0, WALL))


@pytest.mark.parametrize(
    ("skews", "wrong"),
    [
        ((), False),
        ((0,), False),
        ((9_000,), False),  # two cannot tell
        ((0, 9_000), False),
        ((9_000, 9_100), True),
        ((-9_000, -9_100), True),
        ((9_000, -9_000), False),  # three that all differ cannot tell either
        ((9_000, 9_100, 0, 10), False),
        ((9_000, 9_100, 9_200, 0), True),
        ((2_000, 4_000), False),  # near enough to one of them
    ],
)
def test_the_wrong_clock_is_that_which_differs_from_most(skews: tuple[int, ...], wrong: bool) -> None:
    """Of the nodes that are reached, this one included."""
    assert wrong == (clocks(*skews).fault(0, WALL) is not None)


def test_the_sentence_says_how_much_and_what_to_do() -> None:
    """In the direction in which this clock is off."""
    assert clocks(9_000, 9_100, 8_900, 10).fault(0, WALL) == (
        "the wall clock of this node is 9.0 s behind 3 of the 4 others that it reaches; set it right, for example "
        "with NTP: registry is served again then, and until then nothing expires here"
    )
    assert "9.0 s ahead of all the others" in str(clocks(-9_000, -9_000).fault(0, WALL))


def test_a_clock_that_is_set_right_is_believed_when_it_is_measured_so() -> None:
    """Setting it makes what was measured before void; it decides nothing by itself."""
    found = clocks(9_000, 9_000)
    assert found.fault(100, WALL + 100) is not None
    right = WALL + 9_200
    assert found.fault(200, right) is not None
    assert found.skew("a", 200, right) is None
    found.measure("a", 0, 5, 300, right + 100)
    assert found.fault(300, right + 100) is None


def test_a_machine_that_slept_is_not_judged_by_what_it_measured_before() -> None:
    """Its wall clock went on without its monotonic clock."""
    found = clocks(0, 0)
    assert found.fault(100, WALL + 3_600_000) is None
    assert found.skew("a", 100, WALL + 3_600_000) is None


def test_the_wrong_one_stays_so_while_nobody_can_tell_and_not_for_ever() -> None:
    """When one of two others goes, it is one against one; a minute without anybody is the end of it."""
    found = clocks(9_000, 9_000)
    assert found.fault(0, WALL) is not None
    found.forget("a")
    assert found.fault(1_000, WALL + 1_000) is not None
    for now in range(1_000, KEPT + 2_000, 500):
        assert found.fault(now, WALL + now) is not None
    for now in range(KEPT + 2_000, 2 * KEPT + 2_000, 500):
        found.fault(now, WALL + now)
    assert found.fault(2 * KEPT + 2_000, WALL + 2 * KEPT + 2_000) is None


def test_a_measurement_holds_for_later_moments() -> None:
    """Both clocks go on; only what one of them does otherwise is skew."""
    assert 700 == clocks(700).skew("a", 30_000, WALL + 30_000)


def test_all_processes_of_a_machine_have_one_voice() -> None:
    """However many there are, they have one clock."""
    found = Clocks(LIMIT, "n#1")
    for node, skew in (("m", 9_000), ("m#1", 9_000), ("m#2", 9_000), ("n", 0), ("o", 0)):
        found.measure(node, skew, 5, 0, WALL)
    assert (None, True) == (found.fault(0, WALL), found.agreed)
    alone = Clocks(LIMIT, "n")
    for node in ("m", "m#1", "m#2"):
        alone.measure(node, 9_000, 5, 0, WALL)
    assert alone.fault(0, WALL) is None  # two cannot tell
