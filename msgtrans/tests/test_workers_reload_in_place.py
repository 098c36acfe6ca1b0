"""A reload of workers that may not be two at a place: each new one starts when the old one has ended."""

from __future__ import annotations

from msgtrans import WorkersConfig
from msgtrans.workers.actions import Action, Kill, Rest, Settled, Start, Stop, Tell
from msgtrans.workers.plan import LATE, Plan

CONFIG = WorkersConfig(count=2, overlap=False)


def acts(actions: list[Action]) -> list[Action]:
    """Without what is only told."""
    return [action for action in actions if not isinstance(action, Tell)]


def started(*, rests: bool = True) -> Plan:
    """A plan at time 0 whose workers, lives 1 and 2, are ready."""
    plan = Plan(CONFIG, 0)
    assert plan.begin(0) == [Start(1, 0), Start(2, 1)]
    assert [] == plan.ready(1, 0, rests=rests) + plan.ready(2, 0, rests=rests)
    return plan


def passing(plan: Plan, start: float, stop: float) -> list[Action]:
    """What the plan does from one time to the other, with ticks when it asks for them; all workers say something."""
    actions, now = [], start
    while now < stop:
        now = min(now + max(plan.next(now), 0.001), stop)
        for life in plan.lives:
            plan.heard(life, now)
        actions += plan.tick(now)
    return actions


def test_one_place_after_the_other() -> None:
    """The second old worker goes only when the first new one serves, and what only old ones used goes at the end."""
    plan = started()
    assert [Rest(1)] == acts(plan.reload(1))
    assert [Stop(1)] == acts(plan.rested(1, 1))
    assert [Start(3, 0)] == acts(plan.exited(1, "exit code 0", 2))
    assert [Rest(2)] == acts(plan.ready(3, 3, rests=True))
    assert [Stop(2)] == acts(plan.rested(2, 3))
    assert [Start(4, 1)] == acts(plan.exited(2, "exit code 0", 4))
    assert [Settled()] == acts(plan.ready(4, 5, rests=True))
    assert 0 == plan.restarts


def test_workers_that_cannot_rest_are_stopped() -> None:
    """Without being asked to accept no more."""
    plan = started(rests=False)
    assert [Stop(1)] == acts(plan.reload(1))
    assert [Start(3, 0)] == acts(plan.exited(1, "exit code 0", 2))
    assert [Stop(2)] == acts(plan.ready(3, 3))


def test_a_worker_that_does_not_rest_is_stopped_all_the_same() -> None:
    """When it has had its time."""
    plan = started()
    plan.reload(1)
    assert [Stop(1)] == acts(passing(plan, 1, 1 + CONFIG.graceful_timeout))


def test_a_new_worker_that_fails_is_tried_again_while_the_others_wait() -> None:
    """The place stays its own, and the next old worker serves on."""
    plan = started()
    plan.reload(1)
    plan.rested(1, 1)
    plan.exited(1, "exit code 0", 2)
    assert [] == acts(plan.exited(3, "exit code 1", 3))
    assert [Start(4, 0)] == acts(plan.tick(3 + CONFIG.restart_delay))
    assert [Rest(2)] == acts(plan.ready(4, 4, rests=True))


def test_an_old_worker_that_crashes_meanwhile_is_new_when_it_comes_back() -> None:
    """Its place needs no turn any more."""
    plan = started()
    plan.reload(1)
    plan.rested(1, 1)
    plan.exited(2, "SIGSEGV", 1)
    assert [Start(3, 1)] == acts(plan.tick(1 + CONFIG.restart_delay))
    assert [] == acts(plan.ready(3, 2, rests=True))
    assert [Start(4, 0)] == acts(plan.exited(1, "exit code 0", 2))
    assert [Settled()] == acts(plan.ready(4, 3, rests=True))


def test_one_that_does_not_end_is_killed_and_replaced() -> None:
    """As in any reload."""
    plan = started()
    plan.reload(1)
    plan.rested(1, 1)
    late = 1 + CONFIG.graceful_timeout + LATE
    assert [Kill(1)] == acts(passing(plan, 1, late))
    assert [Start(3, 0)] == acts(plan.exited(1, "SIGKILL", late))
