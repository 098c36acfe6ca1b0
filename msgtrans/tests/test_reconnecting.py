"""The client that reconnects, against real servers that stop, restart, drop, drain and fall silent."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from link_proxy import LinkProxy, link_proxy

from msgtrans import (
    AuthenticationError,
    Closed,
    CloseReason,
    CodecOptions,
    ConfigurationError,
    ConnectError,
    Context,
    Established,
    LocalProtocolError,
    ResourceError,
    Session,
    SessionClosedError,
    SessionConfig,
    TcpClientConfig,
    TransportServer,
    TransportTimeoutError,
)
from msgtrans.adapters.registry import TransportRegistry
from msgtrans.adapters.tcp import TcpTransport
from msgtrans.config import (
    CircuitBreakerConfig,
    LoadBalancerConfig,
    Pacing,
    ReconnectingConfig,
    RetryConfig,
)
from msgtrans.middleware import AuthenticationMiddleware, TokenMiddleware, fixed_tokens
from msgtrans.middleware.base import Middleware
from msgtrans.reconnecting import ReconnectingClient
from msgtrans.resilience.states import ClientState, StateChanged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Until

LIMIT = 30.0
SOON = RetryConfig(max_retries=None, retry_interval=0.01, max_retry_interval=0.03)
SECONDS = r"timeout: is .*; use (0 or )?a positive, finite number of seconds"
NOWHERE = "a..b:1"  # a name that cannot be one: retrying cannot help


class Place:
    """A server that can be stopped, and started again on the same port. seen: messages; asked: requests."""

    def __init__(self, name: str = "") -> None:
        self.name = name.encode()
        self.uri = "tcp://127.0.0.1:0"
        self.seen: list[bytes] = []
        self.asked: list[bytes] = []
        self.server: TransportServer
        self.drop_first = 0  # requests that end their session instead of being answered

    async def start(self) -> None:
        self.server = TransportServer(tcp=self.uri, session=SessionConfig(graceful_timeout=0.3))
        self.server.on_request(self.answer)
        self.server.on_message(lambda context: self.seen.append(context.payload))
        await self.server.start()
        self.uri = self.server.uris[0]

    def answer(self, context: Context) -> bytes | None:
        self.asked.append(context.payload)
        if self.drop_first:
            self.drop_first -= 1
            context.session.abort()
            return None
        return self.name or context.payload

    async def kill(self) -> None:
        await self.server.stop(graceful=False)


@asynccontextmanager
async def places(count: int) -> AsyncIterator[list[Place]]:
    made = [Place(f"server {number}") for number in range(count)]
    for place in made:
        await place.start()
    try:
        yield made
    finally:
        for place in made:
            await place.kill()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    await place.start()
    yield place
    await place.kill()


@pytest.fixture
async def proxy(place: Place) -> AsyncIterator[LinkProxy]:
    async with link_proxy(place.server.tcp_address.port) as proxy:
        yield proxy


async def in_state(client: ReconnectingClient, state: ClientState) -> StateChanged:
    async with asyncio.timeout(LIMIT):
        async for change in client.states():
            if change.state is state:
                return change
    raise AssertionError("closed")


async def unused_uri() -> str:
    async with TransportServer(tcp="127.0.0.1:0") as server:
        return server.uris[0]


async def test_requests_and_messages(place: Place) -> None:
    """While connected it does what a TransportClient does."""
    async with ReconnectingClient(place.uri) as client:
        assert client.is_connected
        assert (await client.request(b"hello", biz_type=7)).payload == b"hello"
        assert [1, 2] == [await client.send(b"a"), await client.send(b"b")]
        client.send_nowait(b"c")
        await client.request(b"")
        assert [b"a", b"b", b"c"] == place.seen
        assert client.state is ClientState.CONNECTED
    assert client.state is ClientState.CLOSED
    assert client.stats().connections_lost == 0


async def test_calls_outlive_a_restart(place: Place) -> None:
    """Requests and messages made while the server is away are done when it is back, in order."""
    async with ReconnectingClient(place.uri, retry=SOON) as client:
        await place.kill()
        await in_state(client, ClientState.SUSPENDED)
        calls = [asyncio.create_task(client.send(b"%d" % number)) for number in range(20)]
        asked = asyncio.create_task(client.request(b"?"))
        await asyncio.sleep(0)
        assert client.stats().waiting_calls == 21
        await place.start()
        assert (await asked).payload == b"?"
        assert list(range(1, 21)) == await asyncio.gather(*calls)
        await client.request(b"")
        assert [b"%d" % number for number in range(20)] == place.seen
        assert client.stats().connections_lost == 1
        assert client.stats().waiting_calls == 0


async def test_handlers_and_events_hold_for_all_sessions(place: Place, proxy: LinkProxy, until: Until) -> None:
    """Handlers are set once; one event stream shows the sessions one after the other, and the changes of state."""
    client = ReconnectingClient(proxy.uri, retry=SOON)
    client.on_request(lambda context: b"client says " + context.payload)
    events = client.events()
    async with client:
        for _ in range(2):
            await until(lambda: place.server.sessions and client.is_connected)
            (session,) = place.server.sessions.values()
            assert (await session.request(b"hi")).payload == b"client says hi"
            proxy.cut()
            await until(lambda: not client.is_connected)
        await in_state(client, ClientState.CONNECTED)
    seen = [event async for event in events]
    established = [event.session.id for event in seen if isinstance(event, Established)]
    closed = [event.session.id for event in seen if isinstance(event, Closed)]
    assert [1, 2, 3] == established == closed
    states = [event.state for event in seen if isinstance(event, StateChanged)]
    assert [ClientState.CONNECTING, ClientState.CONNECTED, ClientState.SUSPENDED] == states[:3]
    assert states[-1] is ClientState.CLOSED


async def test_a_change_of_state_says_what_is_going_on(place: Place, until: Until) -> None:
    """SUSPENDED names address, reason and the time of the next attempt, and is told again after each failed one."""
    retry = RetryConfig(max_retries=None, retry_interval=0.02, max_retry_interval=0.02)
    async with ReconnectingClient(place.uri, retry=retry, circuit_breaker=None) as client:
        stream = client.states()
        assert (await anext(stream)).state is ClientState.CONNECTED
        await place.kill()
        lost = await anext(stream)
        assert (ClientState.SUSPENDED, place.uri) == (lost.state, lost.target)
        assert lost.next_attempt is not None
        assert 0 <= lost.next_attempt <= 0.02
        failed = await anext(stream)
        assert isinstance(failed.error, ConnectError)
        assert "nothing listens there" in failed.reason
        await until(lambda: client.targets[0].failures >= 3)
        (status,) = client.targets
        assert (None, 0) == (status.breaker, status.connections)
        assert client.present.error is not None
        assert client.present.error.attempts >= 3
    assert [ClientState.CLOSED] == [change.state async for change in stream]


async def test_a_request_that_was_written_is_not_repeated(place: Place) -> None:
    """It fails at once, saying that the server may have executed it."""
    place.drop_first = 1
    async with ReconnectingClient(place.uri, retry=SOON) as client:
        with pytest.raises(SessionClosedError, match="idempotent") as caught:
            await client.request(b"once")
        assert caught.value.written
        assert [b"once"] == place.asked
        assert (await client.request(b"again")).payload == b"again"


@pytest.mark.parametrize("by", ["call", "option"])
async def test_an_idempotent_request_is_repeated(place: Place, by: str) -> None:
    """It is sent again on the next connection, and counted."""
    place.drop_first = 2
    config = ReconnectingConfig(idempotent=by == "option")
    async with ReconnectingClient(place.uri, retry=SOON, options=config) as client:
        assert (await client.request(b"x", idempotent=True if by == "call" else None)).payload == b"x"
        assert [b"x"] * 3 == place.asked
        assert client.stats().resubmitted_requests == 2


async def test_repeating_has_an_end(place: Place) -> None:
    """After `max_resubmissions` an idempotent request fails too."""
    place.drop_first = 10
    config = ReconnectingConfig(max_resubmissions=2)
    async with ReconnectingClient(place.uri, retry=SOON, options=config, circuit_breaker=None) as client:
        with pytest.raises(SessionClosedError, match="3 times"):
            await client.request(b"x", idempotent=True)
        assert len(place.asked) == 3


async def test_the_timeout_covers_everything(place: Place) -> None:
    """Waiting for a connection counts, and so does sending again."""
    async with ReconnectingClient(place.uri, retry=SOON) as client:
        await place.kill()
        await in_state(client, ClientState.SUSPENDED)
        with pytest.raises(TransportTimeoutError, match=r"waiting for a connection took longer than 0.03 s"):
            await client.request(b"", timeout=0.03)
        with pytest.raises(TransportTimeoutError, match=r"waiting for a connection took longer than 0.02 s"):
            await client.send(b"", timeout=0.02)
        assert client.stats().waiting_timeouts == 2
        asked = asyncio.create_task(client.request(b"unanswered", timeout=0.3, idempotent=True))
        place.drop_first = 1
        await place.start()
        place.server.on_request(lambda context: place.drop_first and place.answer(context))
        with pytest.raises(TransportTimeoutError, match=r"took longer than 0.3 s"):
            await asked


@pytest.mark.parametrize("wrong", ["x", True, -1, 0])
async def test_wrong_timeouts_of_calls(place: Place, wrong: float) -> None:
    """A timeout that is none is refused while there is a connection, too."""
    async with ReconnectingClient(place.uri) as client:
        for call in (client.request(b"x", timeout=wrong), client.send(b"x", timeout=wrong)):
            with pytest.raises(ConfigurationError, match=SECONDS):
                await call
        await client.request(b"last")
    assert ([], [b"last"]) == (place.seen, place.asked)


async def test_failing_fast(place: Place) -> None:
    """With `wait=False` calls fail at once while there is no connection, and nothing was sent."""
    for config, wait in ((ReconnectingConfig(wait=False), None), (ReconnectingConfig(), False)):
        async with ReconnectingClient(place.uri, retry=SOON, options=config) as client:
            assert (await client.request(b"x", wait=wait)).payload == b"x"
            await place.kill()
            await in_state(client, ClientState.SUSPENDED)
            for call in (client.request(b"", wait=wait), client.send(b"", wait=wait)):
                with pytest.raises(SessionClosedError, match="suspended") as caught:
                    await call
                assert not caught.value.written
            with pytest.raises(SessionClosedError):
                client.send_nowait(b"")
            await place.start()


async def test_waiting_is_bounded(place: Place) -> None:
    """Beyond `max_waiting` calls or `max_waiting_bytes` a call fails at once; cancelled calls make room."""
    config = ReconnectingConfig(max_waiting=2, max_waiting_bytes=1000)
    async with ReconnectingClient(place.uri, retry=SOON, options=config) as client:
        await place.kill()
        await in_state(client, ClientState.SUSPENDED)
        with pytest.raises(ResourceError, match="bytes waiting"):
            await client.send(bytes(1000))
        waiting = [asyncio.create_task(client.send(b"%d" % number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceError, match="calls waiting"):
            await client.request(b"")
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        asked = asyncio.create_task(client.request(b"?"))
        await place.start()
        await asyncio.gather(asked, waiting[1])
        await client.request(b"")
        assert [b"1"] == place.seen
        assert client.stats().waiting_refused == 2


async def test_messages_that_never_left_are_sent_on_the_next_connection(
    place: Place, proxy: LinkProxy, until: Until
) -> None:
    """What `send` accepted and the peer did not take yet is written once, in order, when the connection is lost."""
    place.server.on_message(lambda context: place.seen.append(context.payload[:8]))
    session = SessionConfig(high_water=1_000_000)
    async with ReconnectingClient(proxy.uri, retry=SOON, session=session) as client:
        proxy.swallowing = True
        (connection,) = client.sessions.values()
        block = asyncio.Event()
        proxy.delay = 60.0
        number = 0
        while connection.stats().outbound_bytes < 900_000 and number < 2000:  # until the system takes no more
            await client.send(b"%08d" % number + bytes(20_000))
            number += 1
            await asyncio.sleep(0)
        client.send_nowait(b"%08d" % number)
        block.set()
        proxy.swallowing, proxy.delay = False, 0.0
        proxy.cut()
        await until(lambda: client.stats().connections_total == 2)
        await client.request(b"barrier")
        again = client.stats().resubmitted_messages
        assert again > 1
        assert [b"%08d" % n for n in range(number + 1 - again, number + 1)] == place.seen


async def test_a_server_that_drains_is_left_for_another(until: Until) -> None:
    """After a graceful close by the server the client turns to the other address, although it pauses for none."""
    async with places(2) as (first, second):
        client = ReconnectingClient([first.uri, second.uri], retry=SOON, chance=lambda: 0.0)
        async with client:
            assert (await client.request(b"")).payload == b"server 0"
            await first.server.close_all()
            assert (await client.request(b"")).payload == b"server 1"
            await second.server.close_all()
            assert (await client.request(b"")).payload == b"server 0"


async def test_an_address_that_is_down_is_passed_over(until: Until) -> None:
    """With one server gone the other serves; the breaker of the first opens."""
    async with places(1) as (good,):
        bad = await unused_uri()
        breaker = CircuitBreakerConfig(failure_threshold=2)
        client = ReconnectingClient(
            [bad, good.uri], retry=SOON, circuit_breaker=breaker, options=ReconnectingConfig(connections=2)
        )
        async with client:
            for _ in range(20):
                assert (await client.request(b"")).payload == b"server 0"
            await until(lambda: client.stats().connections_open == 2)
            statuses = {status.uri: status for status in client.targets}
            assert statuses[good.uri].connections == 2
            assert client.stats().connect_failures == statuses[bad].failures


@pytest.mark.parametrize("policy", ["round_robin", "random", "least_connections", "weighted_round_robin"])
async def test_requests_are_spread_over_connections(policy: str, until: Until) -> None:
    """Three connections lead to three servers, and requests share them as the policy says."""
    weights = (2, 1, 1) if policy == "weighted_round_robin" else ()
    async with places(3) as servers:
        client = ReconnectingClient(
            [place.uri for place in servers],
            balancing=LoadBalancerConfig(policy=policy, weights=weights) if weights else policy,
            options=ReconnectingConfig(connections=3),
            retry=SOON,
        )
        async with client:
            await until(lambda: len(client.sessions) == 3)
            await asyncio.gather(*(client.request(b"") for _ in range(40)))
            shares = [len(place.asked) for place in servers]
            connections = [len(place.server.sessions) for place in servers]
        match policy:
            case "round_robin":
                assert ([13, 13, 14], [1, 1, 1]) == (sorted(shares), connections)
            case "least_connections":
                assert ([13, 13, 14], [1, 1, 1]) == (sorted(shares), connections)
            case _:
                assert (40, 3) == (sum(shares), sum(connections))


async def test_one_of_several_connections_is_lost(until: Until) -> None:
    """The state stays CONNECTED, calls use the others, and the lost one comes back."""
    async with places(2) as servers:
        options = ReconnectingConfig(connections=2)
        async with ReconnectingClient([place.uri for place in servers], options=options, retry=SOON) as client:
            await until(lambda: all(place.server.sessions for place in servers))
            await servers[0].kill()
            await until(lambda: len(client.sessions) == 1 or servers[1].server.sessions)
            assert client.state is ClientState.CONNECTED
            assert (await client.request(b"", idempotent=True)).payload == b"server 1"
            await until(lambda: len(client.sessions) == 2)


async def test_hopeless_addresses_do_not_disturb_the_others() -> None:
    """An address that retrying cannot help is given up, with its error in sight; the other serves."""
    async with places(1) as (good,):
        client = ReconnectingClient([NOWHERE, good.uri], retry=SOON, chance=lambda: 0.0)
        async with client:
            assert (await client.request(b"")).payload == b"server 0"
            assert [False, True] == [status.given_up is None for status in client.targets]


async def test_when_all_is_hopeless_the_client_is_closed() -> None:
    """Waiting calls and `connect` fail with that error, and so do calls to come; `connect` begins anew."""
    client = ReconnectingClient([NOWHERE, "c..d:1"], retry=SOON)
    client.start()
    asked = asyncio.create_task(client.request(b""))
    with pytest.raises(ConnectError, match="cannot be one"):
        await client.connect()
    for call in (asked, client.request(b""), client.send(b"")):
        with pytest.raises(ConnectError, match="no address is left") as caught:
            await call
        assert "cannot be one" in str(caught.value.__cause__)
        assert not caught.value.retriable
    assert (ClientState.CLOSED, True) == (client.state, client.present.error is not None)
    with pytest.raises(ConnectError, match="cannot be one"):
        await client.connect()
    await client.close()


async def test_a_pause_alone_limits_no_attempts(place: Place, until: Until) -> None:
    """With a `retry_interval` and no `max_retries` the client outlives any number of failures."""
    quick = RetryConfig(retry_interval=0.001, max_retry_interval=0.002)
    async with ReconnectingClient(place.uri, retry=quick) as client:
        await client.request(b"")
        await place.kill()
        await until(lambda: client.stats().connect_failures >= 8)
        await place.start()
        assert (await client.request(b"back")).payload == b"back"


async def test_attempts_may_be_limited(place: Place) -> None:
    """With `max_retries` the client gives up after so many failures in a row; Closed stays the last of its session."""
    events_of = []
    client = ReconnectingClient(place.uri, retry=SOON.replace(max_retries=2))
    events = client.events()
    async with client:
        await client.request(b"")
        await place.kill()
        await in_state(client, ClientState.CLOSED)
        assert client.stats().connect_failures == 2
        events_of = [type(event).__name__ for event in [event async for event in events]]
        with pytest.raises(ConnectError, match="tried 3 times"):
            await client.connect()
        await place.start()
        await client.connect()
        assert (await client.request(b"back")).payload == b"back"
    assert events_of.index("Established") < events_of.index("Closed")


async def test_silence_opens_the_breaker_and_drops_the_connection(place: Place, proxy: LinkProxy) -> None:
    """With `count_timeouts` a peer that vanished is found out by requests, and the next connection leads elsewhere."""
    async with places(1) as (other,):
        breaker = CircuitBreakerConfig(failure_threshold=2, count_timeouts=True)
        targets = [proxy.uri, other.uri]
        async with ReconnectingClient(targets, retry=SOON, circuit_breaker=breaker, chance=lambda: 0.0) as client:
            events = client.events()
            assert (await client.request(b"hi")).payload == b"hi"
            proxy.swallowing = True
            for _ in range(2):
                with pytest.raises(TransportTimeoutError):
                    await client.request(b"?", timeout=0.03)
            assert (await client.request(b"hi")).payload == b"server 0"
            assert ["open", "closed"] == [status.breaker for status in client.targets]
            assert client.stats().breaker_openings == 1
            closed = [event async for event in _until_closed(events)][-1]
            assert closed.reason is CloseReason.TIMEOUT


async def _until_closed(events: AsyncIterator[object]) -> AsyncIterator[Closed]:
    async for event in events:
        if isinstance(event, Closed):
            yield event
            return


async def test_a_server_that_accepts_and_drops_is_not_hammered(until: Until) -> None:
    """Connections that end before they were of use do not reset the pauses, and open the breaker."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    dropping = await asyncio.start_server(drop, "127.0.0.1", 0)
    host, port = dropping.sockets[0].getsockname()
    client = ReconnectingClient(f"tcp://{host}:{port}", retry=SOON, circuit_breaker=CircuitBreakerConfig())
    client.start()
    await until(lambda: client.targets[0].breaker == "open")
    assert client.targets[0].failures >= 5
    await client.close()
    dropping.close()
    await dropping.wait_closed()


async def test_a_wrong_token_is_not_hammered_with(until: Until) -> None:
    """A server that ends each session without a word counts as failing, and the error tells what is known."""
    guard = AuthenticationMiddleware(fixed_tokens({"good": "alice"}))
    async with TransportServer(tcp="127.0.0.1:0", middleware=[guard]) as server:
        client = ReconnectingClient(server.uris[0], retry=SOON, middleware=[TokenMiddleware("bad")])
        client.start()
        change = await in_state(client, ClientState.SUSPENDED)
        assert isinstance(change.error, SessionClosedError)
        assert "before anything arrived on it; it may be full or stopping, or refuse us" in str(change.error)
        await until(lambda: client.targets[0].breaker == "open")
        assert 5 <= client.targets[0].failures
        assert server.stats().authentication_failures >= client.stats().connections_lost >= 5
        await client.close()


async def test_a_wrong_token_over_websocket_is_final() -> None:
    """There the server says why it ends the session, so its address is given up, with that as the error."""
    guard = AuthenticationMiddleware(fixed_tokens({"good": "alice"}))
    async with TransportServer(ws="127.0.0.1:0", middleware=[guard]) as server:
        client = ReconnectingClient(server.uris[0], retry=SOON, middleware=[TokenMiddleware("bad")])
        client.start()
        change = await in_state(client, ClientState.CLOSED)
        assert isinstance(change.error, SessionClosedError)
        assert (False, True) == (change.error.retriable, "code 1008" in str(change.error))
        assert server.stats().authentication_failures == 1
        await client.close()


async def test_a_refusal_is_final(place: Place) -> None:
    """A connection that ends with an error that retrying cannot help gives its address up, however long it served."""
    async with ReconnectingClient(place.uri, retry=SOON) as client:
        assert (await client.request(b"hi")).payload == b"hi"
        session = next(iter(client.sessions.values()))
        session.dismiss(AuthenticationError())
        change = await in_state(client, ClientState.CLOSED)
        assert isinstance(change.error, AuthenticationError)
        with pytest.raises(ConnectError, match="no address is left to try: The peer is not known here"):
            await client.request(b"")


async def test_trouble_is_logged_once(place: Place, caplog: pytest.LogCaptureFixture, until: Until) -> None:
    """The first failure and the loss of the last connection are warnings that say what comes next; the rest is INFO."""
    caplog.set_level(logging.INFO, "msgtrans.reconnecting")

    def said(level: int) -> list[str]:
        return [r.getMessage() for r in caplog.records if r.name == "msgtrans.reconnecting" and r.levelno == level]

    await place.kill()
    client = ReconnectingClient(place.uri, retry=SOON)
    client.start()
    await until(lambda: client.stats().connect_failures >= 4)
    (first,) = said(logging.WARNING)
    assert re.fullmatch(rf"cannot connect: .*{place.uri}.*; next attempt in 0\.\d s", first)
    await place.start()
    await client.request(b"")
    assert f"connected to {place.uri}" in said(logging.INFO)
    await place.kill()
    await until(lambda: client.stats().connect_failures >= 8)
    _, second = said(logging.WARNING)
    assert re.match(rf"lost .*{place.uri}", second)
    await client.close()


async def test_trouble_of_one_address_is_no_warning(
    place: Place, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    """While there is a connection, others that fail are told at INFO."""
    options = ReconnectingConfig(connections=2)
    async with places(1) as (other,), ReconnectingClient([place.uri, other.uri], retry=SOON, options=options) as client:
        await until(lambda: len(client.sessions) == 2)
        caplog.set_level(logging.INFO, "msgtrans.reconnecting")
        await place.kill()
        await until(lambda: client.stats().connections_lost == 1)
        (lost,) = [r for r in caplog.records if "lost" in r.getMessage()]
        assert (logging.INFO, True) == (lost.levelno, lost.getMessage().endswith("others are open"))


async def test_closing_while_suspended(place: Place) -> None:
    """Calls that wait fail, and the streams end; nothing is left running."""
    client = ReconnectingClient(place.uri, retry=SOON)
    events = client.events()
    async with client:
        await place.kill()
        await in_state(client, ClientState.SUSPENDED)
        calls = [asyncio.create_task(client.send(b"")), asyncio.create_task(client.request(b""))]
        await asyncio.sleep(0)
    for call in calls:
        with pytest.raises(SessionClosedError, match="nothing was sent"):
            await call
    assert [event async for event in events]
    assert len(asyncio.all_tasks()) == 1
    with pytest.raises(SessionClosedError, match="closed"):
        await client.request(b"")
    with pytest.raises(SessionClosedError):
        await client.wait_connected()


async def test_closing_delivers_everything_that_was_accepted(place: Place) -> None:
    """A graceful close writes what waited and what is queued before the connection ends."""
    client = ReconnectingClient(place.uri, retry=SOON)
    async with client:
        await place.kill()
        await in_state(client, ClientState.SUSPENDED)
        calls = [asyncio.create_task(client.send(b"%d" % number)) for number in range(100)]
        await place.start()
        await asyncio.gather(*calls)
        for number in range(100, 200):
            await client.send(b"%d" % number)
    assert [b"%d" % number for number in range(200)] == place.seen
    assert client.stats().dropped_messages == 0


async def test_a_client_can_be_used_again(place: Place) -> None:
    """After closing, the same client connects anew."""
    client = ReconnectingClient(place.uri, retry=SOON)
    for _ in range(2):
        async with client:
            assert (await client.request(b"again")).payload == b"again"
            await client.connect()
        assert (ClientState.CLOSED, False) == (client.state, client.is_connected)
    assert place.server.stats().connections_total == 2


async def test_connecting_again_after_a_failure(place: Place, until: Until) -> None:
    """A client that was closed tries at once when it connects again, however long the pause would be."""
    patient = RetryConfig(retry_interval=600, max_retry_interval=600, jitter=False)
    client = ReconnectingClient(place.uri, retry=patient)
    await place.kill()
    client.start()
    await until(lambda: client.stats().connect_failures == 1)
    assert (client.targets[0].next_attempt or 0) > 500
    await client.close(graceful=False)
    await place.start()
    async with asyncio.timeout(LIMIT), client:
        assert b"x" == (await client.request(b"x")).payload
    assert 1 == client.stats().connect_failures


async def test_entering_may_be_cancelled() -> None:
    """Who stops waiting for the first connection leaves nothing behind."""
    client = ReconnectingClient(await unused_uri(), retry=SOON)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), client:
            raise AssertionError("connected to nothing")
    assert client.state is ClientState.CLOSED
    assert len(asyncio.all_tasks()) == 1


async def test_a_transport_that_fails_otherwise_is_tried_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that a plug-in should not raise is logged and counts as a failed attempt."""

    class Clumsy(TcpTransport):
        failures = 2

        async def connect(self, config, host):
            if self.failures:
                self.failures -= 1
                raise RuntimeError("clumsy")
            return await super().connect(config, host)

    registry = TransportRegistry(plugins=False)
    registry.register(Clumsy(), override=True)
    async with ReconnectingClient(place.uri, retry=SOON, registry=registry) as client:
        assert client.stats().connect_failures == 2
        assert "clumsy" in caplog.text


@pytest.mark.parametrize("how", ["middleware", "handler"])
async def test_connections_that_are_refused_on_our_side_are_tried_again(place: Place, how: str) -> None:
    """A middleware or connect handler that ends the session at once makes the attempt a failed one."""
    refused: list[Session] = []

    def end(session: Session) -> None:
        if len(refused) < 2:
            refused.append(session)
            session.abort()

    class Doorkeeper(Middleware):
        def connected(self, session: Session) -> None:
            if len(refused) < 2:
                refused.append(session)
                raise ConnectError("not today")

    client = ReconnectingClient(place.uri, retry=SOON, middleware=[Doorkeeper()] if how == "middleware" else [])
    if how == "handler":
        client.on_connect(end)
    async with client:
        assert client.stats().connect_failures == 2
        assert (await client.request(b"in")).payload == b"in"


async def test_messages_too_large_for_one_server(place: Place) -> None:
    """A message that only the limits of the chosen connection forbid is refused to its caller, also after waiting."""
    client = ReconnectingClient(place.uri, retry=SOON, session=SessionConfig(codec=CodecOptions(max_payload_size=100)))
    async with client:
        with pytest.raises(LocalProtocolError, match="max_payload_size"):
            await client.send(bytes(101))
        with pytest.raises(LocalProtocolError, match="out of range"):
            await client.send(b"", message_id=0)
        assert await client.send(b"", message_id=77) == 77


async def test_a_server_that_takes_only_small_packets(place: Place) -> None:
    """A message that waited, and is too large for the connection that came, is refused to its caller; others go on."""
    config = TcpClientConfig(target_address=place.uri, pacing=Pacing(settle=0.001, min_gap=0.001))
    async with ReconnectingClient(config, retry=SOON) as client:
        await place.kill()
        await in_state(client, ClientState.SUSPENDED)
        large, small = (asyncio.create_task(client.send(bytes(size))) for size in (100_000, 10))
        await asyncio.sleep(0)
        await place.start()
        with pytest.raises(LocalProtocolError, match="100000 bytes exceeds max_payload_size, 8176"):
            await large
        await small
        await client.request(b"")
        assert [bytes(10)] == place.seen


@pytest.mark.parametrize("graceful", [True, False])
async def test_closing_while_a_peer_does_not_read(place: Place, proxy: LinkProxy, graceful: bool, until: Until) -> None:
    """Messages that wait for a peer that takes nothing fail or are counted as dropped, within `graceful_timeout`."""
    session = SessionConfig(high_water=1000, graceful_timeout=0.05)
    client = ReconnectingClient(proxy.uri, retry=SOON, session=session)
    await client.connect()
    proxy.delay = 60.0
    accepted = 0

    async def flood() -> None:
        nonlocal accepted
        for _ in range(1000):
            await client.send(bytes(100_000))
            accepted += 1

    flooding = asyncio.create_task(flood())
    await until(lambda: any(found.stats().waiting_bytes for found in client.sessions.values()))
    proxy.refuse()
    proxy.welcome()
    await until(lambda: client.stats().resubmitted_messages and client.is_connected)
    await until(lambda: any(found.stats().waiting_bytes for found in client.sessions.values()))
    waiting = [asyncio.create_task(client.send(bytes(100_000))) for _ in range(3)]
    await until(lambda: client.stats().waiting_calls)
    await client.close(graceful=graceful)
    flooding.cancel()
    results = await asyncio.gather(flooding, *waiting, return_exceptions=True)
    assert client.state is ClientState.CLOSED
    assert all(isinstance(result, SessionClosedError) and not result.written for result in results[1:])
    assert len(client.sessions) == 0


async def test_closing_fails_a_message_that_stands_in_line(place: Place, proxy: LinkProxy, until: Until) -> None:
    """A message that waited for the connection, and then for the peer to read, fails when the client is closed."""
    session = SessionConfig(high_water=1000, graceful_timeout=0.05)
    client = ReconnectingClient(proxy.uri, retry=SOON, session=session)
    await client.connect()
    proxy.refuse()
    proxy.delay = 60.0
    await in_state(client, ClientState.SUSPENDED)
    calls = [asyncio.create_task(client.send(bytes(1_000_000))) for _ in range(12)]
    await asyncio.sleep(0)
    proxy.welcome()
    await until(lambda: any(found.stats().waiting_bytes for found in client.sessions.values()))
    await client.close(graceful=False)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, SessionClosedError)]
    assert failed
    assert "did not read" in str(failed[0])
    assert len(failed) + sum(isinstance(outcome, int) for outcome in outcomes) == 12


async def test_configs_as_targets(place: Place) -> None:
    """A single config, and configs among URIs, are targets too."""
    config = TcpClientConfig(target_address=place.uri)
    for targets in (config, [config, place.uri]):
        async with ReconnectingClient(targets) as client:
            assert (await client.request(b"x")).payload == b"x"


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("targets", {"targets": []}),
        ("weights", {"balancing": LoadBalancerConfig(policy="weighted_round_robin", weights=(1, 2))}),
        ("policy", {"balancing": "best"}),
    ],
)
async def test_arguments_that_cannot_work(field: str, arguments: dict[str, object]) -> None:
    """They are refused by name."""
    with pytest.raises(ConfigurationError, match=field):
        ReconnectingClient(**{"targets": "127.0.0.1:1", **arguments})


@pytest.mark.parametrize("field", ["connections", "max_waiting", "max_waiting_bytes", "max_resubmissions"])
def test_options_that_cannot_work(field: str) -> None:
    """Negative numbers are refused by the name of the option."""
    with pytest.raises(ConfigurationError, match=field):
        ReconnectingConfig(**{field: -1})


async def test_an_unread_event_stream_stays_small(place: Place, proxy: LinkProxy, until: Until) -> None:
    """Of many reconnections a stream that nobody reads keeps no more than its bound, and the latest state."""
    session = SessionConfig(event_queue_size=4)
    async with ReconnectingClient(proxy.uri, retry=SOON, session=session) as client:
        events = client.events()
        for number in range(2, 30):
            proxy.cut()
            await until(lambda number=number: client.stats().connections_total >= number and client.is_connected)
        assert len(events) <= 3 * 4 + 2
    last = [event async for event in events][-1]
    assert StateChanged(ClientState.CLOSED, "closed") == last
