"""Which instances' content heartbeats replace again and again: what is counted, when a warning is due, bounds."""

import pytest

from artemis.registry.rewrites import OFTEN, WINDOW, Rewrites

KEY = ("a", "1")


@pytest.fixture
def rewrites() -> Rewrites:
    """Nothing was replaced yet."""
    return Rewrites()


def test_replacements_of_the_last_minute_are_counted(rewrites):
    """Each leaves the count a window after it happened; other instances have their own."""
    for now in (0, 10, 20):
        rewrites.note(KEY, now)
    rewrites.note(("a", "2"), 30)
    assert (3, 1, 0) == (rewrites.of(KEY, 30), rewrites.of(("a", "2"), 30), rewrites.of(("b", "1"), 30))
    assert (2, 0) == (rewrites.of(KEY, WINDOW), rewrites.of(KEY, WINDOW + 20))


def test_a_warning_is_due_when_it_happens_often(rewrites):
    """Not for fewer replacements, nor for as many over a longer time."""
    assert not any(rewrites.note(KEY, number) for number in range(OFTEN))
    assert rewrites.note(KEY, OFTEN)
    assert not any(rewrites.note(("a", "slow"), number * WINDOW // OFTEN) for number in range(100))


def test_an_instance_is_warned_of_once_in_a_window(rewrites):
    """Flapping every second for three minutes makes three warnings."""
    assert 3 == sum(rewrites.note(KEY, now) for now in range(0, 3 * WINDOW, 1_000))


def test_ten_instances_are_warned_of_in_a_window(rewrites):
    """A fleet that flaps does not fill the log."""
    due = sum(rewrites.note(("a", str(name)), now) for now in range(OFTEN + 5) for name in range(100))
    assert 10 == due


def test_what_is_remembered_is_bounded(rewrites):
    """A thousand instances that were replaced last, and sixty times of each."""
    for now in range(100):
        rewrites.note(("hot", "1"), now)
    assert 60 == rewrites.of(("hot", "1"), 100)
    for number in range(5_000):
        rewrites.note(("a", str(number)), 100)
    assert 1_000 == len(rewrites)
    assert (0, 1) == (rewrites.of(("hot", "1"), 100), rewrites.of(("a", "4999"), 100))
