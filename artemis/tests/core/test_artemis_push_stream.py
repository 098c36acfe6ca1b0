"""The change stream: who is told, what, and what slow ones cost (design 4)."""

import json
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artemis.model import Instance, RegistryRequest
from artemis.push import NOTHING, ChangeStream, Cursor, Dialect, PushLimits, Subscriber, decode_cursor
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
    """What a client knows of the services from its messages; it looks up again what it is told to.

    `connect` begins anew with the last cursors that it has seen, whatever was on its way is lost. While `sure`, the log
    tells exactly what was missed: nothing twice, and no end of what it does not know.
    """

    def __init__(self, node, dialect: Dialect, *, everything: bool, sure: bool) -> None:
        self.node, self.dialect, self.everything, self.sure = node, dialect, everything, sure
        self.known: dict[str, dict[str, object]] = {service.lower(): {} for service in SERVICES}
        self.cursors = dict.fromkeys([""] if everything else self.known, node.cursor())
        self.on_the_way: deque[dict[str, object]] = deque()
        self.client = Client(node.stream, dialect)
        self.connect()

    def connect(self) -> None:
        """Subscribe anew, from the last cursors."""
        self.node.stream.detach(self.client.subscriber)
        self.on_the_way.clear()
        self.client = Client(self.node.stream, self.dialect)
        if not self.everything:
            for service, cursor in self.cursors.items():
                assert None is self.node.stream.subscribe(self.client.subscriber, service, decode_cursor(cursor))
        elif self.node.stream.subscribe_all(self.client.subscriber, decode_cursor(self.cursors[""])) is not None:
            self.node.stream.subscribe_all(self.client.subscriber)
            self._look("*")

    def take(self) -> None:
        """Apply the next message."""
        if not self.on_the_way:
            self.on_the_way.extend(self.client.take(1))
        if self.client.subscriber.lost:
            self.cursors[""] = self.node.cursor()
            self._look("*")
            self.connect()
        if self.on_the_way:
            self._apply(self.on_the_way.popleft())

    def _apply(self, message: dict[str, object]) -> None:
        service = message["instance"]["serviceId"] if self.dialect is Dialect.JAVA else message["serviceId"]
        if message.get("fullSync"):
            self.known[service], self.sure = {}, False
        for change in message.get("changes", [message]):
            self._change(change["changeType"], change["instance"])
        self.cursors["" if self.everything else service] = message["cursor"]

    def _change(self, kind: str, its: dict[str, str]) -> None:
        service, name = its["serviceId"].lower(), its["instanceId"].lower()
        if kind == "reload":
            self._look(service)
            return
        known = self.known[service]
        if self.sure:
            assert known.get(name) != its["status"] or kind == "delete", "what it knows already"
            assert (name in known) == (kind != "new") or self.dialect is Dialect.JAVA
            assert name in known or kind != "delete"
        if kind == "delete":
            known.pop(name, None)
        else:
            known[name] = its["status"]

    def _look(self, service: str) -> None:
        self.sure = False
        for each in self.known if service == "*" else [service]:
            self.known[each] = self._shown(each)

    def _shown(self, service: str) -> dict[str, object]:
        return {name: json.loads(content)["status"] for name, content in self.node.catalog.instances(service)}

    def check(self) -> None:
        """Take what is left; then it knows what a fresh lookup shows."""
        while self.client.subscriber.pending or self.on_the_way:
            self.take()
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
    st.sampled_from(["register", "register", "unregister", "take", "take", "cut", "reload"]),
    st.sampled_from(SERVICES),
    st.sampled_from(NAMES),
    st.sampled_from(["up", "down"]),
    st.integers(0, 3),
)
LOGS = {"long": {}, "short": {"max_changes": 2}, "few": {"push_limits": PushLimits(behind=3, changes=2, reloads=1)}}


@settings(max_examples=300, suppress_health_check=MAKERS)
@given(trace=st.lists(steps, max_size=50), log=st.sampled_from(sorted(LOGS)))
def test_whoever_takes_now_and_then_knows_what_is_shown(make_node, trace, log):
    """Subscribers of services and of everything, in both dialects, quick or slow, end at what a fresh lookup shows.

    So do those that are cut off between any two messages, and go on with the last cursor that they have seen. As long
    as the log reaches back they hear nothing twice, and of no end of what they do not know.
    """
    node = make_node(**LOGS[log])
    caches = [
        Cache(node, dialect, everything=everything, sure=log == "long")
        for dialect in Dialect
        for everything in (False, True)
    ]
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
            case "cut":
                caches[which].connect()
    for cache in caches:
        cache.check()


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


@pytest.mark.parametrize("arguments", [{"max_changes": 2}, {"push_limits": PushLimits(behind=1, reloads=2)}])
def test_a_java_subscriber_of_everything_that_falls_behind_is_lost(make_node, arguments):
    """There is nothing to tell him but to look everything up: his door ends the session."""
    node = make_node(**arguments)
    client = Client(node.stream, Dialect.JAVA)
    node.stream.subscribe_all(client.subscriber)
    for service in ("a", "b", "c"):
        register(node, instance("i1", service))
    assert ([], True, 1) == (client.take(), client.subscriber.lost, node.stream.counters.dropped)


@pytest.mark.parametrize(
    "arguments",
    [{"max_changes": 2}, {"push_limits": PushLimits(behind=2)}, {"push_limits": PushLimits(sync_bytes=400)}],
)
def test_too_much_of_everything_is_a_reload_of_everything(make_node, arguments):
    """Whoever is behind further than the log or the bounds reach lists all services, and goes on with the cursor."""
    node = make_node(**arguments)
    client = Client(node.stream)
    node.stream.subscribe_all(client.subscriber)
    for service in ("a", "b", "c"):
        register(node, instance("i1", service))
    [message] = client.take()
    assert ([("*", "reload", "reload")], node.cursor()) == (told([message]), message["cursor"])
    assert ("*", "*", False) == (
        message["service_id"],
        message["changes"][0]["instance"]["serviceId"],
        message["fullSync"],
    )
    register(node, instance("i2", "a"))
    assert [("*", "new", "i2")] == told(client.take())


def test_too_much_of_everything_is_a_reload_of_each_service_in_java(make_node):
    """Java clients know no reload of everything; all that are as far behind get the same bytes."""
    node = make_node(push_limits=PushLimits(behind=2))
    clients = [Client(node.stream, Dialect.JAVA) for _ in range(2)]
    for client in clients:
        node.stream.subscribe_all(client.subscriber)
    register(node, *(instance(name, service) for service in ("b", "a") for name in NAMES))
    first, second = [client.subscriber.take(1) for client in clients]
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert [("a", "reload", "reload"), ("b", "reload", "reload")] == told([json.loads(message) for message in first])


def test_everything_that_changed_is_one_message(node):
    """It holds for all services together, so whoever is cut off has applied all of it, or nothing."""
    client = Client(node.stream)
    node.stream.subscribe_all(client.subscriber)
    register(node, *(instance("i1", service) for service in "Abc"))
    node.catalog.reload("d")
    [message] = client.take()
    assert ("*", node.cursor()) == (message["serviceId"], message["cursor"])
    shown = [(change["changeType"], change["instance"]["serviceId"]) for change in message["changes"]]
    assert [("new", "A"), ("new", "b"), ("new", "c"), ("reload", "d")] == shown


def test_a_java_moment_can_be_resumed_behind_its_last_message_only(node):
    """Whoever goes on from a message before it gets everything, for he may know changes that were undone since."""
    client = Client(node.stream, Dialect.JAVA)
    node.stream.subscribe_all(client.subscriber)
    register(node, *(instance("i1", service) for service in "abc"))
    cursors = [message["cursor"] for message in client.take()]
    assert [NOTHING, NOTHING, decode_cursor(node.cursor())] == [decode_cursor(cursor) for cursor in cursors]
    assert node.log.since("a", decode_cursor(cursors[0])).full


def test_a_full_sync_is_made_once(make_node, monkeypatch):
    """However many ask for it, until the service changes."""
    node = make_node()
    register(node, *(instance(name) for name in NAMES))
    made = []
    full = node.log.full
    monkeypatch.setattr(node.log, "full", lambda service: (made.append(service), full(service))[1])
    clients = [Client(node.stream) for _ in range(5)]
    messages = []
    for number, client in enumerate(clients):
        register(node, instance("i1", "users", status=str(number)))
        node.stream.subscribe(client.subscriber, "orders", NOTHING)
        messages += client.subscriber.take(1)
    assert all(message is messages[0] for message in messages)
    register(node, instance("i4"))
    node.stream.subscribe(clients[0].subscriber, "orders", NOTHING)
    assert (4, ["orders"] * 2) == (len(clients[0].take()[0]["changes"]), made)


def test_taking_ends_when_it_takes_long(node):
    """What is left is there for a later turn, so that nobody waits for one with much to hear."""
    now = iter(range(100))
    node.stream.clock = lambda: next(now)
    client = Client(node.stream)
    for service in SERVICES:
        node.stream.subscribe(client.subscriber, service)
        register(node, instance("i1", service))
    assert [("orders", "new", "i1")] == told(client.take())
    assert [("users", "new", "i1")] == told(client.take())
    assert not client.subscriber.pending


def test_the_position_of_those_who_were_not_told_all_yet(node):
    """It is where they stood, so that whoever is cut off before he hears it can come back for it."""
    client = Client(node.stream)
    subscriber, position = client.subscriber, node.stream.position
    for service in SERVICES:
        node.stream.subscribe(subscriber, service)
    register(node, instance("i1", "users"))
    client.take()
    before = node.cursor()
    register(node, instance("i1"), instance("i2"), instance("i3", "other"))
    node.stream.subscribe(subscriber, "Orders")
    at = decode_cursor(before).version
    assert [at, at] == [decode_cursor(position(subscriber, names)).version for names in (("Orders",), SERVICES)]
    assert node.cursor() == position(subscriber, ("users",))
    assert "given" == position(subscriber, ("orders",), "given")
    client.take()
    assert node.cursor() == position(subscriber, ("orders",), "given")
    node.stream.subscribe(subscriber, "orders", NOTHING)
    assert NOTHING == decode_cursor(position(subscriber, ("orders",)))


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
    assert ([""], [("*", "new", "i1")]) == (client.subscriber.services, told(client.take()))
    assert node.stream.unsubscribe(client.subscriber, "")
    assert 0 == node.stream.subscriptions


def test_whoever_is_told_of_everything_gains_nothing_by_a_single_subscription(node):
    """It is accepted, and nobody is told of a change twice."""
    client = Client(node.stream)
    node.stream.subscribe_all(client.subscriber)
    assert None is node.stream.subscribe(client.subscriber, "orders")
    register(node, instance("i1"))
    assert ([""], [("*", "new", "i1")]) == (client.subscriber.services, told(client.take()))
    assert 1 == node.stream.subscriptions


def test_many_subscriptions_end_in_turns(node, monkeypatch):
    """Whoever is gone is told nothing at once and counts no more; the work is done a part at a time."""
    monkeypatch.setattr("artemis.push.stream._ENDED_PER_TURN", 30)
    turns: deque[Callable[[], None]] = deque()
    node.stream.later = turns.append
    clients = [Client(node.stream) for _ in range(3)]
    for client in clients:
        for number in range(40):
            assert None is node.stream.subscribe(client.subscriber, f"s{number}")
    node.stream.detach(clients[0].subscriber)
    node.stream.detach(clients[1].subscriber)
    assert (40, 1, 1) == (node.stream.subscriptions, node.stream.subscribers, len(turns))
    register(node, *(instance("i1", f"s{number}") for number in range(40)))
    assert [0, 0, 1] == [client.wakes for client in clients]
    node.stream.detach(clients[2].subscriber)
    done = 0
    while turns:
        turns.popleft()()
        done += 1
    assert (4, 0, 0) == (done, node.stream.services, node.stream.subscriptions)


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
