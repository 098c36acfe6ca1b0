"""What the outcomes of calls and links do to the node and the state of a client, and who is told."""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from artemis.client.connection import Connection, ConnectionState
from artemis.client.events import EventFeed, NodeSwitched, StateChanged
from artemis.client.nodes.contact import Contact
from artemis.client.nodes.nodes import Nodes

A, B = "http://a:1", "http://b:1"


class Made:
    """A contact with two nodes, its feed, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.feed = EventFeed(10)
        self.events = self.feed.listen()
        self.nodes = Nodes([A, B], random=Random(0), rest=10)  # noqa: S311 - it spreads load, it keeps no secret
        connection = Connection(lost_after=20, now=0.0)
        self.contact = Contact(nodes=self.nodes, connection=connection, feed=self.feed, clock=lambda: self.now)

    async def told(self) -> list[object]:
        """Return the events so far, and end the feed."""
        self.feed.close()
        return [event async for event in self.events]


@pytest.fixture
def made() -> Iterator[Made]:
    """Make a contact."""
    made = Made()
    yield made
    made.contact.close()


async def test_a_move_is_told_once_however_many_calls_fail_together(made: Made) -> None:
    """Calls that were under way to the node that was left tell nothing new."""
    moves: list[str] = []
    made.contact.on_move(lambda: moves.append(made.contact.node))
    before = made.contact.node
    after = B if before == A else A
    made.contact.failed(before, "refused")
    made.contact.failed(before, "refused as well")
    made.contact.moved("late")
    assert moves == [after]
    assert await made.told() == [NodeSwitched(before, after, "refused")]


async def test_a_move_for_the_better_holds_nothing_against_the_old_node(made: Made) -> None:
    """It is told like any other, and to stay is no move."""
    before = made.contact.node
    after = B if before == A else A
    made.contact.move(before, "nowhere to go")
    made.contact.move(after, "it is at home")
    assert not made.nodes.resting(before, 0.0)
    assert await made.told() == [NodeSwitched(before, after, "it is at home")]


async def test_every_answer_is_heard_and_the_first_one_connects(made: Made) -> None:
    """Callbacks come with each, the event with the first."""
    heard: list[ConnectionState] = []
    made.contact.on_heard(lambda: heard.append(made.contact.state))
    made.contact.heard()
    made.contact.heard()
    assert heard == [ConnectionState.CONNECTED] * 2
    assert [type(event) for event in await made.told()] == [StateChanged]


async def test_silence_suspends_and_then_loses(made: Made) -> None:
    """The timer that tells of the loss starts only while the client is open, and ends with it."""
    made.contact.heard()
    made.contact.silent("nobody")
    assert made.contact.state is ConnectionState.SUSPENDED
    made.contact.open()
    made.now = 19.999
    made.contact.silent("still nobody")
    made.now = 20.0
    async with asyncio.timeout(30):
        while made.contact.state is not ConnectionState.LOST:
            await anext(made.events)
    assert made.contact.state is ConnectionState.LOST
