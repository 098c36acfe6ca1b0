"""Queries: pages of instances and services, and lookups narrowed by discoveryData (additions to spec 2.2 and 5.1)."""

from collections.abc import Callable, Generator
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.discovery.narrowing import MAX_NARROWED, NarrowedViews
from artemis.discovery.ordering import RUN, in_order
from artemis.discovery.queries import STEP, Page, find_instances
from artemis.discovery.selections import EVERYTHING, Selection, selection
from artemis.management import InstanceTarget, OperationRecord
from artemis.model import DiscoveryConfig, Instance, LookupRequest, RegistryRequest, ServiceRequest, decode
from artemis.model.queries import InstancesRequest, InstancesResponse, ServicesPageRequest, ServicesPageResponse
from artemis.model.responses import failure
from artemis.server.handlers import queries
from artemis.server.node import Node, NodeIdentity
from artemis.server.operations import OPERATIONS, BadParameter, Query
from artemis.server.operations.pieces import pieces

T = TypeVar("T")
MakeInstance = Callable[..., Instance]
MakeNode = Callable[..., Node]
FROM_QUERY = {operation.name: operation.from_query for operation in OPERATIONS}


def run(steps: Generator[None, None, T]) -> tuple[int, T]:
    """Return how many steps it took, and the result."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return count, stop.value
        count += 1


def find(node: Node, **fields: object) -> InstancesResponse:
    answer = queries.instances(node, InstancesRequest(**fields), 0)
    return decode(InstancesResponse, b"".join(pieces(answer, 100)))


def services(node: Node, **fields: object) -> ServicesPageResponse:
    answer = queries.services(node, ServicesPageRequest(**fields), 0)
    return decode(ServicesPageResponse, b"".join(pieces(answer, 100)))


def ids(response: InstancesResponse) -> list[str]:
    return [each.instance_id for each in response.instances]


@pytest.fixture
def node(make_node: MakeNode, make_instance: MakeInstance) -> Node:
    """Return a node with four instances of two services that differ in everything one can ask for."""
    node = make_node()
    instances = [
        make_instance("a", zone_id="z1", group_id="g1", status="up", metadata={"version": "1", "X": ""}, ip="1.1.1.1"),
        make_instance("B", zone_id="Z2", group_id=" Default ", status="UP", metadata={"version": "2"}),
        make_instance("c", zone_id="z2", group_id=None, status=None, metadata=None),
        make_instance("d", service_id="Other", metadata={"version": "1"}),
    ]
    node.register(RegistryRequest(instances=instances), 0)
    return node


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, ["a", "B", "c", "d"]),
        ({"service_id": "DEMO.orders"}, ["a", "B", "c"]),
        ({"service_id": "nope"}, []),
        ({"zone_id": "z2"}, ["B", "c"]),
        ({"group_id": "G1"}, ["a"]),
        ({"group_id": "default", "service_id": "demo.orders"}, ["B", "c"]),
        ({"status": "up", "service_id": "demo.orders"}, ["a", "B"]),
        ({"ip": "1.1.1.1"}, ["a"]),
        ({"metadata": {"version": "1"}}, ["a", "d"]),
        ({"metadata": {"version": "1", "X": ""}}, ["a"]),
        ({"metadata": {"Version": "1"}}, []),
        ({"metadata": {"version": None}, "zone_id": " ", "status": ""}, ["a", "B", "c", "d"]),
        ({"zone_id": "z2", "metadata": {"version": "2"}, "region_id": "R1"}, ["B"]),
    ],
)
def test_instances_are_found_by_every_condition(node, conditions, expected):
    """All conditions must hold; ids, status and addresses in any letter case, metadata exactly."""
    response = find(node, **conditions)
    assert (expected, len(expected)) == (ids(response), response.total)
    assert (1, 100, node.cursor()) == (response.page, response.page_size, response.cursor)
    assert response.response_status.ok


def test_what_callers_do_not_see_is_not_found(node):
    """A pulled-out instance is neither shown nor counted, by either query."""
    node.pullouts.operate(InstanceTarget("r1", "demo.orders", "b"), OperationRecord("out", "me", None), 0)
    assert ["a", "c"] == ids(find(node, service_id="demo.orders"))
    assert [("demo.orders", 2), ("Other", 1)] == [
        (each.service_id, each.instance_count) for each in services(node).services
    ]


def test_pages_of_services(node):
    """Services come in the order of their ids, in any letter case, with the instances that callers see counted."""
    response = services(node, page=2, page_size=1)
    assert [("Other", 1)] == [(each.service_id, each.instance_count) for each in response.services]
    assert (2, 1, 2, node.cursor()) == (response.page, response.page_size, response.total, response.cursor)
    assert ["demo.orders"] == [each.service_id for each in services(node, prefix="DEMO").services]
    assert ([], 0) == (services(node, prefix="x").services, services(node, prefix="x").total)


@given(
    st.sets(st.integers(0, 3000), min_size=0, max_size=40),
    st.integers(1, 7),
)
def test_pages_join_to_the_whole(numbers: set[int], size: int):
    """Whatever is registered, the pages of any size hold every instance once, in order, and all tell the total."""
    node = fresh_node()
    for number in numbers:
        node.register(RegistryRequest(instances=[numbered(number)]), 0)
    found: list[str] = []
    page = 1
    while True:
        response = find(node, service_id="s", page=page, page_size=size)
        assert len(numbers) == response.total
        if not response.instances:
            break
        found += ids(response)
        page += 1
    assert sorted(f"i{number}" for number in numbers) == found


def fresh_node() -> Node:
    identity = NodeIdentity(node_id="n1", epoch=1, region="r1", zone="z1", url="http://x")
    node = Node(identity, now=0, wall=1_700_000_000_000)
    node.tick(0, 1_700_000_000_000)
    return node


def numbered(number: int, service: str = "s") -> Instance:
    metadata = {"odd": str(number % 2)}
    return Instance(
        region_id="r1", zone_id="z1", service_id=service, instance_id=f"i{number}", url="u", metadata=metadata
    )


def test_large_services_are_searched_in_steps():
    """No step looks at more than STEP instances, and what changes between them breaks nothing."""
    node = fresh_node()
    count = 3 * RUN
    node.register(RegistryRequest(instances=[numbered(n) for n in range(count)]), 0)
    search = find_instances(node.registry, node.catalog, ["s"], selection({"metadata.odd": "1"}), Page(2, 10))
    for _ in range(5):
        next(search)
    node.unregister(RegistryRequest(instances=[numbered(n) for n in range(1, count, 2)][:100]), 0)
    steps, found = run(search)
    assert steps >= count // STEP - 5
    assert 10 == len(found.instances)
    assert count // 2 - 100 <= found.total <= count // 2


@given(st.lists(st.text(max_size=3)))
def test_names_are_ordered_in_steps(names: list[str]):
    """Sorting in runs gives what sorting gives, duplicates included."""
    many = names * (1 + 2 * RUN // max(1, len(names))) if len(names) > 40 else names
    steps, ordered = run(in_order(many))
    assert sorted(many) == list(ordered)
    assert (len(many) > RUN) == (steps > 0)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"page": -1}, "page must be at least 1, not -1"),
        ({"page": 0}, "page must be at least 1, not 0"),
        ({"page_size": 0}, "pageSize must be 1 to 1000, not 0"),
        ({"page_size": -5}, "pageSize must be 1 to 1000, not -5"),
        ({"page_size": 1001}, "pageSize must be 1 to 1000, not 1001"),
    ],
)
def test_pages_that_cannot_be_are_bad_requests(node, fields, text):
    """Page and size have a range; a page beyond the last is empty."""
    assert failure("bad-request", text) == find(node, **fields).response_status
    assert failure("bad-request", text) == services(node, **fields).response_status
    assert ([], 4) == (find(node, page=2**31 - 1).instances, find(node, page=2**31 - 1).total)


def test_queries_are_refused_like_lookups(node):
    """Callers of another region, and all callers of a node that does not serve, are refused."""
    assert "no-permission" == find(node, region_id="r2").response_status.error_code
    node.drain(0)
    for response in (find(node), services(node)):
        assert "service-unavailable" == response.response_status.error_code


def test_queries_from_a_url():
    """Every parameter has its place, metadata by prefix; numbers that are none are refused with their name."""
    words = {"serviceId": "s", "zoneId": "z", "groupId": "g", "status": "up", "ip": "1", "regionId": "r"}
    query = Query([*words.items(), ("metadata.a.b", "1"), ("metadata.", "x"), ("page", "2"), ("pageSize", "7")])
    expected = InstancesRequest(
        service_id="s", zone_id="z", group_id="g", status="up", ip="1", region_id="r", page=2, page_size=7
    )
    expected.metadata = {"a.b": "1", "": "x"}
    assert expected == FROM_QUERY["query.instances"](query)
    assert ServicesPageRequest(prefix="p") == FROM_QUERY["query.services"](Query([("prefix", "p")]))
    for name in ("page", "pageSize"):
        for text in ("x", "-1", "1.5", "99999999999", "\u0663"):
            with pytest.raises(BadParameter, match=f"parameter '{name}' must be a whole number"):
                FROM_QUERY["query.services"](Query([(name, text)]))


# -- narrowed lookups


def lookup(node: Node, *data: dict[str, str | None] | None, service: str = "demo.orders") -> list[list[str]]:
    configs = [DiscoveryConfig(service_id=service, discovery_data=each) for each in data]
    response = node.lookup(LookupRequest(discovery_configs=configs, region_id="r1", zone_id="z1"), 0).response()
    return [[each.instance_id for each in found.instances] for found in response.services]


def test_discovery_data_narrows_its_config_only(node):
    """Known names narrow, those of the originals have no effect, and each config of a lookup stands for itself."""
    narrowed = lookup(node, {"zoneId": "z2"}, None, {"appid": "1", "subenv": "x"}, {"metadata.version": "1"}, {})
    assert [["B", "c"], ["a", "B", "c"], ["a", "B", "c"], ["a"], ["a", "B", "c"]] == narrowed
    config = DiscoveryConfig(service_id="demo.orders", discovery_data={"status": "up"})
    request = ServiceRequest(discovery_config=config, region_id="r1", zone_id="z1")
    assert ["a", "B"] == [each.instance_id for each in node.service(request, 0).response().service.instances]


def test_narrowed_views_are_kept_until_the_service_changes(node, make_instance):
    """The same question is answered from the same view, until something of the service changes."""
    kept, wanted = node.narrowed, selection({"zoneId": "z2"})
    first = kept.narrowed(node.catalog.view("demo.orders"), wanted)
    assert first is kept.narrowed(node.catalog.view("DEMO.ORDERS"), wanted)
    node.register(RegistryRequest(instances=[make_instance("e", zone_id="z2")]), 0)
    assert [["B", "c", "e"]] == lookup(node, {"zoneId": "z2"})
    assert 1 == len(kept)


def test_unknown_services_and_empty_conditions_need_no_view(node):
    """What cannot be narrowed is the whole view itself, and nothing is kept."""
    view = node.catalog.view("demo.orders")
    assert view is node.narrowed.narrowed(view, EVERYTHING)
    assert [[]] == lookup(node, {"zoneId": "z1"}, service="nope")
    assert 0 == len(node.narrowed)


def test_kept_views_are_bounded(node):
    """Beyond the number or the bytes, the one that was used longest ago goes."""
    view = node.catalog.view("demo.orders")
    few = NarrowedViews(limit=2)
    one = few.narrowed(view, Selection(zone="1"))
    few.narrowed(view, Selection(zone="2"))
    assert one is few.narrowed(view, Selection(zone="1"))
    few.narrowed(view, Selection(zone="3"))
    assert (2, True) == (len(few), one is few.narrowed(view, Selection(zone="1")))
    tiny = NarrowedViews(max_bytes=10)
    assert 0 == tiny.narrowed(view, Selection(zone="1")).instance_count
    assert 0 == len(tiny)


def test_a_lookup_that_narrows_too_much_is_refused():
    """The instances looked through for one lookup are bounded; without conditions nothing is looked through."""
    node = fresh_node()
    node.register(RegistryRequest(instances=[numbered(n) for n in range(MAX_NARROWED // 10)]), 0)
    data: dict[str, str | None] = {"metadata.odd": "1"}
    configs = [DiscoveryConfig(service_id="s", discovery_data=data) for _ in range(11)]
    for number, expected in ((10, "success"), (11, "bad-request")):
        request = LookupRequest(discovery_configs=configs[:number], region_id="r1", zone_id="z1")
        assert expected == node.lookup(request, 0).response_status.error_code
