"""The live screen of `msgtrans top`: drawn anew with each look, until Ctrl-C. Not here: what it shows (`screen`)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from rich.live import Live

from msgtrans.cli.screen import screen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rich.console import Console

    from msgtrans.cli.top import Look


async def live(console: Console, looks: AsyncGenerator[Look, None], hint: str) -> None:
    """Show `looks` on a screen of its own, which is gone afterwards. Ends well on SIGINT and SIGTERM."""
    drawing = asyncio.create_task(_draw(console, looks, hint))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: the default handlers interrupt
            loop.add_signal_handler(number, drawing.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await drawing


async def _draw(console: Console, looks: AsyncGenerator[Look, None], hint: str) -> None:
    async with contextlib.aclosing(looks):
        first = await anext(looks)  # before the screen is taken: an error stays readable
        with Live(console=console, screen=True, auto_refresh=False) as shown:
            shown.update(screen(first, lines=console.height, hint=hint), refresh=True)
            async for look in looks:
                shown.update(screen(look, lines=console.height, hint=hint), refresh=True)
