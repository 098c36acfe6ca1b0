"""Asks the health callback of a registration, regularly and with a time limit.

Not here: what follows from the answer; see `Registrar.found` in `artemis.client.registration.registrar`.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

HealthAnswer = bool | None
HealthCheck = Callable[[], HealthAnswer | Awaitable[HealthAnswer]]
"""Plain or async function without arguments: False means unhealthy, and so does raising; the error is the reason."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    answer: HealthAnswer | Awaitable[HealthAnswer] = None
    error: BaseException | None = None


class HealthProbe:
    """One health callback, asked by one loop, and running at most once at a time.

    An async function runs in the event loop and is cancelled when its time is up; a plain one runs in a thread of its
    own, which does not keep the process from ending. One that is not done in time counts as unhealthy, and is not
    called again before it has returned.
    """

    def __init__(self, check: HealthCheck, limit: float) -> None:
        self._check = check
        self._limit = limit
        self._running: asyncio.Future[_Outcome] | None = None

    async def ask(self) -> str:
        """Return why it is unhealthy, in words for people, or an empty text; takes ``limit`` seconds at most.

        Whatever ran out of its time before has as much again to return first; its answer means nothing any more.
        """
        loop = asyncio.get_running_loop()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=self._limit)
            if not self._running.done():
                return "the health check of before has not returned yet"
        deadline = loop.time() + self._limit
        running = self._start(loop)
        while True:
            self._running = running
            await asyncio.wait([running], timeout=max(0.0, deadline - loop.time()))
            if not running.done():
                self.close()
                return f"the health check has not answered within {self._limit:g} s"
            self._running = None
            if running.cancelled():
                return "the health check was cancelled"
            outcome = running.result()
            if not isinstance(outcome.answer, Awaitable):
                return _reason(outcome.answer, outcome.error)
            running = loop.create_task(_awaited(outcome.answer))

    def close(self) -> None:
        """Give up what is running: a coroutine is cancelled, a thread ends when its function returns."""
        if isinstance(self._running, asyncio.Task):
            self._running.cancel()

    def _start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[_Outcome]:
        if inspect.iscoroutinefunction(self._check) or inspect.iscoroutinefunction(
            getattr(self._check, "__call__", None)  # noqa: B004 - asks what kind of function it is, not whether
        ):
            return loop.create_task(_called(self._check))
        answered: asyncio.Future[_Outcome] = loop.create_future()
        run = contextvars.copy_context().run
        # A pool of threads would let one function that hangs keep the others from being asked.
        thread = threading.Thread(
            target=run, args=(_run, self._check, loop, answered), name="artemis health check", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            answered.set_result(_Outcome(error=error))  # the system has none now, which is as good as no answer in time
        return answered


def _run(check: HealthCheck, loop: asyncio.AbstractEventLoop, answered: asyncio.Future[_Outcome]) -> None:
    try:
        outcome = _Outcome(check())
    except BaseException as error:  # noqa: BLE001 - also an exit of the thread means that there is no good answer
        outcome = _Outcome(error=error)
    try:
        loop.call_soon_threadsafe(_deliver, answered, outcome)
    except RuntimeError:
        return  # the loop has closed meanwhile: nobody asks any more


def _deliver(answered: asyncio.Future[_Outcome], outcome: _Outcome) -> None:
    if not answered.done():
        answered.set_result(outcome)


async def _called(check: HealthCheck) -> _Outcome:
    try:
        return _Outcome(check())  # calling a coroutine function only makes the coroutine; `ask` awaits it
    except Exception as error:  # noqa: BLE001 - whatever a callback raises is its answer
        return _Outcome(error=error)


async def _awaited(answer: Awaitable[HealthAnswer]) -> _Outcome:
    try:
        return _Outcome(await answer)
    except Exception as error:  # noqa: BLE001 - whatever a callback raises is its answer
        return _Outcome(error=error)


def _reason(answer: object, error: BaseException | None) -> str:
    if error is not None:
        return f"the health check raised {type(error).__name__}: {error}".rstrip(": ")
    # None is the answer of a function that only checks, and raises; anything else counts as what it is worth.
    return "" if answer is None or answer else "the health check says no"
