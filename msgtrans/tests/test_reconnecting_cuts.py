"""Nothing is lost or done twice beyond what the documentation says, whatever is cut when: random cuts, fixed seeds."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from link_proxy import link_proxy

from msgtrans import (
    Context,
    Packet,
    PacketDecoder,
    ReconnectingClient,
    ReconnectingConfig,
    RetryConfig,
    SessionClosedError,
    SessionConfig,
    TransportServer,
    TransportTimeoutError,
)
from msgtrans.adapters.stream import StreamConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from link_proxy import LinkProxy

    from .conftest import Until

SOON = RetryConfig(max_retries=None, retry_interval=0.004, max_retry_interval=0.01)
STEPS = 120


class Ledger:
    """What the server saw, and what each connection of the client was given to write, by payload."""

    def __init__(self) -> None:
        self.executed: Counter[bytes] = Counter()
        self.received: Counter[bytes] = Counter()
        self.written: Counter[bytes] = Counter()
        self.by_link: dict[StreamConnection, list[bytes]] = {}

    def record(self, monkeypatch: pytest.MonkeyPatch, client: ReconnectingClient) -> None:
        """Keep what the links of `client` are given from now on."""
        write = StreamConnection.write
        decode = PacketDecoder()

        def recording(link: StreamConnection, packets: list[bytes]) -> None:
            if link._session is not None and link._session._endpoint is client:
                payloads = [packet.payload for frame in packets for packet in decode.feed(frame)]
                self.by_link.setdefault(link, []).extend(payloads)
                self.written.update(payloads)
            write(link, packets)

        monkeypatch.setattr(StreamConnection, "write", recording)


def serve(ledger: Ledger, draw: random.Random) -> TransportServer:
    server = TransportServer(tcp="127.0.0.1:0", session=SessionConfig(graceful_timeout=0.2))

    @server.on_request
    def answer(context: Context) -> object:
        ledger.executed[context.payload] += 1
        return later(context.payload) if draw.random() < 0.3 else context.payload

    async def later(payload: bytes) -> bytes:
        for _ in range(draw.randrange(8)):
            await asyncio.sleep(0)
        return payload

    server.on_message(lambda context: ledger.received.update([context.payload]))
    return server


async def play(client: ReconnectingClient, server: TransportServer, proxy: LinkProxy, draw: random.Random):
    """Ask, send and cut at random; the calls, by payload."""
    calls: dict[bytes, tuple[str, asyncio.Task[object]]] = {}
    for step in range(STEPS):
        payload = b"%d" % step + bytes(draw.choice([0, 0, 100, 30_000]))
        match draw.choice(["ask", "ask", "ask again", "send", "send", "cut", "drain", "refuse", "turn", "turn"]):
            case "ask":
                calls[payload] = ("ask", asyncio.create_task(client.request(payload)))
            case "ask again":
                calls[payload] = ("ask again", asyncio.create_task(client.request(payload, idempotent=True)))
            case "send":
                calls[payload] = ("send", asyncio.create_task(client.send(payload)))
            case "cut":
                proxy.cut()
            case "drain":
                for session in list(server.sessions.values()):
                    session.endpoint.spawn(session.close())
            case "refuse":
                proxy.refuse()
                await asyncio.sleep(draw.choice([0, 0.005]))
                proxy.welcome()
            case "turn":
                for _ in range(draw.randrange(10)):
                    await asyncio.sleep(0)
    return calls


def check_request(kind: str, payload: bytes, outcome: object, ledger: Ledger) -> None:
    if isinstance(outcome, Packet):
        assert payload == outcome.payload
        assert ledger.executed[payload] >= 1
    else:
        assert isinstance(outcome, SessionClosedError)
        assert outcome.written
        assert ledger.written[payload] >= 1
    assert ledger.executed[payload] <= ledger.written[payload]
    assert ledger.written[payload] == 1 if kind == "ask" else ledger.written[payload] <= 6


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("seed", range(6))
async def test_random_cuts(seed: int, connections: int, monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    """Each request is answered once or fails; what is not idempotent is written once at most; each message that `send`
    accepted is written exactly once in the end, and received if its connection was not cut.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    ledger = Ledger()
    options = ReconnectingConfig(connections=connections, max_resubmissions=5)
    session = SessionConfig(high_water=20_000)
    async with serve(ledger, draw) as server, link_proxy(server.tcp_address.port) as proxy:
        client = ReconnectingClient(
            proxy.uri, retry=SOON, options=options, session=session, circuit_breaker=None, chance=draw.random
        )
        ledger.record(monkeypatch, client)
        async with client:
            calls = await play(client, server, proxy, draw)
            outcomes = await asyncio.gather(*(task for _, task in calls.values()), return_exceptions=True)
            await until(lambda: client.stats().connections_open >= connections)
            surviving = [found._link for found in client.sessions.values()]
        for (payload, (kind, _)), outcome in zip(calls.items(), outcomes, strict=True):
            if kind == "send":
                assert isinstance(outcome, int)
                assert ledger.written[payload] == 1
                assert ledger.received[payload] <= 1
            else:
                check_request(kind, payload, outcome, ledger)
        for link in surviving:
            for payload in ledger.by_link.get(link, []):
                assert ledger.received[payload] + ledger.executed[payload] >= 1
        assert client.stats().dropped_messages == 0


async def test_order_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one connection messages arrive in the order in which they were sent, whatever was cut in between."""
    draw = random.Random(99)  # noqa: S311 - no secret
    seen: list[int] = []
    async with serve(Ledger(), draw) as server, link_proxy(server.tcp_address.port) as proxy:
        server.on_message(lambda context: seen.append(int(context.payload)))
        async with ReconnectingClient(proxy.uri, retry=SOON, circuit_breaker=None) as client:
            for number in range(3000):
                await client.send(b"%d" % number)
                if draw.random() < 0.005:
                    proxy.cut()
                if draw.random() < 0.02:
                    await asyncio.sleep(0)
            await client.request(b"", idempotent=True)
    assert sorted(set(seen)) == seen
    assert seen[-1] == 2999


@pytest.mark.parametrize("scheme", ["tcp", "ws"])
async def test_any_transport_reconnects(scheme: str, until: Until) -> None:
    """Calls outlive the loss of a connection on every transport."""
    asked: list[Callable[[], None]] = []
    server = TransportServer(**{scheme: "127.0.0.1:0"})
    async with server:
        uri = server.uris[0]

        @server.on_request
        def answer(context: Context) -> bytes | None:
            if not asked:
                asked.append(context.session.abort)
                context.session.abort()
                return None
            return context.payload

        async with ReconnectingClient(uri, retry=SOON) as client:
            assert (await client.request(b"x", idempotent=True)).payload == b"x"
            await server.close_all()
            await client.send(b"y")
            assert (await client.request(b"z")).payload == b"z"
            assert client.stats().connections_total == 3
            server.on_request(lambda _: None)
            with pytest.raises(TransportTimeoutError):
                await client.request(b"", timeout=0.01)
