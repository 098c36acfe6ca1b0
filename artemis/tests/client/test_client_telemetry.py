"""What telemetry is told of calls, attempts and events of a client of a real node, and what it cannot break."""

import asyncio
import logging
from collections.abc import Mapping
from contextvars import ContextVar

import pytest

from artemis import ArtemisClient, ClientOptions, Instance, RefusedError, UnreachableError
from artemis.client import ClientEvent, ConnectionState, LinkKind, Registered, StateChanged
from artemis.client.calls.passage import PASSAGE, Passage, ext_options
from artemis.client.calls.transport import HttpTransport, Reply, TransportFailure
from artemis.client.telemetry import (
    AttemptEnded,
    CallEnded,
    CallTelemetry,
    ClientReading,
    Readings,
    Telemetry,
)
from artemis.client.telemetry.watching import operation_of


class Recorder(Telemetry):
    """Keeps everything it is told."""

    def __init__(self) -> None:
        self.calls: list[CallEnded] = []
        self.attempts: list[AttemptEnded] = []
        self.events: list[ClientEvent] = []
        self.client: Readings | None = None
        self.closes = 0

    def opened(self, client: Readings) -> None:
        self.client = client

    def closed(self) -> None:
        self.closes += 1

    def call(self, operation: str) -> CallTelemetry | None:
        return None if operation.startswith("cluster.") else RecordedCall(self)

    def event(self, event: ClientEvent) -> None:
        self.events.append(event)

    def reading(self) -> ClientReading:
        """Ask now."""
        assert self.client is not None
        return self.client.now()


class RecordedCall(CallTelemetry):
    """One call."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def attempted(self, attempt: AttemptEnded) -> None:
        self.recorder.attempts.append(attempt)

    def ended(self, call: CallEnded) -> None:
        self.recorder.calls.append(call)


def connect(url: str, quick: ClientOptions, *telemetry: Telemetry, **more: object) -> ArtemisClient:
    """A client with telemetry that asks for no nodes."""
    return ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=quick, telemetry=telemetry, **more)


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("discovery/lookup.json", "discovery.lookup"),
        ("registry/register.json", "registry.register"),
        ("v1/told", "query.told"),
    ],
)
def test_operations_are_named_as_the_nodes_name_them(path: str, operation: str) -> None:
    """The names of docs/protocol.md."""
    assert operation == operation_of(path)


async def test_a_call_and_its_attempt_are_told(node_url: str, quick: ClientOptions) -> None:
    """Who was asked, over what, how it ended and that it took time."""
    recorder = Recorder()
    async with connect(node_url, quick, recorder) as client:
        await client.api.node_status()
        (attempt,), (call,) = recorder.attempts, recorder.calls
        assert (node_url, "http", "ok", "", "") == (
            attempt.node,
            attempt.via,
            attempt.outcome,
            attempt.reason,
            attempt.error_code,
        )
        assert ("status.node", "ok", 1, None) == (call.operation, call.outcome, call.attempts, call.error)
        assert 0 <= attempt.seconds <= call.seconds
    assert 1 == recorder.closes


async def test_a_refusal_is_told_with_its_code(node_url: str, quick: ClientOptions) -> None:
    """The call is refused, as its only attempt."""
    recorder = Recorder()
    async with connect(node_url, quick, recorder) as client:
        with pytest.raises(RefusedError):
            await client.api.lookup(["orders"], region_id="elsewhere")
    assert [("refused", "no-permission")] == [(each.outcome, each.error_code) for each in recorder.attempts]
    assert ["refused"] == [each.outcome for each in recorder.calls]


async def test_an_unreachable_registry_is_told_with_every_attempt(quick: ClientOptions) -> None:
    """Each attempt says why, the call that nobody answered."""
    recorder = Recorder()
    async with connect("http://127.0.0.1:1", quick, recorder) as client:
        with pytest.raises(UnreachableError) as raised:
            await client.api.node_status()
    assert ["unanswered"] * 3 == [each.outcome for each in recorder.attempts]
    assert all(each.reason for each in recorder.attempts)
    (call,) = recorder.calls
    assert ("unreachable", 3, raised.value) == (call.outcome, call.attempts, call.error)


class Slow(HttpTransport):
    """Never answers, and says when it was asked and with what."""

    def __init__(self) -> None:
        super().__init__(max_answer_bytes=1000)
        self.asked = asyncio.Event()
        self.headers: Mapping[str, str] | None = None

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as Transport
        passage = PASSAGE.get()
        self.headers = None if passage is None else passage.headers
        self.asked.set()
        await asyncio.sleep(60)
        raise TransportFailure("too late")


async def test_a_cancelled_call_is_told_as_such(quick: ClientOptions) -> None:
    """Its attempt too."""
    recorder, slow = Recorder(), Slow()
    async with connect("http://127.0.0.1:1", quick, recorder, transport=slow) as client:
        call = asyncio.create_task(client.api.node_status())
        await slow.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert ["cancelled"] == [each.outcome for each in recorder.attempts]
    assert ["cancelled"] == [each.outcome for each in recorder.calls]


class Carrying(Telemetry):
    """Gives calls something to carry."""

    def call(self, operation: str) -> CallTelemetry:
        class One(CallTelemetry):
            def attempt(self, node: str) -> Mapping[str, str]:
                return {"traceparent": operation}

        return One()


async def test_what_an_attempt_carries_is_there_for_the_transport_and_gone_afterwards(quick: ClientOptions) -> None:
    """It is the sum of what all telemetry says."""
    slow = Slow()
    async with connect("http://127.0.0.1:1", quick, Recorder(), Carrying(), transport=slow) as client:
        call = asyncio.create_task(client.api.node_status())
        await slow.asked.wait()
        assert {"traceparent": "status.node"} == slow.headers
        assert PASSAGE.get() is None
        call.cancel()
        await asyncio.wait([call])


def test_only_what_fits_travels_in_an_ext_header() -> None:
    """An option cannot hold a semicolon or other than ASCII; nothing at all is an empty header."""
    assert b"" == ext_options(None) == ext_options(Passage({}))
    headers = {"traceparent": "00-ab-cd-01", "tracestate": "a=1,b=2", "baggage": "a=1;b", "other": "é"}
    assert b"traceparent=00-ab-cd-01;tracestate=a=1,b=2" == ext_options(Passage(headers))


async def test_calls_over_a_link_are_told_as_such(node_url: str, quick: ClientOptions, service_id: str) -> None:
    """Once there is one, with its kind, and the trace context does not keep the node from understanding."""
    recorder = Recorder()
    async with connect(node_url, quick, recorder, Carrying()) as client:
        await client.service(service_id)
        while client.link is not LinkKind.MSGTRANS:
            await anext(client.events())
        await client.api.node_status()
        assert ("msgtrans", "ok") == (recorder.attempts[-1].via, recorder.attempts[-1].outcome)


class Broken(Telemetry):
    """Raises wherever it can."""

    def opened(self, client: Readings) -> None:
        raise ValueError("opened")

    def closed(self) -> None:
        raise ValueError("closed")

    def event(self, event: ClientEvent) -> None:
        raise ValueError("event")

    def call(self, operation: str) -> CallTelemetry:
        class One(CallTelemetry):
            def attempt(self, node: str) -> Mapping[str, str]:
                raise ValueError(node)

            def attempted(self, attempt: AttemptEnded) -> None:
                raise ValueError(attempt)

            def ended(self, call: CallEnded) -> None:
                raise ValueError(call)

        return One()


async def test_telemetry_that_raises_disturbs_nobody(
    node_url: str, quick: ClientOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """The call succeeds, the others are told, and the log says it once for each kind."""
    recorder = Recorder()
    async with connect(node_url, quick, Broken(), recorder) as client:
        await client.api.node_status()
        await client.api.node_status()
    assert ["ok", "ok"] == [each.outcome for each in recorder.calls]
    records = [each for each in caplog.records if getattr(each, "action", "") == "telemetry-failed"]
    assert [logging.ERROR] * 2 == [each.levelno for each in records]


GARBAGE: list[object] = [
    5,
    "abc",
    {"traceparent": 5},
    {"baggage": None},
    {5: "x"},
    {"x": "a\r\nevil: 1"},
    {"baggage": "ü"},
    {"baggage": "x" * 200_000},
    {"content-length": "1"},
    {"a b": "c"},
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage)[:20])
async def test_what_cannot_go_with_a_request_is_left_out(
    node_url: str, quick: ClientOptions, caplog: pytest.LogCaptureFixture, garbage: Mapping[str, str]
) -> None:
    """The call succeeds, and the log says it once."""

    class Littering(Telemetry):
        def call(self, operation: str) -> CallTelemetry:
            class One(CallTelemetry):
                def attempt(self, node: str) -> Mapping[str, str]:
                    return garbage

            return One()

    async with connect(node_url, quick, Littering()) as client:
        await client.api.node_status()
        await client.api.node_status()
    assert 1 == sum(getattr(each, "action", "") == "telemetry-failed" for each in caplog.records)


async def test_telemetry_that_cancels_or_is_async_or_returns_no_call_disturbs_nobody(
    node_url: str, quick: ClientOptions, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the call, nor those that listen as well."""

    class Cancelling(Telemetry):
        def event(self, event: ClientEvent) -> None:
            raise asyncio.CancelledError

    class Async(Telemetry):
        async def event(self, event: ClientEvent) -> None:  # type: ignore[override]
            pass

    class NoCall(Telemetry):
        def call(self, operation: str) -> CallTelemetry:
            return object()  # type: ignore[return-value]

    recorder = Recorder()
    async with connect(node_url, quick, Cancelling(), Async(), NoCall(), recorder) as client:
        await client.api.node_status()
    assert ["ok"] == [each.outcome for each in recorder.calls]
    assert recorder.events
    assert 3 == sum(getattr(each, "action", "") == "telemetry-failed" for each in caplog.records)


def test_what_is_no_telemetry_is_refused_at_once(quick: ClientOptions) -> None:
    """With what it lacks."""

    class Half:
        def event(self, event: ClientEvent) -> None:
            pass

        def opened(self, client: Readings) -> None:
            pass

    with pytest.raises(TypeError, match="Half has no method closed and no call"):
        ArtemisClient(servers=["http://127.0.0.1:1"], options=quick, telemetry=Half())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not a class: Recorder"):
        ArtemisClient(servers=["http://127.0.0.1:1"], options=quick, telemetry=[Recorder])  # type: ignore[list-item]


async def test_events_are_told_without_a_listener(node_url: str, quick: ClientOptions, service_id: str) -> None:
    """In the order in which they happened."""
    recorder = Recorder()
    async with (
        connect(node_url, quick, recorder) as client,
        client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)),
    ):
        kinds = [type(event) for event in recorder.events]
        assert StateChanged is kinds[0]
        assert Registered in kinds


async def test_numbers_can_be_read_at_any_time_and_from_any_thread(
    node_url: str, quick: ClientOptions, service_id: str
) -> None:
    """What the client is, what it follows and what it holds; after its end what it was last."""
    recorder = Recorder()
    async with connect(node_url, quick, recorder) as client:
        before = recorder.reading()
        assert (ConnectionState.SUSPENDED, LinkKind.POLL, 0, None, {}) == (
            before.state,
            before.link,
            before.services,
            before.oldest_age,
            before.leases,
        )
        async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)):
            await client.service(service_id)
            reading = await asyncio.to_thread(recorder.reading)
            assert (ConnectionState.CONNECTED, node_url, 1, {"held": 1}) == (
                reading.state,
                reading.node,
                reading.services,
                reading.leases,
            )
            assert reading.oldest_age is not None
            assert (0, 0, 0) == (reading.held, reading.dropped, reading.missed)


def test_numbers_after_the_loop_has_ended_are_the_last_ones() -> None:
    """Asking does not wait for what never comes."""

    async def read() -> Readings:
        return Readings(lambda: ClientReading(state=ConnectionState.LOST, node="n", link=LinkKind.POLL))

    async def elsewhere(readings: Readings) -> ClientReading:
        return await asyncio.to_thread(readings.now)

    readings = asyncio.run(read())
    assert ConnectionState.LOST is asyncio.run(elsewhere(readings)).state


mark: ContextVar[str] = ContextVar("mark", default="")


async def test_what_runs_in_the_background_is_no_part_of_the_request_that_began_it(
    node_url: str, quick: ClientOptions, service_id: str
) -> None:
    """Heartbeats and refreshes have a context of their own, the calls of a request have its."""
    seen: dict[str, set[str]] = {}

    beaten = asyncio.Event()

    class Marked(Telemetry):
        def call(self, operation: str) -> None:
            seen.setdefault(operation, set()).add(mark.get())
            if operation == "registry.heartbeat":
                beaten.set()

    async with connect(node_url, quick, Marked()) as client:
        mark.set("request")
        async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)):
            await beaten.wait()
    assert ({"request"}, {""}) == (seen["registry.register"], seen["registry.heartbeat"])


async def test_without_telemetry_nothing_is_carried(quick: ClientOptions) -> None:
    """A call has no passage then."""
    slow = Slow()
    async with connect("http://127.0.0.1:1", quick, transport=slow) as client:
        call = asyncio.create_task(client.api.node_status())
        await slow.asked.wait()
        assert slow.headers is None
        call.cancel()
        await asyncio.wait([call])
