"""What the simulation has found in the core, each as the shortest history that shows it."""

import msgspec
from replicas import TIMINGS, instance

from artemis.cluster import ClusterTimings, Replica
from artemis.registry import Origin, Reach, Registry


def registry(name="a"):
    """A registry that is empty."""
    return Registry(Origin(name, 1), "r", timings=TIMINGS, now=1_000, wall=1_700_000_000_000)


def test_a_later_renewal_of_a_removed_record_begins_no_lease():
    """A repair may bring a renewal that is later than the removal here knew of: the record stays dead (seed 88)."""
    here = registry()
    here.register(instance("i"), 1_000)
    record = here.unregister(instance("i"), 2_000).record
    later = msgspec.structs.replace(record, renewed=(record.renewed[0] + 1, "b"))
    here.absorb(later, 0, Reach(here.vector, {}), {}, 2_500)
    assert not here.tick(2_500 + TIMINGS.ttl + TIMINGS.hold, 1_700_000_000_000, 100)
    assert (here.counters.expired, len(here), here.dead) == (0, 0, 1)


def test_an_empty_sign_of_life_shows_a_clock_that_is_ahead():
    """A node whose clock was ahead keeps giving late stamps: a peer that hears its leases gives later ones (252)."""
    here, there = registry("a"), registry("b")
    ahead = 3_600_000
    there.tick(1_000, 1_700_000_000_000 + ahead, 100)
    here_replica, there_replica = (Replica(each, None, ClusterTimings(), now=1_000, wall=0) for each in (here, there))
    there_replica.connect("a", 1_000)
    there_replica.tick(1_000, 0)
    for _, message in there_replica.take():
        here_replica.receive("b", message, 1_010)
    assert here.register(instance("i"), 1_020).renewed > there.register(instance("i"), 1_000).renewed
