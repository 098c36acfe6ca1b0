"""Applications on ASGI: served by a real server, looked at from a real node."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import fastapi
import litestar
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from artemis import ArtemisClient, ClientOptions, Instance, UnreachableError
from artemis.asgi import App, ClientSource, Lifespan, Message, Receive, RegisteredApp, Scope, Send, lifespan

PATIENCE = 60.0
Make = Callable[[], ArtemisClient]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the locks of the workers apart from those of other tests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def make(node_url: str, quick: ClientOptions) -> Make:
    """Return what makes clients of the node."""
    return lambda: ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick)


@pytest.fixture
def make_lost(quick: ClientOptions) -> Make:
    """Return what makes clients whose registry is not there."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    return lambda: ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=quick)


@asynccontextmanager
async def served(app: object, *, lifespan: str = "auto") -> AsyncIterator[str]:
    """Serve an application with uvicorn; give its URL."""
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan=lifespan)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Without `serve`, which takes over the signals of the process.
        task = asyncio.create_task(server._serve([listening]))
        try:
            async with asyncio.timeout(PATIENCE):
                while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def an_instance(service_id: str) -> Instance:
    return Instance(service_id=service_id, ip="127.0.0.1", port=9000)


async def get(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def live(client: ArtemisClient, service_id: str) -> int:
    [service] = await client.api.lookup([service_id])
    return len(service.instances or ())


async def tell_state(request: Request) -> PlainTextResponse:
    """Answer whether the client is found where it is promised."""
    return PlainTextResponse(str(isinstance(request.state.artemis, ArtemisClient)))


class Recorded:
    """An application that says what its lifespan goes through, and how many instances are live then."""

    def __init__(self, client: ArtemisClient, service_id: str) -> None:
        self.told: list[tuple[str, int]] = []
        self._client = client
        self._service_id = service_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            kind = str((await receive())["type"])
            self.told.append((kind, await live(self._client, self._service_id)))
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return


@pytest.mark.parametrize("wrapped", [True, False])
async def test_an_application_is_registered_while_it_serves(
    make: Make, client: ArtemisClient, service_id: str, wrapped: bool
) -> None:
    """By the wrapper as by the lifespan; its requests find the client."""
    routes = [Route("/", tell_state)]
    app: object
    if wrapped:
        app = RegisteredApp(Starlette(routes=routes), make, an_instance(service_id), required=True)
    else:
        app = Starlette(routes=routes, lifespan=lifespan(make, an_instance(service_id), required=True))
    for _ in range(2):
        async with served(app) as url:
            assert await live(client, service_id) == 1
            assert await get(url) == "True"
        assert await live(client, service_id) == 0


async def test_it_is_out_before_the_application_shuts_down(make: Make, client: ArtemisClient, service_id: str) -> None:
    """And comes in after the application started."""
    app = Recorded(client, service_id)
    async with served(RegisteredApp(app, make, an_instance(service_id), required=True)):
        assert await live(client, service_id) == 1
    assert [("lifespan.startup", 0), ("lifespan.shutdown", 0)] == app.told


@pytest.mark.parametrize("manner", ["raises", "returns"])
async def test_applications_without_a_lifespan_are_registered_too(
    make: Make, client: ArtemisClient, service_id: str, manner: str
) -> None:
    """Whether they raise on it, as the protocol says, or just return."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            if manner == "raises":
                raise NotImplementedError
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})

    async with served(RegisteredApp(app, make, an_instance(service_id), required=True), lifespan="on") as url:
        assert await live(client, service_id) == 1
        assert await get(url) == "here"
    assert await live(client, service_id) == 0


async def test_a_required_registration_that_fails_ends_the_start(make_lost: Make, client: ArtemisClient) -> None:
    """The application, which had started, is shut down."""
    app = Recorded(client, "orders")
    [said] = await start(RegisteredApp(app, make_lost, an_instance("orders"), required=True))
    assert said["type"] == "lifespan.startup.failed"
    assert str(said["message"]).startswith("registration failed: no registry node answered")
    assert ["lifespan.startup", "lifespan.shutdown"] == [kind for kind, _ in app.told]


@pytest.mark.parametrize("trouble", ["factory", "entered", "registration"])
async def test_whatever_is_wrong_is_told_to_the_server(make: Make, trouble: str) -> None:
    """As a start that failed, with the reason: an error would be taken for an application without a lifespan."""

    def broken() -> ArtemisClient:
        raise LookupError("no settings")

    source: ClientSource = broken
    instances = [an_instance("orders")]
    if trouble == "entered":
        source = make()
        async with source:
            pass
    elif trouble == "registration":
        source, instances = make, [Instance(service_id="")]
    [said] = await start(RegisteredApp(Starlette(), source, *instances, required=True))
    assert said["type"] == "lifespan.startup.failed"
    reason = {"factory": "no settings", "entered": "can be entered once", "registration": "service"}[trouble]
    assert reason in str(said["message"])


async def test_one_that_is_not_required_lets_the_application_serve(make_lost: Make) -> None:
    """The client goes on trying beside it."""
    routes = [Route("/", tell_state)]
    app = RegisteredApp(Starlette(routes=routes), make_lost, an_instance("orders"))
    async with served(app) as url:
        assert await get(url) == "True"


async def test_an_application_that_does_not_start_is_not_registered(
    make: Make, client: ArtemisClient, service_id: str
) -> None:
    """Its own message reaches the server."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    said = await start(RegisteredApp(app, make, an_instance(service_id), required=True))
    assert [{"type": "lifespan.startup.failed", "message": "no database"}] == said
    assert await live(client, service_id) == 0


async def start(app: App) -> list[Message]:
    """Be a server whose application does not start; return what it says."""
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        said.append(message)

    await app({"type": "lifespan"}, receive, send)
    return said


async def test_a_server_that_gives_up_takes_it_out(make: Make, client: ArtemisClient, service_id: str) -> None:
    """Cancelling the lifespan leaves nothing behind."""
    started = asyncio.Event()

    async def receive() -> Message:
        if started.is_set():
            await asyncio.Event().wait()
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        started.set()

    app = RegisteredApp(Recorded(client, service_id), make, an_instance(service_id), required=True)
    task = asyncio.create_task(_run(app, receive, send))
    await started.wait()
    assert await live(client, service_id) == 1
    task.cancel()
    await asyncio.wait([task])
    assert await live(client, service_id) == 0


async def _run(app: App, receive: Receive, send: Send) -> None:
    await app({"type": "lifespan"}, receive, send)


async def test_fastapi_and_litestar_take_the_lifespan(make: Make, client: ArtemisClient, service_id: str) -> None:
    """Around one of their own; the client is in the state of the application."""
    told: list[str] = []

    @asynccontextmanager
    async def own(app: object) -> AsyncIterator[dict[str, object]]:
        told.append(f"up {await live(client, service_id)}")
        yield {"own": 1}
        told.append(f"down {await live(client, service_id)}")

    fast = fastapi.FastAPI(lifespan=lifespan(make, an_instance(service_id), required=True, inner=own))

    @fast.get("/")
    async def fast_root(request: fastapi.Request) -> list[bool]:
        return [request.state.own == 1, request.state.artemis is request.app.state.artemis]

    async with served(fast) as url:
        assert await live(client, service_id) == 1
        assert await get(url) == "[true,true]"
    assert ["up 0", "down 0"] == told

    @litestar.get("/")
    async def light_root(request: litestar.Request[object, object, litestar.datastructures.State]) -> str:
        return str(isinstance(request.app.state.artemis, ArtemisClient))

    light = litestar.Litestar([light_root], lifespan=[lifespan(make, an_instance(service_id), required=True)])
    async with served(light) as url:
        assert await live(client, service_id) == 1
        assert await get(url) == "True"
    assert await live(client, service_id) == 0


async def test_what_a_required_registration_raises_leaves_the_lifespan(make_lost: Make) -> None:
    """The framework makes of it what it makes of every failed start."""
    living: Lifespan[object] = lifespan(make_lost, an_instance("orders"), required=True)
    with pytest.raises(UnreachableError):
        async with living(object()):
            pytest.fail("it started")  # pragma: no cover


async def test_callers_only_need_no_instance(make: Make, node_url: str) -> None:
    """An application that just calls others has a client without being registered."""
    living: Lifespan[object] = lifespan(make)
    async with living(object()) as state:
        client = state["artemis"]
        assert isinstance(client, ArtemisClient)
        assert client.server == node_url


@pytest.mark.parametrize("wrapped", [True, False])
async def test_one_that_is_not_required_comes_when_the_server_listens(
    make: Make, client: ArtemisClient, service_id: str, wrapped: bool
) -> None:
    """Whoever finds it can call it at once."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    me = Instance(service_id=service_id, ip="127.0.0.1", port=port)
    routes = [Route("/", tell_state)]
    app: object = RegisteredApp(Starlette(routes=routes), make, me)
    if not wrapped:
        app = Starlette(routes=routes, lifespan=lifespan(make, me))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))  # type: ignore[arg-type]
    task = asyncio.create_task(server._serve())
    async with asyncio.timeout(PATIENCE):
        watch = client.watch(service_id)
        change = await anext(watch)
        assert await get(f"{change.instance.url}/") == "True"
        server.should_exit = True
        assert (await anext(watch)).change_type == "delete"
        await task


@pytest.mark.parametrize("first_ends_first", [True, False])
async def test_workers_of_one_port_are_one_instance(
    make: Make, client: ArtemisClient, service_id: str, first_ends_first: bool
) -> None:
    """It stays while any of them serves, and the last one takes it out, also one that never led."""
    workers = [lifespan(make, an_instance(service_id), required=True)(object()) for _ in range(2)]
    for worker in workers:
        await worker.__aenter__()
    watch = client.watch(service_id)
    assert "new" == (await anext(watch)).change_type
    if not first_ends_first:
        workers.reverse()
    await workers[0].__aexit__(None, None, None)
    assert await live(client, service_id) == 1
    await workers[1].__aexit__(None, None, None)
    async with asyncio.timeout(PATIENCE):
        while await live(client, service_id):
            pass
        change = await anext(watch)
        while change.change_type != "delete":
            change = await anext(watch)


async def test_the_last_worker_takes_out_what_was_left_to_it_before_it_led(
    make: Make, client: ArtemisClient, service_id: str
) -> None:
    """Also one that ends while it still waits for the server to listen; nothing is registered for that."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        me = Instance(service_id=service_id, ip="127.0.0.1", port=unused.getsockname()[1])
    early = lifespan(make, me, required=True)(object())
    late = lifespan(make, me)(object())
    await early.__aenter__()
    await late.__aenter__()
    watch = client.watch(service_id)
    assert "new" == (await anext(watch)).change_type
    await early.__aexit__(None, None, None)
    assert await live(client, service_id) == 1
    await late.__aexit__(None, None, None)
    assert await live(client, service_id) == 0
    async with asyncio.timeout(PATIENCE):
        assert "delete" == (await anext(watch)).change_type


async def test_the_last_worker_that_cannot_take_out_what_was_left_to_it_ends_all_the_same(
    make: Make, make_lost: Make, client: ArtemisClient, service_id: str
) -> None:
    """The lease ends by itself then."""
    early = lifespan(make, an_instance(service_id), required=True)(object())
    late = lifespan(make_lost, an_instance(service_id))(object())
    await early.__aenter__()
    await late.__aenter__()
    await early.__aexit__(None, None, None)
    await late.__aexit__(None, None, None)
    assert await live(client, service_id) == 1


async def test_without_a_place_for_locks_an_application_is_registered_all_the_same(
    make: Make, client: ArtemisClient, service_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that cannot write."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    living: Lifespan[object] = lifespan(make, an_instance(service_id), required=True)
    async with living(object()):
        assert await live(client, service_id) == 1
    assert await live(client, service_id) == 0
