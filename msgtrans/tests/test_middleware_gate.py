"""The gate before a session, by itself: what waits at it, in which order it passes, and how it is shut."""

from __future__ import annotations

import asyncio

import pytest

from msgtrans import AuthenticationError
from msgtrans.middleware.gate import Gate


async def test_who_comes_right_after_the_verdict_stays_behind() -> None:
    """Messages that waited pass first, also where tasks run at once up to their first wait."""
    gate, passed = Gate(0.0, stranger=True), []
    verdict = asyncio.get_running_loop().create_future()
    gate.ask(verdict)

    def send(number: int) -> asyncio.Task[object]:
        return asyncio.create_task(gate.go_through(number, passed.append, lambda: None))

    waiting = [send(number) for number in range(3)]
    await asyncio.sleep(0)
    assert gate.waiting == 3
    gate.open()
    eager = gate.go_through(3, passed.append, lambda: None)
    eager.send(None)
    assert not passed
    await asyncio.gather(*waiting, send(4))
    with pytest.raises(StopIteration):
        eager.send(None)
    assert [0, 1, 2, 4, 3] == passed  # the last was driven by hand
    assert gate.waiting == 0


async def test_shut_it_stays_shut() -> None:
    """Nothing passes, what waits is refused, and the verdict is none, whatever it would have been."""
    gate, passed, left = Gate(0.0, stranger=True), [], []
    started = asyncio.Event()

    async def verify() -> str:
        started.set()
        return await asyncio.get_running_loop().create_future()

    gate.ask(verify())
    waiting = asyncio.create_task(gate.go_through(1, passed.append, lambda: left.append(1)))
    deciding = asyncio.create_task(gate.verdict())
    await started.wait()
    gate.shut()
    late = asyncio.create_task(gate.go_through(2, passed.append, lambda: left.append(2)))
    outcome = await asyncio.gather(waiting, deciding, late, return_exceptions=True)
    assert [AuthenticationError] * 3 == [type(error) for error in outcome]
    assert (passed, left) == ([], [1, 2])


async def test_who_waits_for_a_verdict_may_be_cancelled() -> None:
    """Then it is the waiting that ends, and the verification with it."""
    gate, ended = Gate(0.0, stranger=True), asyncio.Event()

    async def verify() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    gate.ask(verify())
    deciding = asyncio.create_task(gate.verdict())
    await asyncio.sleep(0)
    deciding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deciding
    assert ended.is_set()


async def test_without_a_verdict_there_is_none() -> None:
    """A gate that nobody asked anything for has no verdict, and lets nothing pass."""
    gate = Gate(0.0, stranger=True)
    assert not gate.tried
    with pytest.raises(AuthenticationError):
        await gate.verdict()
    with pytest.raises(AuthenticationError):
        await gate.go_through(1, lambda _: None, lambda: None)
