"""What a supervisor decides, without processes and without waiting: time is a number here."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgtrans import WorkersConfig
from msgtrans.workers.actions import Action, Closing, End, Kill, Rest, Settled, Start, Stop, Tell
from msgtrans.workers.plan import FADE, LATE, Phase, Plan
from msgtrans.workers.totals import Totals

CONFIG = WorkersConfig(count=2)


def acts(actions: list[Action]) -> list[Action]:
    """Without what is only told."""
    return [action for action in actions if not isinstance(action, Tell)]


def passing(plan: Plan, start: float, stop: float) -> list[Action]:
    """What the plan does from one time to the other, with ticks when it asks for them."""
    actions, now = [], start
    while now < stop:
        now = min(now + max(plan.next(now), 0.001), stop)
        actions += plan.tick(now)
    return actions


def started(config: WorkersConfig = CONFIG) -> Plan:
    """A plan at time 0 whose workers, lives 1 to count, are ready."""
    plan = Plan(config, 0)
    assert plan.begin(0) == [Start(place + 1, place) for place in range(config.count)]
    for life in range(1, config.count + 1):
        assert [] == plan.ready(life, 0, rests=True)
    assert plan.all_ready
    return plan


def test_a_worker_that_fails_is_started_again_later_each_time() -> None:
    """The delay doubles with each failure in a row, up to the most."""
    plan = started(WorkersConfig(count=1, restart_delay=1, max_restart_delay=5, max_failures=100))
    now, life, delays = 0.0, 1, []
    for _ in range(5):
        assert [] == acts(plan.exited(life, "exit code 1", now))
        delays.append(plan.places[0].again - now)
        assert [] == acts(plan.tick(now + delays[-1] - 0.01))
        now += delays[-1]
        assert acts(plan.tick(now)) == [Start(life := life + 1, 0)]
    assert [1, 2, 4, 5, 5] == delays
    assert 5 == plan.restarts


def test_a_worker_that_lasted_begins_anew() -> None:
    """A failure after a long life is the first one in a row, and forgotten failures do not count."""
    plan = started(WorkersConfig(count=1, restart_delay=1, max_failures=1, failure_window=60))
    for life in range(1, 10):
        now = life * 100.0
        plan.heard(life, now)
        plan.exited(life, "exit code 1", now)
        assert 1 == plan.places[0].again - now
        assert acts(plan.tick(now + 1)) == [Start(life + 1, 0)]
        plan.ready(life + 1, now + 1)


def test_giving_up() -> None:
    """One failure more than may be ends everything, the healthy workers gracefully, and says why."""
    plan = started(WorkersConfig(count=2, max_failures=0))
    actions = plan.exited(1, "SIGSEGV", 1)
    assert [Closing(), Stop(2)] == acts(actions)
    why = "worker 0 ended: SIGSEGV; workers ended 1 times within 60 s, and 0 times is the limit"
    assert Tell("worker 0 ended: SIGSEGV; that is once too often, and all are stopped", bad=True) in actions
    assert [End(why)] == plan.exited(2, "exit code 0", 2)


def test_what_cannot_start_is_given_up_at_once() -> None:
    """A worker that says that trying again is hopeless is believed, unless others serve."""
    plan = Plan(CONFIG, 0)
    plan.begin(0)
    actions = plan.failing(1, "could not serve: the port is in use", 1, hopeless=True)
    assert [Closing(), Stop(1), Stop(2)] == actions  # and nothing told: the end says it, at once
    assert [] == plan.exited(2, "exit code 1", 1)
    assert [End("a worker could not serve: the port is in use")] == plan.exited(1, "exit code 1", 1)
    assert [] == acts(started().failing(1, "the port is in use", 1, hopeless=True))


def test_a_worker_that_is_not_ready_in_time_is_killed() -> None:
    """It counts as a failure; killed once gently, to say where it hangs, then for good."""
    plan = Plan(WorkersConfig(count=1, ready_timeout=10), 0)
    plan.begin(0)
    assert [] == passing(plan, 0, 9.9)
    assert [Kill(1, hung="was not ready within 10 s")] == acts(passing(plan, 9.9, 10))
    assert [] == passing(plan, 10, 10 + LATE / 2)
    assert [Kill(1)] == acts(passing(plan, 10 + LATE / 2, 10 + LATE))
    told = plan.exited(1, "SIGABRT", 13)
    assert [
        Tell("worker 0 ended: SIGABRT, it was not ready within 10 s; the next one starts in 0.1 s", bad=True)
    ] == told


def test_a_worker_that_is_silent_is_killed() -> None:
    """Silence counts from its last report; never without hang_timeout."""
    for hang, expected in ((30.0, [Kill(1, hung="has not turned its loop for 30 s")]), (None, [])):
        plan = started(CONFIG.replace(hang_timeout=hang))
        for now in range(100):
            plan.heard(2, now)
            if now <= 5:
                plan.heard(1, now)
            plan.next(now)
            if now == 35:
                assert acts(plan.tick(now)) == expected
                break
            assert [] == plan.tick(now)


def test_a_supervisor_that_was_stopped_blames_nobody() -> None:
    """After a pause of the whole machine, or Ctrl-Z, silence begins anew."""
    plan = started()
    plan.next(0)
    assert [] == plan.tick(1000)
    plan.next(1000)
    assert [] == plan.tick(1001)


def reloaded(plan: Plan, now: float) -> None:
    """Go through a reload of two workers until both new ones, lives 3 and 4, have taken over."""
    assert [Start(3, 0)] == acts(plan.reload(now))
    assert [Start(4, 1)] == plan.ready(3, now, rests=True)
    assert [Rest(1), Rest(2)] == plan.ready(4, now, rests=True)


def test_a_rolling_reload_moves_nobody_twice() -> None:
    """All new workers are ready before any old one lets clients go, and no old one accepts any when the first does."""
    plan = started()
    reloaded(plan, 1)
    assert [] == plan.rested(2, 2)
    assert [Stop(1)] == plan.rested(1, 2)
    assert [Stop(2)] == plan.exited(1, "exit code 0", 3)
    assert [Tell("the rolling reload is done"), Settled()] == plan.exited(2, "exit code 0", 5)
    assert plan.all_ready
    assert 0 == plan.restarts


def test_workers_that_cannot_rest_are_not_asked_to() -> None:
    """They are stopped one after the other, as soon as the new ones are ready."""
    plan = Plan(CONFIG, 0)
    plan.begin(0)
    assert [] == plan.ready(1, 0) + plan.ready(2, 0)
    plan.reload(1)
    plan.ready(3, 1)
    assert [Stop(1)] == plan.ready(4, 1)
    assert [Stop(2)] == plan.exited(1, "exit code 0", 1)


def test_a_worker_that_does_not_rest_holds_nothing_up() -> None:
    """It has as long as it would have to end; then the reload goes on, and says so."""
    plan = started(CONFIG.replace(hang_timeout=None))
    reloaded(plan, 1)
    plan.rested(2, 1)
    late = 1 + CONFIG.graceful_timeout
    assert [] == passing(plan, 1, late - 0.01)
    told, stop = passing(plan, late - 0.01, late)
    assert (Stop(1), True) == (stop, told.bad)
    assert "worker 0 does not stop accepting" in told.text


def test_old_workers_that_crash_in_a_reload_are_no_failure() -> None:
    """Their places are taken already: the reload goes on without them, and nothing is restarted."""
    plan = started(CONFIG.replace(max_failures=0))
    reloaded(plan, 1)
    plan.rested(2, 1)
    told, stop = plan.exited(1, "SIGSEGV", 2)
    assert (Tell("worker 0 ended before it was told to: SIGSEGV", bad=True), Stop(2)) == (told, stop)
    assert [Settled()] == acts(plan.exited(2, "SIGKILL", 3))
    assert 0 == plan.restarts


def test_old_workers_that_hang_in_a_reload_are_killed() -> None:
    """Also while they are only asked to accept no more."""
    plan = started(CONFIG.replace(graceful_timeout=1000, max_failures=0))
    reloaded(plan, 1)
    for now in range(1, 30):
        for life in (2, 3, 4):
            plan.heard(life, now)
        plan.next(now)
        assert [] == plan.tick(now)
    assert [Kill(1, hung="has not turned its loop for 30 s")] == acts(plan.tick(30))
    assert [] == plan.rested(2, 30)
    assert Stop(2) in plan.exited(1, "SIGABRT", 30)


def test_a_new_worker_that_fails_in_a_reload_keeps_old_ones_waiting() -> None:
    """Once the new ones have taken over, one of them that fails is restarted before any more clients are let go."""
    plan = started()
    reloaded(plan, 1)
    plan.exited(3, "SIGSEGV", 2)
    assert [] == plan.rested(1, 2) + plan.rested(2, 2)
    assert [Start(5, 0)] == passing(plan, 2, 3)
    assert [Stop(1)] == plan.ready(5, 3)
    assert 1 == plan.restarts


def test_reloads_during_a_reload_are_one_more_after_it() -> None:
    """However often it is asked for: in the end every worker was started after the last time."""
    plan = started()
    plan.reload(1)
    assert ["another rolling reload will follow this one"] == [
        action.text for _ in range(100) for action in plan.reload(1)
    ]
    plan.ready(3, 2)
    plan.ready(4, 2)
    plan.rested(1, 2)
    plan.rested(2, 2)
    plan.exited(1, "exit code 0", 3)
    done, settled, _, begins = plan.exited(2, "exit code 0", 3)
    assert (Settled(), Start(5, 0)) == (settled, begins)
    assert "the rolling reload is done" == done.text
    for life in (5, 6):
        plan.ready(life, 4)
    assert [Stop(4)] == plan.exited(3, "exit code 0", 5)
    assert [Settled()] == acts(plan.exited(4, "exit code 0", 5))


def test_a_reload_whose_new_worker_fails_is_given_up() -> None:
    """The old ones stay, and none was asked to rest; new ones that did start are stopped; a later one tries again."""
    plan = started()
    plan.reload(1)
    plan.ready(3, 1)
    plan.failing(4, "raised SyntaxError", 2, hopeless=True)
    told, stop = plan.exited(4, "exit code 1", 2)
    assert Stop(3) == stop
    assert told.text.endswith("stay: the new worker 1 ended: exit code 1, it raised SyntaxError")
    assert [] == acts(plan.reload(2))
    settled, _, begins = plan.exited(3, "exit code 0", 3)
    assert (Settled(), Start(5, 0)) == (settled, begins)
    assert (0, True) == (plan.restarts, plan.all_ready)


def test_a_reload_waits_for_workers_that_start() -> None:
    """What was about to start anyway is ready, or started anew with what is new, before anything is replaced."""
    plan = Plan(CONFIG, 0)
    plan.begin(0)
    assert [] == acts(plan.reload(0)) + plan.ready(1, 1)
    assert [Start(3, 0)] == plan.ready(2, 1)


def test_a_worker_that_fails_while_its_successor_starts_is_succeeded() -> None:
    """Nobody else is started for its place."""
    plan = started()
    plan.reload(1)
    assert [] == acts(plan.exited(1, "SIGKILL", 2))
    assert [Start(4, 1)] == plan.ready(3, 3)


def test_stopping_in_a_reload() -> None:
    """Old and new ones are stopped, whatever they were asked before, and nothing else is started."""
    plan = started()
    reloaded(plan, 1)
    plan.rested(1, 1)
    assert [Closing(), Stop(1), Stop(2), Stop(3), Stop(4)] == plan.stop(2)
    assert [] == plan.rested(2, 2)
    assert [] == [action for life in (1, 2, 3) for action in plan.exited(life, "exit code 0", 3)]
    assert [End()] == plan.exited(4, "exit code 0", 3)


def test_stopping() -> None:
    """Asked once, all end gracefully or are killed when their time is over; asked again, at once."""
    plan = started()
    assert [Closing(), Stop(1), Stop(2)] == plan.stop(1)
    assert [] == plan.exited(1, "exit code 0", 2)
    late = 1 + CONFIG.graceful_timeout + LATE
    assert [] == passing(plan, 2, late - 0.01)
    assert [Kill(2)] == acts(passing(plan, late - 0.01, late))
    assert [Kill(2)] == plan.stop(late)
    assert [End()] == plan.exited(2, "SIGKILL", late)
    assert [] == plan.reload(late) == plan.resize(1, late)


def test_more_and_fewer() -> None:
    """The last places go first, once they have accepted what still came to them, and one always stays; a new place gets
    a worker at once.
    """
    plan = started()
    assert [Start(3, 2)] == acts(plan.resize(1, 1))
    assert [Stop(3)] == acts(plan.resize(-1, 2))
    assert [] == acts(plan.exited(3, "exit code 0", 2))
    assert [Start(4, 2)] == acts(plan.resize(1, 2))
    plan.ready(4, 2)
    assert [] == acts(plan.resize(-5, 3))
    assert [] == passing(plan, 3, 3 + FADE - 0.01)
    assert [Stop(2), Stop(4)] == passing(plan, 3 + FADE - 0.01, 3 + FADE)
    assert [] == plan.resize(-1, 4)
    assert [] == acts(plan.exited(4, "exit code 0", 5))
    assert [] == acts(plan.exited(2, "exit code 0", 5))
    assert (1, True, 0) == (plan.count, plan.all_ready, plan.restarts)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "ready",
                "ready",
                "ready",
                "rested",
                "crash",
                "report",
                "report",
                "wait",
                "wait",
                "reload",
                "more",
                "fewer",
                "hopeless",
            ]
        ),
        st.integers(0, 9),
        st.floats(0, 40),
    ),
    max_size=60,
)


class World:
    """Processes that do as they are told, or as the events say; checks what is always true."""

    def __init__(self, config: WorkersConfig) -> None:
        self.plan = Plan(config, 0)
        self.now = 0.0
        self.alive: set[int] = set()
        self.asked: set[int] = set()
        self.faded: set[int] = set()  # whose place was taken away; another one may have its number by now
        self.started: list[tuple[float, int]] = []
        self.ended = False
        self.failures = 0
        self.do(self.plan.begin(0))

    def do(self, actions: list[Action]) -> None:
        ready = {life.number for life in self.plan.lives.values() if life.phase is Phase.READY}
        for action in actions:
            assert not self.ended
            match action:
                case Start(life, place):
                    assert life not in self.alive
                    assert place < self.plan.count
                    assert not self.plan.stopping
                    self.alive.add(life)
                    self.started.append((self.now, place))
                case Rest(life):
                    assert all(self.plan.places[number].current.number in ready for number in range(self.plan.count))
                    assert self.plan.lives[life].rests
                case Stop(life):
                    assert life in self.alive
                    self.asked.add(life)
                    place = self.plan.lives[life].place
                    reloaded = not self.plan.stopping and place < self.plan.count and life not in self.faded
                    if reloaded:  # the new one serves
                        assert any(self.plan.lives[other].place == place for other in ready - {life})
                case Kill(life):
                    assert life in self.alive
                    self.failures += life not in self.asked
                    self.asked.add(life)
                case End():
                    assert not self.alive
                    self.ended = True
        self.faded |= {life.number for life in self.plan.lives.values() if life.phase is Phase.FADING}
        assert self.alive == set(self.plan.lives)
        wanted = [life for life in self.plan.lives.values() if life.phase not in {Phase.LEAVING, Phase.FADING}]
        for number in range(self.plan.count):
            assert sum(life.place == number for life in wanted) <= 2
        places = self.plan.places
        assert sum(life.phase is Phase.STARTING and places[life.place].successor is life for life in wanted) <= 1

    def pass_time(self, seconds: float) -> None:
        """Tick as the plan asks for it; all that serve report."""
        until = self.now + seconds
        for _ in range(100_000):
            wait = self.plan.next(self.now)
            if self.now + wait > until:
                self.now = until
                return
            before = self.now
            self.now += wait
            for life in self.alive:
                self.plan.heard(life, self.now)
            self.do(self.plan.tick(self.now))
            assert self.now > before or self.plan.next(self.now) > 0  # it does not spin
        raise AssertionError("it ticks without end")

    def leave(self) -> None:
        """What was told to end, or killed, does."""
        while gone := sorted(self.asked & self.alive):
            for life in gone:
                self.exit(life, "exit code 0")

    def exit(self, life: int, how: str) -> None:
        self.alive.remove(life)
        self.do(self.plan.exited(life, how, self.now))

    def happen(self, what: str, which: int, seconds: float) -> None:
        """One event."""
        alive = sorted(self.alive)
        life = alive[which % len(alive)]
        match what:
            case "ready":
                self.do(self.plan.ready(life, self.now, rests=which % 2 == 0))
            case "rested":
                self.do(self.plan.rested(life, self.now))
            case "crash":
                self.failures += 1
                self.exit(life, "SIGSEGV")
            case "hopeless":
                self.do(self.plan.failing(life, "no port", self.now, hopeless=True))
            case "wait":
                self.leave()
                if not self.ended:
                    self.pass_time(seconds)
            case "reload":
                self.do(self.plan.reload(self.now))
            case "more" | "fewer":
                self.do(self.plan.resize(1 if what == "more" else -1, self.now))
        assert self.plan.restarts <= self.failures

    def recover(self) -> None:
        """All goes well from now on."""
        for _ in range(200):
            for life in sorted(self.alive):
                self.do(self.plan.ready(life, self.now))
            self.leave()
            if self.ended or (self.plan.all_ready and len(self.alive) == self.plan.count):
                return
            self.pass_time(1)


@settings(max_examples=100)
@given(events=EVENTS, count=st.integers(1, 4), most=st.integers(0, 5))
def test_whatever_happens(events: list[tuple[str, int, float]], count: int, most: int) -> None:
    """No place has two workers but in its turn of a reload, none is stopped before its successor serves, failures are
    bounded, and in the end all places have workers that serve, or all have been stopped for a reason.
    """
    world = World(WorkersConfig(count=count, max_failures=most, restart_delay=0.5, max_restart_delay=4))
    for event in events:
        if world.alive:
            world.happen(*event)
        elif not world.ended:
            world.pass_time(1)
    world.recover()
    assert world.ended != world.plan.all_ready
    if world.ended:
        assert world.plan.stopping
    else:
        assert len(world.alive) == world.plan.count
        world.do(world.plan.stop(world.now))
        world.leave()
        assert world.ended


def test_totals_keep_what_ended_processes_counted() -> None:
    """Sums never shrink when a process ends, but for gauges."""
    totals = Totals(gauges=["open"])
    totals.keep({"open": 3, "packets": 10})
    totals.keep({"packets": 5, "errors": 1})
    assert {"packets": 22, "errors": 1, "open": 2} == totals.sum([{"packets": 7, "open": 2}])


@pytest.mark.parametrize("failures", [1, 2, 40, 5000])
def test_delays_are_bounded(failures: int) -> None:
    """However often a worker fails, the delay is a number, and not above the most."""
    plan = started(WorkersConfig(count=1, max_failures=10_000))
    plan.places[0].failures = failures
    plan.exited(1, "exit code 1", 0)
    assert 0.1 <= plan.places[0].again <= 5


def test_a_worker_that_wants_all_to_end_has_its_way() -> None:
    """All end gracefully, are told what it said, and nobody calls it a failure."""
    plan = started()
    assert [Closing(), Stop(1), Stop(2)] == acts(plan.enough(2, 1, word="it was asked to"))
    assert "it was asked to" == plan.word
    assert [] == plan.enough(1, 1, word="late")
    assert [] == acts(plan.exited(1, "exit code 0", 2))
    assert [End()] == acts(plan.exited(2, "exit code 0", 2))


def test_a_worker_that_says_that_none_may_go_on_is_believed() -> None:
    """The end is a failure, in its words."""
    plan = started()
    assert [Closing(), Stop(1), Stop(2)] == acts(plan.enough(2, 1, failure="is a copy"))
    plan.exited(1, "exit code 0", 2)
    assert [End("worker 1 is a copy")] == acts(plan.exited(2, "exit code 1", 2))


def test_workers_that_want_to_end_together_wait_for_each_other() -> None:
    """One of every place, in lives that are there, with one word."""
    plan = started(WorkersConfig(count=2, restart_delay=1))
    assert [] == plan.enough(1, 1, word="a", together=True)
    assert [] == plan.enough(2, 1, word="b", together=True)
    plan.exited(1, "exit code 1", 2)
    assert [Start(3, 0)] == acts(plan.tick(3))
    plan.ready(3, 3)
    assert [] == plan.enough(2, 4, word="a", together=True)
    assert [Closing(), Stop(2), Stop(3)] == acts(plan.enough(3, 5, word="a", together=True))
    assert [] == plan.enough(9, 5)
