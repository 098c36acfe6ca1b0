"""How the Java-shaped client measures: histograms, missed deadlines, its own lateness."""

import asyncio
import time

import pytest

from artemis.testing.java.deadlines import Deadlines, Histogram, Kind, OwnLateness, Wait


def test_percentiles_are_at_most_five_percent_off():
    """Buckets are 5 % wide; the longest is exact."""
    histogram = Histogram()
    for number in range(1, 1001):
        histogram.add(number / 1000)
    assert 1.0 == histogram.longest
    assert 1000 == histogram.count
    for share in (0.5, 0.9, 0.99):
        assert share <= histogram.percentile(share) <= share * 1.06
    assert 1.0 == histogram.percentile(1.0)
    assert 0.0 == Histogram().percentile(0.5)


def test_histograms_and_deadlines_cross_processes_as_plain_data():
    """What two processes measured adds up."""
    one, two = Deadlines(), Deadlines()
    for deadlines, seconds in ((one, 0.001), (two, 0.1)):
        deadlines.times[Kind.PONG].add(seconds)
        deadlines.missed[Kind.LOOKUP] += 1
        deadlines.events["pushes"] += 2
    one.merge(two.state())
    assert (2, 0.1) == (one.times[Kind.PONG].count, one.times[Kind.PONG].longest)
    assert {Kind.LOOKUP: 2} == dict(one.missed)
    assert {"pushes": 4} == dict(one.events)
    one.clear()
    assert 0 == one.times[Kind.PONG].count + one.missed.total() + one.events.total()


async def test_a_deadline_that_passes_is_counted_and_told_once():
    """Nothing came: missed, and whoever waits is told."""
    deadlines, passed = Deadlines(), asyncio.Event()
    Wait(deadlines, Kind.PONG, 0.01, passed.set)
    await asyncio.wait_for(passed.wait(), 30)
    assert {Kind.PONG: 1} == dict(deadlines.missed)
    assert 0 == deadlines.times[Kind.PONG].count


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_a_wait_that_ended_never_passes(how):
    """Only what ended well is timed."""
    deadlines = Deadlines()
    wait = Wait(deadlines, Kind.PONG, 0.005, lambda: pytest.fail("it ended"))
    getattr(wait, how)()
    await asyncio.sleep(0.02)
    assert ({}, 1 if how == "end" else 0) == (dict(deadlines.missed), deadlines.times[Kind.PONG].count)


async def test_own_lateness_extends_a_deadline():
    """While the client itself stands still, the node's time does not run."""

    class Late(OwnLateness):
        """Late by what it is told."""

        asked = asyncio.Event()

        def since(self, moment: float) -> float:
            """As told."""
            asyncio.get_running_loop().call_soon(self.asked.set)
            return 1000.0

    lateness = Late()
    deadlines = Deadlines(lateness)
    wait = Wait(deadlines, Kind.LOOKUP, 0.01, lambda: pytest.fail("it was given more time"))
    await asyncio.wait_for(lateness.asked.wait(), 30)
    time.sleep(0.02)  # noqa: ASYNC251 - the deadline is over, whenever the timer came
    wait.end()
    assert ({Kind.LOOKUP: 1}, {}) == (dict(deadlines.extended), dict(deadlines.missed))
    assert 1 == deadlines.times[Kind.LOOKUP].count


@pytest.mark.parametrize("how", ["end", "heard"])
async def test_what_comes_too_late_is_missed_although_no_timer_ran(how):
    """A busy loop may read an answer before it looks at the clock."""
    deadlines = Deadlines()
    wait = Wait(deadlines, Kind.LOOKUP, 0.01, lambda: pytest.fail("no timer ran"))
    time.sleep(0.03)  # noqa: ASYNC251 - the loop is busy
    getattr(wait, how)()
    wait.cancel()
    assert {Kind.LOOKUP: 1} == dict(deadlines.missed)


async def test_lateness_is_what_the_loop_was_held_up():
    """A callback that blocks shows in the sampler, also before its next sample."""
    lateness = OwnLateness(interval=0.001)
    began = time.monotonic()
    lateness.start()
    time.sleep(0.05)  # noqa: ASYNC251 - holding up the loop is the point
    assert lateness.since(began) >= 0.04
    await asyncio.sleep(0.002)  # the sampler's timer was due before this one
    lateness.stop()
    assert lateness.histogram.longest >= 0.04
    assert lateness.since(began) >= 0.04
