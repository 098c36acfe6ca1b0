"""Which nodes clients are sent to (spec 2.3)."""

import pytest

from artemis.model import ServiceNode, Zone
from artemis.model.cluster import UpNodesRequest
from artemis.server.handlers import cluster

OWN = ServiceNode(
    node_id="n1",
    region_id="r1",
    url="http://127.0.0.1:8080",
    zone=Zone(region_id="r1", zone_id="z1"),
    zone_id="z1",
)


@pytest.mark.parametrize("ask", [cluster.up_registry_nodes, cluster.up_discovery_nodes])
@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (None, True),
        (UpNodesRequest(), True),
        (UpNodesRequest(region_id="R1", zone_id="Z1"), True),
        (UpNodesRequest(region_id="r1", zone_id="z2"), True),
        (UpNodesRequest(region_id="r2", zone_id="z1"), False),
    ],
)
def test_a_serving_node_lists_itself_for_its_region(make_node, ask, request_, found):
    """Whatever the letter case and, as other zones are welcome, the zone; other regions get data-not-found."""
    answer = ask(make_node(), request_, 0)
    assert ([OWN] if found else None) == answer.nodes
    expected = ("success", "") if found else ("data-not-found", "No available service nodes.")
    assert expected == (answer.response_status.error_code, answer.response_status.message)


def test_a_node_for_its_own_zone_alone_is_listed_there_alone(make_node):
    """The switch of each operation decides for its own list, and a caller without a zone is in another one."""
    node = make_node(allow_registry_from_other_zone=False)
    for zone, expected in (("Z1", [OWN]), ("z2", None), (None, None)):
        request = UpNodesRequest(region_id="r1", zone_id=zone)
        assert expected == cluster.up_registry_nodes(node, request, 0).nodes
        assert [OWN] == cluster.up_discovery_nodes(node, request, 0).nodes


def test_a_node_that_does_not_serve_lists_nobody(make_node):
    """A starting or draining node sends no client to itself."""
    starting, draining = make_node(started=False), make_node()
    draining.drain(0)
    for node in (starting, draining):
        answer = cluster.up_discovery_nodes(node, UpNodesRequest(region_id="r1", zone_id="z1"), 0)
        assert (None, "data-not-found") == (answer.nodes, answer.response_status.error_code)
