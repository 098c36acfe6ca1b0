"""What a node makes of the first copy of its life."""

from replicas import TIMINGS, instance
from whole_nodes import NodeWorld

NAMES = [f"i{number}" for number in range(20)]
BEATS = [("b", name) for name in NAMES]


def test_a_newcomer_copies_old_records_without_changes_of_its_own() -> None:
    """Records of a life that all have forgotten name no change any more; a copy of thousands is no storm of changes."""
    world = NodeWorld()
    world["a"].register(world, *[instance(name) for name in NAMES])
    world.settle()
    world.restart("a", None)
    world.run(TIMINGS.lifetime + 5_000, BEATS)
    leases = world["b"].registry.services["s"].leases
    assert [()] * len(NAMES) == [lease.record.dots for lease in leases.values()]
    newcomer = world.add("c")
    world.run(12_000, BEATS)
    assert sorted(NAMES) == world["c"].seen()
    assert 0 == newcomer.registry.vector[newcomer.registry.origin]
    assert world.equal()
