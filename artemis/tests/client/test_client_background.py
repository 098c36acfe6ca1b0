"""The tasks that a client runs beside its callers."""

import asyncio

import pytest

from artemis.client.background import Background
from artemis.client.errors import ClosedError
from artemis.client.events import LoopFailed


async def forever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


async def test_a_name_is_one_task_until_it_ends() -> None:
    """Asking again starts nothing; closing ends everything and refuses more."""
    background = Background()
    before = asyncio.all_tasks()
    background.open()
    background.ensure("one", forever)
    background.ensure("one", forever)
    background.ensure("two", forever)
    assert len(asyncio.all_tasks() - before) == 2
    await background.close()
    assert asyncio.all_tasks() == before
    with pytest.raises(ClosedError):
        background.ensure("one", forever)


async def test_a_task_that_fails_is_told_of_and_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in the SDK is never silent, and its loops do not stay dead."""
    told: list[LoopFailed] = []
    errors: list[BaseException] = [RuntimeError("a mistake"), asyncio.CancelledError()]
    expected = list(errors)
    again = asyncio.Event()

    async def fail() -> None:
        if errors:
            raise errors.pop(0)
        again.set()
        await forever()

    background = Background(told.append, pause=0.001)
    background.open()
    background.ensure("one", fail)
    await again.wait()
    assert [LoopFailed("one", error) for error in expected] == told
    assert [RuntimeError, asyncio.CancelledError] == [one.exc_info[0] for one in caplog.records if one.exc_info]
    before = asyncio.all_tasks()
    await background.close()
    assert 1 == len(before - asyncio.all_tasks())


async def test_closing_ends_the_pause_of_a_task_that_failed() -> None:
    """It does not begin again then."""
    told = asyncio.Event()
    begun = 0

    async def fail() -> None:
        nonlocal begun
        begun += 1
        raise RuntimeError("a mistake")

    background = Background(lambda _: told.set())
    background.open()
    background.ensure("one", fail)
    await told.wait()
    await background.close()
    assert 1 == begun


async def test_a_task_that_has_ended_can_start_again() -> None:
    """By the next one who wants it."""
    ended = asyncio.Event()

    async def end() -> None:
        ended.set()

    background = Background()
    background.open()
    for _ in range(2):
        ended.clear()
        background.ensure("one", end)
        await ended.wait()
        await asyncio.sleep(0)
    await background.close()
