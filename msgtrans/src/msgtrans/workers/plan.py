"""What a supervisor does when: start, stop, kill, replace one by one, give up. No process, no clock, no signal.

Each method takes the time (seconds of any clock that only goes forward) and returns the actions it leads to, in order;
carry them out and report what became of them. A *place* is a number from 0 to `count` - 1 that has one worker at a
time; a *life* is the number of one process, never given twice.
In a rolling reload a place has two lives for a while. First a new worker is started beside each old one, one after the
other; when all of them are ready, the old ones are asked to accept no more, and when they do not, they are stopped, one
after the other. So whoever an old worker lets go comes to a new one, and moves once.
Not here: processes and signals (`supervisor`).
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final

from msgtrans.workers.actions import Closing, End, Kill, Rest, Settled, Start, Stop, Tell

if TYPE_CHECKING:
    from msgtrans.config.workers import WorkersConfig
    from msgtrans.workers.actions import Action

LATE: Final = 2.0  # seconds beyond graceful_timeout after which a worker that should have ended is killed
OVERSLEPT: Final = 2.0  # seconds by which a tick must be late to say that this process itself was stopped meanwhile
FADE: Final = 0.5  # seconds to accept what still comes to the socket of a place that is to go
MOST: Final = 512  # places, as in WorkersConfig


class Phase(Enum):
    """Of one life."""

    STARTING = "starting"
    READY = "ready"
    FADING = "fading"  # its place is to go: it gets nothing new, and accepts what waits for it
    RESTING = "resting"  # asked to accept no more
    RESTED = "rested"  # accepts no more, and is to be stopped when it is its turn
    LEAVING = "leaving"
    DOOMED = "doomed"  # it hangs, and was told to say where


SERVING: Final = (Phase.READY, Phase.FADING, Phase.RESTING, Phase.RESTED)


class Life:
    """One process, from its start until it has ended."""

    __slots__ = ("deadline", "generation", "heard", "number", "phase", "place", "ready_at", "rests", "told")

    def __init__(self, number: int, place: int, generation: int, now: float, ready_timeout: float) -> None:
        self.number = number
        self.place = place
        self.generation = generation
        self.phase = Phase.STARTING
        self.heard = now
        self.ready_at: float | None = None
        self.rests = False  # whether it can accept no more, asked to
        self.deadline: float | None = now + ready_timeout  # for being ready, then for having ended
        self.told = ""  # why it fails, in its own words


class Place:
    """Where one worker is wanted. again: when to start the next one, None while there is one or none is wanted."""

    __slots__ = ("again", "current", "failures", "successor")

    def __init__(self) -> None:
        self.current: Life | None = None
        self.successor: Life | None = None
        self.again: float | None = None
        self.failures = 0  # in a row


class Plan:
    """All places and lives of one supervisor, and what to do next."""

    def __init__(self, config: WorkersConfig, now: float) -> None:
        self.config = config
        self.count = config.count
        self.places = [Place() for _ in range(config.count)]
        self.lives: dict[int, Life] = {}
        self.restarts = 0
        self.stopping = False
        self.word = ""  # what a worker said that wanted all to end
        self._wanted: dict[int, str] = {}  # lives that want all to end when the others do, and what they said
        self._failure = ""
        self._ended = False
        self._generation = 0
        self._reloading = False
        self._reload_again = False  # asked for while one was under way
        self._retiring: deque[Life] = deque()  # the old workers of a reload, whose places the new ones have taken
        self._settling = False  # given up a reload, whose new workers have not all ended yet
        self._was_ready = False  # any of them, ever
        self._failed: deque[float] = deque()
        self._last = 0
        self._expected = now  # when the next tick was to come, at the latest

    # What happens

    def begin(self, now: float) -> list[Action]:
        """Start a worker for each place."""
        return [self._start(place, now) for place in range(self.count)]

    def ready(self, number: int, now: float, *, rests: bool = False) -> list[Action]:
        """A worker listens. rests: whether it does what `Rest` asks, and says so (`rested`)."""
        life = self.lives.get(number)
        if life is None or life.phase is not Phase.STARTING:
            return []
        life.phase, life.deadline, life.ready_at, life.heard = Phase.READY, None, now, now
        life.rests = rests
        self._was_ready = True
        return self._roll(now)

    def rested(self, number: int, now: float) -> list[Action]:
        """A worker accepts no more, as it was asked to."""
        life = self.lives.get(number)
        if life is None or life.phase is not Phase.RESTING:
            return []
        life.phase, life.deadline = Phase.RESTED, None
        return self._roll(now)

    def heard(self, number: int, now: float) -> None:
        """A worker has said something: its loop turns."""
        life = self.lives.get(number)
        if life is not None:
            life.heard = now

    def failing(self, number: int, why: str, now: float, *, hopeless: bool) -> list[Action]:
        """A worker says why it is about to end. hopeless: trying again does not help."""
        life = self.lives.get(number)
        if life is None:
            return []
        life.told = why
        if not hopeless or self._was_ready or self.stopping:
            return []
        self._failure = f"a worker {why}"
        return self.stop(now)

    def enough(
        self, number: int, now: float, *, word: str = "", failure: str = "", together: bool = False
    ) -> list[Action]:
        """A worker wants all to end. word: what all are told; failure: why none may go on; together: only when a worker
        of every place has said the same word.
        """
        life = self.lives.get(number)
        if life is None or self.stopping:
            return []
        self._wanted = {each: said for each, said in self._wanted.items() if each in self.lives} | {number: word}
        willing = {self.lives[each].place for each, said in self._wanted.items() if said == word}
        if together and len(willing) < len(self.places):
            return []
        self.word = word
        if failure:
            life.told = failure
            self._failure = f"worker {life.place} {failure}"
        return self.stop(now)

    def exited(self, number: int, how: str, now: float, *, started: bool = True) -> list[Action]:
        """A process has ended. how: in words, as "exit code 1". started: False when there never was one, as the system
        could not make it: while others serve, that is tried without end.
        """
        life = self.lives.pop(number, None)
        if life is None:
            return []
        actions: list[Action] = []
        if life.place < len(self.places):
            place = self.places[life.place]
            if place.current is life:
                place.current = None
                if not self.stopping and life.phase is Phase.LEAVING and self._is_old(life):
                    actions.append(self._start(life.place, now))
                elif not self.stopping:
                    actions += self._failed_life(life, how, now, started=started)
            elif place.successor is life:
                place.successor = None
                if not self.stopping:
                    actions += self._failed_successor(life, how, now)
        if life in self._retiring:
            self._retiring.remove(life)
            if life.phase is not Phase.LEAVING:
                actions.append(Tell(f"worker {life.place} ended before it was told to: {how}", bad=True))
        return actions + self._roll(now) + self._end()

    def reload(self, now: float) -> list[Action]:
        """Replace all workers, one after the other; once more after that, if this is under way."""
        if self.stopping:
            return []
        if self._reloading or self._settling:
            told = [] if self._reload_again else [Tell("another rolling reload will follow this one")]
            self._reload_again = True
            return [*told]
        return self._begin_reload(now)

    def resize(self, more: int, now: float) -> list[Action]:
        """One place more or less, or `more` of them; at least one stays."""
        count = min(max(self.count + more, 1), MOST)
        if self.stopping or count == self.count:
            return []
        actions: list[Action] = [Tell(f"{count} workers instead of {self.count}")]
        before, self.count = self.count, count
        for _ in range(before, count):
            self.places.append(Place())
            actions.append(self._start(len(self.places) - 1, now))
        for place in self.places[count:]:
            for life in (place.current, place.successor):
                actions += self._fade(life, now) if life is not None else []
        del self.places[count:]
        return actions + self._roll(now)

    def stop(self, now: float) -> list[Action]:
        """End all workers gracefully; asked again, at once."""
        if self.stopping:
            return self.stop_at_once(now)
        self.stopping = True
        actions: list[Action] = [Closing()]
        for life in self.lives.values():
            actions += self._leave(life, now)
        return actions + self._end()

    def stop_at_once(self, now: float) -> list[Action]:
        """Kill all workers."""
        actions: list[Action] = [] if self.stopping else [Closing()]
        self.stopping = True
        for life in self.lives.values():
            self._leave(life, now)
            actions.append(Kill(life.number))
        return actions + self._end()

    def tick(self, now: float) -> list[Action]:
        """Time has passed. Call it when `next` says so, or at any time."""
        if now - self._expected > OVERSLEPT + self.config.report_interval:
            for life in self.lives.values():  # this process was stopped, so theirs probably, too: none is to blame
                life.heard = now
                if life.deadline is not None:
                    life.deadline += now - self._expected
        self._expected = now
        actions: list[Action] = []
        for life in list(self.lives.values()):
            actions += self._look_at(life, now)
        if not self.stopping:
            for number, place in enumerate(self.places):
                if place.again is not None and place.again <= now:
                    actions.append(self._start(number, now))
        return actions

    def next(self, now: float) -> float:
        """Seconds until the next `tick` is due, at most a report_interval."""
        times = [life.deadline for life in self.lives.values() if life.deadline is not None]
        times += [place.again for place in self.places if place.again is not None and not self.stopping]
        due = min([*times, now + self.config.report_interval])
        self._expected = max(due, now)
        return max(due - now, 0.0)

    @property
    def all_ready(self) -> bool:
        """Whether every place has a worker that listens."""
        return all(place.current is not None and place.current.phase is Phase.READY for place in self.places)

    # What follows

    def _start(self, number: int, now: float) -> Start:
        place = self.places[number]
        self._last += 1
        life = Life(self._last, number, self._generation, now, self.config.ready_timeout)
        self.lives[life.number] = life
        place.again = None
        if place.current is None:
            place.current = life
        else:
            place.successor = life
        return Start(life.number, number)

    def _fade(self, life: Life, now: float) -> list[Action]:
        """A worker whose place is to go: what was sent to its socket already must be accepted first."""
        if life.phase is not Phase.READY:
            return self._leave(life, now)
        life.phase, life.deadline = Phase.FADING, now + FADE
        return []

    def _leave(self, life: Life, now: float) -> list[Action]:
        if life.phase is Phase.LEAVING:
            return []
        life.phase = Phase.LEAVING
        life.deadline = now + self.config.graceful_timeout + LATE
        return [Stop(life.number)]

    def _look_at(self, life: Life, now: float) -> list[Action]:
        hang = self.config.hang_timeout
        overdue = life.deadline is not None and life.deadline <= now
        if overdue and life.phase is Phase.FADING:
            return self._leave(life, now)
        if overdue and life.phase is Phase.RESTING:
            life.phase, life.deadline = Phase.RESTED, None
            told = f"worker {life.place} does not stop accepting: some of its clients may have to move twice"
            return [Tell(told, bad=True), *self._roll(now)]
        if overdue and life.phase is not Phase.STARTING:
            life.deadline = now + LATE  # then it is killed again
            return [Tell(f"worker {life.place} does not end and is killed", bad=True), Kill(life.number)]
        if overdue:
            why = f"was not ready within {self.config.ready_timeout:g} s"
        elif life.phase in SERVING and hang is not None and now - life.heard >= hang:
            why = f"has not turned its loop for {hang:g} s"
        else:
            return []
        life.told, life.phase, life.deadline = why, Phase.DOOMED, now + LATE
        return [Tell(f"worker {life.place} {why} and is killed", bad=True), Kill(life.number, hung=why)]

    def _failed_life(self, life: Life, how: str, now: float, *, started: bool) -> list[Action]:
        place = self.places[life.place]
        told = f"worker {life.place} ended: {how}" + (f", it {life.told}" if life.told else "")
        lasted = life.ready_at is not None and now - life.ready_at >= self.config.failure_window
        place.failures = 1 if lasted else place.failures + 1
        if started or not any(other.phase in SERVING for other in self.lives.values()):
            self._failed.append(now)
        while self._failed and now - self._failed[0] > self.config.failure_window:
            self._failed.popleft()
        if len(self._failed) > self.config.max_failures:
            self._failure = (
                f"{told}; workers ended {len(self._failed)} times within {self.config.failure_window:g} s, "
                f"and {self.config.max_failures} times is the limit"
            )
            return [Tell(f"{told}; that is once too often, and all are stopped", bad=True), *self.stop(now)]
        self.restarts += 1
        if place.successor is not None:  # it was about to be replaced anyway
            place.current, place.successor = place.successor, None
            return [Tell(told, bad=True)]
        delay = min(self.config.restart_delay * 2 ** min(place.failures - 1, 30), self.config.max_restart_delay)
        place.again = now + delay
        return [Tell(f"{told}; the next one starts in {delay:g} s", bad=True)]

    def _failed_successor(self, life: Life, how: str, now: float) -> list[Action]:
        """What is new does not even start: better the old than nothing."""
        self._reloading, self._settling = False, True
        actions: list[Action] = []
        for place in self.places:
            if place.successor is not None:
                actions += self._leave(place.successor, now)
                place.successor = None
        for other in self.lives.values():
            other.generation = self._generation
        why = f", it {life.told}" if life.told else ""
        told = f"the reload is given up, and the workers of before stay: the new worker {life.place} ended: {how}{why}"
        return [Tell(told, bad=True), *actions]

    def _begin_reload(self, now: float) -> list[Action]:
        self._generation += 1
        self._reloading, self._reload_again = True, False
        return [Tell("a rolling reload begins"), *self._roll(now)]

    def _roll(self, now: float) -> list[Action]:
        """The next step of a rolling reload, once the step before is done."""
        if self.stopping:
            return []
        if self._settling:
            return self._settle(now)
        if self._reloading and not self.config.overlap:
            return self._roll_in_place(now)
        if not self._reloading or not self._calm:
            return []
        for number, place in enumerate(self.places):
            if self._is_old(place.current) and place.successor is None:
                return [self._start(number, now)]
        for place in self.places:
            if place.successor is not None and place.current is not None:
                self._retiring.append(place.current)
                place.current, place.successor = place.successor, None
        return self._retire(now)

    def _roll_in_place(self, now: float) -> list[Action]:
        """The same where no two workers may have a place at once: the next old one goes when all others serve."""
        for place in self.places:
            life = place.current
            if life is None or not self._is_old(life):
                continue
            if life.phase is Phase.RESTED:
                return self._leave(life, now)
            if not self._calm:
                return []
            if not life.rests:
                return self._leave(life, now)
            life.phase, life.deadline = Phase.RESTING, now + self.config.graceful_timeout
            return [Rest(life.number)]
        if not self._calm:
            return []
        self._reloading, self._settling = False, True
        return [Tell("the rolling reload is done"), *self._settle(now)]

    @property
    def _calm(self) -> bool:
        """Whether all places have workers that serve, and all that were started do."""
        return self.all_ready and all(
            place.successor is None or place.successor.phase is Phase.READY for place in self.places
        )

    def _retire(self, now: float) -> list[Action]:
        """All places have new workers: have the old ones accept no more, all of them; then stop one after the other."""
        actions: list[Action] = []
        for life in self._retiring:
            if life.phase is Phase.READY and life.rests:
                life.phase, life.deadline = Phase.RESTING, now + self.config.graceful_timeout
                actions.append(Rest(life.number))
            elif life.phase is Phase.READY:
                life.phase = Phase.RESTED
        if any(life.phase is Phase.RESTING for life in self._retiring):
            return actions
        if self._retiring:
            first = self._retiring[0]
            return actions + (self._leave(first, now) if first.phase is Phase.RESTED else [])
        self._reloading, self._settling = False, True
        return [*actions, Tell("the rolling reload is done"), *self._settle(now)]

    def _settle(self, now: float) -> list[Action]:
        """After a reload: once all that is to end has ended, what only that used can go."""
        if not self.all_ready or len(self.lives) > len(self.places):
            return []
        self._settling = False
        return [Settled(), *(self._begin_reload(now) if self._reload_again else [])]

    def _is_old(self, life: Life | None) -> bool:
        return life is not None and life.generation < self._generation

    def _end(self) -> list[Action]:
        if not self.stopping or self.lives or self._ended:
            return []
        self._ended = True
        return [End(self._failure)]
