"""Statistics over the protocol: who asks is told what the counters say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from msgtrans import ConfigurationError, TransportClient, TransportServer, __version__
from msgtrans.middleware import ServerStatistics, StatisticsMiddleware, fetch_statistics
from msgtrans.middleware import statistics as module

if TYPE_CHECKING:
    from .conftest import Until


async def test_a_server_tells_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has the name, listeners, counters and sessions of the server, busiest first."""
    monkeypatch.setattr(module, "FRESH", 0.0)
    server = TransportServer(tcp="127.0.0.1:0", middleware=[StatisticsMiddleware(name="orders")])
    server.on_request(lambda context: context.payload)
    async with server:
        uri = f"tcp://{server.tcp_address}"
        async with TransportClient(uri) as quiet, TransportClient(uri) as busy:
            await quiet.request(b"")
            for _ in range(10):
                await busy.request(b"1234")
            statistics = await fetch_statistics(quiet)
            assert ("orders", __version__, [uri]) == (statistics.name, statistics.version, statistics.listeners)
            assert statistics.uptime >= 0
            assert server.started_at <= statistics.time
            assert 2 == statistics.counters.connections_open == len(statistics.sessions)
            first, second = statistics.sessions
            assert (10, 10) == (first.packets_received, first.packets_sent)
            assert (second.packets_received, second.packets_sent) == (2, 1)
            assert {str(quiet.session.local_address), str(busy.session.local_address)} == {first.peer, second.peer}
            assert ("tcp", 10 * 20, 0, 0) == (first.protocol, first.bytes_sent, first.outbound_bytes, first.pending)
            assert first.seconds >= 0


async def test_at_most_fifty_sessions_are_listed(until: Until) -> None:
    """However many sessions are open, the answer stays small."""
    async with TransportServer(tcp="127.0.0.1:0", middleware=[StatisticsMiddleware(7)]) as server:
        clients = [TransportClient(f"tcp://{server.tcp_address}") for _ in range(60)]
        await asyncio.gather(*(client.connect() for client in clients))
        await until(lambda: len(server.sessions) == 60)
        statistics = await fetch_statistics(clients[0], biz_type=7)
        assert len(statistics.sessions) == 50
        assert statistics.counters.connections_open == 60
        await asyncio.gather(*(client.close() for client in clients))


async def test_answers_are_made_anew_only_now_and_then() -> None:
    """Who asks again at once gets the same answer, which costs the server nothing."""
    async with (
        TransportServer(tcp="127.0.0.1:0", middleware=[StatisticsMiddleware()]) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        answers: list[ServerStatistics] = [await fetch_statistics(client) for _ in range(2)]
    assert answers[0] == answers[1]


async def test_other_requests_of_that_type_pass() -> None:
    """Only the ext header makes a request one for statistics."""
    server = TransportServer(tcp="127.0.0.1:0", middleware=[StatisticsMiddleware()])
    server.on_request(lambda _: b"mine")
    async with server, TransportClient(f"tcp://{server.tcp_address}") as client:
        assert (await client.request(b"", biz_type=255)).payload == b"mine"
        assert (await client.request(b"", ext_header=b"msgtrans.statistics")).payload == b"mine"


def test_a_biz_type_that_cannot_be_is_refused() -> None:
    """A biz_type is one byte."""
    with pytest.raises(ConfigurationError, match="biz_type"):
        StatisticsMiddleware(256)
