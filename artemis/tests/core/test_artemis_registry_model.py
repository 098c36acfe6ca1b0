"""The registry against a plain model, and two registries against each other, over random histories."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from artemis.discovery import Catalog
from artemis.model import Instance, encode_canonical
from artemis.registry import Change, NodeTimings, Origin, Registry, RenewalPlan

WALL = 1_700_000_000_000
TTL, LIFETIME = 20_000, 100_000
TIMINGS = NodeTimings(ttl=TTL, legacy_ttl=TTL, heartbeat=5_000, hold=10_000, lifetime=LIFETIME)

# Four instances are never preserved, so the model needs no self-preservation; the lease table has a test of its own.
KEYS = [("s1", "a"), ("s1", "b"), ("s2", "a"), ("S.2", "A")]
key_indexes = st.integers(0, len(KEYS) - 1)
ports = st.integers(1, 2)


def make(index: int, port: int) -> Instance:
    service, name = KEYS[index]
    return Instance(region_id="r1", service_id=service, instance_id=name, url="u", port=port)


def key(instance: Instance) -> tuple[str, str]:
    assert instance.service_id is not None
    assert instance.instance_id is not None
    return instance.service_id.lower(), instance.instance_id.lower()


def shown(registry: Registry) -> dict[tuple[str, str], bytes]:
    return {(record.key[1], record.key[2]): record.content for record in registry.records() if record.live}


class RegistryMachine(RuleBasedStateMachine):
    """Random operations and time; the model is three dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.registry = Registry(Origin("n1", 1), "r1", timings=TIMINGS, now=0, wall=WALL)
        self.catalog = Catalog(self.registry, wall=WALL)
        self.follower = Registry(Origin("n2", 1), "r1", timings=TIMINGS, now=0, wall=WALL)
        self.replayed: dict[tuple[str, str], bytes] = {}
        self.seq = 0
        self.registry.on_change(self.changed)
        self.live: dict[tuple[str, str], tuple[bytes, int]] = {}
        self.expired: dict[tuple[str, str], bytes] = {}
        self.died: dict[tuple[str, str], int] = {}
        self.plan: tuple[RenewalPlan, dict[tuple[str, str], object]] | None = None
        self.touched: set[tuple[str, str]] = set()

    def changed(self, change: Change) -> None:
        self.seq += 1
        assert self.seq == change.seq
        name = change.record.key[1:]
        assert self.replayed.get(name) == change.previous
        self.replayed.pop(name, None)
        if change.visible is not None:
            self.replayed[name] = change.visible
        self.touched.add(name)
        assert self.follower.apply(change.origin, change.seq, change.record, 0, self.now)

    @rule(index=key_indexes, port=ports)
    def register(self, index: int, port: int) -> None:
        instance = make(index, port)
        self.registry.register(instance, self.now)
        self.model_register(key(instance), encode_canonical(instance))

    def model_register(self, name: tuple[str, str], content: bytes) -> None:
        self.live[name] = content, self.now
        self.expired.pop(name, None)
        self.died.pop(name, None)

    @rule(index=key_indexes, port=ports)
    def heartbeat(self, index: int, port: int) -> None:
        instance = make(index, port)
        name, content = key(instance), encode_canonical(instance)
        known = name in self.live or name in self.expired
        assert known == (self.registry.heartbeat(instance, self.now) is not None)
        if known:
            self.model_register(name, content)

    @rule(index=key_indexes)
    def unregister(self, index: int) -> None:
        instance = make(index, 1)
        self.registry.unregister(instance, self.now)
        name = key(instance)
        self.live.pop(name, None)
        self.expired.pop(name, None)
        self.died.setdefault(name, self.now)

    @rule(indexes=st.sets(key_indexes))
    def make_plan(self, indexes: set[int]) -> None:
        leases = []
        for index in indexes:
            service, name = key(make(index, 1))
            if (service, name) in self.live:
                leases.append(self.registry.services[service].leases[name])
        self.plan = self.registry.plan(leases, 0), {lease.record.key[1:]: None for lease in leases}
        self.touched = set()

    @rule()
    def renew(self) -> None:
        if self.plan is None:
            return
        plan, names = self.plan
        renewed = self.registry.renew(plan, self.now)
        assert renewed == self.touched.isdisjoint(names)
        if renewed:
            for name in names:
                self.live[name] = self.live[name][0], self.now

    @rule(wait=st.sampled_from([0, 1, 5_000, 15_000, TTL, LIFETIME]), limit=st.integers(1, 4))
    def time_passes(self, wait: int, limit: int) -> None:
        self.now += wait
        while self.registry.tick(self.now, WALL + self.now, limit):
            pass
        for name, (content, heard) in list(self.live.items()):
            if self.now - heard > TTL:
                del self.live[name]
                self.expired[name] = content
                self.died[name] = self.now
        for name, died in list(self.died.items()):
            if self.now - died > LIFETIME:
                del self.died[name]
                self.expired.pop(name, None)

    @invariant()
    def shows_what_the_model_shows(self) -> None:
        expected = {name: content for name, (content, _) in self.live.items()}
        assert expected == shown(self.registry)
        assert expected == self.replayed
        assert expected == shown(self.follower)
        assert len(expected) == len(self.registry)
        assert (len(self.died), 0) == (self.registry.dead, self.follower.vector[self.follower.origin])

    @invariant()
    def cached_views_equal_fresh_ones(self) -> None:
        fresh = Catalog(self.registry, wall=WALL)
        for service in ("s1", "S2", "s.2"):
            assert fresh.view(service).json == self.catalog.view(service).json
        assert [view.json for view in fresh.views()] == [view.json for view in self.catalog.views()]

    @invariant()
    def counts_agree(self) -> None:
        for service in self.registry.services.values():
            assert sum(lease.live for lease in service.leases.values()) == service.live
            assert service.leases
        assert sum(service.live > 0 for service in self.registry.services.values()) == self.registry.live_services


RegistryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestRegistryMachine = RegistryMachine.TestCase

ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["register", "heartbeat", "unregister", "wait", "deliver"]),
        key_indexes,
        ports,
    ),
    max_size=30,
)


class Pair:
    """Two registries and the changes on their way between them."""

    def __init__(self) -> None:
        self.now = 0
        self.nodes = [Registry(Origin(n, 1), "r1", timings=TIMINGS, now=0, wall=WALL) for n in ("a", "b")]
        self.queues: list[list[tuple[Change, int]]] = [[], []]
        for side, node in enumerate(self.nodes):
            node.on_change(self.collector(side))

    def collector(self, side: int) -> Callable[[Change], None]:
        def collect(change: Change) -> None:
            if change.origin == self.nodes[side].origin:
                _, service, name = change.record.key
                heard = self.nodes[side].services[service].leases[name].heard
                self.queues[1 - side].append((change, heard))

        return collect

    def deliver(self, side: int) -> None:
        queue = self.queues[side]
        while queue:
            change, heard = queue.pop(0)
            assert self.nodes[side].apply(change.origin, change.seq, change.record, self.now - heard, self.now)


@settings(max_examples=200)
@given(ACTIONS)
def test_two_registries_show_the_same_once_all_is_delivered(actions: list[tuple[int, str, int, int]]):
    """Whatever clients do on either side and whenever changes arrive, both sides end with the same view."""
    pair = Pair()
    for side, action, index, port in actions:
        if action == "wait":
            pair.now += 7_000 * port
            for node in pair.nodes:
                while node.tick(pair.now, WALL + pair.now, 10):
                    pass
        elif action == "deliver":
            pair.deliver(side)
        else:
            getattr(pair.nodes[side], action)(make(index, port), pair.now)
    rounds = 0
    while any(pair.queues):
        pair.deliver(0)
        pair.deliver(1)
        rounds += 1
        assert rounds < 10
    a, b = pair.nodes
    assert shown(a) == shown(b)
    for node in pair.nodes:
        origin = node.origin
        assert a.vector.get(origin, 0) == b.vector.get(origin, 0)
