"""Works side by side, until one ends or the process is told to stop."""

import asyncio
import os
import signal

import pytest

from artemis.cli.interrupts import until_interrupted


async def forever(ended: list[str], name: str) -> None:
    """Wait until cancelled, and note it."""
    try:
        await asyncio.Event().wait()
    finally:
        ended.append(name)


async def interrupt(number: signal.Signals) -> None:
    """Send this process a signal, twice as timeout(1) does, and wait for what comes of it."""
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
    await asyncio.Event().wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("with_loop_support", [True, False])
async def test_a_signal_ends_all_works(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, *, with_loop_support: bool
) -> None:
    """On loops with and without signal handling of their own; the former handlers are back afterwards."""
    if not with_loop_support:

        def refuse(*_: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    former = signal.getsignal(signal.SIGTERM)
    ended: list[str] = []
    await until_interrupted(forever(ended, "one"), forever(ended, "two"), interrupt(number))
    assert sorted(ended) == ["one", "two"]
    assert signal.getsignal(signal.SIGTERM) == former


async def test_the_end_of_one_ends_the_others() -> None:
    """Nothing is left running."""
    ended: list[str] = []
    await until_interrupted(forever(ended, "one"), asyncio.sleep(0))
    assert ended == ["one"]


async def test_what_one_raises_is_raised_after_the_others_have_ended() -> None:
    """The caller can rely on that."""
    ended: list[str] = []

    async def fail() -> None:
        raise ValueError(f"ended before: {ended}")

    with pytest.raises(ValueError, match=r"ended before: \[\]"):
        await until_interrupted(forever(ended, "one"), fail())
    assert ended == ["one"]


async def test_time_ends_all_works() -> None:
    """After so many seconds, without an error."""
    ended: list[str] = []
    await until_interrupted(forever(ended, "one"), seconds=0.01)
    assert ended == ["one"]
