"""The examples run as they stand."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from artemis import ArtemisClient, ClientOptions
from artemis.testing import running_node

EXAMPLES = Path(__file__).parents[3] / "examples"
PATIENCE = 60.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_service_registers_itself_and_the_caller_finds_it(
    quick: ClientOptions, number: signal.Signals
) -> None:
    """Both need nothing but the address of the registry; Ctrl-C and SIGTERM take the service out again."""
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=quick) as client,
        asyncio.timeout(PATIENCE),
    ):
        service = await asyncio.create_subprocess_exec(sys.executable, EXAMPLES / "service.py", node.url)
        change = await anext(client.watch("greetings"))
        caller = await asyncio.create_subprocess_exec(
            sys.executable, EXAMPLES / "caller.py", node.url, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await caller.communicate()
        assert output.decode().splitlines() == [f"hello from {change.instance.url}/hello"] * 3
        assert caller.returncode == 0
        service.send_signal(number)
        assert await service.wait() == 0
        [left] = await client.api.lookup(["greetings"])
        assert left.instances == []


def test_the_examples_are_short() -> None:
    """Each fits on a page: at most 30 lines."""
    for name in ("service.py", "caller.py"):
        assert len((EXAMPLES / name).read_text().splitlines()) <= 30
