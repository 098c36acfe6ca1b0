"""`artemis watch`: pushes, gaps that are closed, and the ways around a node that does not push."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from artemis.cli.shown import Shown
from artemis.cli.watching import EVERYTHING, Watcher
from artemis.client import ArtemisClient, InstanceChange, RefusedError
from artemis.model import Instance
from artemis.testing import running_node

PATIENCE = 60


def make(name: str, service: str = "orders", port: int = 1) -> Instance:
    """An instance of region r, zone z."""
    return Instance(
        region_id="r", zone_id="z", service_id=service, instance_id=name, url=f"http://h:{port}", port=port, status="up"
    )


def kinds(changes: list[InstanceChange]) -> list[tuple[str, str | None]]:
    """Kind and instance of each change."""
    return [(change.change_type, change.instance.instance_id) for change in changes]


class Seen:
    """What a watcher told; `change` and `trouble` wait for the next."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[InstanceChange] = asyncio.Queue()
        self.troubles: asyncio.Queue[str] = asyncio.Queue()

    async def change(self) -> tuple[str, str]:
        """The next change: kind and service/instance."""
        seen = await asyncio.wait_for(self.changes.get(), PATIENCE)
        return seen.change_type, f"{seen.instance.service_id}/{seen.instance.instance_id}"

    async def trouble(self) -> str:
        """The next sentence for people."""
        return await asyncio.wait_for(self.troubles.get(), PATIENCE)


@asynccontextmanager
async def watching(url: str, service: str, look: Callable[..., object] | None = None) -> AsyncIterator[Seen]:
    """A watcher of a node, that looks with the SDK."""
    seen = Seen()
    async with ArtemisClient(servers=[url], region_id="r", zone_id="z") as client:

        async def lookup() -> list[Instance]:
            found = await (client.api.services() if service == EVERYTHING else client.api.lookup([service]))
            return [one for each in found for one in each.instances or () if one is not None]

        watcher = Watcher(
            url,
            service,
            look or lookup,
            seen.changes.put_nowait,
            seen.troubles.put_nowait,
            0.1,  # type: ignore[arg-type]
        )
        task = asyncio.create_task(watcher.run())
        try:
            yield seen
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def in_front_of(node: str, *, pushes: bool = False, waits: bool = False) -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that passes on only some of what a node can do; yields its URL and the paths it was asked for."""
    asked: list[str] = []

    async def pass_on(request: web.Request) -> web.Response:
        asked.append(request.path)
        if (request.path == "/ws" and not pushes) or (request.path.startswith("/api/v1/services/") and not waits):
            return web.Response(status=404)
        body = await request.read()
        headers = {"Content-Type": request.headers["Content-Type"]} if body else {}
        async with session.request(request.method, f"{node}{request.path_qs}", data=body, headers=headers) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", pass_on)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with ClientSession() as session:
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
        finally:
            await runner.cleanup()


def test_a_change_is_shown_once() -> None:
    """The same again shows nothing, other content is a change, and a deletion carries what went."""
    shown = Shown()
    assert shown.apply("new", make("a"), 1) == InstanceChange("new", make("a"), 1)
    assert shown.apply("new", make("A".lower()), 2) is None
    assert shown.apply("new", make("a", port=2), 3) == InstanceChange("change", make("a", port=2), 3)
    assert shown.apply("delete", make("A"), 4) == InstanceChange("delete", make("a", port=2), 4)
    assert shown.apply("delete", make("a"), 5) is None


def test_a_look_shows_the_difference_alone() -> None:
    """Of one service it leaves the others as they are."""
    shown = Shown()
    shown.sync([make("a"), make("b"), make("x", "other")], 1)
    changes = shown.sync([make("b", port=2), make("c")], 2, "orders")
    assert kinds(changes) == [("delete", "a"), ("change", "b"), ("new", "c")]
    assert kinds(shown.sync([], 3)) == [("delete", "b"), ("delete", "x"), ("delete", "c")]


async def test_what_was_missed_while_the_node_was_cut_off_is_shown_then() -> None:
    """The connection is lost and made again with the cursor: the difference comes, and nothing twice."""
    async with running_node(region="r", zone="z") as node, ArtemisClient(servers=[node.url]) as client:
        await client.api.register([make("a"), make("b")])
        async with relay(node.port) as line, watching(line.url, "orders") as seen:
            assert sorted([await seen.change(), await seen.change()]) == [("new", "orders/a"), ("new", "orders/b")]
            await line.cut()
            assert (await seen.trouble()).startswith("suspended: ")
            await client.api.unregister([make("a")])
            await client.api.register([make("c"), make("b", port=2)])
            await line.mend()
            assert sorted([await seen.change() for _ in range(3)]) == [
                ("change", "orders/b"),
                ("delete", "orders/a"),
                ("new", "orders/c"),
            ]
            assert await seen.trouble() == "connected again"
            assert seen.changes.empty()


@pytest.mark.parametrize("service", ["orders", EVERYTHING])
async def test_a_node_that_starts_anew_is_looked_at_anew(service: str) -> None:
    """It knows no cursor of its former life, and nobody yet: those that were live are gone, and who comes is new."""
    async with running_node(region="r", zone="z") as node, ArtemisClient(servers=[node.url]) as client:
        await client.api.register([make("a"), make("b")])
        async with watching(node.url, service) as seen:
            assert sorted([await seen.change(), await seen.change()]) == [("new", "orders/a"), ("new", "orders/b")]
            await asyncio.to_thread(node.kill)
            await seen.trouble()
            await asyncio.to_thread(node.restart)
            while await seen.trouble() != "connected again":
                pass
            assert sorted([await seen.change(), await seen.change()]) == [
                ("delete", "orders/a"),
                ("delete", "orders/b"),
            ]
            await client.api.register([make("b")])
            assert await seen.change() == ("new", "orders/b")


async def test_all_services_can_be_followed() -> None:
    """New services are told of as well."""
    async with running_node(region="r", zone="z") as node, ArtemisClient(servers=[node.url]) as client:
        await client.api.register([make("a")])
        async with watching(node.url, EVERYTHING) as seen:
            assert await seen.change() == ("new", "orders/a")
            await client.api.register([make("x", "fresh")])
            assert await seen.change() == ("new", "fresh/x")
            await client.api.unregister([make("a")])
            assert await seen.change() == ("delete", "orders/a")


async def test_where_websockets_do_not_pass_it_waits_by_long_poll() -> None:
    """It says so, and shows what changes as it does."""
    async with running_node(region="r", zone="z") as node, ArtemisClient(servers=[node.url]) as client:
        await client.api.register([make("a")])
        async with in_front_of(node.url, waits=True) as (url, asked), watching(url, "orders") as seen:
            assert "waits for changes by long poll" in await seen.trouble()
            assert await seen.change() == ("new", "orders/a")
            await client.api.register([make("b")])
            assert await seen.change() == ("new", "orders/b")
            await client.api.unregister([make("a")])
            assert await seen.change() == ("delete", "orders/a")
            assert "/api/discovery/lookup.json" not in asked


async def test_where_nothing_waits_it_looks_at_intervals() -> None:
    """As at a Java node, which has neither."""
    async with running_node(region="r", zone="z") as node, ArtemisClient(servers=[node.url]) as client:
        await client.api.register([make("a")])
        async with in_front_of(node.url) as (url, _), watching(url, "orders") as seen:
            assert "waits for changes" in await seen.trouble()
            assert "looks every 0.1 s" in await seen.trouble()
            assert await seen.change() == ("new", "orders/a")
            await client.api.register([make("b")])
            assert await seen.change() == ("new", "orders/b")


async def test_a_refused_look_ends_it() -> None:
    """Such as that of a caller of another region."""

    async def look() -> list[Instance]:
        raise RefusedError("http://h", "discovery/lookup.json", "no-permission", "not here")

    async with running_node(region="r", zone="z") as node:
        seen = Seen()
        watcher = Watcher(node.url, "orders", look, seen.changes.put_nowait, seen.troubles.put_nowait, 0.1)
        with pytest.raises(RefusedError):
            await asyncio.wait_for(watcher.run(), PATIENCE)


class Relay:
    """A line to a node that can be cut; `url` is its near end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._own = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The near end."""
        return f"http://127.0.0.1:{self._own}"

    async def mend(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._own)
        self._own = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections and take no more."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, far_writer}
        self._writers |= ends
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._writers -= ends
        self._tasks.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    """A line to the node at `port`, until the end of the block."""
    made = Relay(port)
    await made.mend()
    try:
        yield made
    finally:
        await made.cut()
