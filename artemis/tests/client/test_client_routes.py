"""What route rules mean for the instances of a service (spec 1.5, 5.3)."""

import pytest

from artemis.client.balancing.routes import Route, RouteGroup, fixed_weight, group_key, routes_of
from artemis.model import Instance, RouteRule, Service, ServiceGroup, decode


def instance(name: str, zone: str | None = "z1", group: str | None = None) -> Instance:
    """Build an instance of the service Orders."""
    return Instance(region_id="R1", zone_id=zone, service_id="Orders", instance_id=name, group_id=group)


A, B, C = instance("a"), instance("b", "Z2"), instance("c", group="Blue")


def rule(*groups: ServiceGroup | None, route_id: str | None = "blue-green", strategy: str | None = None) -> RouteRule:
    """Build a rule."""
    return RouteRule(route_id=route_id, strategy=strategy, groups=list(groups))


def names(route: Route) -> list[tuple[str, int, list[str | None]]]:
    """Show the groups of a route."""
    return [(one.key, one.weight, [each.instance_id for each in one.instances]) for one in route.groups]


@pytest.mark.parametrize(
    ("weight", "corrected"), [(None, 5), (0, 0), (10000, 10000), (1, 1), (9999, 9999), (-1, 5), (10001, 10000)]
)
def test_weights_are_corrected(weight: int | None, corrected: int) -> None:
    """The cases of the Java project's own test."""
    assert corrected == fixed_weight(weight)


@pytest.mark.parametrize(
    ("one", "key"),
    [
        (A, "orders/r1/z1/default/a"),
        (instance("a", group=" DEFAULT "), "orders/r1/z1/default/a"),
        (instance("A", group="Blue"), "orders/r1/z1/blue/a"),
        (instance("a", zone=None), "orders/r1/default/a"),
        (instance(" /a ", zone="/z1"), "orders/r1/z1/default/a"),
        (instance("a", zone="z1/"), "orders/r1/z1/default/a"),
    ],
)
def test_a_group_key_is_a_path_of_what_is_not_blank(one: Instance, key: str) -> None:
    """In lower case; a missing part shifts the later ones."""
    assert key == group_key(one)


def test_without_rules_the_default_rule_is_all_instances() -> None:
    """One group of weight 5."""
    whole = RouteGroup("default-group-key", 5, (A, B))
    assert {"default-route-rule": Route("default-route-rule", "weighted-round-robin", (whole,))} == routes_of(
        (), (A, B)
    )


def test_without_instances_the_default_rule_leads_nowhere() -> None:
    """A group without instances is dropped there as well."""
    assert routes_of((), ())["default-route-rule"].groups == ()


def test_rules_that_say_nothing_are_ignored() -> None:
    """Null, a blank id, no groups; the default rule is there all the same."""
    nothing = [None, rule(ServiceGroup(group_key="orders"), route_id=" "), rule(), RouteRule(route_id="x", groups=None)]
    assert ["default-route-rule"] == list(routes_of(nothing, (A,)))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("orders", ["a", "b", "c"]),
        ("ORDERS/r1", ["a", "b", "c"]),
        ("orders/r1/z2", ["b"]),
        ("orders/r1/z1/blue", ["c"]),
        ("orders/r1/z1/default", ["a"]),
    ],
)
def test_a_group_has_the_physical_instances_below_its_key(key: str, found: list[str]) -> None:
    """The key may address a service, a region, a zone or a group, in any letter case."""
    routes = routes_of([rule(ServiceGroup(group_key=key))], (A, B, C))
    assert [(key.lower(), 5, found)] == names(routes["blue-green"])


@pytest.mark.parametrize("key", ["order", "orders/r", "orders/r1/", "orders/r1/z1/default/a", " orders", " ", None])
def test_only_whole_parts_of_a_key_address_anything(key: str | None) -> None:
    """A part cut short is another name, and the key of an instance has nothing below it."""
    assert routes_of([rule(ServiceGroup(group_key=key))], (A, B, C))["blue-green"].groups == ()


def test_a_group_has_the_instances_it_lists_the_physical_one_before_the_logic_one() -> None:
    """By id in any letter case; ids of nobody are passed over."""
    logic_a, logic_d = instance("a", "elsewhere"), instance("d", "elsewhere")
    group = ServiceGroup(group_key="own", weight=1, instance_ids=["A", "d", "nobody", None, " "])
    route = routes_of([rule(group)], (A, B), (logic_a, logic_d))["blue-green"]
    assert (RouteGroup("own", 1, (A, logic_d)),) == route.groups


def test_listed_and_addressed_instances_are_one_group_without_doubles() -> None:
    """Logic instances are only found by their id."""
    logic = instance("d", "z2")
    group = ServiceGroup(group_key="orders/r1/z2", instance_ids=["a", "b"])
    assert [("orders/r1/z2", 5, ["a", "b"])] == names(routes_of([rule(group)], (A, B), (logic,))["blue-green"])


def test_groups_without_instances_are_dropped_and_weights_corrected() -> None:
    """A weight of 0 stays; a rule of which no group is left stays too, and leads nowhere."""
    left = [ServiceGroup(group_key="orders/r1/z1", weight=0), ServiceGroup(group_key="orders/r1/z2", weight=-3)]
    empty = ServiceGroup(group_key="orders/r9", weight=7)
    routes = routes_of([rule(*left, None, empty), rule(empty, route_id="Default-Route-Rule")], (A, B))
    assert [("orders/r1/z1", 0, ["a"]), ("orders/r1/z2", 5, ["b"])] == names(routes["blue-green"])
    assert routes["default-route-rule"].groups == ()


def test_only_the_canary_rule_takes_the_instances_that_its_groups_bring() -> None:
    """Those with an id, after what they list, which wins."""
    group = ServiceGroup(
        group_key="canary", instance_ids=["a"], instances=[instance("A", "other"), None, B, instance(" ")]
    )
    routes = routes_of([rule(group), rule(group, route_id="CANARY-route-rule")], (A,))
    assert [("canary", 5, ["a"])] == names(routes["blue-green"])
    assert (RouteGroup("canary", 5, (A, B)),) == routes["canary-route-rule"].groups


def test_of_rules_with_one_id_the_last_that_leads_anywhere_counts() -> None:
    """Ids are the same in any letter case."""
    first, second = ServiceGroup(group_key="orders/r1/z1"), ServiceGroup(group_key="orders/r1/z2")
    nowhere = rule(ServiceGroup(group_key="x"), route_id="Blue-Green")
    routes = routes_of([rule(first), rule(second, route_id="BLUE-GREEN"), nowhere], (A, B))
    assert [("orders/r1/z2", 5, ["b"])] == names(routes["blue-green"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("close-by-visit", "close-by-visit"),
        (" Close-By-Visit", "close-by-visit"),
        ("weighted-round-robin", "weighted-round-robin"),
        (None, "weighted-round-robin"),
        ("something-new", "weighted-round-robin"),
    ],
)
def test_a_strategy_that_nobody_knows_goes_by_weights(written: str | None, meant: str) -> None:
    """As a missing one does."""
    assert meant == routes_of([rule(ServiceGroup(group_key="orders"), strategy=written)], (A,))["blue-green"].strategy


ANSWER = b"""{"serviceId": "demo.orders", "metadata": null,
 "instances": [
  {"regionId": "r1", "zoneId": "z1", "groupId": null, "serviceId": "demo.orders", "instanceId": "10.0.0.1",
   "machineName": null, "ip": "10.0.0.1", "port": 8080, "protocol": "http", "url": "http://10.0.0.1:8080/",
   "healthCheckUrl": null, "status": "up", "metadata": null},
  {"regionId": "r1", "zoneId": "z1", "groupId": "green", "serviceId": "demo.orders", "instanceId": "10.0.0.2",
   "machineName": null, "ip": "10.0.0.2", "port": 8080, "protocol": "http", "url": "http://10.0.0.2:8080/",
   "healthCheckUrl": null, "status": "up", "metadata": null}],
 "logicInstances": [],
 "routeRules": [
  {"routeId": "default-route-rule", "strategy": "weighted-round-robin", "groups": [
    {"groupKey": "demo.orders/r1/z1/blue", "weight": 9, "instanceIds": ["10.0.0.1"], "instances": null, "metadata": {}},
    {"groupKey": "demo.orders/r1/z1/green", "weight": 1, "instanceIds": [], "instances": null,
     "metadata": {"color": "green"}}]},
  {"routeId": "canary-route-rule", "strategy": "weighted-round-robin", "groups": [
    {"groupKey": "demo.orders/r1/canary/1001", "weight": 5, "instanceIds": ["10.0.0.2"], "instances": [
      {"regionId": "r1", "zoneId": "z1", "groupId": "green", "serviceId": "demo.orders", "instanceId": "10.0.0.2",
       "machineName": null, "ip": "10.0.0.2", "port": 8080, "protocol": "http", "url": "http://10.0.0.2:8080/",
       "healthCheckUrl": null, "status": "up", "metadata": null}], "metadata": {}}]}]}"""


def test_the_answer_of_a_java_node_means_its_groups() -> None:
    """Listed in the one group, addressed by its key in the other, and a canary of its own."""
    service = decode(Service, ANSWER)
    rules, instances = service.route_rules or (), [one for one in service.instances or () if one is not None]
    routes = routes_of(rules, instances)
    blue, green = ("demo.orders/r1/z1/blue", 9, ["10.0.0.1"]), ("demo.orders/r1/z1/green", 1, ["10.0.0.2"])
    assert [blue, green] == names(routes["default-route-rule"])
    assert [("demo.orders/r1/canary/1001", 5, ["10.0.0.2"])] == names(routes["canary-route-rule"])
    assert ["default-route-rule", "canary-route-rule"] == list(routes)
