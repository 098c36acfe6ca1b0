"""When heartbeats are due."""

import asyncio
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from artemis import ArtemisClient, ClientOptions, Instance, LeaseState, Registered
from artemis.client.registration.beats import Beats
from artemis.testing import running_node

OPTIONS = ClientOptions(heartbeat_interval=8.0, backoff_limit=2.0)
PATIENCE = 60.0


def seeded(seed: int) -> Random:
    """Return a source of random choices that can be repeated."""
    return Random(seed)  # noqa: S311 - it spreads load, it keeps no secret


@given(st.integers())
def test_a_heartbeat_comes_a_little_early_and_soon_after_a_failure(seed: int) -> None:
    """So clients do not beat in step, and nobody is late once the registry is back."""
    beats = Beats(OPTIONS, seeded(seed), now=100.0)
    assert 106.4 <= beats.due <= 108.0
    beats.begin()
    beats.ended(110.0, heard=False)
    assert 110.0 <= beats.due <= 112.0
    beats.begin()
    beats.ended(112.0, heard=True)
    assert 118.4 <= beats.due <= 120.0


@given(st.integers())
def test_hurry_brings_the_next_heartbeat_within_a_second(seed: int) -> None:
    """And never puts it off."""
    beats = Beats(OPTIONS, seeded(seed), now=100.0)
    assert beats.hurry(101.0)
    due = beats.due
    assert 101.0 <= due <= 102.0
    assert not beats.hurry(due)
    assert beats.due == due


def test_hurry_is_a_quarter_of_a_short_interval() -> None:
    """The lease is as short, then."""
    beats = Beats(ClientOptions(heartbeat_interval=0.4), seeded(1), now=100.0)
    beats.hurry(100.0)
    assert 100.0 <= beats.due <= 100.1


def test_hurry_during_a_heartbeat_counts_when_it_was_answered() -> None:
    """A part of its messages may have gone to the node that was left."""
    beats = Beats(OPTIONS, seeded(1), now=100.0)
    beats.begin()
    assert not beats.hurry(107.0)
    beats.ended(108.0, heard=True)
    assert 108.0 <= beats.due <= 109.0


def test_hurry_changes_nothing_while_heartbeats_fail() -> None:
    """Else the moves from one dead node to the next would make them come all the time."""
    beats = Beats(OPTIONS, seeded(1), now=100.0)
    beats.begin()
    beats.hurry(107.0)
    beats.ended(108.0, heard=False)
    due = beats.due
    assert not beats.hurry(108.0)
    assert beats.due == due


async def test_after_a_move_the_instances_are_at_the_new_node_long_before_the_next_heartbeat() -> None:
    """Whatever made the client move, here a call of a tool."""
    options = ClientOptions(heartbeat_interval=60.0, backoff=0.02)
    async with running_node() as one, running_node() as two:
        nodes = {one.url: one, two.url: two}
        async with ArtemisClient(servers=list(nodes), region_id="local", zone_id="zone1", options=options) as client:
            events = client.events()
            async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)) as registration:
                await asyncio.to_thread(nodes[client.server].kill)
                await client.api.node_status()
                async with asyncio.timeout(PATIENCE):
                    async for event in events:
                        if isinstance(event, Registered) and event.again:
                            break
                assert registration.state is LeaseState.HELD
                [service] = await client.api.lookup(["orders"])
                assert service.instances == [registration.instance]
