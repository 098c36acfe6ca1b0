"""How long requests of our own wait for their answers: timed with detailed monitoring, and not at all without."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from msgtrans import (
    Context,
    Monitor,
    PendingRequests,
    PerformanceConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
)
from msgtrans.config import ReconnectingConfig
from msgtrans.middleware.base import Middleware
from msgtrans.monitor import Latencies, watching
from msgtrans.monitor.asking import TimedRequests
from msgtrans.monitor.collector import MsgTransCollector
from msgtrans.monitor.latency import LatencyHistogram
from msgtrans.reconnecting import ReconnectingClient

if TYPE_CHECKING:
    from conftest import Until

    from msgtrans import Session

SELDOM = PerformanceConfig(sampling_interval=3600)  # only what a test samples itself
SLOW = 0.2  # seconds


def timed(plain: PendingRequests[str]) -> tuple[TimedRequests[str], LatencyHistogram, list[float]]:
    """Timed requests in place of `plain`, what they count together, and their clock."""
    together, clock = LatencyHistogram(), [0.0]
    return TimedRequests(plain, together, lambda: clock[0]), together, clock


def test_only_answers_count() -> None:
    """A request that is answered counts with the time it took; one that is given up, expires or drains does not."""
    requests, together, clock = timed(PendingRequests(1, 10.0, 100))
    ids = [requests.add(name, 0.0)[0] for name in ("answered", "cancelled", "drained")]
    late, _ = requests.add("late", 0.0, timeout=1.0)
    clock[0] = 0.3
    assert "answered" == requests.answer(ids[0])
    assert "cancelled" == requests.pop(ids[1])
    assert [("late", 1.0)] == requests.expire(5.0)
    assert [None, None] == [requests.answer(number) for number in (late, 4711)]
    assert ["drained"] == requests.drain()
    for found in (requests.latencies, together.read()):
        assert (1, 0.3, 0.5) == (found.count, found.seconds, found.percentile(0.5))
    assert {} == requests._asked_at


def test_what_waits_already_is_taken_over() -> None:
    """Requests asked before timing began get their answers, wherever they are taken out, and are not timed."""
    plain: PendingRequests[str] = PendingRequests(7, 10.0, 3)
    first, _ = plain.add("first", 0.0)
    other, _ = plain.add("other", 0.0, timeout=1.0)
    requests, together, _ = timed(plain)
    assert (7, 8, 9) == (first, other, requests.add("new", 0.0)[0])
    assert "other" == plain.pop(other)
    assert ["first", None, "new"] == [requests.answer(number) for number in (first, other, 9)]
    assert 1 == together.read().count
    assert (0, 0) == (len(plain), len(requests))


@given(st.lists(st.tuples(st.sampled_from([None, 0.25, 7.0]), st.booleans(), st.floats(0, 2)), max_size=60))
def test_timed_requests_are_requests(steps: list[tuple[float | None, bool, float]]) -> None:
    """Whatever is asked, answered and expires, they do what plain ones do, and forget when it was asked."""
    plain: PendingRequests[str] = PendingRequests(1, 1.0, 20)
    requests, _, _ = timed(PendingRequests(1, 1.0, 20))
    now = 0.0
    for number, (timeout, answer, advance) in enumerate(steps, 1):
        assert plain.add(str(number), now, timeout) == requests.add(str(number), now, timeout)
        if answer:
            assert plain.pop(number) == requests.answer(number)
        now += advance
        assert plain.expire(now) == requests.expire(now)
        assert (len(plain), plain.next_deadline()) == (len(requests), requests.next_deadline())
        assert len(requests) == len(requests._asked_at)


async def asked(monitor: Monitor, session: Session) -> tuple[int, int]:
    """Answers that the monitor has counted: on that session, and in all."""
    return monitor.asked(session).count, monitor.asked().count


async def test_a_client_tells_how_long_it_waits() -> None:
    """With details a client's requests are timed until the answer: in all, for the session, over the last seconds."""
    server = TransportServer(tcp="127.0.0.1:0")

    @server.on_request
    async def answer(context: Context) -> bytes:
        await asyncio.sleep(SLOW if context.payload else 0)
        return context.payload

    async with server:
        client = TransportClient(server.uris[0])
        monitor = Monitor(client, SELDOM)
        async with client, monitor:
            history = monitor.follow(client.session)
            await asyncio.gather(*(client.request(b"") for _ in range(8)))
            await client.request(b"slow")
            with pytest.raises(TransportTimeoutError):
                await client.request(b"never in time", timeout=0.01)
            monitor.sample()
            assert (9, 9) == await asked(monitor, client.session)
            assert monitor.asked().percentile(0.5) < SLOW <= monitor.asked().percentile(0.99)
            board = monitor.dashboard()
            assert board.asked_p50_us < SLOW * 1e6 <= board.asked_p99_us
            assert board.asked_qps > 0
            rates = (history.rates(10), monitor.history.rates(10))
            assert [9, 9] == [found.asked.count for found in rates]
            assert 0 == monitor.dashboard().avg_latency_us
            session = client.session
        monitor.sample()
        assert 0 == monitor.asked(session).count
        assert ({}, {}) == (monitor._asking, monitor._followed)
        assert 9 == monitor.asked().count


async def test_a_connection_that_asks_anew_counts_on() -> None:
    """Of a client that connects again all answers count together, and those of each session apart."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda _: b"")
    async with server:
        client = TransportClient(server.uris[0])
        monitor = Monitor(client, SELDOM)
        for times in (1, 2):
            async with client:
                await client.request(b"")
                assert (1, times) == await asked(monitor, client.session)


async def test_each_connection_of_a_reconnecting_client_is_told(until: Until) -> None:
    """Prometheus hears of each session that asks, and of all together; text and collector say the same."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda _: b"")
    async with server:
        uri = server.uris[0]
        client = ReconnectingClient(uri, options=ReconnectingConfig(connections=2))
        monitor = Monitor(client, SELDOM)
        async with client:
            await until(lambda: len(client.sessions) == 2)
            for _ in range(10):
                await client.request(b"")
            registry = CollectorRegistry()
            registry.register(MsgTransCollector(monitor, name="orders"))
            texts = (monitor.prometheus(), generate_latest(registry).decode())
            total = monitor.asked().count
    for text in texts:
        read = {family.name: family for family in text_string_to_metric_families(text)}
        counts = [
            (sample.labels["session"], sample.labels["peer"], sample.value)
            for sample in read["msgtrans_session_answer_wait_seconds"].samples
            if sample.name.endswith("_count")
        ]
        assert 2 == len({session for session, _, _ in counts})
        assert {uri.removeprefix("tcp://")} == {peer for _, peer, _ in counts}
        (together,) = [s.value for s in read["msgtrans_answer_wait_seconds"].samples if s.name.endswith("_count")]
        assert (total, total) == (together, sum(value for _, _, value in counts))


async def test_few_sessions_are_told_to_prometheus(monkeypatch: pytest.MonkeyPatch, until: Until) -> None:
    """A server that asks its clients tells of those it asked most, a bounded number; of one that closed no more."""
    monkeypatch.setattr(watching, "TOLD", 1)
    server = TransportServer(tcp="127.0.0.1:0")
    async with server, Monitor(server, SELDOM) as monitor:
        async with TransportClient(server.uris[0]) as one, TransportClient(server.uris[0]) as two:
            for client in (one, two):
                client.on_request(lambda _: b"")
            await until(lambda: len(server.sessions) == 2)
            assert "answer_wait_seconds_count{" not in monitor.prometheus()
            for session, times in zip(server.sessions.values(), (1, 3), strict=True):
                for _ in range(times):
                    await session.request(b"")
            text = monitor.prometheus()
            assert 'msgtrans_session_answer_wait_seconds_count{session="2",' in text
            assert 'msgtrans_session_answer_wait_seconds_count{session="1",' not in text
            assert "msgtrans_answer_wait_seconds_count 4" in text
        await until(lambda: not server.sessions)
        assert {} == monitor._asking
        assert "msgtrans_answer_wait_seconds_count 4" in monitor.prometheus()


async def test_without_details_requests_stay_plain() -> None:
    """A client that nobody watches, or without details, keeps its requests as ever, and tells nothing of them."""
    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda _: b"")
    async with server, TransportClient(server.uris[0]) as unwatched:
        client = TransportClient(server.uris[0])
        monitor = Monitor(client, SELDOM.replace(enable_detailed_monitoring=False))
        async with client, monitor:
            for each in (unwatched, client):
                await each.request(b"")
                assert PendingRequests is type(each.session._pending)
            monitor.sample()
            assert (Latencies(), Latencies()) == (monitor.asked(), monitor.asked(client.session))
            assert "answer_wait" not in monitor.prometheus()


async def test_middleware_may_ask_while_a_session_begins(until: Until) -> None:
    """What an outer middleware asked before the session was timed is answered all the same."""
    answers: list[bytes] = []

    class Greeting(Middleware):
        def connected(self, session: Session) -> None:
            session.endpoint.spawn(self.greet(session))

        async def greet(self, session: Session) -> None:
            answers.append((await session.request(b"hello")).payload)

    server = TransportServer(tcp="127.0.0.1:0")
    server.on_request(lambda context: context.payload)
    async with server:
        client = TransportClient(server.uris[0], middleware=[Greeting()])
        Monitor(client, SELDOM)
        async with client:
            await client.request(b"")
            await until(lambda: answers == [b"hello"])
            assert 0 == client.session.pending_requests
