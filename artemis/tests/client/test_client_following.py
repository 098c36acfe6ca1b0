"""Following services over a link, against a registry, a network and a clock that are all simulated."""

import asyncio
import logging
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artemis import ClientOptions, Instance
from artemis.client.background import Background
from artemis.client.calls.api import RegistryApi, Shown
from artemis.client.calls.sieve import Sieve
from artemis.client.calls.transport import Reply
from artemis.client.discovery.discovery import Discovery
from artemis.client.discovery.following import PAUSE, SPREAD
from artemis.client.discovery.lookups import MAX_REFUSED, OVERTAKEN
from artemis.client.discovery.services import ServiceBook
from artemis.client.errors import Attempt, RefusedError, UnreachableError
from artemis.client.events import EventFeed
from artemis.client.links.link import Change, Confirmation, LinkFailure, LinkKind, OnPush, Push, Subscribed, Want
from artemis.model import Service

NODE = "http://node"
SERVICES = ("orders", "prices")
OPTIONS = ClientOptions(guard_share=0.0, confirm_interval=2.0, refresh_interval=20.0, poll_interval=3.0)


class QuickSelector(selectors.DefaultSelector):
    """Waits in no time: the clock of the loop jumps ahead instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once."""
        if timeout is None:
            raise AssertionError("everybody waits for nothing")
        self.now += max(0.0, timeout)
        return super().select(0)


class QuickLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own."""

    def __init__(self) -> None:
        self._quick = QuickSelector()
        super().__init__(self._quick)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the simulated time."""
        return self._quick.now


def simulate(run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine in simulated time."""
    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        runner.run(run())


def now() -> float:
    """Return the simulated time."""
    return asyncio.get_running_loop().time()


Content = dict[str, dict[str, int]]
"""Services, their instances, and a number that stands for what these say of themselves."""


def instance(service: str, name: str, content: int) -> Instance:
    """Build an instance."""
    return Instance(region_id="r", service_id=service, instance_id=name, url=f"http://{content}")


class Node:
    """A node that shows the truth a while later, pushes it, and says how late it is."""

    def __init__(self, random: Random, *, lag: float = 0.0, lose: float = 0.0) -> None:
        self.random = random
        self.lag = lag
        self.lose = lose
        self.short = lose / 2
        """How many confirmations there is no time for."""
        self.epoch = 1
        self.truth: list[tuple[float, Content]] = [(0.0, {service: {} for service in SERVICES})]
        self.shown: Content = {service: {} for service in SERVICES}
        self.coming: deque[tuple[str, str, int | None]] = deque()
        self.log: list[tuple[str, str]] = []
        self.links: set[FakeLink] = set()
        self.lookups = 0
        self.refuses: set[str] = set()

    @property
    def cursor(self) -> str:
        """Return where the node is."""
        return f"{self.epoch}.{len(self.log)}"

    def change(self, service: str, name: str, content: int | None) -> None:
        """Let an instance come, be other, or go."""
        content_now = {service: dict(instances) for service, instances in self.truth[-1][1].items()}
        if content is None:
            content_now[service].pop(name, None)
        else:
            content_now[service][name] = content
        self.truth.append((now(), content_now))
        self.coming.append((service, name, content))
        asyncio.get_running_loop().call_later(self.lag, self._show)

    def restart(self) -> None:
        """Forget all cursors."""
        self.epoch += 1
        self.log.clear()
        for link in list(self.links):
            link.end("restarted")

    def latency(self) -> float:
        """Return how long something takes one way."""
        return self.random.uniform(0.001, 0.3)

    def _show(self) -> None:
        service, name, content = self.coming.popleft()
        if content is None:
            self.shown[service].pop(name, None)
        else:
            self.shown[service][name] = content
        self.log.append((service, name))
        for link in self.links:
            asyncio.get_running_loop().call_later(self.random.uniform(0.0, 0.2), link.flush)


class FakeApi(RegistryApi):
    """Looks up at the simulated node, on ways of its own."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.asked: list[list[str]] = []
        self.sieve = Sieve(logging.getLogger("artemis.client"))

    def check_region(self, region_id: str | None = None) -> None:
        """Every region is right."""

    async def show(
        self, service_ids: Sequence[str], *, region_id: str | None = None, zone_id: str | None = None
    ) -> Shown:
        """Show what the node shows when the question has come to it."""
        node = self._node
        node.lookups += 1
        self.asked.append([*service_ids])
        await asyncio.sleep(node.latency())
        services = [
            Service(service_id=name, instances=[instance(name, *item) for item in node.shown.get(name, {}).items()])
            for name in service_ids
        ]
        cursor = node.cursor
        await asyncio.sleep(node.latency())
        if refused := sorted(node.refuses.intersection(service_ids)):
            raise RefusedError(NODE, "lookup", "bad-request", f"{refused}")
        if node.random.random() < node.lose:
            raise UnreachableError("lookup", [Attempt(NODE, "simulated")])
        return Shown(NODE, services, cursor, node.lag)


class FakeLink:
    """A session with the simulated node: what goes one way keeps its order, and takes its time."""

    carries_calls = False
    lifetime = None

    def __init__(self, node: Node, on_push: OnPush, kind: LinkKind = LinkKind.MSGTRANS) -> None:
        self.kind = kind
        self.node = NODE
        self.silent = False
        self.never_current = False
        self.refuses: set[str] = set()
        self.most = 3
        self.asked: list[str] = []
        self._registry = node
        self._on_push = on_push
        self._positions: dict[str, int] = {}
        self._last = {"up": 0.0, "down": 0.0}
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting: set[asyncio.Future[object]] = set()
        node.links.add(self)

    @property
    def confirms(self) -> bool:
        """Say whether it is a link that can."""
        return self.kind is not LinkKind.JAVA_WEBSOCKET

    @property
    def subscribed(self) -> tuple[str, ...]:
        """Return what the node pushes."""
        return tuple(self._positions)

    async def call(self, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Link.call`
        """Carry no calls."""
        raise NotImplementedError

    async def subscribe(self, wants: Sequence[Want]) -> Subscribed:
        """Be told of services, first of what was missed."""
        self.asked += [want.service_id for want in wants]

        def at_node() -> Subscribed:
            for want in wants:
                if want.service_id not in self.refuses:
                    self._begin(want)
            refused = dict.fromkeys(self.refuses, "simulated")
            return Subscribed(None if self.kind is LinkKind.JAVA_WEBSOCKET else self._registry.cursor, refused)

        return await self._ask(at_node)

    async def unsubscribe(self, service_ids: Sequence[str]) -> None:
        """Be told no longer."""
        await self._ask(lambda: [self._positions.pop(name, None) for name in service_ids])

    async def confirm(self) -> Confirmation:
        """Push what is pending first."""

        def at_node() -> Confirmation:
            current = not self.never_current and self._registry.random.random() >= self._registry.short
            if current:
                self.flush()
            return Confirmation(current, self._registry.cursor if current else None, self._registry.lag)

        return await self._ask(at_node)

    async def ended(self) -> LinkFailure:
        """Wait for the end."""
        return LinkFailure(await asyncio.shield(self._ended))

    async def close(self) -> None:
        """End it."""
        self.end("closed")

    def end(self, reason: str) -> None:
        """Let nothing through any more."""
        self._registry.links.discard(self)
        if not self._ended.done():
            self._ended.set_result(reason)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(LinkFailure(reason))

    def flush(self) -> None:
        """Push what is pending."""
        for service in self._positions:
            self._push(service)

    def _begin(self, want: Want) -> None:
        node = self._registry
        epoch, _, version = (want.cursor or node.cursor).partition(".")
        self._positions[want.service_id] = int(version) if int(epoch) == node.epoch else -1
        self._push(want.service_id)

    def _push(self, service: str) -> None:
        node = self._registry
        position, self._positions[service] = self._positions[service], len(node.log)
        shown = node.shown[service]
        touched = {name: shown.get(name) for of, name in node.log[max(0, position) :] if of == service}
        whole = position < 0
        changes = [
            Change("delete" if content is None else "new", instance(service, name, content or 0), 0)
            for name, content in (shown if whole else touched).items()
        ]
        if len(changes) > self.most:
            changes = [Change("reload", instance(service, "*", 0), 0)]
        if changes or whole:
            cursor = None if self.kind is LinkKind.JAVA_WEBSOCKET else node.cursor
            push = Push(service, tuple(changes), cursor, full_sync=whole)
            self._deliver("down", lambda: self._on_push(push))

    async def _ask(self, at_node: Callable[[], object]) -> object:
        if self._ended.done():
            raise LinkFailure(self._ended.result())
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)

        def answered(result: object) -> None:
            if not answer.done() and not self.silent:
                answer.set_result(result)

        def arrived() -> None:
            result = at_node()
            self._deliver("down", lambda: answered(result))

        self._deliver("up", arrived)
        try:
            return await answer
        finally:
            self._waiting.discard(answer)

    def _deliver(self, way: str, message: Callable[[], object]) -> None:
        """Let it arrive later, after what was sent before."""
        at = self._last[way] = max(self._last[way] + 1e-6, now() + self._registry.latency())
        asyncio.get_running_loop().call_at(at, lambda: None if self._ended.done() else message())


class Setting:
    """A client's discovery with the simulated node."""

    def __init__(self, node: Node, random: Random, options: ClientOptions = OPTIONS) -> None:
        self.node = node
        self.feed = EventFeed(1000)
        self.background = Background()
        self.background.open()
        self.book = ServiceBook(limit=options.max_services)
        self.api = FakeApi(node)
        self.discovery = Discovery(
            api=self.api,
            book=self.book,
            feed=self.feed,
            background=self.background,
            options=options,
            random=random,
            clock=now,
            wall=lambda: int(now() * 1000),
        )

    def link(self, kind: LinkKind = LinkKind.MSGTRANS) -> FakeLink:
        """Open a session."""
        return FakeLink(self.node, self.discovery.push, kind)

    async def close(self) -> None:
        """End everything."""
        await self.background.close()
        await self.discovery.close()
        for link in list(self.node.links):
            link.end("over")

    def shown(self, service: str) -> tuple[dict[str, int], float]:
        """Return what the client shows, and how old it says that is."""
        view = self.discovery.known(service)
        assert view is not None
        return {str(one.instance_id): int(str(one.url)[7:]) for one in view.instances}, view.age


async def trouble(node: Node, setting: Setting, random: Random, kinds: Sequence[LinkKind]) -> None:
    """Make links, and let them break, for ever."""
    while True:
        await asyncio.sleep(random.uniform(0.0, 4.0))
        link = setting.link(random.choice(kinds))
        following = asyncio.ensure_future(setting.discovery.follow(link))
        try:
            link.silent = random.random() < 0.2
            await asyncio.wait([following], timeout=random.uniform(0.0, 15.0))
            if random.random() < 0.3:
                node.restart()
            link.end("simulated")
        finally:
            following.cancel()
            await asyncio.wait([following])
            if not following.cancelled():
                assert isinstance(following.exception(), LinkFailure)


async def go_on(
    node: Node, setting: Setting, random: Random, kinds: Sequence[LinkKind], look: Callable[[], None]
) -> None:
    """Let things change and break for a minute or two; look at what is shown again and again."""
    breaking = asyncio.ensure_future(trouble(node, setting, random, kinds))
    for _ in range(150):
        await asyncio.sleep(random.uniform(0.0, 0.8))
        service = random.choice(SERVICES)
        for _ in range(random.choice([0, 1, 1, 5])):
            node.change(service, random.choice("abcdefgh"), random.choice([None, None, 1, 2, 3]))
        look()
    breaking.cancel()
    await asyncio.wait([breaking])
    node.lose = node.short = 0.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.7]))
def test_the_age_is_never_too_small(seed: int, lag: float) -> None:
    """What is shown was the truth at some moment that is not longer ago than the age says, whatever breaks when.

    And when nothing breaks any more, what is shown is the truth, and its age is small.
    """
    random = Random(seed)  # noqa: S311 - a simulation

    async def run() -> None:
        node = Node(random, lag=lag, lose=0.2)
        setting = Setting(node, random)

        def look() -> None:
            for name in SERVICES:
                if setting.discovery.known(name) is not None:
                    check(node, *setting.shown(name), name)

        await go_on(node, setting, random, [LinkKind.MSGTRANS], look)
        following = asyncio.ensure_future(setting.discovery.follow(setting.link()))
        await asyncio.sleep(10.0)
        for name in SERVICES:
            content, age = setting.shown(name)
            assert content == node.truth[-1][1][name]
            assert age <= lag + OPTIONS.confirm_interval + 1.0
        following.cancel()
        await asyncio.wait([following])
        await setting.close()

    simulate(run)


def check(node: Node, content: dict[str, int], age: float, service: str) -> None:
    """Check that each instance was shown like that, or was not there, at some moment since ``age`` seconds ago."""
    ends = [time for time, _ in node.truth[1:]] + [float("inf")]
    since = now() - age - 1e-9
    recent = [truth[service] for (_, truth), end in zip(node.truth, ends, strict=True) if end >= since]
    for name in "abcdefgh":
        assert content.get(name) in [truth.get(name) for truth in recent], f"{name} of {service}"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_pushes_without_cursors_lead_to_the_truth_too(seed: int) -> None:
    """Lookups close the gaps between one link and the next."""
    random = Random(seed)  # noqa: S311 - a simulation

    async def run() -> None:
        node = Node(random, lose=0.2)
        setting = Setting(node, random)
        kinds = [LinkKind.JAVA_WEBSOCKET, LinkKind.JAVA_WEBSOCKET, LinkKind.MSGTRANS]
        await go_on(node, setting, random, kinds, lambda: [setting.discovery.known(name) for name in SERVICES])
        following = asyncio.ensure_future(setting.discovery.follow(setting.link(LinkKind.JAVA_WEBSOCKET)))
        await asyncio.sleep(10.0)
        for name in SERVICES:
            content, age = setting.shown(name)
            assert content == node.truth[-1][1][name]
            assert age <= OPTIONS.refresh_interval
        following.cancel()
        await asyncio.wait([following])
        await setting.close()

    simulate(run)


def followed(test: Callable[[Node, Setting, FakeLink, "asyncio.Task[None]"], Coroutine[None, None, None]]) -> None:
    """Run a test with a client that follows both services over a link since a while."""

    async def run() -> None:
        random = Random(1)  # noqa: S311 - a simulation
        node = Node(random)
        setting = Setting(node, random)
        link = setting.link()
        following = asyncio.ensure_future(setting.discovery.follow(link))
        await setting.discovery.services(SERVICES)
        await asyncio.sleep(5.0)
        node.lookups = 0
        await test(node, setting, link, following)
        following.cancel()
        await asyncio.wait([following])
        await setting.close()

    simulate(run)


def test_what_is_pushed_is_not_looked_up() -> None:
    """Changes arrive, and the age stays small, without one lookup."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        node.change("orders", "a", 1)
        await asyncio.sleep(60.0)
        assert ({"a": 1}, 0) == (setting.shown("orders")[0], node.lookups)
        assert setting.shown("orders")[1] <= OPTIONS.confirm_interval + 1.0

    followed(test)


def test_a_node_that_has_too_much_to_push_leaves_the_view_old() -> None:
    """It says so itself; the age goes on growing until it has caught up."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        link.never_current = True
        await asyncio.sleep(10.0)
        assert setting.shown("orders")[1] > 8.0
        link.never_current = False
        await asyncio.sleep(OPTIONS.confirm_interval + 1.0)
        assert setting.shown("orders")[1] <= OPTIONS.confirm_interval + 1.0

    followed(test)


def test_a_node_that_does_not_confirm_is_left() -> None:
    """Within a confirm interval and an attempt's time; the services are polled then."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        link.silent = True
        await asyncio.wait([following], timeout=OPTIONS.confirm_interval + OPTIONS.attempt_timeout + 0.1)
        with pytest.raises(LinkFailure, match="no answer within 2 s"):
            await following
        link.end("left")
        node.change("orders", "a", 1)
        await asyncio.sleep(OPTIONS.poll_interval + 1.0)
        assert setting.shown("orders")[0] == {"a": 1}

    followed(test)


def test_what_a_link_refuses_is_polled() -> None:
    """And asked for again at the next refresh."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        following.cancel()
        second = setting.link()
        second.refuses = {"orders"}
        again = asyncio.ensure_future(setting.discovery.follow(second))
        await asyncio.sleep(2.0)
        assert sorted(second.asked) == ["orders", "prices"]
        node.change("orders", "a", 1)
        await asyncio.sleep(OPTIONS.poll_interval + 1.0)
        assert setting.shown("orders")[0] == {"a": 1}
        second.refuses = set()
        await asyncio.sleep(OPTIONS.refresh_interval)
        assert second.asked.count("orders") == 2
        again.cancel()
        await asyncio.wait([again])

    followed(test)


def test_a_service_that_is_not_in_use_any_more_is_unsubscribed_from() -> None:
    """The one unused for longest makes room for another, at the node too."""

    async def run() -> None:
        random = Random(1)  # noqa: S311 - a simulation
        node = Node(random)
        setting = Setting(node, random, ClientOptions(max_services=1))
        link = setting.link()
        following = asyncio.ensure_future(setting.discovery.follow(link))
        await setting.discovery.service("orders")
        await asyncio.sleep(2.0)
        await setting.discovery.service("prices")
        await asyncio.sleep(2.0)
        assert link.subscribed == ("prices",)
        following.cancel()
        await asyncio.wait([following])
        await setting.close()

    simulate(run)


def test_a_reload_of_everything_looks_everything_up() -> None:
    """Once each, in one message."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        node.shown["orders"]["a"] = 1
        everything = Change("reload", instance("*", "*", 0), 0)
        setting.discovery.push(Push("*", (everything,), node.cursor))
        await asyncio.sleep(1.0)
        assert (setting.shown("orders")[0], node.lookups) == ({"a": 1}, 1)

    followed(test)


def test_what_nobody_can_use_is_left_out_of_pushes() -> None:
    """As it is of lookups: of another service, without an id, without a url; one that loses its url is gone."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        def push(change_type: str, one: Instance) -> None:
            setting.discovery.push(Push("orders", (Change(change_type, one, 0),), node.cursor))

        push("new", instance("orders", "a", 1))
        push("new", instance("evil", "b", 1))
        push("new", instance("orders", " ", 1))
        push("new", Instance(region_id="r", service_id="orders", instance_id="c"))
        assert ({"a": 1}, 3) == (setting.shown("orders")[0], setting.api.dropped)
        push("change", Instance(region_id="r", service_id="orders", instance_id="a", url=" "))
        assert ({}, 4) == (setting.shown("orders")[0], setting.api.dropped)
        whole = (Change("new", instance("evil", "b", 1), 0), Change("new", instance("orders", "d", 2), 0))
        setting.discovery.push(Push("orders", whole, node.cursor, full_sync=True))
        assert ({"d": 2}, 5) == (setting.shown("orders")[0], setting.api.dropped)

    followed(test)


def test_a_push_about_all_services_is_sorted_by_them() -> None:
    """Its instances name their services; with a full sync a service that is not named has nothing."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        changes = [Change("new", instance(name, "a", 1), 0) for name in ("Orders", "prices", "other")]
        setting.discovery.push(Push("*", tuple(changes), node.cursor))
        assert ({"a": 1}, {"a": 1}) == tuple(setting.shown(name)[0] for name in SERVICES)
        setting.discovery.push(Push("*", (Change("new", instance("prices", "b", 2), 0),), node.cursor, full_sync=True))
        assert ({}, {"b": 2}) == tuple(setting.shown(name)[0] for name in SERVICES)

    followed(test)


def polled(test: Callable[[Node, Setting], Coroutine[None, None, None]]) -> None:
    """Run a test with a client that has no link."""

    async def run() -> None:
        random = Random(1)  # noqa: S311 - a simulation
        node = Node(random)
        setting = Setting(node, random)
        await test(node, setting)
        await setting.close()

    simulate(run)


def test_a_service_that_a_node_refuses_stands_in_the_way_of_no_other() -> None:
    """It is found out by halves, once, and asked for by itself until it is answered."""

    async def test(node: Node, setting: Setting) -> None:
        for number in range(64):
            setting.discovery.known(f"s{number}")
        node.refuses = {"s7", "s40"}
        await asyncio.sleep(2.0)
        node.shown["s6"] = {"a": 1}
        await asyncio.sleep(4 * OPTIONS.poll_interval)
        assert {"a": 1} == setting.shown("s6")[0]
        assert ["s7"] in setting.api.asked
        node.lookups = 0
        await asyncio.sleep(OPTIONS.poll_interval)
        assert node.lookups <= 2 * 3
        node.refuses = set()
        node.shown["s7"] = {"b": 2}
        await asyncio.sleep(2 * OPTIONS.poll_interval)
        assert {"b": 2} == setting.shown("s7")[0]

    polled(test)


def test_a_node_that_refuses_everything_is_asked_a_bounded_number_of_times() -> None:
    """However many services there are."""

    async def test(node: Node, setting: Setting) -> None:
        node.refuses = {f"s{number}" for number in range(400)}
        entries = [setting.book.use(name, now()) for name in node.refuses]
        assert not await setting.discovery._lookups.refresh(entries)
        assert node.lookups <= 2 * MAX_REFUSED + 1

    polled(test)


def test_a_service_whose_first_lookup_fails_is_forgotten() -> None:
    """Unless somebody follows it, or waits for the same answer."""

    async def test(node: Node, setting: Setting) -> None:
        node.refuses = {"bad", "watched"}
        watch = setting.discovery.watch(["watched"])
        for name in ("bad", "watched"):
            with pytest.raises(RefusedError):
                await setting.discovery.services(["orders", name])
        assert ["watched"] == [entry.key for entry in setting.book.entries()]
        watch.close()
        first = asyncio.ensure_future(setting.discovery.service("prices"))
        await asyncio.sleep(0)
        entry = setting.book.get("prices")
        second = asyncio.ensure_future(setting.discovery.service("prices"))
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert entry is setting.book.get("prices")

    polled(test)


def test_many_reloads_are_few_lookups() -> None:
    """One soon, and then one in a while, whatever a node says; the last of them shows what the last reload was for."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        reload = (Change("reload", instance("orders", "*", 0), 0),)
        node.latency = lambda: 0.001  # type: ignore[method-assign]
        for number in range(400):
            setting.discovery.push(Push("orders", reload, node.cursor))
            node.shown["orders"]["a"] = number
            await asyncio.sleep(0.01)
        assert 1 <= node.lookups <= OVERTAKEN * (4.0 / PAUSE + 1)
        await asyncio.sleep(PAUSE + SPREAD + 0.1)
        assert {"a": 399} == setting.shown("orders")[0]
        setting.discovery.push(Push("prices", (Change("reload", instance("prices", "*", 0), 0),), node.cursor))
        asked = len(setting.api.asked)
        await asyncio.sleep(SPREAD + 0.01)
        assert asked < len(setting.api.asked)

    followed(test)


def test_a_reload_of_one_service_among_all_looks_that_one_up() -> None:
    """The others are told what the push says of them."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        node.shown["orders"]["a"] = 1
        changes = (Change("reload", instance("orders", "*", 0), 0), Change("new", instance("prices", "b", 2), 0))
        setting.discovery.push(Push("*", changes, node.cursor))
        await asyncio.sleep(1.0)
        assert ({"a": 1}, {"b": 2}) == tuple(setting.shown(name)[0] for name in SERVICES)
        assert ["orders"] == setting.api.asked[-1]

    followed(test)


def test_a_push_of_what_nobody_uses_is_ignored() -> None:
    """As one that was under way when the service was dropped."""

    async def test(node: Node, setting: Setting, link: FakeLink, following: "asyncio.Task[None]") -> None:
        setting.discovery.push(Push("other", (Change("new", instance("other", "a", 1), 0),), "1.0"))
        following.cancel()
        await asyncio.wait([following])
        setting.discovery.push(Push("orders", (Change("new", instance("orders", "a", 1), 0),), "1.0"))
        assert setting.shown("orders")[0] == {}

    followed(test)
