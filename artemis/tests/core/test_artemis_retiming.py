"""Times and switches that change while a node runs (spec 10.1)."""

from artemis.model import RegistryRequest
from artemis.registry import NodeTimings

WALL = 1_700_000_000_000


def visible(registry):
    """Count the live instances."""
    return len(registry)


def test_a_shorter_ttl_ends_leases_that_exist(make_registry, make_instance):
    """A lease taken for 20 s expires after 10 s once that is the TTL."""
    registry = make_registry()
    registry.register(make_instance(), 0)
    registry.retime(NodeTimings(ttl=10_000, heartbeat=2_500))
    registry.tick(10_000, WALL, 100)
    assert 1 == visible(registry)
    registry.tick(10_001, WALL, 100)
    assert 0 == visible(registry)


def test_a_longer_ttl_keeps_leases_that_exist(make_registry, make_instance):
    """A lease that would have ended waits for the new TTL."""
    registry = make_registry()
    registry.register(make_instance(), 0)
    registry.tick(19_000, WALL, 100)
    registry.retime(NodeTimings(ttl=60_000, heartbeat=15_000))
    registry.tick(60_000, WALL, 100)
    assert 1 == visible(registry)
    registry.tick(60_001, WALL, 100)
    assert 0 == visible(registry)


def test_a_longer_window_counts_the_silent_as_heard(make_registry, make_instance):
    """Ten leases that had gone silent are heard again when the window reaches back to them, a few a tick, in order."""
    registry = make_registry()
    for number in range(10):
        registry.register(make_instance(instance_id=f"i{number}"), number)
    registry.tick(16_000, WALL, 100)
    assert (10, 0, True) == (
        registry.self_preservation()[0].live,
        registry.self_preservation()[0].heard,
        registry.self_preservation()[0].active,
    )
    registry.retime(NodeTimings(ttl=60_000, heartbeat=15_000))
    while registry.tick(16_001, WALL, 3):
        pass
    state = registry.self_preservation()[0]
    assert (10, 10, False) == (state.live, state.heard, state.active)
    registry.retime(NodeTimings())
    registry.enable_self_preservation(False)
    while registry.tick(36_001, WALL, 3):
        pass
    # Leaving self-preservation gave every lease a fresh TTL at 16 001.
    assert 10 == visible(registry)
    while registry.tick(36_002, WALL, 3):
        pass
    assert 0 == visible(registry)


def test_a_pardon_holds_again_when_the_window_grows(make_registry, make_instance):
    """Leases pardoned at the end of self-preservation stay heard when a longer window reaches back to that moment."""
    registry = make_registry()
    for number in range(10):
        registry.register(make_instance(instance_id=f"i{number}"), 0)
    registry.tick(16_000, WALL, 100)
    registry.enable_self_preservation(False)
    registry.tick(17_000, WALL, 100)
    registry.tick(33_000, WALL, 100)
    assert 0 == registry.self_preservation()[0].heard
    registry.retime(NodeTimings(ttl=40_000, heartbeat=10_000))
    registry.tick(33_001, WALL, 100)
    assert 10 == registry.self_preservation()[0].heard
    registry.tick(57_001, WALL, 100)
    assert 0 == visible(registry)


def test_a_switched_allowance_changes_the_outcome_of_recognised_heartbeats(make_node, make_instance):
    """Instances of another zone are refused from the switch on, those recognised before it as well."""
    node = make_node()
    request = RegistryRequest(instances=[make_instance(zone_id="elsewhere")])
    node.register(request, 0)
    _, plan = node.heartbeat_plan(request, 0)
    node.allow_other_zones(registry=False, discovery=False)
    assert not node.renew(plan, 1)
    assert "no-permission" == node.heartbeat(request, 1).failed_instances[0].error_code
    status = node.node_status(None, 1).node_status
    assert (False, False) == (status.allow_registry_from_other_zone, status.allow_discovery_from_other_zone)
