"""The examples without the SDK run as they stand."""

import asyncio
import sys
from pathlib import Path

from artemis import ArtemisClient, ClientOptions
from artemis.model import Instance
from artemis.testing import running_node

EXAMPLES = Path(__file__).parents[3] / "examples"
PATIENCE = 60.0


async def run(name: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start an example."""
    return await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / name, *arguments, stdout=asyncio.subprocess.PIPE
    )


async def line(process: asyncio.subprocess.Process) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().rstrip()


def make(name: str) -> Instance:
    """An instance of `orders`."""
    return Instance(region_id="local", zone_id="zone1", service_id="orders", instance_id=name, url="http://h:1")


async def test_changes_over_the_websocket_resume_after_a_disconnect(quick: ClientOptions) -> None:
    """First everything that is live, then each change; a node that comes back is followed again."""
    async with (
        asyncio.timeout(PATIENCE),
        running_node() as node,
        ArtemisClient(servers=[node.url], options=quick) as client,
    ):
        await client.api.register([make("a")])
        follower = await run("websocket_changes.py", "orders", node.url)
        assert await line(follower) == "everything that is live:"
        assert (await line(follower)).split() == ["new", "a"]
        await client.api.register([make("b")])
        assert (await line(follower)).split() == ["new", "b"]
        await client.api.unregister([make("a")])
        assert (await line(follower)).split() == ["delete", "a"]
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.restart)
        assert await line(follower) == "everything that is live:"
        follower.terminate()
        await follower.communicate()


async def test_the_java_endpoints_are_used_as_the_java_sdk_does() -> None:
    """A heartbeat of the unknown instance leads to its registration, and the change is pushed."""
    async with asyncio.timeout(PATIENCE), running_node() as node:
        done = await run("java_endpoints.py", node.url)
        output, _ = await done.communicate()
        assert output.decode().splitlines() == [
            "not known yet: registering 127.0.0.1:9000",
            "new: http://127.0.0.1:9000/",
            "delete: http://127.0.0.1:9000/",
        ]
        assert done.returncode == 0
