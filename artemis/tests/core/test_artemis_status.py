"""What a node tells of itself: leases, configuration, deployment, self-preservation, overview (spec 1.6, 2.4)."""

import json
import re

import pytest

from artemis.model import RegistryRequest
from artemis.model.leases import LeasesRequest
from artemis.model.status import PreservationSwitch
from artemis.registry.rates import PEAK_LIFETIME, RenewalWindow
from artemis.server.about import MASK, Deployment, NodeAbout, Setting, shown
from artemis.server.handlers import leases, status
from artemis.server.handlers.pieces import PARTS_PER_PIECE, joined
from artemis.server.operations import Query
from artemis.server.operations.status import STATUS

WALL = 1_700_000_000_000
TIME = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")


def page(answer):
    """Return the JSON of a lease page."""
    return json.loads(b"".join(answer.json_pieces(1 << 20)))


def test_a_lease_has_its_text_form_its_times_and_its_ttl(make_node, make_instance):
    """Creation, renewal and the misspelt eviction time in the node's own zone, the latter unset; the TTL in ms."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance("A", service_id="Demo.Orders", group_id="G")]), 1_000)
    node.heartbeat(RegistryRequest(instances=[make_instance("A", service_id="Demo.Orders", group_id="G")]), 6_500)
    answer = page(leases.leases(node, None, 7_000))
    (lease,) = answer["leases"]["Demo.Orders"]
    assert ["creationTime", "evitionTime", "instance", "renewalTime", "ttl"] == list(lease)
    assert ("r1/z1/demo.orders/g/a", 20_000) == (lease["instance"], lease["ttl"])
    assert all(TIME.fullmatch(lease[name]) for name in ("creationTime", "renewalTime"))
    assert lease["evitionTime"].startswith(("1970-01-01", "1969-12-31"))
    assert ("21.000", "26.500") == (lease["creationTime"][-6:], lease["renewalTime"][-6:])
    (told,) = answer["leasesStatus"]["Demo.Orders"]
    assert {
        "creationTime": "6 seconds ago",
        "evitionTime": "in 19 seconds",
        "instance": "A",
        "renewalTime": "0 seconds ago",
        "ttl": 20,
    } == told


def test_registering_again_begins_a_new_lease(make_node, make_instance):
    """Its creation time is that of the last registration (spec 4.3)."""
    node = make_node()
    for now in (0, 5_000):
        node.register(RegistryRequest(instances=[make_instance("a")]), now)
    assert "0 seconds ago" == page(leases.leases(node, None, 5_000))["leasesStatus"]["demo.orders"][0]["creationTime"]


def test_the_numbers_of_renewals_are_counted_per_class(make_node, make_instance):
    """Parsed and recognised heartbeats alike; the rate is that of the last ten seconds and its peak is kept."""
    node = make_node()
    normal = RegistryRequest(instances=[make_instance("a"), make_instance("b")])
    legacy = RegistryRequest(instances=[make_instance("c", metadata={"java_registry": "1"})])
    node.register(normal, 0)
    node.register(legacy, 0)
    _, plan = node.heartbeat_plan(normal, 1_000)
    node.renew(plan, 1_500)
    node.heartbeat(legacy, 1_500)
    node.tick(2_000, WALL + 2_000)
    expected = [
        ("isSafe", True),
        ("isSafeCheckEnabled", True),
        ("leaseCount", 2),
        ("leaseUpdateCountLastTimeWindow", 4),
        ("leaseUpdateMaxCount", 4),
        ("leaseUpdateMaxCountLastUpdateTime", WALL + 2_000),
    ]
    answer = page(leases.leases(node, None, 3_000))
    assert expected == list(answer.items())[:6]
    answer = page(leases.legacy_leases(node, None, 14_000))
    assert (1, 0, 1) == tuple(
        answer[name] for name in ("leaseCount", "leaseUpdateCountLastTimeWindow", "leaseUpdateMaxCount")
    )
    assert ["demo.orders"] == list(answer["leases"])
    assert 90_000 == answer["leases"]["demo.orders"][0]["ttl"]


def test_the_peak_of_renewals_is_forgotten_in_time():
    """A fleet that shrank is not compared with its past for ever (defect 3)."""
    window = RenewalWindow(0)
    window.sample(1_000, 100)
    window.sample(12_000, 100)
    window.sample(13_000, 110)
    assert (10, 100, 1_000) == (window.rate(110).count, window.rate(110).most, window.rate(110).most_at)
    window.sample(1_000 + PEAK_LIFETIME, 115)
    assert 100 == window.rate(115).most
    window.sample(2_000 + PEAK_LIFETIME, 118)
    assert (3, 3, 2_000 + PEAK_LIFETIME) == (window.rate(118).count, window.rate(118).most, window.rate(118).most_at)


def test_leases_can_be_asked_for_by_service(make_node, make_instance):
    """In any letter case; unknown, blank and repeated ids make no difference, and dead leases are left out."""
    node = make_node()
    for service in ("A", "b", "c"):
        node.register(RegistryRequest(instances=[make_instance("1", service_id=service)]), 0)
    node.unregister(RegistryRequest(instances=[make_instance("1", service_id="c")]), 0)
    assert ["A", "b"] == list(page(leases.leases(node, LeasesRequest(), 0))["leases"])
    asked = LeasesRequest(service_ids=["B", None, " ", "b", "c", "unknown"])
    assert ["b"] == list(page(leases.leases(node, asked, 0))["leases"])
    assert ["A", "b"] == list(leases.leases(node, None, 0).response().leases or ())


def test_services_of_a_query_are_repeated_or_joined_by_commas():
    """`appIds` means service ids (spec 2.4)."""
    (operation,) = (operation for operation in STATUS if operation.name == "status.leases")
    query = Query([("appIds", "a,b"), ("other", "x"), ("appIds", "c")])
    assert LeasesRequest(service_ids=["a", "b", "c"]) == operation.from_query(query)
    assert LeasesRequest() == operation.from_query(Query())
    assert ("a,b", None) == (query.get("appIds"), query.get("none"))


def test_a_lease_page_is_made_in_pieces_while_leases_come_and_go(make_node, make_instance):
    """Whatever changes between two pieces, the whole is JSON and no piece is long in the making."""
    node = make_node()
    instances = [make_instance(str(number), service_id=f"s{number % 3}") for number in range(60)]
    node.register(RegistryRequest(instances=instances), 0)
    parts = []
    for number, piece in enumerate(leases.leases(node, None, 0).json_pieces(200)):
        parts.append(piece)
        node.unregister(RegistryRequest(instances=[instances[-number - 1]]), 0)
        node.register(RegistryRequest(instances=[make_instance("new", service_id=f"n{number}")]), 0)
    assert len(parts) > 10
    assert "0" == json.loads(b"".join(parts))["leasesStatus"]["s0"][0]["instance"]


def test_pieces_are_given_where_nothing_fits():
    """Many empty parts make a piece, so that a long search is interrupted."""
    assert [b"ab", b"c"] == list(joined(iter([b"a", b"b", b"c"]), 2))
    assert [b"", b"x"] == list(joined(iter([b""] * PARTS_PER_PIECE + [b"x"]), 100))
    assert [] == list(joined(iter([]), 1))


def test_a_stamp_beyond_the_calendar_is_shown_as_its_end(make_node, make_instance):
    """A client's version may lie anywhere; the page is shown all the same."""
    node = make_node()
    node.registry.register(make_instance("a"), 0, known=(2**63, "x"))
    assert page(leases.leases(node, None, 0))["leases"]["demo.orders"][0]["creationTime"].startswith(("9998", "9999"))


def test_configuration_is_shown_sorted_and_in_the_words_of_the_original(make_node):
    """Properties by key with their text form, sources with their priority, and where each value comes from."""
    node = make_node()
    node.about = NodeAbout(
        sources={"flag": 2, "default": 0},
        settings={"zone": Setting("z1", "flag"), "lease-ttl": Setting("20.0", "default")},
    )
    answer = status.config(node, None, 0)
    assert {
        "lease-ttl": "{ key: lease-ttl, value: 20.0, typedValue: 20.0 }",
        "zone": "{ key: zone, value: z1, typedValue: z1 }",
    } == answer.properties
    assert ["lease-ttl", "zone"] == list(answer.properties or ())
    assert ({"default": 0, "flag": 2}, {"lease-ttl": "default", "zone": "flag"}) == (
        answer.sources,
        answer.property_sources,
    )


def test_deployment_shows_where_the_node_runs(make_node):
    """With the settings that say so and the sources that they come from."""
    node = make_node()
    node.about = NodeAbout(
        sources={"flag": 2, "default": 0},
        settings={"zone": Setting("z1", "flag"), "lease-ttl": Setting("20.0", "default")},
        deployment=Deployment(app_id="artemis", machine_name="m", ip="10.0.0.1", port=80, protocol="http", path="/"),
    )
    answer = status.deployment(node, None, 0)
    place = (answer.region_id, answer.zone_id, answer.app_id, answer.machine_name, answer.ip, answer.port)
    assert ("r1", "z1", "artemis", "m", "10.0.0.1", 80) == place
    assert ("http", "/", {"flag": 2}, ["zone"]) == (
        answer.protocol,
        answer.path,
        answer.sources,
        list(answer.properties or ()),
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("admin-token", "abc", MASK),
        ("db_password", "abc", MASK),
        ("client-secret", "", ""),
        ("admin-token-file", "/run/token", "/run/token"),
        ("zone", "z1", "z1"),
    ],
)
def test_secrets_are_never_shown(name, value, expected):
    """A value that is a secret is masked; the file it is read from is no secret."""
    assert expected == shown(name, value)


def test_the_cluster_of_a_node_alone_is_itself(make_node):
    """One node, with the status it tells itself."""
    node = make_node()
    answer = status.cluster(node, None, 0)
    assert (1, [node.node_status(None, 0).node_status]) == (answer.node_count, answer.nodes_status)


def test_self_preservation_is_shown_and_switched(make_node, make_instance):
    """With numbers and reason for both classes; switched off it ends with the next tick, and back on it returns."""
    node = make_node()
    node.register(RegistryRequest(instances=[make_instance(str(number)) for number in range(10)]), 0)
    node.tick(18_000, WALL)
    state = status.self_preservation(node, None, 19_000)
    assert (True, True, 1_000, 10, 0) == (
        state.leases.active,
        state.leases.enabled,
        state.leases.for_ms,
        state.leases.live,
        state.leases.heard,
    )
    assert "10 of 10 leases were not heard" in state.leases.reason
    assert False is state.legacy_leases.active
    answer = status.switch_self_preservation(node, PreservationSwitch(enabled=False), 19_000)
    assert (False, False, 0) == (answer.leases.enabled, answer.leases.active, answer.leases.heard)
    assert "switched off; 10 that fell silent got a fresh TTL of 20000 ms" == answer.leases.reason
    node.tick(19_100, WALL)
    assert False is status.self_preservation(node, None, 19_100).leases.active
    assert True is status.switch_self_preservation(node, PreservationSwitch(enabled=True), 19_200).leases.enabled


@pytest.mark.parametrize("request_", [None, PreservationSwitch()])
def test_a_switch_that_says_nothing_switches_nothing(make_node, request_):
    """It is answered with bad-request and what to say."""
    node = make_node()
    answer = status.switch_self_preservation(node, request_, 0)
    assert ("bad-request", None) == (answer.response_status.error_code, answer.leases)
    assert node.registry.self_preservation()[0].enabled


def test_the_overview_tells_a_node_at_one_glance(make_node, make_instance):
    """Who it is, what it holds, where its changes stand, who is connected."""
    node = make_node()
    node.about = NodeAbout(version="1.2.3", started=1_000, doors=lambda: {"http": 3})
    node.register(RegistryRequest(instances=[make_instance("a"), make_instance("b", service_id="s")]), 2_000)
    answer = status.overview(node, None, 5_000)
    assert ("n1", 1, "r1", "z1", "http://127.0.0.1:8080", "1.2.3", "up", 4_000) == (
        answer.node_id,
        answer.epoch,
        answer.region_id,
        answer.zone_id,
        answer.url,
        answer.version,
        answer.status,
        answer.uptime_ms,
    )
    assert (2, 2, 0, node.cursor(), {"http": 3}) == (
        answer.instances,
        answer.services,
        answer.age_ms,
        answer.cursor,
        answer.connections,
    )
    assert 0 == answer.push["subscribers"] == answer.push["fullSyncs"]
    assert all("_" not in name for name in answer.push)
