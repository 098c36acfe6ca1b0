"""The change log: exactly what was missed, or everything (design 4.1)."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artemis.discovery import Catalog, ServiceDraft
from artemis.model import Instance, RegistryRequest
from artemis.push import ChangeLog, Cursor, Positions, decode_cursor
from artemis.registry import NodeTimings, Origin

SERVICES = ("Orders", "users")
NAMES = ("I1", "i2", "i3")
TTL = 2_000

# The fixtures are plain makers, the same for every example.
MAKERS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


class Hiding:
    """A filter that hides what it is told to."""

    name = "hiding"

    def __init__(self) -> None:
        self.hidden: set[tuple[str, str]] = set()

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        """Leave the hidden instances out."""
        kept = tuple(pair for pair in draft.instances if (draft.key, pair[0]) not in self.hidden)
        return ServiceDraft(key=draft.key, service_id=draft.service_id, instances=kept)

    def explain(self, draft: ServiceDraft) -> str:
        """Say what it does."""
        return "hidden" if (draft.key, draft.instances[0][0]) in self.hidden else "shown"


class World:
    """A node with a filter and a log of its own, small or large."""

    def __init__(self, make_node, max_entries: int = 1_000, max_per_service: int = 1_000) -> None:
        self.hiding = Hiding()
        timings = NodeTimings(ttl=TTL, legacy_ttl=TTL, heartbeat=500, hold=0, lifetime=10_000)
        self.node = make_node(filters=[self.hiding], timings=timings)
        self.log = ChangeLog(
            self.node.catalog,
            self.node.registry,
            wall=lambda: 5,
            max_entries=max_entries,
            max_per_service=max_per_service,
        )
        self.now = 0

    def do(self, kind: str, service: str, name: str, status: str = "up") -> None:
        """Let something happen to an instance."""
        instance = Instance(
            region_id="r1", zone_id="z1", service_id=service, instance_id=name, url="http://x", status=status
        )
        match kind:
            case "register":
                self.node.register(RegistryRequest(instances=[instance]), self.now)
            case "unregister":
                self.node.unregister(RegistryRequest(instances=[instance]), self.now)
            case "expire":
                self.now += TTL + 1
                self.node.tick(self.now, self.now)
            case "hide":
                key = (service.lower(), name.lower())
                self.node.catalog.alter([key], lambda: self.hiding.hidden.symmetric_difference_update({key}))
            case "reload":
                self.node.catalog.reload(service.lower())

    def shown(self, service: str) -> dict[str, bytes]:
        """What callers see of a service."""
        return dict(self.node.catalog.instances(service.lower()))

    def cursor(self) -> Cursor:
        """Where the node is."""
        return decode_cursor(self.node.cursor())


def applied(known: dict[str, bytes], missed) -> dict[str, bytes]:
    """What a client knows after it applied what it missed."""
    result = {} if missed.full else dict(known)
    for change in missed.changes:
        name = json.loads(change.content)["instanceId"].lower()
        if change.kind == "delete":
            del result[name]
        else:
            assert ("new" if name not in result else "change") == change.kind
            assert result.get(name) != change.content
            result[name] = change.content
    return result


steps = st.tuples(
    st.sampled_from(["register", "register", "register", "unregister", "expire", "hide", "resume", "resume"]),
    st.sampled_from(SERVICES),
    st.sampled_from(NAMES),
    st.sampled_from(["up", "down"]),
    st.sampled_from(["first", "second"]),
)


@pytest.mark.parametrize(("max_entries", "max_per_service"), [(1_000, 1_000), (6, 1_000), (1_000, 3), (1, 1)])
@settings(max_examples=150, suppress_health_check=MAKERS)
@given(trace=st.lists(steps, max_size=60))
def test_clients_that_resume_apply_exactly_what_they_missed(make_node, trace, max_entries, max_per_service):
    """Through registrations, removals, expiries, pull-outs and evictions a resume ends at what a fresh lookup shows.

    Every change is one: nothing is told as changed that looks as it did, and no more than one change per instance. As
    long as the log reaches back it is never a full sync.
    """
    world = World(make_node, max_entries, max_per_service)
    clients = {(who, service): ({}, None) for who in ("first", "second") for service in SERVICES}
    for kind, service, name, status, who in [*trace, *(("resume", s, "", "", w) for w, s in clients)]:
        if kind != "resume":
            world.do(kind, service, name, status)
            continue
        known, cursor = clients[who, service]
        missed = world.log.since(service, cursor)
        if max_entries == max_per_service == 1_000:
            assert (cursor is None) == missed.full
        known = applied(known, missed)
        assert known == world.shown(service)
        assert len(missed.changes) <= len(NAMES)
        clients[who, service] = known, world.cursor()


moves = st.tuples(
    st.sampled_from(["register", "unregister", "expire", "deliver", "deliver", "deliver", "resume", "resume"]),
    st.integers(0, 1),
    st.sampled_from(NAMES[:2]),
    st.sampled_from(["up", "down"]),
)


@settings(max_examples=300, suppress_health_check=MAKERS)
@given(trace=st.lists(moves, max_size=60))
def test_a_client_may_resume_at_another_node(make_registry, trace):
    """A cursor of one node is honoured by another one that knows its changes: the client ends at what that node shows.

    It is an explicit full sync only where the node lacks changes that the client may know.
    """
    registries = [make_registry(node=name) for name in ("n1", "n2")]
    catalogs = [Catalog(registry, wall=0) for registry in registries]
    logs = [
        ChangeLog(catalog, registry, wall=lambda: 5) for catalog, registry in zip(catalogs, registries, strict=True)
    ]
    positions = [Positions(registry) for registry in registries]
    queues: list[list[object]] = [[], []]
    for at, registry in enumerate(registries):

        def pass_on(change, at=at, registry=registry):
            if change.origin == registry.origin:
                queues[1 - at].append(change)

        registry.on_change(pass_on)
    known: dict[str, bytes] = {}
    cursor, now = None, 0
    for kind, at, name, status in [*trace, ("resume", 0, "", ""), ("resume", 1, "", "")]:
        now += 1
        instance = Instance(region_id="r1", service_id="s", instance_id=name, url="u", status=status)
        match kind:
            case "register":
                registries[at].register(instance, now)
            case "unregister":
                registries[at].unregister(instance, now)
            case "expire":
                now += 30_000
                registries[at].tick(now, now, 100)
            case "deliver" if queues[at]:
                change = queues[at].pop(0)
                registries[at].apply(change.origin, change.seq, change.record, 0, now)
            case "resume":
                missed = logs[at].since("s", cursor)
                behind = cursor is not None and logs[at].behind(cursor)
                assert behind <= missed.full <= (behind or cursor is None or not cursor.vector)
                known = {} if missed.full else known
                for change in missed.changes:
                    key = json.loads(change.content)["instanceId"].lower()
                    if change.kind == "delete":
                        known.pop(key, None)
                    else:
                        known[key] = change.content
                assert dict(catalogs[at].instances("s")) == known
                cursor = decode_cursor(positions[at].text(catalogs[at].version))


@pytest.fixture
def world(make_node) -> World:
    """A node with a large log."""
    return World(make_node)


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor(kind="engine", name="r1", vector={Origin("n1", 1): 0}),
        Cursor(kind="mesh", name="r2", vector={Origin("n1", 1): 0}),
        Cursor(kind="mesh", name="r1", vector={Origin("n1", 2): 1}),
        Cursor(kind="mesh", name="r1", vector={Origin("n1", 1): 1, Origin("n9", 1): 1}),
        Cursor(kind="mesh", name="r1", vector={Origin("n1", 1): 99}),
        Cursor(kind="mesh", name="r1", vector={}, ahead={Origin("n1", 1): 1}),
    ],
    ids=["kind", "region", "another life", "unknown node", "ahead", "forgotten"],
)
def test_cursors_of_no_use_get_everything(world, cursor):
    """A cursor of another kind, region or life, of an unknown node or from the future is answered in full."""
    world.do("register", "Orders", "i1")
    missed = world.log.since("Orders", cursor)
    assert (True, ["new"]) == (missed.full, [change.kind for change in missed.changes])
    assert 1 == world.log.counters.full_syncs


def test_a_reload_in_between_is_a_full_sync(world):
    """When the rules of a service changed, its instances alone do not say what was missed; other services do."""
    for service in SERVICES:
        world.do("register", service, "i1")
    cursor = world.cursor()
    world.do("reload", "Orders", "")
    world.do("register", "users", "i2")
    assert (True, 1) == (world.log.since("ORDERS", cursor).full, len(world.log.since("ORDERS", cursor).changes))
    assert (False, 1) == (world.log.since("users", cursor).full, len(world.log.since("users", cursor).changes))


def test_what_was_deleted_is_shown_whole_while_it_is_fresh(world, monkeypatch):
    """A deleted instance is told with its last content, and with its ids alone once that is forgotten."""
    monkeypatch.setattr("artemis.push.log.FRESH", 1)
    for name in ("i1", "i2"):
        world.do("register", "Orders", name)
    cursor = world.cursor()
    for name in ("i1", "i2"):
        world.do("unregister", "Orders", name)
    first, second = (json.loads(change.content) for change in world.log.since("orders", cursor).changes)
    assert ("i1", "orders", "r1", None) == (
        first["instanceId"],
        first["serviceId"],
        first["regionId"],
        first["url"],
    )
    assert ("i2", "Orders", "http://x") == (second["instanceId"], second["serviceId"], second["url"])


def test_entries_are_forgotten_one_by_one(make_node):
    """The log holds no more than it may, and a quiet service stays known as long as its entry does."""
    world = World(make_node, max_entries=3)
    world.do("register", "Orders", "i1")
    early = world.cursor()
    world.do("register", "users", "i1")
    late = world.cursor()
    for status in ("a", "b"):
        world.do("register", "users", "i1", status)
    assert (3, 1) == (len(world.log), world.log.counters.evicted)
    assert [False, False, False] == [
        world.log.since("orders", early).full,
        world.log.since("users", late).full,
        world.log.since("users", early).full,
    ]
    for status in ("c", "d", "e"):
        world.do("register", "users", "i1", status)
    assert [True, True] == [world.log.since("orders", early).full, world.log.since("users", late).full]


@pytest.mark.parametrize("limits", [{"max_entries": 0}, {"max_per_service": 0}])
def test_a_log_keeps_something(world, limits):
    """A log without room is refused."""
    with pytest.raises(ValueError, match="at least one entry"):
        ChangeLog(world.node.catalog, world.node.registry, wall=int, **limits)
