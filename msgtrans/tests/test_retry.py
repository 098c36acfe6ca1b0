"""Pauses between attempts, and what a client makes of them."""

from __future__ import annotations

import asyncio
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans import ConfigurationError, ConnectError, TcpClientConfig, TransportClient, TransportServer
from msgtrans.config import NO_RETRY, RetryConfig
from msgtrans.flow.retry import Pauses


def test_pauses_grow_to_a_longest_one() -> None:
    """Each pause is at most double the one before, up to the longest, and none follows the last retry."""
    pauses = Pauses(RetryConfig(max_retries=5, retry_interval=1, max_retry_interval=5, jitter=False))
    assert [1, 2, 4, 5, 5, None] == [pauses.next(0.5) for _ in range(6)]
    pauses.reset()
    assert pauses.next(0.5) == 1


@given(
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 3000),
    st.floats(1, 1e9),
    st.floats(1e-3, 1e3),
)
def test_full_jitter_draws_from_nothing_to_the_longest(
    chance: float, attempts: int, multiplier: float, first: float
) -> None:
    """A pause is `chance` of what it would be without jitter, however many there were, and never beyond the bound."""
    config = RetryConfig(max_retries=None, retry_interval=first, backoff_multiplier=multiplier, max_retry_interval=1e4)
    with_jitter, without = Pauses(config), Pauses(config.replace(jitter=False))
    for _ in range(attempts):
        drawn, longest = with_jitter.next(chance), without.next(chance)
    assert longest is not None
    assert first <= longest <= 1e4
    assert drawn == longest * chance


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 101),
        ("retry_interval", 0),
        ("backoff_multiplier", 0.5),
        ("max_retry_interval", 0.1),
        ("max_retry_interval", math.inf),
    ],
)
def test_values_that_cannot_work(field: str, value: float) -> None:
    """They are refused by the name of the option."""
    with pytest.raises(ConfigurationError, match=field):
        RetryConfig(**{field: value})


async def refused_uri() -> str:
    async with TransportServer(tcp="127.0.0.1:0") as server:
        return f"tcp://{server.tcp_address}"


@pytest.mark.parametrize("retries", [0, 3])
async def test_the_last_error_says_how_often_it_was_tried(retries: int) -> None:
    """A client tries once and then `max_retries` times; the error counts the attempts."""
    retry = RetryConfig(max_retries=retries, retry_interval=0.001)
    with pytest.raises(ConnectError, match="nothing listens there") as caught:
        await TransportClient(TcpClientConfig(target_address=await refused_uri(), retry_config=retry)).connect()
    assert caught.value.attempts == retries + 1
    assert ("tried 4 times" in str(caught.value)) == (retries == 3)


async def test_what_retrying_cannot_help_is_tried_once() -> None:
    """An error that is not retriable ends the attempts."""
    retry = RetryConfig(max_retries=None, retry_interval=30, jitter=False)
    with pytest.raises(ConnectError, match="cannot be one") as caught:
        await TransportClient(TcpClientConfig(target_address="a..b:1", retry_config=retry)).connect()
    assert caught.value.attempts == 1


async def test_a_server_that_starts_late_is_reached() -> None:
    """Attempts go on until the server listens."""
    uri = await refused_uri()
    retry = RetryConfig(max_retries=None, retry_interval=0.01, max_retry_interval=0.02)
    client = TransportClient(TcpClientConfig(target_address=uri, retry_config=retry))
    connecting = asyncio.create_task(client.connect())
    async with TransportServer(tcp=uri) as server:
        server.on_request(lambda context: context.payload)
        await connecting
        assert (await client.request(b"late")).payload == b"late"
        await client.close()


async def test_connecting_twice_at_once_makes_one_connection() -> None:
    """Concurrent calls of `connect` share the connection."""
    async with TransportServer(tcp="127.0.0.1:0") as server:
        client = TransportClient(TcpClientConfig(target_address=str(server.tcp_address), retry_config=NO_RETRY))
        await asyncio.gather(client.connect(), client.connect())
        assert server.stats().connections_total == 1
        await client.close()


def test_left_out_the_number_of_attempts_is_that_of_whoever_uses_it() -> None:
    """An address tries three times again, a client that comes back for ever; a number or None that is given holds."""
    quick = RetryConfig(retry_interval=0.1)
    assert [how_many(quick, 3), how_many(quick, None)] == [3, 101]
    assert [how_many(quick.replace(max_retries=2), most) for most in (3, None)] == [2, 2]
    assert [how_many(quick.replace(max_retries=None), most) for most in (3, None)] == [101, 101]


def how_many(config: RetryConfig, most: int | None) -> int:
    pauses = Pauses(config, most)
    return sum(pauses.next(0.5) is not None for _ in range(101))


def test_1000_pauses_are_spread_evenly() -> None:
    """Full jitter leaves no tenth of the interval with more than 1.5 times its share (a fixed seed)."""
    draw = random.Random(7).random  # noqa: S311 - no secret
    first = [Pauses(RetryConfig()).next(draw()) or 0 for _ in range(1000)]
    tenths = [sum(1 for pause in first if tenth <= pause / 0.05 < tenth + 1) for tenth in range(10)]
    assert sum(tenths) == 1000
    assert max(tenths) <= 150
