"""The progress bar of `msgtrans bench`, on stderr. Not here: anything that is measured."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from msgtrans.cli.load import Load

EVERY: Final = 0.25  # seconds between two looks


@asynccontextmanager
async def shown(load: Load) -> AsyncIterator[None]:
    """Show how far `load` is while the block runs."""
    task = asyncio.create_task(_show(load))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _show(load: Load) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=1.0, rate="")
        stage, before, since = "", 0, time.perf_counter()
        while True:
            done, now = load.done, time.perf_counter()
            rate = f"{max(done - before, 0) / (now - since):,.0f}/s" if stage == load.stage and done else ""
            if stage != load.stage:
                stage = load.stage
                progress.reset(task, total=1.0, description=stage)
            progress.update(task, completed=load.share(now), rate=rate)
            progress.refresh()
            before, since = done, now
            await asyncio.sleep(EVERY)
