"""Spans of the calls of a client, made and read with OpenTelemetry's own SDK, and their context at the node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from artemis import ArtemisClient, ClientOptions, RefusedError, UnreachableError
from artemis.client import LinkKind
from artemis.client.telemetry.opentelemetry import OpenTelemetryTelemetry
from msgtrans import Context, TransportServer


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where spans end."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    """The application's."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def connect(url: str, options: ClientOptions, provider: TracerProvider, *without: str) -> ArtemisClient:
    """A client that makes spans of what the test calls alone."""
    telemetry = OpenTelemetryTelemetry(provider, without=without)
    return ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options, telemetry=telemetry)


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The finished spans of one name."""
    return [span for span in exporter.get_finished_spans() if span.name == f"artemis.client.{name}"]


async def test_a_call_is_a_span_of_the_request_that_made_it(
    node_url: str, quick: ClientOptions, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """With a child for its attempt that says who was asked, and over what."""
    async with connect(node_url, quick, provider) as client:
        with provider.get_tracer("application").start_as_current_span("request") as request:
            await client.api.node_status()
    (call,), (attempt,) = named(exporter, "status.node"), named(exporter, "attempt")
    assert request.get_span_context().span_id == call.parent.span_id
    assert call.context.span_id == attempt.parent.span_id
    assert SpanKind.CLIENT is call.kind is attempt.kind
    assert StatusCode.UNSET is call.status.status_code is attempt.status.status_code
    assert {"rpc.system": "artemis", "rpc.method": "status.node", "artemis.attempts": 1} == dict(call.attributes)
    host, _, port = node_url.removeprefix("http://").partition(":")
    assert {
        "rpc.system": "artemis",
        "rpc.method": "status.node",
        "artemis.node": node_url,
        "server.address": host,
        "server.port": int(port),
        "artemis.via": "http",
    } == dict(attempt.attributes)


async def test_what_goes_wrong_is_on_the_spans(
    node_url: str, quick: ClientOptions, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """A refusal with its code; silence with each attempt and its reason."""
    async with connect(node_url, quick, provider) as client:
        with pytest.raises(RefusedError):
            await client.api.lookup(["orders"], region_id="elsewhere")
    for span in exporter.get_finished_spans():
        assert ("no-permission", StatusCode.ERROR) == (span.attributes["error.type"], span.status.status_code)
    exporter.clear()
    async with connect("http://127.0.0.1:1", quick, provider) as client:
        with pytest.raises(UnreachableError):
            await client.api.node_status()
    (call,) = named(exporter, "status.node")
    assert ("unreachable", 3) == (call.attributes["error.type"], call.attributes["artemis.attempts"])
    attempts = named(exporter, "attempt")
    assert ["unanswered"] * 3 == [each.attributes["error.type"] for each in attempts]
    assert all(each.status.description for each in attempts)


async def test_operations_can_be_left_out(
    node_url: str, quick: ClientOptions, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """No span of the call nor of its attempts."""
    async with connect(node_url, quick, provider, "status.node") as client:
        await client.api.node_status()
        await client.api.services()
    assert ([], 1, 1) == (
        named(exporter, "status.node"),
        len(named(exporter, "discovery.services")),
        len(named(exporter, "attempt")),
    )


ANSWER = b'{"nodeStatus":{"status":"up"},"responseStatus":{"errorCode":"success","message":"","status":"success"}}'


@asynccontextmanager
async def listening(application: web.Application) -> AsyncIterator[str]:
    """Serve it; gives the URL."""
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def parent_of(span: ReadableSpan) -> str:
    """What `traceparent` says of a span."""
    context = span.context
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"


async def test_the_context_reaches_a_node_over_http(
    quick: ClientOptions, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """As the header of W3C, naming the attempt."""
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("traceparent"))
        return web.Response(body=ANSWER)

    application = web.Application()
    application.router.add_post("/api/status/node.json", answer)
    async with listening(application) as url, connect(url, quick, provider) as client:
        await client.api.node_status()
    assert [parent_of(named(exporter, "attempt")[0])] == seen


async def test_the_context_reaches_a_node_over_msgtrans(
    quick: ClientOptions, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    """As an option of the ext header, naming the attempt."""
    seen: list[bytes] = []

    def answer(context: Context) -> bytes:
        if context.biz_type == 32:
            seen.append(context.ext_header)
        return ANSWER

    server = TransportServer("tcp://127.0.0.1:0")
    server.on_request(answer)
    async with server:
        _, port = server.addresses[0]
        async with connect(f"http://127.0.0.1:{port}", quick, provider, "discovery.lookup") as client:
            events = client.events()
            client._live.want()
            while client.link is not LinkKind.MSGTRANS:
                await asyncio.wait_for(anext(events), 30)
            await client.api.node_status()
    attempt = named(exporter, "attempt")[-1]
    assert "msgtrans" == attempt.attributes["artemis.via"]
    assert [f"traceparent={parent_of(attempt)}".encode()] == seen
