"""The change stream: who is told, what, and what slow ones cost (design 4)."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artemis.model import Instance, RegistryRequest
from artemis.push import ChangeStream, Cursor, Dialect, PushLimits, Subscriber, decode_cursor
from artemis.registry import Origin

SERVICES = ("Orders", "users")
NAMES = ("I1", "i2", "i3")
MAKERS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def instance(name: str, service: str = "Orders", **fields: object) -> Instance:
    """An instance that can be registered."""
    return Instance(region_id="r1", zone_id="z1", service_id=service, instance_id=name, url="http://x", **fields)


class Client:
    """A subscriber with what it knows of its services, as its messages say."""

    def __init__(self, stream: ChangeStream, dialect: Dialect = Dialect.NATIVE) -> None:
        self.wakes = 0
        self.subscriber = Subscriber(dialect, self.wake)
        self.stream = stream
        stream.attach(self.subscriber)

    def wake(self) -> None:
        """Count."""
        self.wakes += 1

    def take(self, max_bytes: int = 1_000_000) -> list[dict[str, object]]:
        """The next messages, decoded."""
        return [json.loads(message) for message in self.subscriber.take(max_bytes)]


class Cache:
    """What a client knows of the services from its messages; it looks up again what it is told to."""

    def __init__(self, node, dialect: Dialect, *, everything: bool) -> None:
        self.node, self.dialect, self.everything = node, dialect, everything
        self.known: dict[str, dict[str, object]] = {service.lower(): {} for service in SERVICES}
        self.cursor: str | None = None
        self.connect()

    def connect(self) -> None:
        """Subscribe anew, from the cursor of the last message."""
        self.client = Client(self.node.stream, self.dialect)
        cursor = None if self.cursor is None else decode_cursor(self.cursor)
        if self.everything:
            self.node.stream.subscribe_all(self.client.subscriber)
        else:
            for service in SERVICES:
                self.node.stream.subscribe(self.client.subscriber, service.upper(), cursor)

    def reconnect(self) -> None:
        """Disconnect and go on, if all messages so far were taken; a cursor is that of one service only otherwise."""
        if not self.everything and self.cursor is not None and not self.client.subscriber.pending:
            self.node.stream.detach(self.client.subscriber)
            self.connect()

    def take(self) -> None:
        """Apply the next messages."""
        for message in self.client.take(1):
            self.cursor = message.get("cursor") or self.cursor
            for change in message.get("changes", [message]):
                self._apply(change["changeType"], change["instance"])
            if message.get("fullSync"):
                self.known[message["serviceId"]] = self._shown(message["serviceId"])

    def _apply(self, kind: str, its: dict[str, str]) -> None:
        service, name = its["serviceId"].lower(), its["instanceId"].lower()
        if kind == "reload":
            self.known[service] = self._shown(service)
        elif kind == "delete":
            self.known[service].pop(name, None)
        else:
            self.known[service][name] = its["status"]

    def _shown(self, service: str) -> dict[str, object]:
        return {name: json.loads(content)["status"] for name, content in self.node.catalog.instances(service)}

    def check(self) -> None:
        """Take what is left; then it knows what a fresh lookup shows."""
        while self.client.subscriber.pending:
            self.take()
        if not self.client.subscriber.lost:
            assert {service: self._shown(service) for service in self.known} == self.known


def told(messages: list[dict[str, object]]) -> list[tuple[str, str, str]]:
    """Service, kind and instance of each change, in order; for messages of either dialect."""
    result = []
    for message in messages:
        for change in message.get("changes", [message]):
            its = change["instance"]
            result.append((message.get("serviceId", its["serviceId"]), change["changeType"], its["instanceId"]))
    return result


@pytest.fixture
def node(make_node):
    """A node that serves."""
    return make_node()


def register(node, *instances: Instance) -> None:
    """Register instances."""
    assert node.register(RegistryRequest(instances=list(instances)), 0).response_status.ok


def unregister(node, *instances: Instance) -> None:
    """Remove instances."""
    assert node.unregister(RegistryRequest(instances=list(instances)), 0).response_status.ok


steps = st.tuples(
    st.sampled_from(["register", "register", "unregister", "take", "take", "again", "reload"]),
    st.sampled_from(SERVICES),
    st.sampled_from(NAMES),
    st.sampled_from(["up", "down"]),
    st.integers(0, 2),
)


@settings(max_examples=200, suppress_health_check=MAKERS)
@given(trace=st.lists(steps, max_size=50), small=st.booleans())
def test_whoever_takes_now_and_then_knows_what_is_shown(make_node, trace, small):
    """Subscribers of services and of everything, in both dialects, quick or slow, end at what a fresh lookup shows.

    A reload or a full sync makes them look everything up; no `delete` names what they do not know. With a log of two
    entries those that fall behind are told to reload, and one of everything is lost.
    """
    node = make_node(max_changes=2 if small else 1_000)
    caches = [Cache(node, dialect, everything=False) for dialect in Dialect]
    caches.append(Cache(node, Dialect.NATIVE, everything=True))
    for kind, service, name, status, which in trace:
        match kind:
            case "register":
                register(node, instance(name, service, status=status))
            case "unregister":
                unregister(node, instance(name, service))
            case "reload":
                node.catalog.reload(service.lower())
            case "take":
                caches[which].take()
            case "again":
                caches[which].reconnect()
    for cache in caches:
        cache.check()
        assert small or not cache.client.subscriber.lost


def test_one_change_in_both_dialects(node):
    """Java clients get single changes with the service in lower case and `new` for other content; ours get lists."""
    java, native = Client(node.stream, Dialect.JAVA), Client(node.stream)
    for client in (java, native):
        assert None is node.stream.subscribe(client.subscriber, " ORDERS ")
        assert ["orders"] == client.subscriber.services
    register(node, instance("i1"))
    [message] = java.take()
    assert {"changeTime", "changeType", "cursor", "instance"} == set(message)
    assert ("new", "orders", node.cursor()) == (
        message["changeType"],
        message["instance"]["serviceId"],
        message["cursor"],
    )
    [message] = native.take()
    assert ("service_change", "orders", "orders", False, node.cursor()) == tuple(
        message[name] for name in ("type", "service_id", "serviceId", "fullSync", "cursor")
    )
    assert "Orders" == message["changes"][0]["instance"]["serviceId"]
    register(node, instance("i1", status="up"))
    assert [("orders", "new", "i1")] == told(java.take())
    assert [("orders", "change", "i1")] == told(native.take())
    register(node, instance("i1", status="up"))
    assert (2, 2, False) == (java.wakes, native.wakes, native.subscriber.pending)


def test_a_reload_is_the_fake_instance(node):
    """A service that is to be looked up again is told with the original's fake instance (spec 1.4)."""
    client = Client(node.stream, Dialect.JAVA)
    node.stream.subscribe(client.subscriber, "orders")
    node.catalog.reload("orders")
    [message] = client.take()
    filled = {name: value for name, value in message["instance"].items() if value}
    assert "reload" == message["changeType"]
    expected = {"serviceId": "orders", "instanceId": "reload", "ip": "0.0.0.0", "url": "http://serviceId/reload"}
    assert expected == filled


def test_what_nobody_took_is_coalesced(node):
    """A slow subscriber is woken once and gets the latest of each instance; what came and went he never hears of."""
    client = Client(node.stream)
    node.stream.subscribe(client.subscriber, "orders")
    for status in ("a", "b", "c"):
        register(node, instance("i1", status=status))
    register(node, instance("i2"))
    unregister(node, instance("i2"))
    [message] = client.take()
    assert [("orders", "new", "i1")] == told([message])
    assert "c" == message["changes"][0]["instance"]["status"]
    assert 1 == client.wakes
    counters = node.stream.counters
    assert (5, 1, 4) == (counters.published, counters.delivered, counters.coalesced)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("limits", [PushLimits(changes=2), PushLimits(change_bytes=500)])
def test_too_many_changes_become_one_reload(make_node, dialect, limits):
    """Beyond the bound on changes or their bytes a service is told to be looked up again, others are not."""
    node = make_node(push_limits=limits)
    client = Client(node.stream, dialect)
    for service in SERVICES:
        node.stream.subscribe(client.subscriber, service)
    register(node, instance("i1", "users"), *(instance(name) for name in NAMES))
    assert [("users", "new", "i1"), ("orders", "reload", "reload")] == told(client.take())
    assert 1 == node.stream.counters.reloads


@pytest.mark.parametrize(
    ("dialect", "limits", "kind"),
    [
        (Dialect.NATIVE, PushLimits(), "new"),
        (Dialect.NATIVE, PushLimits(sync_bytes=10), "reload"),
        (Dialect.JAVA, PushLimits(), "reload"),
    ],
)
def test_beyond_the_log_a_service_is_told_whole(make_node, dialect, limits, kind):
    """Who fell behind further than the log reaches gets a full sync if he knows those and it is not too large."""
    node = make_node(push_limits=limits, max_changes=2)
    client = Client(node.stream, dialect)
    node.stream.subscribe(client.subscriber, "orders")
    for status in "abcde":
        register(node, instance("i1", status=status))
    [message] = client.take()
    assert [kind] == [each[1] for each in told([message])]
    assert (kind == "new") == bool(message.get("fullSync"))


def test_a_cursor_of_no_use_is_a_full_sync(node):
    """Whoever subscribes with a cursor that says nothing here is told everything, also that there is nothing."""
    client = Client(node.stream)
    register(node, instance("i1"))
    foreign = Cursor(kind="mesh", name="r1", vector={Origin("other", 1): 1})
    for service in SERVICES:
        node.stream.subscribe(client.subscriber, service, foreign)
    first, second = client.take()
    assert ([("orders", "new", "i1")], True) == (told([first]), first["fullSync"])
    assert ([], True) == (second["changes"], second["fullSync"])
    assert (1, 2) == (client.wakes, node.stream.counters.full_syncs)


def test_a_subscriber_of_everything_that_falls_behind_is_lost(make_node):
    """There is nothing to tell him but to look everything up: his door ends the session."""
    node = make_node(max_changes=2)
    client = Client(node.stream)
    node.stream.subscribe_all(client.subscriber)
    for service in ("a", "b", "c"):
        register(node, instance("i1", service))
    assert ([], True, 1) == (client.take(), client.subscriber.lost, node.stream.counters.dropped)


def test_everything_is_told_in_bites(node, monkeypatch):
    """A lot of changes is taken in several looks; only the last one says that all of it is known."""
    monkeypatch.setattr("artemis.push.telling.CHUNK", 3)
    client = Client(node.stream)
    node.stream.subscribe_all(client.subscriber)
    for service in "abcdefgh":
        register(node, instance("i1", service))
    messages = []
    while client.subscriber.pending:
        messages += client.take(1)
    assert list("abcdefgh") == [message["serviceId"] for message in messages]
    assert [None] * 7 + [node.cursor()] == [message["cursor"] for message in messages]


def test_what_changes_between_two_bites_is_told(node, monkeypatch):
    """A look shows the present, so a later one may not take for known what the look before it did not show."""
    monkeypatch.setattr("artemis.push.telling.CHUNK", 2)
    if node.catalog.version % 2:
        register(node, instance("i0"))
    client = Client(node.stream)
    node.stream.subscribe_all(client.subscriber)
    register(node, instance("i1"))
    unregister(node, instance("i1"))
    assert [] == client.take(1)
    register(node, instance("i1"))
    assert [("orders", "new", "i1")] == told(client.take())


def test_a_large_backlog_is_taken_service_by_service(node):
    """`take` stops when it has enough; the rest is there for the next call."""
    client = Client(node.stream)
    for number in range(20):
        node.stream.subscribe(client.subscriber, f"s{number}")
        register(node, instance("i1", f"s{number}"))
    sizes = []
    while client.subscriber.pending:
        sizes.append(len(client.take(2_000)))
    assert (20, True) == (sum(sizes), max(sizes) < 6)


def test_all_who_missed_the_same_get_the_same_bytes(node):
    """A change is encoded once, however many are told."""
    clients = [Client(node.stream) for _ in range(3)]
    for client in clients:
        node.stream.subscribe(client.subscriber, "orders")
    register(node, instance("i1"))
    first, *others = [client.subscriber.take(1)[0] for client in clients]
    assert all(message is first for message in others)


def test_subscriptions_are_limited(make_node):
    """A subscriber, and all together, may have so many; refusals are texts, and repeating is always allowed."""
    node = make_node(push_limits=PushLimits(subscriptions=2, total_subscriptions=3, name=5))
    one, two = Client(node.stream).subscriber, Client(node.stream).subscriber
    subscribe = node.stream.subscribe
    assert [None, None, None] == [subscribe(one, "a"), subscribe(one, "b"), subscribe(one, "B")]
    assert "one session may subscribe to 2 services at most" == subscribe(one, "c")
    assert [None, "this node has 3 subscriptions, its limit; try another one"] == [
        subscribe(two, "a"),
        subscribe(two, "b"),
    ]
    assert ["serviceId is missing", "serviceId is longer than 5 characters"] == [
        subscribe(two, " "),
        subscribe(two, "abcdef"),
    ]
    third = Client(node.stream).subscriber
    assert "this node has 3 subscriptions, its limit; try another one" == node.stream.subscribe_all(third)
    assert 5 == node.stream.counters.refused
    for each in (one, two, third):
        node.stream.detach(each)
        node.stream.detach(each)
    assert (0, 0, 0) == (node.stream.subscribers, node.stream.subscriptions, node.stream.services)


def test_unsubscribing(node):
    """After it nothing is told, also not what was waiting; what was not subscribed to is said so."""
    client = Client(node.stream)
    node.stream.subscribe(client.subscriber, "orders")
    register(node, instance("i1"))
    assert [True, False, False] == [
        node.stream.unsubscribe(client.subscriber, name) for name in ("ORDERS", "orders", "x")
    ]
    register(node, instance("i2"))
    assert ([], 0) == (client.take(), node.stream.services)


def test_subscribing_to_everything_replaces_single_subscriptions(node):
    """Nobody is told of a change twice."""
    client = Client(node.stream)
    node.stream.subscribe(client.subscriber, "orders")
    node.stream.subscribe_all(client.subscriber)
    register(node, instance("i1"))
    assert ([""], [("orders", "new", "i1")]) == (client.subscriber.services, told(client.take()))
    assert node.stream.unsubscribe(client.subscriber, "")
    assert 0 == node.stream.subscriptions


def test_who_takes_nothing_is_stalled(make_node):
    """The time counts while something waits, from the first question, and anew after each take."""
    node = make_node(push_limits=PushLimits(stall=30_000))
    client = Client(node.stream)
    node.stream.subscribe(client.subscriber, "orders")
    assert [False, False] == [client.subscriber.stalled(now) for now in (0, 100_000)]
    register(node, instance("i1"))
    assert [False, False, True] == [client.subscriber.stalled(now) for now in (100_000, 129_999, 130_000)]
    client.take()
    register(node, instance("i2"))
    assert [False, True] == [client.subscriber.stalled(now) for now in (130_001, 160_001)]


def test_a_door_that_fails_does_not_harm_others(node):
    """What a door raises is counted and logged; the change happens and others hear of it."""

    def fail() -> None:
        raise RuntimeError("boom")

    bad, good = Subscriber(Dialect.NATIVE, fail), Client(node.stream)
    node.stream.attach(bad)
    node.stream.subscribe(bad, "orders")
    node.stream.subscribe(good.subscriber, "orders")
    node.stream.once("orders", fail)
    register(node, instance("i1"))
    assert (1, 2) == (good.wakes, node.stream.counters.door_failures)


def test_waiting_once(make_node):
    """A wait is called at the next change of its service, once, unless it is cancelled; their number is limited."""
    node = make_node(push_limits=PushLimits(waiters=2))
    calls: list[str] = []
    first = node.stream.once("ORDERS", lambda: calls.append("first"))
    second = node.stream.once("orders", lambda: calls.append("second"))
    assert first is not None
    assert second is not None
    assert None is node.stream.once("orders", lambda: None)
    register(node, instance("i1", "users"))
    second()
    second()
    assert (1, []) == (node.stream.waiters, calls)
    register(node, instance("i1"), instance("i2"))
    first()
    assert (["first"], 0, 0) == (calls, node.stream.waiters, node.stream.services)
    assert None is node.stream.once(" ", lambda: None)


def test_limits_leave_room():
    """A bound of nothing is refused."""
    with pytest.raises(ValueError, match="changes must be at least 1, not 0"):
        PushLimits(changes=0)
