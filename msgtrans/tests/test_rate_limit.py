"""Rate limits: what a token bucket lets through, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import (
    Backpressure,
    ConfigurationError,
    Context,
    Packet,
    RateLimit,
    ResourceError,
    SessionConfig,
    TransportClient,
    TransportServer,
    TransportTimeoutError,
    encode,
)
from msgtrans.flow.rate_limit import TokenBucket

if TYPE_CHECKING:
    from .conftest import Until

FOR_EVER = RateLimit(requests_per_second=0.01, window_size=10_000, burst_size=5)  # one more in 100 seconds

limits = st.builds(
    RateLimit,
    requests_per_second=st.floats(0.5, 10_000),
    burst_size=st.integers(1, 200),
    window_size=st.floats(2, 60),
)


@given(limits, st.lists(st.floats(0, 3), max_size=300))
def test_never_more_than_burst_and_rate_come_through(limit: RateLimit, pauses: list[float]) -> None:
    """In any stretch of time there are at most burst_size and what the rate adds; in a window, its quota."""
    bucket, now, passed = TokenBucket(limit, 0.0), 0.0, []
    for pause in pauses:
        now += pause / limit.requests_per_second
        passed += [now] * sum(bucket.take(now) for _ in range(3))
    for first, since in enumerate(passed):
        for last in range(first, len(passed)):
            allowed = limit.burst_size + (passed[last] - since) * limit.requests_per_second
            assert last - first + 1 <= allowed + 1e-6
    for window in range(int(now / limit.window_size) + 1):
        begin, end = window * limit.window_size, (window + 1) * limit.window_size - 1e-6
        assert bisect_right(passed, end) - bisect_right(passed, begin - 1e-6) <= (
            limit.requests_per_second * limit.window_size + 1e-6
        )


@given(limits, st.integers(0, 500))
def test_a_wait_is_as_long_as_it_must_be(limit: RateLimit, taken: int) -> None:
    """After the wait one may come, shortly before it none."""
    bucket = TokenBucket(limit, 5.0)
    for _ in range(taken):
        bucket.take(5.0)
    assert bucket.ready(5.0) == (bucket.wait(5.0) == 0.0) == (bucket.available(5.0) >= 1)
    wait = bucket.wait(5.0)
    if wait > 1e-3:
        assert not bucket.ready(5.0 + wait * 0.99)
    assert bucket.ready(5.0 + wait)


def test_a_clock_that_runs_backwards_gives_nothing() -> None:
    """Time that is earlier than what was seen counts as no time."""
    bucket = TokenBucket(RateLimit(requests_per_second=1, burst_size=1, window_size=10), 10.0)
    assert bucket.take(10.0)
    assert not bucket.take(0.0)
    assert not bucket.take(10.5)
    assert bucket.take(11.0)


@pytest.mark.parametrize(
    "values",
    [
        {"requests_per_second": 0},
        {"burst_size": 0},
        {"burst_size": 1.5},
        {"window_size": -1},
        {"requests_per_second": 0.5, "window_size": 1},
        {"strategy": "block"},
    ],
)
def test_limits_that_cannot_work_are_refused(values: dict[str, object]) -> None:
    """A limit that lets nothing through, or means nothing, is a ConfigurationError."""
    with pytest.raises(ConfigurationError):
        RateLimit().replace(**values)


def serve(limit: RateLimit, seen: list[bytes], **options: object) -> TransportServer:
    server = TransportServer(tcp="127.0.0.1:0", session=SessionConfig(rate_limit=limit).replace(**options))
    server.on_request(lambda context: context.payload)
    server.on_message(lambda context: seen.append(context.payload))
    return server


async def test_blocking_delays_and_loses_nothing() -> None:
    """Under BLOCK everything arrives in its order, later."""
    seen: list[bytes] = []
    async with (
        serve(RateLimit(requests_per_second=500, burst_size=3), seen) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        for number in range(30):
            await client.send(b"%d" % number)
        answers = await asyncio.gather(*(client.request(b"%d" % number) for number in range(5)))
        stats = server.stats()
        assert [b"%d" % number for number in range(30)] == seen
        assert [b"%d" % number for number in range(5)] == [answer.payload for answer in answers]
        assert stats.rate_waits > 0
        assert stats.read_pauses > 0
        assert (0, 0) == (stats.rate_limited, stats.dropped_inbound)


async def test_responses_are_never_limited() -> None:
    """Answers to requests of our own come through while everything else waits."""
    seen: list[bytes] = []
    async with (
        serve(FOR_EVER, seen) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        client.on_request(lambda context: context.payload.upper())
        for number in range(5):
            await client.request(b"%d" % number)
        session = server.sessions[1]
        answers = await asyncio.gather(*(session.request(b"abc") for _ in range(50)))
        assert [b"ABC"] * 50 == [answer.payload for answer in answers]


async def test_rejecting_refuses_requests_and_drops_messages() -> None:
    """Under REJECT the requester may get an answer from on_error, or none; messages are dropped; all is counted."""
    seen: list[bytes] = []
    async with (
        serve(FOR_EVER.replace(strategy=Backpressure.REJECT), seen) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        for number in range(8):
            await client.send(b"%d" % number)
        with pytest.raises(TransportTimeoutError):
            await client.request(b"", timeout=0.05)
        errors: list[Exception] = []

        @server.on_error
        def tell(_: Context, error: Exception) -> bytes:
            errors.append(error)
            return b"too fast"

        assert (await client.request(b"")).payload == b"too fast"
        assert isinstance(errors[0], ResourceError)
        stats = server.stats()
        assert len(seen) == 5
        assert (stats.rate_limited, stats.dropped_inbound, stats.handler_errors) == (5, 3, 0)
        assert server.sessions[1].stats().dropped_inbound == 3


async def test_dropping_the_newest_lets_requests_wait() -> None:
    """Under DROP_NEWEST messages beyond the limit are lost, requests come through later."""
    seen: list[bytes] = []
    limit = RateLimit(requests_per_second=50, burst_size=5, strategy=Backpressure.DROP_NEWEST)
    async with (
        serve(limit, seen) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        for number in range(40):
            await client.send(b"%d" % number)
        assert (await client.request(b"and I")).payload == b"and I"
        stats = server.stats()
        assert [b"0", b"1", b"2", b"3", b"4"] == seen[:5]
        assert 40 == len(seen) + stats.dropped_inbound
        assert stats.dropped_inbound == stats.rate_limited > 0


async def test_dropping_the_oldest_keeps_the_newest() -> None:
    """Under DROP_OLDEST those that wait make way for those that come."""
    seen: list[bytes] = []
    limit = RateLimit(requests_per_second=50, burst_size=5, strategy=Backpressure.DROP_OLDEST)
    async with (
        serve(limit, seen, event_queue_size=4) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        for number in range(60):
            client.send_nowait(b"%d" % number)
        assert (await client.request(b"and I")).payload == b"and I"
        assert [b"0", b"1", b"2", b"3", b"4"] == seen[:5]
        assert seen[-3:] == [b"57", b"58", b"59"]
        assert 60 == len(seen) + server.stats().dropped_inbound


async def test_a_limit_for_all_lets_everyone_in_in_turn(until: Until) -> None:
    """One session that asks for more than there is does not keep the others out."""
    order: list[int] = []
    limit = RateLimit(requests_per_second=200, burst_size=4)
    config = SessionConfig(graceful_timeout=0.2)
    async with TransportServer(tcp="127.0.0.1:0", rate_limit=limit, session=config) as server:
        server.on_message(lambda context: order.append(context.session.id))
        server.on_request(lambda context: order.append(context.session.id) or b"")
        uri = f"tcp://{server.tcp_address}"
        async with TransportClient(uri) as greedy, TransportClient(uri) as modest:
            await until(lambda: len(server.sessions) == 2)
            for _ in range(10_000):
                greedy.send_nowait(b"")
            await until(lambda: order)
            await asyncio.gather(*(modest.request(b"") for _ in range(10)))
            mine, others = order.count(2), order.count(1)
            assert mine == 10
            assert others < 1000
            assert server.stats().rate_waits > 0
            await greedy.close(graceful=False)


@pytest.mark.parametrize("own", [True, False], ids=["own", "shared"])
async def test_a_session_that_waits_can_be_closed(own: bool, until: Until) -> None:
    """What waits is discarded and counted, and neither timer nor place in line is left."""
    config = SessionConfig(rate_limit=FOR_EVER if own else None, graceful_timeout=0.2)
    async with (
        TransportServer(tcp="127.0.0.1:0", session=config, rate_limit=None if own else FOR_EVER) as server,
        TransportClient(f"tcp://{server.tcp_address}") as client,
    ):
        for _ in range(9):
            await client.send(b"")
        await until(lambda: server.stats().rate_waits)
        session = server.sessions[1]
        await session.close(graceful=False)
        assert server.counters.discarded == 4
        assert not server.paused
        assert session._throttle is not None
        assert session._throttle._timer is None
        assert server.throttle is None or server.throttle._timer is None


async def test_requests_of_one_read_are_answered_in_order() -> None:
    """Under a limit that is not reached, every request of a large read is answered in order."""
    seen: list[bytes] = []
    async with serve(RateLimit(burst_size=1000, requests_per_second=10_000), seen) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.tcp_address.port)
        writer.write(b"".join(encode(Packet(1, number, b"x")) for number in range(1, 201)))
        expected = b"".join(encode(Packet(2, number, b"x")) for number in range(1, 201))
        assert expected == await asyncio.wait_for(reader.readexactly(len(expected)), 30)
        writer.close()
        await writer.wait_closed()
