"""A client never steps back silently: what is older than what it knows waits, and counts when nobody shows more."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from artemis import AnswerOutdated, ArtemisClient, ClientOptions, Instance, WentBack
from artemis.client.background import Background
from artemis.client.calls.api import RegistryApi, Shown
from artemis.client.calls.sieve import Sieve
from artemis.client.discovery.discovery import Discovery
from artemis.client.discovery.guard import Guard
from artemis.client.discovery.progress import goes_back, lost_for_good
from artemis.client.discovery.services import Followed, ServiceBook, keyed
from artemis.client.discovery.views import Views
from artemis.client.discovery.watch import Audience
from artemis.client.errors import Attempt, UnreachableError
from artemis.client.events import ClientEvent, EventFeed
from artemis.client.links.link import Change, Push
from artemis.model import Service
from artemis.model.cursors import NOTHING, Cursor, Origin, encode_cursor
from artemis.testing import running_node

A1, A2, B1 = Origin("a", 1), Origin("a", 2), Origin("b", 1)
WAIT = 5.0


def cursor(numbers: dict[Origin, int], issuer: Origin = B1, version: int = 1, **fields: dict[str, int]) -> str:
    """A cursor as a node gives it."""
    return encode_cursor(Cursor(kind="mesh", name="r", vector=numbers, issuer=issuer, version=version, **fields))


def instance(name: str) -> Instance:
    """An instance of the service `s`."""
    return Instance(region_id="local", zone_id="zone1", service_id="s", instance_id=name, url="http://x")


@pytest.mark.parametrize(
    ("known", "shown", "older", "lost"),
    [
        (cursor({A1: 3}), cursor({A1: 3, B1: 1}), False, True),
        (cursor({A1: 3, B1: 2}), cursor({A1: 3, B1: 1}, A1), True, False),
        (cursor({A1: 3}, A1, 8), cursor({A1: 4}, A1, 9), False, True),
        (cursor({A1: 4}, A1, 9), cursor({A1: 3}, A1, 8), True, False),
        (cursor({A1: 4}, A1), cursor({A1: 3, A2: 1}, A2), True, True),
        (cursor({A1: 4, B1: 1}, A1), cursor({A1: 3, A2: 1}, A2), True, False),
        (cursor({A2: 4}, A2, base={"a": 2}), cursor({A1: 3, A2: 4}), True, False),
        (cursor({A1: 4}, A1), "opaque", False, False),
        ("opaque", cursor({A1: 4}, A1), False, True),
        (cursor({A1: 4}, A1), encode_cursor(NOTHING), False, False),
    ],
    ids=[
        "more than before",
        "a node that lags",
        "the same node later",
        "a late answer of the same node",
        "a restart without memory",
        "a restart that lacks what others did",
        "a node that does not know yet what is closed",
        "a cursor of another kind",
        "after a cursor of another kind",
        "no position",
    ],
)
def test_what_is_older(known: str, shown: str, older: bool, lost: bool) -> None:
    """Older is what lacks anything that may be known; waiting is of no use if only the node itself ever had it."""
    assert older == goes_back(known, shown)
    if older:
        assert lost == lost_for_good(known, shown)


def test_without_cursors_nothing_is_older() -> None:
    """A node of Java, or the first answer of all, cannot be compared."""
    assert not goes_back(None, cursor({A1: 1}))
    assert not goes_back(cursor({A1: 1}), None)


class Client:
    """The views of a client without a registry: answers and pushes come in by hand, and so does the time."""

    def __init__(self, wait: float = WAIT) -> None:
        self.now = 100.0
        self.events: list[ClientEvent] = []
        feed = EventFeed(8)
        feed.also = self.events.append
        self.views = Views(
            book=ServiceBook(limit=10),
            guard=Guard(share=0.0, hold=0.0),
            outdated_wait=wait,
            feed=feed,
            audience=Audience(),
            clock=lambda: self.now,
            wall=lambda: 0,
        )
        self.entry = self.views.book.use("s", 0.0)

    def answer(self, names: Sequence[str], position: str | None, node: str = "http://b") -> bool:
        """Take in an answer to a lookup."""
        service = Service(service_id="s", instances=[instance(name) for name in names])
        shown = Shown(node, [service], position, 0.0)
        return self.views.answer(self.entry, service, keyed(service.instances or ()), shown, self.now)

    def push(self, kind: str, name: str, position: str, *, full: bool = False) -> None:
        """Take in a push."""
        self.views.push(self.entry, Push("s", (Change(kind, instance(name), 0),), position, full))

    @property
    def ids(self) -> list[str]:
        """What is shown."""
        return [str(one.instance_id) for one in self.entry.instances or ()]


def pushed(client: Client) -> Followed:
    """Let a node push what changes."""
    client.entry.pushed_by = "http://b"
    client.entry.fed = True
    return client.entry


def test_an_older_answer_is_not_shown_for_a_while() -> None:
    """The view stays, an event says whose answer it was, and age shows that nobody confirms the view."""
    client = Client()
    assert client.answer("ab", cursor({A1: 3}, A1))
    client.now += 1.0
    assert not client.answer("a", cursor({A1: 2}))
    client.now += 1.0
    assert not client.answer("a", cursor({A1: 2}))
    view = client.entry.view(client.now)
    assert view is not None
    assert (["a", "b"], 2.0, 2) == (client.ids, view.age, client.views.outdated)
    assert [AnswerOutdated("s", "http://b")] == client.events
    assert client.answer("abc", cursor({A1: 3, B1: 1}))
    assert (["a", "b", "c"], None) == (client.ids, client.entry.outdated)


def test_an_older_answer_counts_when_nobody_shows_more() -> None:
    """A cluster that was rebuilt wins after a bounded time, and the client says that it went back."""
    client = Client()
    client.answer("ab", cursor({A1: 3}, A1))
    rebuilt = cursor({B1: 1})
    assert not client.answer("c", rebuilt)
    client.now += WAIT
    assert client.answer("c", rebuilt)
    assert (["c"], rebuilt) == (client.ids, client.entry.cursor)
    assert [AnswerOutdated("s", "http://b"), WentBack("s", "http://b", WAIT)] == client.events


@pytest.mark.parametrize(("wait", "position"), [(WAIT, cursor({A2: 1}, A2)), (0.0, cursor({B1: 1}))])
def test_what_only_the_node_itself_had_is_not_waited_for(wait: float, position: str) -> None:
    """A node that was restarted without its memory is right at once, and so is any node if the options say so."""
    client = Client(wait)
    client.answer("ab", cursor({A1: 3}, A1))
    assert client.answer("a", position)
    assert (["a"], [WentBack("s", "http://b", 0.0)]) == (client.ids, client.events)


def test_after_an_older_push_only_a_whole_answer_helps() -> None:
    """What follows a push that was left out says nothing without it, so the service has to be looked up."""
    client = Client()
    client.answer("ab", cursor({A1: 3}, A1))
    entry = pushed(client)
    client.push("new", "c", cursor({A1: 2}), full=True)
    client.push("new", "d", cursor({A1: 3}, version=2))
    assert (["a", "b"], True, 2) == (client.ids, entry.behind, entry.pushes)
    assert client.answer("abd", cursor({A1: 3}, version=3))
    client.push("delete", "a", cursor({A1: 4}, version=4))
    assert ["b", "d"] == client.ids


def test_a_full_sync_of_a_node_that_has_caught_up_is_taken() -> None:
    """It shows everything, so what was left out before does not matter."""
    client = Client()
    client.answer("ab", cursor({A1: 3}, A1))
    entry = pushed(client)
    client.push("new", "c", cursor({A1: 2}), full=True)
    client.push("new", "d", cursor({A1: 3}, version=2), full=True)
    assert (["d"], False, None) == (client.ids, entry.unsure, entry.outdated)


class Peers(RegistryApi):
    """Nodes that show what a test says: URL to instances and cursor. Calls go to the first, which may be exchanged."""

    def __init__(self, **nodes: tuple[str, str]) -> None:
        self.nodes = nodes
        self.current = next(iter(nodes))
        self.other: str | None = None
        self.asked: list[str] = []
        self.sieve = Sieve(logging.getLogger("artemis.client"))

    def check_region(self, region_id: str | None = None) -> None:
        """Every region is right."""

    def another(self) -> str | None:
        """Return the other node, if a test has one."""
        return self.other

    async def show(
        self,
        service_ids: Sequence[str],
        *,
        region_id: str | None = None,
        zone_id: str | None = None,
        node: str | None = None,
    ) -> Shown:
        """Show what the node is to show."""
        url = node or self.current
        self.asked.append(url)
        if url not in self.nodes:
            raise UnreachableError("lookup", [Attempt(url, "it is away")])
        names, position = self.nodes[url]
        service = Service(service_id="s", instances=[instance(name) for name in names])
        return Shown(url, [service], position, 0.0)


@pytest.mark.parametrize("other", ["c", "away", None])
async def test_another_node_is_asked_when_one_lags(other: str | None) -> None:
    """Without pushes too: whoever knows more is shown, and where there is nobody else the same node is asked again."""
    api = Peers(a=("x", cursor({A1: 1}, A1)))
    feed = EventFeed(8)
    background = Background(feed.publish)
    background.open()
    loop = asyncio.get_running_loop()
    discovery = Discovery(
        api=api,
        book=ServiceBook(limit=10),
        feed=feed,
        background=background,
        options=ClientOptions(poll_interval=0.05, guard_share=0.0, outdated_wait=20.0),
        random=Random(1),  # noqa: S311 - it chooses how long to wait
        clock=loop.time,
        wall=lambda: 0,
    )
    events = feed.listen()
    try:
        watch = discovery.watch(["s"])
        assert (await anext(watch)).instance.instance_id == "x"
        api.nodes, api.current, api.other = {"b": ("", cursor({B1: 1}))}, "b", other
        async with asyncio.timeout(30):
            assert await anext(events) == AnswerOutdated("s", "b")
            newer = cursor({A1: 1, B1: 1}, Origin("c", 1))
            api.nodes |= {"c": ("xy", newer)} if other == "c" else {"b": ("xy", newer)}
            change = await anext(watch)
        assert ("new", "y") == (change.change_type, change.instance.instance_id)
        assert (other in api.asked) == (other is not None)
    finally:
        await background.close()
        await discovery.close()


async def test_a_registry_that_was_rebuilt_wins_after_a_while(quick: ClientOptions) -> None:
    """The view of a client whose node is replaced by a stranger stays for the time of the options, then goes over."""
    options = replace(quick, outdated_wait=0.6, guard_share=0.0, link_backoff=0.1, node_rest=0.1)
    async with running_node() as first, running_node() as second:
        async with ArtemisClient(servers=[second.url], region_id="local", zone_id="zone1") as other:
            await other.api.register([instance("new")])
        servers = [first.url, second.url]
        async with ArtemisClient(servers=[first.url], region_id="local", zone_id="zone1") as other:
            await other.api.register([instance("old")])
        async with ArtemisClient(servers=servers, region_id="local", zone_id="zone1", options=options) as client:
            before = {one.instance_id for one in (await client.service("s")).instances}
            events = client.events()
            node = first if client.server == first.url else second
            await asyncio.to_thread(node.kill)
            async with asyncio.timeout(30):
                seen = [event async for event in until_back(events)]
            assert [AnswerOutdated, WentBack] == [type(event) for event in seen]
            after = {one.instance_id for one in (await client.service("s")).instances}
            assert {"old", "new"} == before | after
            assert before != after


async def until_back(events):
    """Yield what is told of older answers, until the view went back."""
    async for event in events:
        if isinstance(event, AnswerOutdated | WentBack):
            yield event
        if isinstance(event, WentBack):
            return
