"""Operator state: what is recorded, what it hides, and what callers are told (spec 8.2 to 8.4, defects 2 and 19)."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.discovery import Transition
from artemis.management import (
    InstanceTarget,
    OperationRecord,
    Operations,
    OperationsCut,
    OperationsDump,
    ServerTarget,
    Target,
    TooManyOperations,
    read_pieces,
)
from artemis.management.dump import OPERATIONS_PER_PIECE, SavedDecision, decisions_of
from artemis.management.sweep import STEP_COST
from artemis.model import Instance, RegistryRequest, ServiceRequest, encode_canonical
from artemis.model.requests import DiscoveryConfig
from artemis.registry import NodeLimits, read_snapshot
from artemis.server.node import Node, NodeIdentity

WALL = 1_700_000_000_000
TARGET = InstanceTarget("R1", "Demo.Orders", "10.0.0.1")
SERVER = ServerTarget("r1", "10.0.0.1")

MakeInstance = Callable[..., Instance]
MakeNode = Callable[..., Node]


def by(operation: str, operator: str = "alice", token: str | None = None) -> OperationRecord:
    return OperationRecord(operation, operator, token)


def record(operations: Operations, target: Target, what: OperationRecord) -> bool:
    """Record an operation, later than all before; tell whether it is the first of its target."""
    return operations.put(operations.recorded(target, what, (operations.revision + 1, "n1")), 0)


def complete(operations: Operations, target: Target, operation: str) -> bool:
    """End an operation, later than all before; tell whether it was the last of its target."""
    return operations.put(operations.completed(target, operation, (operations.revision + 1, "n1")), 0)


def dumped(operations: Operations) -> OperationsDump:
    return read_pieces(list(OperationsCut(operations, 0).pieces()))


def shown(node: Node, service: str = "demo.orders") -> list[str]:
    request = ServiceRequest(discovery_config=DiscoveryConfig(service_id=service), region_id="r1", zone_id="z1")
    found = node.service(request, 0).response().service
    return [instance.instance_id for instance in found.instances]


def settle(node: Node) -> None:
    while not node.pullouts.settled:
        node.tick(0, WALL)


@pytest.fixture
def told() -> list[Transition]:
    """Return the list that `listening` nodes put their transitions into."""
    return []


@pytest.fixture
def node(make_node: MakeNode, make_instance: MakeInstance, told: list[Transition]) -> Node:
    """Return a node with two instances on two servers, whose transitions from now on are `told`."""
    node = make_node()
    instances = [make_instance("10.0.0.1"), make_instance("other", ip="10.0.0.2")]
    node.register(RegistryRequest(instances=instances), 0)
    node.catalog.on_transition(told.append)
    return node


# -- what is recorded


def test_names_are_kept_per_target_and_end_one_by_one():
    """Several operations may be active at once; the target is up again when all are gone (spec 8.2)."""
    operations = Operations()
    assert record(operations, TARGET, by("Pull-Out"))
    assert not record(operations, TARGET, by("maintenance"))
    assert ["Pull-Out", "maintenance"] == operations.entry(TARGET).names
    assert not complete(operations, TARGET, "pull-out")
    assert complete(operations, TARGET, "MAINTENANCE")
    assert (None, 0) == (operations.entry(TARGET), len(operations))


def test_a_repeated_operation_takes_the_new_operator_and_token():
    """Recording a name again keeps its spelling and place, and updates operator and token (spec 8.2)."""
    operations = Operations()
    record(operations, TARGET, by("out", "alice", "t-1"))
    record(operations, TARGET, by("OUT", "bob", "t-2"))
    assert [OperationRecord("out", "bob", "t-2")] == list(operations.entry(TARGET).records.values())
    assert 1 == len(operations)


def test_completing_what_is_not_recorded_is_fine():
    """Ending an unknown operation hides nothing; it is remembered as ended, as another node may yet bring it."""
    operations = Operations()
    assert not complete(operations, TARGET, "x")
    assert not complete(operations, SERVER, "x")
    assert (0, 2, None) == (len(operations), operations.remembered, operations.entry(TARGET))


def test_keys_do_not_collide():
    """Keys are tuples: parts that read the same when joined are different targets (defect 2)."""
    operations = Operations()
    record(operations, InstanceTarget("r1", "a.b", "c"), by("out"))
    assert operations.entry(InstanceTarget("r1", "a", "b.c")) is None
    assert operations.entry(InstanceTarget("R1", "A.B", "C")) is not None


def test_the_number_of_operations_is_bounded():
    """Beyond the limit a new operation is refused and counted; a repeated one is not, and completing makes room."""
    operations = Operations(max_records=2)
    record(operations, TARGET, by("a"))
    record(operations, SERVER, by("a"))
    for target in (TARGET, InstanceTarget("r1", "s", "i"), ServerTarget("r2", "s")):
        with pytest.raises(TooManyOperations, match="records 2 operations at most"):
            record(operations, target, by("b"))
    record(operations, TARGET, by("a", "bob"))
    assert (2, 3) == (len(operations), operations.refused)
    complete(operations, SERVER, "a")
    record(operations, TARGET, by("b"))
    assert 2 == len(operations)


TEXTS = st.sampled_from(["a", "A", "b", "c"])
STEPS = st.lists(st.tuples(st.booleans(), st.booleans(), TEXTS, TEXTS, TEXTS))


@given(STEPS)
def test_operations_survive_a_dump(steps: list[tuple[bool, bool, str, str, str]]):
    """What is loaded from a dump, in JSON or MessagePack, is what was dumped, whatever happened before."""
    operations = Operations()
    apply(operations, steps)
    dump = dumped(operations)
    for codec in (msgspec.json, msgspec.msgpack):
        loaded = load(codec.decode(codec.encode(dump), type=OperationsDump))
        assert (by_key(dump), len(operations)) == (by_key(dumped(loaded)), len(loaded))
        assert recorded(operations) == recorded(loaded)


def load(dump: OperationsDump) -> Operations:
    loaded = Operations(max_records=1)
    for decision, ended_for in decisions_of(dump):
        loaded.put(decision, -max(0, ended_for))
    return loaded


def by_key(dump: OperationsDump) -> list[SavedDecision]:
    return sorted(dump.decisions, key=lambda each: (each.region.lower(), each.service, each.target, each.operation))


def apply(operations: Operations, steps: list[tuple[bool, bool, str, str, str]]) -> None:
    for ends, of_server, region, name, word in steps:
        target = ServerTarget(region, name) if of_server else InstanceTarget(region, "s", name)
        if ends:
            complete(operations, target, word)
        else:
            record(operations, target, by(word, name, None))


def recorded(operations: Operations) -> dict[object, list[OperationRecord]]:
    entries = [*operations.instance_entries(), *operations.server_entries()]
    return {entry.target.lowered(): list(entry.records.values()) for entry in entries}


@given(STEPS, st.lists(STEPS, max_size=4))
def test_a_dump_is_of_one_moment(before, meanwhile):
    """Whatever is recorded and completed between its pieces, a dump holds what was there when it began."""
    operations = Operations()
    apply(operations, before)
    expected = recorded(operations)
    pieces = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("artemis.management.dump.OPERATIONS_PER_PIECE", 1)
        cut = OperationsCut(operations, 0)
        changes = iter(meanwhile)
        apply(operations, next(changes, []))
        for piece in cut.pieces():
            pieces.append(piece)
            apply(operations, next(changes, []))
    assert expected == recorded(load(read_pieces(pieces)))


def test_many_operations_are_dumped_in_pieces():
    """No piece holds more than its share, so that none of them takes long; a dump given up holds nothing."""
    operations = Operations(max_records=5_000)
    for number in range(5_000):
        record(operations, ServerTarget("r1", f"h{number}"), by("out"))
    assert [OPERATIONS_PER_PIECE] * 10 == [
        len(read_pieces([piece]).decisions) for piece in OperationsCut(operations, 0).pieces()
    ]
    cut = OperationsCut(operations, 0)
    cut.close()
    assert [] == list(cut.pieces())


# -- what it hides and what is told


def test_a_pulled_out_instance_is_hidden_and_told_as_deleted(node, told):
    """A pull-out hides the instance at once and is a sequenced change; repeating it is none (spec 8.3, 8.4)."""
    cursor, version = node.cursor(), node.catalog.version
    node.pullouts.operate(TARGET, by("out"), 0)
    node.pullouts.operate(TARGET, by("again"), 0)
    assert ["other"] == shown(node)
    assert [("demo.orders", "10.0.0.1", None)] == [(each.service, each.instance, each.after) for each in told]
    assert cursor != node.cursor()
    assert version + 1 == node.catalog.version


def test_only_the_last_pull_in_shows_it_again(node, told, make_instance):
    """The instance is told as new, with its content, when the last of its operations has ended."""
    node.pullouts.operate(TARGET, by("a"), 0)
    node.pullouts.operate(TARGET, by("b"), 0)
    told.clear()
    node.pullouts.complete(TARGET, "a", 0)
    assert ([], ["other"]) == (told, shown(node))
    node.pullouts.complete(TARGET, "b", 0)
    assert [(None, encode_canonical(make_instance("10.0.0.1")))] == [(each.before, each.after) for each in told]
    assert ["10.0.0.1", "other"] == shown(node)


@pytest.mark.parametrize("target", [TARGET, SERVER], ids=["instance", "server"])
def test_nothing_that_its_owner_does_undoes_a_pull_out(node, told, make_instance, target):
    """Re-registration, new content, heartbeats, expiry and return leave a pulled-out instance hidden and untold."""
    node.pullouts.operate(target, by("out"), 0)
    told.clear()
    request = RegistryRequest(instances=[make_instance("10.0.0.1", url="http://new")])
    node.register(request, 1)
    node.heartbeat(request, 2)
    node.unregister(request, 3)
    node.register(request, 4)
    for now in (20_000, 30_000):
        node.tick(now, WALL + now)
    node.heartbeat(request, 30_001)
    assert [] == [each for each in told if each.instance == "10.0.0.1"]
    assert [] == shown(node)
    node.pullouts.complete(target, "out", 0)
    assert ["10.0.0.1"] == shown(node)


def test_an_operation_may_come_before_its_instance(node, told, make_instance):
    """What is pulled out before it registers does not appear when it does."""
    node.pullouts.operate(InstanceTarget("r1", "demo.orders", "early"), by("out"), 0)
    node.register(RegistryRequest(instances=[make_instance("early", ip="10.0.0.9")]), 0)
    assert ([], ["10.0.0.1", "other"]) == (told, shown(node))


def test_a_server_hides_all_its_instances_in_every_service(node, told, make_instance):
    """A server operation means the instances with its ip, in any letter case, of this node's region only."""
    node.register(
        RegistryRequest(instances=[make_instance("x", service_id="b", ip="Host-A"), make_instance("y", ip="host-a")]), 0
    )
    told.clear()
    node.pullouts.operate(ServerTarget("r2", "host-a"), by("out"), 0)
    assert [] == told
    node.pullouts.operate(ServerTarget("R1", "HOST-A"), by("out"), 0)
    assert {("b", "x"), ("demo.orders", "y")} == {(each.service, each.instance) for each in told}
    assert (["10.0.0.1", "other"], []) == (shown(node), shown(node, "b"))
    node.pullouts.complete(ServerTarget("r1", "Host-a"), "OUT", 0)
    assert (["10.0.0.1", "other", "y"], ["x"]) == (shown(node), shown(node, "b"))


def test_an_instance_that_is_down_twice_comes_back_with_the_last(node, told):
    """While its server is out, ending the instance's own operation tells nothing."""
    node.pullouts.operate(TARGET, by("out"), 0)
    node.pullouts.operate(SERVER, by("out"), 0)
    told.clear()
    node.pullouts.complete(TARGET, "out", 0)
    assert ([], ["other"]) == (told, shown(node))
    node.pullouts.complete(SERVER, "out", 0)
    assert (["10.0.0.1"], ["10.0.0.1", "other"]) == ([each.instance for each in told], shown(node))


def test_the_words_ip_and_server_in_metadata_mean_nothing(node, make_instance):
    """Only an instance's own ip counts, not text that looks like it."""
    node.register(RegistryRequest(instances=[make_instance("z", ip="1.1.1.1", metadata={"ip": "10.0.0.7"})]), 0)
    node.pullouts.operate(ServerTarget("r1", "10.0.0.7"), by("out"), 0)
    assert ["10.0.0.1", "other", "z"] == shown(node)


def test_a_refused_operation_changes_nothing(make_node, make_instance):
    """At the limit the instance stays visible and nothing is told."""
    node = make_node(limits=NodeLimits(max_operations=1))
    node.register(RegistryRequest(instances=[make_instance("10.0.0.1")]), 0)
    node.pullouts.operate(ServerTarget("r1", "elsewhere"), by("out"), 0)
    told: list[Transition] = []
    node.catalog.on_transition(told.append)
    for target in (TARGET, SERVER):
        with pytest.raises(TooManyOperations):
            node.pullouts.operate(target, by("out"), 0)
    assert ([], ["10.0.0.1"], 2) == (told, shown(node), node.stats().operations_refused)


def test_loaded_operations_are_in_effect(node, make_node, make_instance):
    """A node that starts with the operations of its former life hides what they hide."""
    node.pullouts.operate(InstanceTarget("r1", "demo.orders", "other"), by("out"), 0)
    node.pullouts.operate(SERVER, by("out"), 0)
    started = make_node()
    started.pullouts.load(dumped(node.operations), 0)
    instances = [make_instance("10.0.0.1"), make_instance("other", ip="10.0.0.2"), make_instance("third", ip="3")]
    started.register(RegistryRequest(instances=instances), 0)
    assert ["third"] == shown(started)


def test_operations_of_former_snapshots_are_taken(make_node, make_instance, monkeypatch):
    """A snapshot of a version that knew of no other nodes still hides what it hid, in the order of recording."""
    former = {
        "instances": [
            {"regionId": "R1", "serviceId": "Demo.Orders", "instanceId": "other", "operation": word, "operatorId": "me"}
            for word in ("z", "a")
        ],
        "servers": [{"regionId": "r1", "serverId": "10.0.0.1", "operation": "disk", "operatorId": "me", "token": "t"}],
    }
    monkeypatch.setattr("artemis.registry.snapshot.FORMAT", 2)
    cut = make_node().cut(0, WALL)
    monkeypatch.setattr(OperationsCut, "pieces", lambda _: iter([msgspec.msgpack.encode(former)]))
    saved = read_snapshot(b"".join(cut.chunks()), region="r1", node="n1", epoch=2)
    started = make_node(saved=saved)
    instances = [make_instance("10.0.0.1"), make_instance("other", ip="10.0.0.2"), make_instance("third", ip="3")]
    started.register(RegistryRequest(instances=instances), 0)
    assert ["third"] == shown(started)
    assert ["z", "a"] == started.operations.entry(InstanceTarget("r1", "demo.orders", "other")).names
    started.pullouts.complete(SERVER, "disk", 0)
    assert ["10.0.0.1", "third"] == shown(started)


# -- sweeps


def fill(node: Node, make_instance: MakeInstance, services: int, per_service: int, ip: str) -> None:
    for service in range(services):
        instances = [make_instance(f"i{n}", service_id=f"s{service}", ip=ip) for n in range(per_service)]
        node.register(RegistryRequest(instances=instances), 0)


@pytest.mark.parametrize(("services", "per_service"), [(1, 900), (40, 20)], ids=["one large", "many small"])
def test_a_large_server_is_swept_in_steps(make_node, make_instance, services, per_service):
    """A step does a bounded amount of work; afterwards every instance was told once and is hidden."""
    node = make_node()
    fill(node, make_instance, services, per_service, "10.0.0.1")
    told: list[Transition] = []
    node.catalog.on_transition(told.append)
    node.pullouts.operate(SERVER, by("out"), 0)
    assert not node.pullouts.settled
    steps = [len(told)]
    while not node.pullouts.settled:
        node.tick(0, WALL)
        steps.append(len(told))
    assert services * per_service == steps[-1] == len({(each.service, each.instance) for each in told})
    largest = max(after - before for before, after in zip([0, *steps], steps, strict=False))
    assert largest <= 2 * (STEP_COST // 20 + per_service)
    assert [0] * services == [node.catalog.view(f"s{n}").instance_count for n in range(services)]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["out", "in", "out-other", "in-other", "register", "unregister", "move", "tick"]),
        st.integers(0, 3),
        st.integers(0, 149),
    ),
    max_size=25,
)


@given(EVENTS)
def test_subscribers_can_follow_every_sweep(events: list[tuple[str, int, int]]):
    """Whatever happens between its steps, the transitions of a sweep lead from what was shown to what is shown."""
    node = make_plain_node()
    copies: dict[tuple[str, str], bytes] = {}
    node.catalog.on_transition(lambda each: follow(copies, each))
    for number in range(130):
        register(node, 0, number, "10.0.0.1")
    for service in (1, 2):
        for number in range(60):
            register(node, service, number, "10.0.0.1")
    for what, service, number in events:
        match what:
            case "out" | "in" | "out-other" | "in-other":
                server = ServerTarget("r1", "10.0.0.2" if what.endswith("other") else "10.0.0.1")
                if what.startswith("out"):
                    node.pullouts.operate(server, by("x"), 0)
                else:
                    node.pullouts.complete(server, "x", 0)
            case "register":
                register(node, service, number, "10.0.0.1")
            case "move":
                register(node, service, number, "10.0.0.2")
            case "unregister":
                node.unregister(RegistryRequest(instances=[plain(service, number, "")]), 0)
            case _:
                node.tick(0, WALL)
        assert snapshot(node) == copies
    settle(node)
    assert snapshot(node) == copies
    down = {entry.target.server for entry in node.operations.server_entries()}
    assert not [content for content in copies.values() if any(ip.encode() in content for ip in down)]
    assert len(copies) == sum(
        msgspec.json.decode(lease.record.content)["ip"] not in down
        for entry in node.registry.services.values()
        for lease in entry.leases.values()
        if lease.live
    )


def make_plain_node() -> Node:
    node = Node(NodeIdentity(node_id="n1", epoch=1, region="r1", zone="z1", url="http://x"), now=0, wall=WALL)
    node.tick(0, WALL)
    return node


def plain(service: int, number: int, ip: str) -> Instance:
    return Instance(region_id="r1", zone_id="z1", service_id=f"s{service}", instance_id=f"i{number}", ip=ip, url="u")


def register(node: Node, service: int, number: int, ip: str) -> None:
    node.register(RegistryRequest(instances=[plain(service, number, ip)]), 0)


def follow(copies: dict[tuple[str, str], bytes], each: Transition) -> None:
    key = (each.service, each.instance)
    assert each.before == copies.get(key)
    if each.after is None:
        del copies[key]
    else:
        copies[key] = each.after


def snapshot(node: Node) -> dict[tuple[str, str], bytes]:
    for service in node.registry.services:
        assert len(node.catalog.instances(service)) == node.catalog.view(service).instance_count
    return {
        (service, name): content
        for service in node.registry.services
        for name, content in node.catalog.instances(service)
    }
