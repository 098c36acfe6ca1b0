"""The feed that carries what happens to a client."""

import asyncio
import gc

from artemis.client.connection import ConnectionState
from artemis.client.events import EventFeed, EventsMissed, StateChanged


def event(reason: str) -> StateChanged:
    """Build some event."""
    return StateChanged(ConnectionState.CONNECTED, ConnectionState.SUSPENDED, reason)


async def test_every_listener_gets_every_event_in_order() -> None:
    """From the moment it began to listen until the feed is closed."""
    feed = EventFeed(10)
    feed.publish(event("before"))
    one, other = feed.listen(), feed.listen()
    feed.publish(event("1"))
    feed.publish(event("2"))
    feed.close()
    assert [item async for item in one] == [event("1"), event("2")]
    assert [item async for item in other] == [event("1"), event("2")]


async def test_a_slow_listener_loses_the_oldest_events_and_is_told_how_many() -> None:
    """The feed never waits and never grows."""
    feed = EventFeed(2)
    events = feed.listen()
    for number in range(5):
        feed.publish(event(str(number)))
    feed.close()
    assert [item async for item in events] == [EventsMissed(3), event("3"), event("4")]


async def test_a_waiting_listener_wakes() -> None:
    """Whether the event or the listener comes first does not matter."""
    feed = EventFeed(2)
    events = feed.listen()
    waiting = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    feed.publish(event("1"))
    assert await waiting == event("1")


async def test_a_listener_whose_task_nobody_keeps_stays_alive() -> None:
    """Waiting for an event is reason enough to live."""
    feed = EventFeed(2)
    heard: list[object] = []
    ended = asyncio.Event()

    async def listen() -> None:
        heard.extend([item async for item in feed.listen()])
        ended.set()

    asyncio.get_running_loop().create_task(listen())
    await asyncio.sleep(0)
    gc.collect()
    feed.publish(event("1"))
    feed.close()
    await ended.wait()
    assert heard == [event("1")]


async def test_listening_to_a_closed_feed_ends_at_once() -> None:
    """Nobody hangs on a client that is gone."""
    feed = EventFeed(2)
    feed.close()
    assert [item async for item in feed.listen()] == []
