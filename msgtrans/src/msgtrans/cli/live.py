"""The live screen of `msgtrans top`: drawn with each look, until q or Ctrl-C. Not here: what it shows (`screen`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from rich.live import Live

from msgtrans.cli.screen import screen

if sys.platform != "win32":  # where keys are not read, and Ctrl-C it is
    import termios
    import tty

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from rich.console import Console, RenderableType

    from msgtrans.cli.top import Look


async def live(console: Console, looks: AsyncGenerator[Look, None], hint: str) -> None:
    """Show `looks` on a screen of its own, which is gone afterwards. Ends well on q, SIGINT and SIGTERM."""
    drawing = asyncio.create_task(_draw(console, looks, hint))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: the default handlers interrupt
            loop.add_signal_handler(number, drawing.cancel)
    with contextlib.suppress(asyncio.CancelledError), keys(loop, {b"q": drawing.cancel, b"Q": drawing.cancel}):
        await drawing


@contextlib.contextmanager
def keys(loop: asyncio.AbstractEventLoop, calls: dict[bytes, Callable[[], object]]) -> Iterator[None]:
    """Call what belongs to a key, as soon as it is pressed; where standard input is no terminal, nothing is read."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    terminal = sys.stdin.fileno()

    def pressed() -> None:
        typed = os.read(terminal, 100)
        if not typed:  # the terminal is gone
            loop.remove_reader(terminal)
        for key in typed:
            calls.get(bytes((key,)), lambda: None)()

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    loop.add_reader(terminal, pressed)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


async def _draw(console: Console, looks: AsyncGenerator[Look, None], hint: str) -> None:
    async with contextlib.aclosing(looks):
        first = await anext(looks)  # before the screen is taken: an error stays readable
        with Live(console=console, screen=True, auto_refresh=False) as shown:
            shown.update(_fitted(console, first, hint), refresh=True)
            async for look in looks:
                shown.update(_fitted(console, look, hint), refresh=True)


def _fitted(console: Console, look: Look, hint: str) -> RenderableType:
    return screen(look, lines=console.height, columns=console.width, hint=hint)
