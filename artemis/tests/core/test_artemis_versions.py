"""Versions that clients hand back: a node that knows less than the client notices (design 4.1 [client])."""

from collections.abc import Callable

import pytest

from artemis.model import Instance, RegistryRequest, RegistryResponse, decode, encode
from artemis.registry import Reach
from artemis.server.batches import SLICE, Call, call_in_slices
from artemis.server.node import REGISTRY_SUCCESS, Node, NodeIdentity
from artemis.server.operations import OPERATIONS
from artemis.server.versions import AHEAD, MAX_VERSION, stamp_of

WALL = 1_700_000_000_000
BEHIND = 400
REGISTER, HEARTBEAT = OPERATIONS[0], OPERATIONS[1]

MakeInstance = Callable[..., Instance]


def node(name: str, offset: int = 0) -> Node:
    """Return a node that serves, whose wall clock is off by so many milliseconds."""
    identity = NodeIdentity(node_id=name, epoch=1, region="r1", zone="z1", url=f"http://{name}:8080")
    made = Node(identity, now=0, wall=WALL + offset)
    made.tick(0, WALL + offset)
    return made


def asking(*instances: Instance | None, versions: tuple[str | None, ...]) -> RegistryRequest:
    return RegistryRequest(instances=[*instances], versions=[*versions])


def told(response: RegistryResponse) -> list[str]:
    assert response.versions, response
    return response.versions


def merge(source: Node, target: Node, instance: Instance) -> None:
    """Let one node take in what another one knows of an instance."""
    lease = source.registry.find(instance.service_id, instance.instance_id)
    target.registry.absorb(lease.record, 0, Reach(dict(source.registry.vector), {}), {}, 0)


@pytest.fixture
def pair() -> tuple[Node, Node]:
    """Return two nodes, the second of which has a clock that is behind."""
    return node("a"), node("b", -BEHIND)


def test_who_names_versions_is_told_them(make_instance):
    """One for each instance of the request, empty for those that failed and for null."""
    one, two = make_instance("one"), make_instance("two")
    response = node("a").register(asking(one, None, make_instance("bad", url=" "), two, versions=("", "", "")), 0)
    versions = told(response)
    assert [True, False, False, True] == [bool(version) for version in versions]
    assert ("partial_fail", 1) == (response.response_status.status, len(response.failed_instances))


def test_java_clients_see_no_versions(make_instance):
    """Their answers are those of the original, byte by byte."""
    a = node("a")
    request = decode(RegistryRequest, b'{"instances":[%b]}' % encode(make_instance("one")))
    assert REGISTRY_SUCCESS is a.register(request, 0)
    assert REGISTRY_SUCCESS is a.heartbeat(request, 1)
    assert b"versions" not in encode(request)
    assert REGISTRY_SUCCESS is a.unregister(request, 2)


def test_versions_that_are_right_are_not_told_again(make_instance):
    """So the answer of a steady heartbeat is the same ready-made one for all, and it is recognised by its bytes."""
    a, one = node("a"), make_instance("one")
    versions = told(a.register(asking(one, versions=("",)), 0))
    response, plan = a.heartbeat_plan(asking(one, versions=(*versions,)), 1)
    assert REGISTRY_SUCCESS is response
    assert a.renew(plan, 2)
    a.register(asking(one, versions=(*versions,)), 3)
    assert not a.renew(plan, 4)
    response, plan = a.heartbeat_plan(asking(one, versions=(*versions,)), 5)
    assert plan is None
    assert told(response) > versions


def test_a_node_whose_clock_is_behind_does_not_lose_to_what_its_client_registered_before(pair, make_instance):
    """With the version the later content wins at every node, whatever their clocks say; without it the earlier one."""
    a, b = pair
    for names_versions, expected in ((True, "http://new"), (False, "http://old")):
        old = make_instance(f"i{names_versions}", url="http://old")
        new = make_instance(f"i{names_versions}", url="http://new")
        versions = told(a.register(asking(old, versions=("",)), 0))
        b.register(asking(new, versions=(*versions,)) if names_versions else RegistryRequest(instances=[new]), 0)
        merge(a, b, new)
        merge(b, a, new)
        for each in (a, b):
            lease = each.registry.find("demo.orders", new.instance_id)
            assert expected.encode() in lease.record.content


def test_an_unregistered_instance_comes_back_at_a_node_whose_clock_is_behind(pair, make_instance):
    """Its registration is above its removal, which the second node has not heard of."""
    a, b = pair
    one = make_instance("one")
    versions = told(a.unregister(asking(one, versions=("",)), 0))
    b.register(asking(one, versions=(*versions,)), 0)
    merge(a, b, one)
    assert b.registry.find("demo.orders", "one").live


def test_a_heartbeat_at_a_node_that_knows_an_older_content_registers_again(pair, make_instance):
    """The node says `data-not-found`, instead of renewing what the client has replaced elsewhere."""
    a, b = pair
    old, new = make_instance("one", url="http://old"), make_instance("one", url="http://new")
    a.register(asking(old, versions=("",)), 0)
    merge(a, b, old)
    versions = told(a.register(asking(new, versions=("",)), 1))
    response = b.heartbeat(asking(new, versions=(*versions,)), 1)
    assert "data-not-found" == response.failed_instances[0].error_code
    b.register(asking(new, versions=(*versions,)), 2)
    assert REGISTRY_SUCCESS is b.heartbeat(RegistryRequest(instances=[new]), 3)


def test_a_heartbeat_with_a_version_is_not_compared_with_what_is_registered(make_instance):
    """What the node knows is at least as new as what the client has been told of, so it is not replaced."""
    a = node("a")
    old, new = make_instance("one", url="http://old"), make_instance("one", url="http://new")
    versions = told(a.register(asking(new, versions=("",)), 0))
    assert REGISTRY_SUCCESS is a.heartbeat(asking(old, versions=(*versions,)), 1)
    assert b"http://new" in a.registry.find("demo.orders", "one").record.content


@pytest.mark.parametrize(
    "text",
    ["", ".", "x", "12", "-1.a", "1e3.a", "\N{ARABIC-INDIC DIGIT ONE}.a", f"{2**70}.a", f"1.{'a' * MAX_VERSION}"],
)
def test_what_no_node_has_given_is_no_version(text):
    """It counts as none; nobody can push the clocks of the nodes ahead with it."""
    assert stamp_of(text, (WALL + AHEAD) * 1000) is None


def test_a_version_far_in_the_future_moves_no_clock(make_instance):
    """A version of more than a day ahead has no effect on those that the node gives."""
    a, one = node("a"), make_instance("one")
    versions = told(a.register(asking(one, versions=(f"{(WALL + 2 * AHEAD) * 1000}.x",)), 0))
    assert stamp_of(versions[0], (WALL + 1) * 1000) is not None


def test_versions_count_after_a_clock_was_far_ahead(make_instance):
    """What a node gave since its clock was a year ahead is still known to be newer by one that lacks it."""
    a, b, one = node("a", 365 * AHEAD), node("b"), make_instance("one")
    b.register(asking(one, versions=("",)), 0)
    a.registry.stamp(0)
    a.tick(10, WALL + 10)
    versions = told(a.register(asking(one, versions=("",)), 10))
    b.registry.observe(a.registry.stamp(10))
    assert "success" == b.heartbeat(asking(one, versions=("",)), 10).response_status.status
    found = b.heartbeat(asking(one, versions=versions), 10)
    assert "data-not-found" in str(found)


@pytest.mark.parametrize("operation", [REGISTER, HEARTBEAT], ids=lambda operation: operation.name)
def test_large_requests_are_told_versions_as_if_they_were_answered_in_one_piece(operation, make_instance):
    """Slices are put together; where one has nothing new to tell, the versions that were named stand."""
    a = node("a")
    instances = [make_instance(f"i{number}") for number in range(2 * SLICE + 10)]
    known = told(a.register(asking(*instances, versions=("",)), 0))
    named = [*known[:SLICE], *[""] * SLICE, *known[2 * SLICE :]]
    steps = call_in_slices(Call.of(operation, a), RegistryRequest(instances=instances, versions=named), lambda: 1)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            response = stop.value
            break
    versions = told(response)
    assert len(instances) == len(versions)
    assert all(versions)
    if operation is HEARTBEAT:
        assert known == versions


def test_versions_travel_with_any_spelling(make_instance):
    """They are a field like any other: null ones and missing ones name nothing."""
    a, one = node("a"), encode(make_instance("one"))
    for field in (b'"versions":[null]', b'"Versions":[""]', b'"versions":["",""]'):
        request = decode(RegistryRequest, b'{"instances":[%b],%b}' % (one, field))
        assert 1 == len(told(a.register(request, 0)))
    for field in (b'"versions":null', b'"versions":[]'):
        request = decode(RegistryRequest, b'{"instances":[%b],%b}' % (one, field))
        assert REGISTRY_SUCCESS is a.register(request, 0)
