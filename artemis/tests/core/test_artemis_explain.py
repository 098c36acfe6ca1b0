"""Explain: every step in order, and never another verdict than a lookup's (design 6, 9)."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.discovery import ServiceDraft
from artemis.discovery.filters import StatusUp
from artemis.management import InstanceTarget, OperationRecord, ServerTarget
from artemis.model import DiscoveryConfig, Instance, LookupRequest, RegistryRequest
from artemis.model.explain import ExplainRequest, ExplainResponse
from artemis.model.responses import failure
from artemis.registry import NodeTimings
from artemis.server.handlers.explain import explain_instance
from artemis.server.node import Node, NodeIdentity

WALL = 1_700_000_000_000
STEPS = ["node", "region", "zone", "registration", "lease", "operation", "rule"]

MakeInstance = Callable[..., Instance]
MakeNode = Callable[..., Node]


def ask(node: Node, now: int = 0, **changes: str | None) -> ExplainResponse:
    fields = {"service_id": "Demo.orders", "instance_id": "10.0.0.1", "region_id": "R1", "zone_id": "z1"}
    return explain_instance(node, ExplainRequest(**(fields | changes)), now)


def step(response: ExplainResponse, name: str) -> tuple[bool, str]:
    (found,) = [each for each in response.steps if each.step == name]
    return found.ok, found.why


@pytest.fixture
def node(make_node: MakeNode, make_instance: MakeInstance) -> Node:
    """Return a node with one instance."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance()]), 0)
    return node


def test_a_visible_instance_passes_every_step(node):
    """All steps are there in order, each ok with a reason, whatever the letter case of the ids."""
    response = ask(node, now=3_000)
    assert (True, True) == (response.visible, response.response_status.ok)
    assert STEPS == [each.step for each in response.steps]
    assert all(each.ok and each.why for each in response.steps)
    assert (True, "last heard 3.0 s ago; live for 17.0 s more (TTL 20.0 s)") == step(response, "lease")
    assert (True, "no route rule of this service") == step(response, "rule")


@pytest.mark.parametrize("value", [None, "", " "])
def test_a_caller_is_of_the_nodes_own_region_and_zone_unless_he_says(node, value):
    """As one who asks the node that is next to him."""
    assert ask(node) == ask(node, region_id=value, zone_id=value)


@pytest.mark.parametrize("field", ["service_id", "instance_id"])
@pytest.mark.parametrize("value", [None, "", " "])
def test_service_and_instance_are_needed(node, field, value):
    """A missing or blank one is a bad request that names it."""
    response = ask(node, **{field: value})
    name = field.removesuffix("_id") + "Id"
    assert ExplainResponse(response_status=failure("bad-request", f"{name} is null or empty")) == response


def test_the_caller_counts(make_node, make_instance):
    """A caller of another region sees nothing, one of another zone where the node allows it."""
    node = make_node(allow_discovery_from_other_zone=False)
    node.register(RegistryRequest(instances=[make_instance()]), 0)
    foreign = ask(node, region_id="r2", zone_id="z2")
    assert ["region", "zone"] == [each.step for each in foreign.steps if not each.ok]
    assert "'r2' is not the region 'r1'" in step(foreign, "region")[1]
    assert "refuses callers of other zones such as 'z2'" in step(foreign, "zone")[1]
    node.allow_other_zones(registry=True, discovery=True)
    assert (True, "answers") == (ask(node, zone_id="z2").visible, step(ask(node, zone_id="z2"), "zone")[1].split()[6])


def test_a_node_that_does_not_serve_shows_nothing(node):
    """The first step says why nobody is answered; the others are judged all the same."""
    node.drain(0)
    response = ask(node)
    assert ["node"] == [each.step for each in response.steps if not each.ok]
    assert (False, "status down: the node does not serve discovery") == step(response, "node")


def test_unknown_removed_and_expired_instances(node, make_instance):
    """Registration and lease say whether an instance was never there, was removed, or expired, and when."""
    unknown = ask(node, service_id="x")
    assert (False, "not registered: nothing of this service is known") == step(unknown, "registration")
    assert (False, "not registered: never registered, or forgotten since") == step(
        ask(node, instance_id="x"), "registration"
    )
    node.tick(20_000, WALL + 20_000)
    node.tick(20_001, WALL + 20_001)
    expired = ask(node, now=22_001)
    assert (True, "registered") == step(expired, "registration")
    assert (False, "expired 2.0 s ago: last heard 22.0 s ago, longer than the TTL of 20.0 s") == step(expired, "lease")
    gone = RegistryRequest(instances=[make_instance("gone")])
    node.register(gone, 22_500)
    node.unregister(gone, 23_000)
    removed = ask(node, now=24_000, instance_id="gone")
    assert (False, "not registered: it was removed 1.0 s ago") == step(removed, "registration")
    assert (False, "no lease without a registration") == step(removed, "lease")
    assert [False] * 3 == [each.visible for each in (unknown, expired, removed)]


def test_content_that_heartbeats_replace_again_and_again_raises_a_doubt(node, make_instance):
    """Two owners of an id take turns; a minute later that is forgotten. Once is no reason to doubt."""
    for number in range(4):
        node.heartbeat(RegistryRequest(instances=[make_instance(port=number)]), number)
        why = step(ask(node, now=number), "registration")[1]
        assert (number > 0) == ("two owners?" in why)
    assert "registered; heartbeats replaced its content 4 times in the last minute: two owners?" == why
    for number in range(100):
        node.heartbeat(RegistryRequest(instances=[make_instance(port=number)]), 100)
    assert "60 times or more" in step(ask(node, now=100), "registration")[1]
    assert "registered" == step(ask(node, now=70_000), "registration")[1]


def test_silent_and_held_leases(make_node, make_instance):
    """A lease that went silent says so, and that self-preservation holds it and for how long."""
    node = make_node(timings=NodeTimings(hold=60_000))
    instances = [make_instance(f"10.0.0.{n}") for n in range(1, 11)]
    node.register(RegistryRequest(instances=instances), 0)
    node.heartbeat(RegistryRequest(instances=instances[1:]), 10_000)
    node.tick(16_000, WALL)
    assert "; silent for longer than 15.0 s" in step(ask(node, now=16_000), "lease")[1]
    node.heartbeat(RegistryRequest(instances=instances[4:]), 20_000)
    node.tick(26_000, WALL)
    assert (
        "held up to 60.0 s longer by self-preservation"
        in step(ask(node, instance_id="10.0.0.2", now=26_000), "lease")[1]
    )


def test_operations_name_who_pulled_what_out(node):
    """Operations of the instance and of its server are all named, with their operators."""
    node.pullouts.operate(InstanceTarget("r1", "demo.orders", "10.0.0.1"), OperationRecord("out", "alice", None), 0)
    node.pullouts.operate(ServerTarget("r1", "10.0.0.1"), OperationRecord("disk", "bob", None), 0)
    response = ask(node)
    expected = "instance pulled out by alice: out; server 10.0.0.1 pulled out by bob: disk"
    assert (False, (False, expected)) == (response.visible, step(response, "operation"))


def test_an_operation_is_named_before_its_instance_registers(node):
    """What is pulled out although nobody registered it says both."""
    node.pullouts.operate(InstanceTarget("r1", "new", "i"), OperationRecord("out", "alice", None), 0)
    response = ask(node, service_id="new", instance_id="i")
    assert (False, "instance pulled out by alice: out") == step(response, "operation")


class Failing:
    """A filter that raises."""

    name = "failing"

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        raise RuntimeError("no")

    def explain(self, draft: ServiceDraft) -> str:
        raise RuntimeError("no")


class Silent(StatusUp):
    """A filter that cannot explain itself, and adds a rule."""

    name = "silent"

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        rule = b'{"groups":[],"routeId":"r-7","strategy":null}'
        return msgspec.structs.replace(super().apply(draft), route_rules=(rule,))

    def explain(self, draft: ServiceDraft) -> str:
        raise RuntimeError("no")


def test_each_filter_speaks_for_itself(make_node, make_instance):
    """One that hides, one that fails and is skipped, one that cannot explain itself: all are listed by name."""
    node = make_node(filters=[StatusUp(), Failing(), Silent()])
    node.register(RegistryRequest(instances=[make_instance(status="starting")]), 0)
    response = ask(node)
    assert [
        (False, "status-up: the status is 'starting', not 'up'"),
        (True, "failing: fails and is skipped: RuntimeError('no')"),
        (False, "silent: hides it and cannot say why: RuntimeError('no')"),
    ] == [(each.ok, each.why) for each in response.steps if each.step == "filter"]
    assert (True, "rules of the service: r-7") == step(response, "rule")
    unknown = [each.why for each in ask(node, service_id="x").steps if each.step == "filter"]
    assert "status-up: nothing is registered that it could hide" == unknown[0]
    assert ["10.0.0.2"] == visible_in(node, make_instance("10.0.0.2"))


def visible_in(node: Node, *instances: Instance) -> list[str]:
    node.register(RegistryRequest(instances=list(instances)), 0)
    return [each.instance_id for each in lookup(node, "demo.orders", "r1", "z1")]


def lookup(node: Node, service: str, region: str, zone: str) -> list[Instance]:
    config = DiscoveryConfig(service_id=service)
    answer = node.lookup(LookupRequest(discovery_configs=[config], region_id=region, zone_id=zone), 0).response()
    return [] if answer.services is None else answer.services[0].instances


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["register", "heartbeat", "unregister", "out", "in", "server-out", "server-in", "time", "drain"]
        ),
        st.integers(0, 2),
        st.sampled_from(["up", "down"]),
    ),
    max_size=20,
)


@given(EVENTS, st.booleans(), st.booleans())
def test_explain_says_what_a_lookup_shows(events: list[tuple[str, int, str]], allowed: bool, filtered: bool):
    """After any history, for every instance and caller: visible is whether a lookup of that caller has it."""
    identity = NodeIdentity(node_id="n1", epoch=1, region="r1", zone="z1", url="http://x")
    filters = [StatusUp()] if filtered else []
    node = Node(identity, allow_discovery_from_other_zone=allowed, filters=filters, now=0, wall=WALL)
    now = 0
    for what, number, status in events:
        instance = Instance(
            region_id="r1",
            zone_id="z1",
            service_id="S",
            instance_id=f"I{number}",
            ip=f"h{number % 2}",
            url="u",
            status=status,
        )
        target = InstanceTarget("r1", "s", f"i{number}")
        server = ServerTarget("r1", f"h{number % 2}")
        match what:
            case "register" | "heartbeat" | "unregister":
                getattr(node, what)(RegistryRequest(instances=[instance]), now)
            case "out":
                node.pullouts.operate(target, OperationRecord(status, "me", None), 0)
            case "in":
                node.pullouts.complete(target, status, 0)
            case "server-out":
                node.pullouts.operate(server, OperationRecord(status, "me", None), 0)
            case "server-in":
                node.pullouts.complete(server, status, 0)
            case "time":
                now += 15_000 if status == "down" else 1_000
                node.tick(now, WALL + now)
            case _:
                if number == 2 and status == "down":
                    node.drain(now)
    for region, zone in (("r1", "z1"), ("r1", "z2"), ("r2", "z1")):
        seen = {each.instance_id for each in lookup(node, "s", region, zone)}
        for number in range(3):
            response = ask(node, now, service_id="s", instance_id=f"i{number}", region_id=region, zone_id=zone)
            assert (f"I{number}" in seen) == response.visible
