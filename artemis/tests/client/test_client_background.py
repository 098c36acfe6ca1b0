"""The tasks that a client runs beside its callers."""

import asyncio

import pytest

from artemis.client.background import Background
from artemis.client.errors import ClosedError


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


async def test_a_task_that_fails_is_told_to_the_loop_and_can_start_again() -> None:
    """A mistake in the SDK is never silent."""
    told: list[object] = []
    failed = asyncio.Event()

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        told.append(context["exception"])
        failed.set()

    asyncio.get_running_loop().set_exception_handler(tell)
    error = RuntimeError("a mistake")

    async def fail() -> None:
        raise error

    background = Background()
    background.open()
    background.ensure("one", fail)
    await failed.wait()
    assert told == [error]
    background.ensure("one", forever)
    await background.close()
