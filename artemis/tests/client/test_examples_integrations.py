"""The integrations of examples/integrations: requests by the name of a service, at real instances that die."""

import asyncio
import importlib.util
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType

import aiohttp
import grpc
import grpc.aio
import httpx
import pytest
from aiohttp import web

from artemis import ArtemisClient, Instance, NoInstancesError
from artemis.sync import ArtemisClient as SyncClient

EXAMPLES = Path(__file__).parents[3] / "examples"


def example(name: str) -> ModuleType:
    """Load an example as the module that it is."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / "integrations" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


aiohttp_registry = example("aiohttp_registry")
httpx_registry = example("httpx_registry")
grpc_resolver = example("grpc_resolver")


class Fleet:
    """Instances of one service: HTTP servers that say who they are, a port where nobody listens, one that hangs up."""

    def __init__(self, registry: ArtemisClient, service_id: str, stack: AsyncExitStack) -> None:
        self.service_id = service_id
        self.seen: list[tuple[str, str, str]] = []
        """Who was asked: method, Host, name of the instance."""
        self.paths: list[str] = []
        self.broken = 0
        self._registry = registry
        self._stack = stack
        self._runners: dict[str, web.AppRunner] = {}

    async def serve(self, name: str, status: int = 200) -> None:
        """Start an instance that answers with its name, or redirects from /old to /new."""

        async def answer(request: web.Request) -> web.Response:
            self.seen.append((request.method, request.host, name))
            self.paths.append(request.raw_path)
            if request.path == "/old":
                raise web.HTTPFound("/new")
            return web.Response(text=name, status=status, headers={"Connection": "close"})

        app = web.Application()
        app.router.add_route("*", "/{any:.*}", answer)
        runner = self._runners[name] = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await self.register(name, runner.addresses[0][1])

    async def register(self, name: str, port: int) -> None:
        """Register an instance at a port."""
        instance = Instance(service_id=self.service_id, instance_id=name, ip="127.0.0.1", port=port)
        await self._stack.enter_async_context(self._registry.registered(instance))

    async def url(self) -> str:
        """Return the URL of the first instance."""
        return (await self._registry.service(self.service_id)).instances[0].url or ""

    async def hang_up(self, name: str, saying: bytes = b"") -> None:
        """Start an instance that closes connections once it has been asked something."""

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            self.broken += 1
            writer.write(saying)
            writer.close()

        server = await self._stack.enter_async_context(await asyncio.start_server(listen, "127.0.0.1", 0))
        await self.register(name, server.sockets[0].getsockname()[1])

    async def dead(self, name: str) -> None:
        """Register an instance at a port where nobody listens."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            await self.register(name, taken.getsockname()[1])

    async def kill(self, name: str) -> None:
        """End an instance without a word to the registry."""
        await self._runners[name].cleanup()


@pytest.fixture
async def fleet(other: ArtemisClient, service_id: str) -> AsyncIterator[Fleet]:
    """Return a fleet without instances so far."""
    async with AsyncExitStack() as stack:
        yield Fleet(other, service_id, stack)


@pytest.fixture
def asked_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what names are looked up."""
    names: list[str] = []
    real = socket.getaddrinfo

    def record(host: str, *arguments: object, **options: object) -> object:
        names.append(host)
        return real(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", record)
    return names


@pytest.fixture
async def by_aiohttp(client: ArtemisClient) -> AsyncIterator[aiohttp.ClientSession]:
    """Return a session with the middleware."""
    async with aiohttp.ClientSession(middlewares=[aiohttp_registry.RegistryMiddleware(client)]) as http:
        yield http


@pytest.fixture
async def by_httpx(client: ArtemisClient) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with the transport."""
    transport = httpx_registry.AsyncRegistryTransport(client)
    async with httpx.AsyncClient(transport=transport, follow_redirects=True, trust_env=False) as http:
        yield http


async def test_aiohttp_asks_live_instances_in_turn(
    fleet: Fleet, by_aiohttp: aiohttp.ClientSession, asked_names: list[str]
) -> None:
    """By the name of the service, which is the Host; one that dies in the middle is not met; DNS is not asked."""
    for name in "abc":
        await fleet.serve(name)

    async def ask(method: str = "GET") -> str:
        async with by_aiohttp.request(method, f"http://{fleet.service_id}/hello") as answer:
            return await answer.text()

    assert ["a", "b", "c"] == sorted([await ask() for _ in range(3)])
    await fleet.kill("b")
    assert {"a", "c"} == {await ask(method) for method in ("GET", "POST") * 6}
    assert {fleet.service_id} == {host for _, host, _ in fleet.seen}
    assert fleet.service_id not in asked_names


async def test_aiohttp_follows_redirects_within_the_service(fleet: Fleet, by_aiohttp: aiohttp.ClientSession) -> None:
    """A relative redirect leads to the service again, not to the instance."""
    await fleet.serve("a")
    async with by_aiohttp.get(f"http://{fleet.service_id}/old") as answer:
        assert "a" == await answer.text()
    assert [("GET", fleet.service_id, "a")] * 2 == fleet.seen


async def test_aiohttp_repeats_only_what_may_be_repeated(
    fleet: Fleet, client: ArtemisClient, by_aiohttp: aiohttp.ClientSession
) -> None:
    """After a connection that broke, GET is asked elsewhere and POST is not; other hosts are asked as they are."""
    await fleet.hang_up("bad")
    url = f"http://{fleet.service_id}/"
    with pytest.raises(aiohttp.ClientConnectionError):
        await by_aiohttp.post(url, data=b"1")
    assert 1 == fleet.broken
    await fleet.serve("good")
    watch = client.watch(fleet.service_id)
    while {one.instance_id for one in (await client.service(fleet.service_id)).instances} != {"bad", "good"}:
        await anext(watch)
    for _ in range(4):
        async with by_aiohttp.get(url) as answer:
            assert "good" == await answer.text()
    port = (await client.service(fleet.service_id)).instances[-1].url
    async with by_aiohttp.get(f"{port}/direct") as answer:
        assert 200 == answer.status


async def test_httpx_asks_live_instances_in_turn(
    fleet: Fleet, by_httpx: httpx.AsyncClient, asked_names: list[str]
) -> None:
    """As with aiohttp; redirects lead to the service again."""
    for name in "abc":
        await fleet.serve(name)

    async def ask(method: str = "GET") -> str:
        return (await by_httpx.request(method, f"http://{fleet.service_id}/hello")).text

    assert ["a", "b", "c"] == sorted([await ask() for _ in range(3)])
    await fleet.kill("b")
    assert {"a", "c"} == {await ask(method) for method in ("GET", "POST") * 6}
    answer = await by_httpx.get(f"http://{fleet.service_id}/old")
    assert f"http://{fleet.service_id}/new" == str(answer.url)
    assert {fleet.service_id} == {host for _, host, _ in fleet.seen}
    assert fleet.service_id not in asked_names


async def test_httpx_repeats_only_what_may_be_repeated(fleet: Fleet, by_httpx: httpx.AsyncClient) -> None:
    """After a connection that broke, a POST is not sent again, and a GET only to others."""
    await fleet.hang_up("bad")
    with pytest.raises(httpx.RemoteProtocolError):
        await by_httpx.post(f"http://{fleet.service_id}/", content=b"1")
    assert 1 == fleet.broken
    with pytest.raises(httpx.RemoteProtocolError):
        await by_httpx.get(f"http://{fleet.service_id}/")
    assert 1 < fleet.broken


async def test_httpx_for_code_that_blocks(fleet: Fleet, node_url: str) -> None:
    """The same with the sync client; an instance where nobody listens is not met."""
    await fleet.serve("a")
    await fleet.dead("b")

    def ask() -> list[str]:
        with (
            SyncClient(servers=[node_url], region_id="local", zone_id="zone1") as registry,
            httpx.Client(transport=httpx_registry.RegistryTransport(registry), trust_env=False) as http,
        ):
            return [http.get(f"http://{fleet.service_id}/hello").text for _ in range(4)]

    assert ["a"] * 4 == await asyncio.to_thread(ask)


async def test_troubled_instances_are_left_out(fleet: Fleet, client: ArtemisClient) -> None:
    """Answers 502 to 504 are the caller's, and count against the instance."""
    for name in ("a", "b"):
        await fleet.serve(name)
    await fleet.serve("ill", status=503)
    transport = httpx_registry.AsyncRegistryTransport(client)
    async with (
        httpx.AsyncClient(transport=transport, trust_env=False) as by_httpx,
        aiohttp.ClientSession(middlewares=[aiohttp_registry.RegistryMiddleware(client)]) as by_aiohttp,
    ):
        seen = set()
        while not client.balancer(fleet.service_id).outliers():
            seen.add((await by_httpx.get(f"http://{fleet.service_id}/")).status_code)
            async with by_aiohttp.get(f"http://{fleet.service_id}/") as answer:
                seen.add(answer.status)
        assert {200, 503} == seen
        assert [200] * 6 == [(await by_httpx.get(f"http://{fleet.service_id}/")).status_code for _ in range(6)]


@pytest.mark.parametrize("name", ["aiohttp", "httpx"])
async def test_a_service_without_instances_is_a_clear_error(
    name: str, service_id: str, by_aiohttp: aiohttp.ClientSession, by_httpx: httpx.AsyncClient
) -> None:
    """It is not a failed connection, and no name that DNS does not know."""
    http = {"aiohttp": by_aiohttp, "httpx": by_httpx}[name]
    with pytest.raises(NoInstancesError):
        await http.get(f"http://{service_id}/")


async def outcome(http: aiohttp.ClientSession | httpx.AsyncClient, url: str) -> str:
    """Return what a GET of a URL answers, or what it raises."""
    try:
        if isinstance(http, httpx.AsyncClient):
            return (await http.get(url)).text
        async with http.get(url) as answer:
            return await answer.text()
    except (aiohttp.ClientError, aiohttp.InvalidURL, httpx.TransportError) as error:
        return str(error)


@pytest.mark.parametrize("name", ["aiohttp", "httpx"])
async def test_what_asks_for_tls_is_never_sent_in_plain(
    name: str, fleet: Fleet, other: ArtemisClient, by_aiohttp: aiohttp.ClientSession, by_httpx: httpx.AsyncClient
) -> None:
    """It goes to instances with an https url, here one where nobody listens, and else is an error; so is a port."""
    http = {"aiohttp": by_aiohttp, "httpx": by_httpx}[name]
    await fleet.serve("plain")
    assert "asks for TLS, and the instance http://127.0.0.1:" in await outcome(http, f"https://{fleet.service_id}/")
    assert "names a service and a port" in await outcome(http, f"http://{fleet.service_id}:9000/")
    secure = Instance(service_id=f"{fleet.service_id}-s", instance_id="s", url="https://127.0.0.1:9")
    plain = Instance(service_id=f"{fleet.service_id}-s", instance_id="p", url=await fleet.url())
    async with other.registered(secure, plain):
        for _ in range(4):
            said = await outcome(http, f"https://{fleet.service_id}-s/")
            assert "asks for TLS" in said or "onnect" in said
    assert [] == fleet.seen


@pytest.mark.parametrize("name", ["aiohttp", "httpx"])
async def test_urls_of_instances_may_have_a_path_and_no_scheme(
    name: str,
    fleet: Fleet,
    other: ArtemisClient,
    client: ArtemisClient,
    by_aiohttp: aiohttp.ClientSession,
    by_httpx: httpx.AsyncClient,
) -> None:
    """The path comes before that of the request; a url that is none is passed over; a dotted name can be a service."""
    http = {"aiohttp": by_aiohttp, "httpx": by_httpx}[name]
    await fleet.serve("a")
    base = (await fleet.url()).removeprefix("http://")
    service = f"{fleet.service_id}-u"
    good = Instance(service_id=service, instance_id="good", url=f"{base}/shop/")
    bad = Instance(service_id=service, instance_id="bad", url="http://:x/")
    async with other.registered(good, bad):
        for _ in range(4):
            assert "a" == await outcome(http, f"http://{service}/a%2Fb?c=1")
    assert {"/shop/a%2Fb?c=1"} == set(fleet.paths)
    dotted = f"com.example.{service}"
    async with other.registered(Instance(service_id=dotted, instance_id="d", url=f"http://{base}")):
        wanted = {"is_service": lambda host: host == dotted}
        async with (
            aiohttp.ClientSession(middlewares=[aiohttp_registry.RegistryMiddleware(client, **wanted)]) as one,
            httpx.AsyncClient(transport=httpx_registry.AsyncRegistryTransport(client, **wanted)) as two,
        ):
            assert "a" == await outcome({"aiohttp": one, "httpx": two}[name], f"http://{dotted}/")


@pytest.mark.parametrize("name", ["aiohttp", "httpx"])
async def test_a_body_that_breaks_off_is_a_failure(
    name: str, fleet: Fleet, client: ArtemisClient, by_aiohttp: aiohttp.ClientSession, by_httpx: httpx.AsyncClient
) -> None:
    """However good the status was; what is reported is known when the body has ended."""
    http = {"aiohttp": by_aiohttp, "httpx": by_httpx}[name]
    await fleet.serve("a")
    await fleet.serve("b")
    await fleet.hang_up("torn", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    balancer = client.balancer(fleet.service_id)
    while not balancer.outliers():
        await outcome(http, f"http://{fleet.service_id}/")
    assert ["torn"] == [one.instance_id for one in balancer.outliers()]


class GrpcServer:
    """A real gRPC server with one method of each kind, which say its name."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.server = grpc.aio.server()
        self.hold = asyncio.Event()

        async def one(request: bytes, _: object) -> bytes:
            return self.name + request

        async def many(request: bytes, _: object) -> AsyncIterator[bytes]:
            for _number in range(2):
                yield self.name + request

        async def taken(requests: AsyncIterator[bytes], _: object) -> bytes:
            return self.name + b"".join([request async for request in requests])

        async def each(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
            async for request in requests:
                yield self.name + request

        async def refuse(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such order")
            raise AssertionError

        handlers = {
            "One": grpc.unary_unary_rpc_method_handler(one),
            "Many": grpc.unary_stream_rpc_method_handler(many),
            "Taken": grpc.stream_unary_rpc_method_handler(taken),
            "Each": grpc.stream_stream_rpc_method_handler(each),
            "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        }
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("orders.Orders", handlers)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")


@pytest.fixture
async def grpc_servers(fleet: Fleet) -> AsyncIterator[dict[str, GrpcServer]]:
    """Start and register two servers."""
    servers = {name: GrpcServer(name) for name in "ab"}
    for name, one in servers.items():
        await one.server.start()
        await fleet.register(name, one.port)
    yield servers
    for one in servers.values():
        await one.server.stop(None)


async def requests(*texts: bytes) -> AsyncIterator[bytes]:
    """Return an iterator for calls that send several messages."""
    for text in texts:
        yield text


async def test_grpc_calls_go_to_live_instances(
    fleet: Fleet, client: ArtemisClient, grpc_servers: dict[str, GrpcServer], asked_names: list[str]
) -> None:
    """Calls of every kind, in turn; those after the death of an instance go to the others; DNS is not asked."""
    async with await grpc_resolver.RegistryChannel.to(client, fleet.service_id) as channel:
        while not all(one.get_state(try_to_connect=True) is grpc_resolver.State.READY for one in _inner(channel)):
            await channel.channel_ready()
            await asyncio.sleep(0)
        one = channel.unary_unary("/orders.Orders/One")
        assert {b"a!", b"b!"} == {await one(b"!") for _ in range(4)}
        many = [message async for message in channel.unary_stream("/orders.Orders/Many")(b"?")]
        assert many in ([b"a?"] * 2, [b"b?"] * 2)
        assert await channel.stream_unary("/orders.Orders/Taken")(requests(b"1", b"2")) in {b"a12", b"b12"}
        each = [message async for message in channel.stream_stream("/orders.Orders/Each")(requests(b"1", b"2"))]
        assert each in ([b"a1", b"a2"], [b"b1", b"b2"])
        with pytest.raises(grpc.aio.AioRpcError, match="no such order"):
            await channel.unary_unary("/orders.Orders/Refuse")(b"")
        dying = next(inner for target, inner in _targets(channel) if target.endswith(f":{grpc_servers['a'].port}"))
        await grpc_servers["a"].server.stop(None)
        while dying.get_state() is grpc_resolver.State.READY:
            await dying.wait_for_state_change(grpc_resolver.State.READY)
        assert [b"b!"] * 6 == [await one(b"!") for _ in range(6)]
    assert fleet.service_id not in asked_names


async def test_grpc_follows_the_registry(
    fleet: Fleet, client: ArtemisClient, other: ArtemisClient, grpc_servers: dict[str, GrpcServer]
) -> None:
    """Instances that come are connected to and called; those that go are not called any more."""
    late = GrpcServer("late")
    await late.server.start()
    async with await grpc_resolver.RegistryChannel.to(client, fleet.service_id) as channel:
        one = channel.unary_unary("/orders.Orders/One")
        instance = Instance(service_id=fleet.service_id, instance_id="late", ip="127.0.0.1", port=late.port)
        async with other.registered(instance):
            while await one(b"") != b"late":
                pass
        targets = {grpc_resolver.address(instance)}
        while targets & {target for target, _ in _targets(channel)}:
            await one(b"")
        assert {b"a", b"b"} >= {await one(b"") for _ in range(6)}
    await late.server.stop(None)


async def test_grpc_without_instances_is_a_clear_error(client: ArtemisClient, service_id: str) -> None:
    """The call raises at once."""
    async with await grpc_resolver.RegistryChannel.to(client, service_id) as channel:
        with pytest.raises(NoInstancesError):
            channel.unary_unary("/orders.Orders/One")(b"")
        assert grpc_resolver.State.TRANSIENT_FAILURE is channel.get_state()


def _inner(channel: grpc.aio.Channel) -> list[grpc.aio.Channel]:
    return [inner for _, inner in _targets(channel)]


def _targets(channel: grpc.aio.Channel) -> list[tuple[str, grpc.aio.Channel]]:
    return list(channel._channels.items())


@pytest.mark.parametrize("name", ["aiohttp_registry", "httpx_registry"])
async def test_they_run_as_they_stand(node_url: str, other: ArtemisClient, name: str) -> None:
    """Beside the example of a service, in its default region and zone."""
    service = await asyncio.create_subprocess_exec(sys.executable, EXAMPLES / "service.py", node_url)
    try:
        async with asyncio.timeout(30):
            await anext(other.watch("greetings"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, EXAMPLES / "integrations" / f"{name}.py", node_url), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert ["hello from http://greetings/hello"] * 3 == output.decode().splitlines()
    finally:
        service.terminate()
        await service.wait()
