"""The registry by example: spec 4, design 4.1, defects 1, 2, 3 and 6."""

import logging
from collections.abc import Callable

import msgspec
import pytest

from artemis.model import Instance, decode, encode_canonical
from artemis.registry import (
    Change,
    Dot,
    IdTooLong,
    InstanceTooLarge,
    InvalidInstance,
    NodeLimits,
    NodeTimings,
    Origin,
    Record,
    Registry,
    TooManyInstances,
    WrongRegion,
)
from artemis.registry.records import ZERO

TTL, LIFETIME = 20_000, 600_000
WALL = 1_700_000_000_000

MakeInstance = Callable[..., Instance]
MakeRegistry = Callable[..., Registry]


@pytest.fixture
def registry(make_registry: MakeRegistry) -> Registry:
    """Return an empty registry."""
    return make_registry()


@pytest.fixture
def changes(registry: Registry) -> list[Change]:
    """Return the list into which the registry's changes go."""
    result: list[Change] = []
    registry.on_change(result.append)
    return result


def tick(registry: Registry, now: int) -> None:
    while registry.tick(now, WALL + now, 1_000):
        pass


def shown(registry: Registry) -> dict[tuple[str, str, str], bytes]:
    return {record.key: record.content for record in registry.records() if record.live}


def test_register_shows_the_instance_as_a_change(registry, changes, make_instance):
    """Registering makes a sequenced change with its own dot that shows the content."""
    instance = make_instance()
    lease = registry.register(instance, 5)
    (change,) = changes
    assert (Origin("n1", 1), 1, None) == (change.origin, change.seq, change.previous)
    assert encode_canonical(instance) == change.visible
    record = change.record
    assert record is lease.record
    assert ("r1", "demo.orders", "10.0.0.1") == record.key
    assert ((WALL + 5) * 1_000, "n1") == record.version == record.renewed == record.asserted
    assert ((Dot(Origin("n1", 1), 1),), ZERO) == (record.dots, record.expired)
    assert (1, {Origin("n1", 1): 1}) == (len(registry), registry.vector)


def test_equal_content_is_a_new_version_that_callers_do_not_see(registry, changes, make_instance):
    """Re-registering equal content writes a new version but what callers see is the same (defect 6)."""
    registry.register(make_instance(metadata={"a": "1", "b": "2"}), 0)
    registry.register(make_instance(metadata={"b": "2", "a": "1"}), 0)
    first, second = changes
    assert second.record.version > first.record.version
    assert second.previous == second.visible == first.visible


def test_heartbeat_renews_without_a_change(registry, changes, make_instance):
    """A heartbeat with the registered content only renews the lease."""
    lease = registry.register(make_instance(), 0)
    before = lease.record
    assert lease is registry.heartbeat(make_instance(), 15_000)
    assert (1, before) == (len(changes), lease.record)
    tick(registry, 15_000 + TTL)
    assert 1 == len(registry)
    (record,) = registry.records()
    assert record.renewed == lease.renewed > before.renewed


def test_heartbeat_with_other_content_counts_as_register(registry, changes, make_instance):
    """A heartbeat whose content differs updates it (defect 6)."""
    registry.register(make_instance(), 0)
    registry.heartbeat(make_instance(port=9090), 1)
    changed = decode(Instance, changes[1].visible)
    assert changed is not None
    assert 9090 == changed.port


def test_heartbeat_of_the_unknown_and_the_removed_asks_to_register(registry, changes, make_instance):
    """Heartbeats never create a lease and never revive a removed one."""
    assert registry.heartbeat(make_instance(), 0) is None
    registry.register(make_instance(), 0)
    registry.unregister(make_instance(), 1)
    assert registry.heartbeat(make_instance(), 2) is None
    assert (2, 0, 2) == (len(changes), len(registry), registry.counters.unknown_leases)


def test_heartbeat_revives_an_expired_lease(registry, changes, make_instance):
    """An expired instance disappears and returns with its next heartbeat, asserted by a change."""
    instance = make_instance()
    registry.register(instance, 0)
    tick(registry, TTL + 1)
    assert (0, 1) == (len(registry), registry.dead)
    lease = registry.heartbeat(instance, TTL + 1)
    _, expiry, revival = changes
    assert (encode_canonical(instance), None) == (expiry.previous, expiry.visible)
    assert (None, encode_canonical(instance)) == (revival.previous, revival.visible)
    assert lease is not None
    assert lease.record.renewed == lease.record.asserted > lease.record.expired
    assert expiry.record.version == revival.record.version
    assert (1, 0) == (len(registry), registry.dead)


def test_a_lease_past_its_ttl_is_renewed_while_no_tick_has_seen_it(registry, changes, make_instance):
    """A late heartbeat that comes before the tick renews; nobody sees a gap (defect 5)."""
    registry.register(make_instance(), 0)
    assert registry.heartbeat(make_instance(), TTL + 5) is not None
    tick(registry, TTL + 5)
    assert (1, 1) == (len(changes), len(registry))


def test_unregister_hides_at_once(registry, changes, make_instance):
    """An unregistered instance is gone with the answer, not with the next cleaning (defect 6)."""
    registry.register(make_instance(), 0)
    registry.unregister(make_instance(), 0)
    assert (None, {}) == (changes[1].visible, shown(registry))
    registry.register(make_instance(), 0)
    assert changes[0].visible == changes[2].visible
    assert changes[2].record.version > changes[1].record.version > changes[0].record.version


def test_unregistering_the_unknown_leaves_a_tombstone(registry, changes, make_instance):
    """Unregistering what the node does not know succeeds and is remembered."""
    registry.unregister(make_instance(), 0)
    registry.unregister(make_instance(), 1)
    assert (2, 1, None, True) == (len(changes), registry.dead, changes[0].visible, changes[1].record.removed)


def test_identity_ignores_letter_case(registry, make_instance):
    """Registering, renewing and removing work in any letter case of the identity (defect 1)."""
    registry.register(make_instance("HOST-A", service_id="Demo.Orders", region_id="R1"), 0)
    lower = make_instance("host-a", service_id="demo.orders")
    assert registry.heartbeat(lower, 1) is not None
    assert 1 == len(registry)
    assert ["demo.orders"] == list(registry.services)
    registry.unregister(lower, 2)
    assert 0 == len(registry)


def test_dots_in_ids_do_not_collide(registry, make_instance):
    """Service a.b with instance c is not service a with instance b.c (defect 2)."""
    registry.register(make_instance("c", service_id="a.b"), 0)
    registry.register(make_instance("b.c", service_id="a"), 0)
    assert {("r1", "a.b", "c"), ("r1", "a", "b.c")} == set(shown(registry))


def test_mass_silence_is_held_and_then_cleaned(registry, make_instance):
    """100 leases of which 40 stop renewing are first held, then given up, and the rest stay (defect 3)."""
    instances = [make_instance(str(number)) for number in range(100)]
    for instance in instances:
        registry.register(instance, 0)
    for now in range(1_000, 120_000, 1_000):
        for instance in instances[40:]:
            registry.heartbeat(instance, now)
        tick(registry, now)
        if now == 70_000:
            assert 100 == len(registry)
            normal, _ = registry.self_preservation()
            assert normal.active
    assert 60 == len(registry)
    normal, _ = registry.self_preservation()
    assert not normal.active


def test_self_preservation_can_be_switched_off(registry, make_instance):
    """Switched off, all silent leases expire after their TTL."""
    for number in range(10):
        registry.register(make_instance(str(number)), 0)
    registry.enable_self_preservation(False)
    tick(registry, TTL + 1)
    assert 0 == len(registry)


def test_legacy_leases_live_longer(registry, make_instance):
    """A non-blank java_registry entry selects the TTL of 90 s, and changing it changes the class (spec 4.4)."""
    registry.register(make_instance("old", metadata={"java_registry": "1"}), 0)
    registry.register(make_instance("blank", metadata={"java_registry": " "}), 0)
    moved = make_instance("moved", metadata={"java_registry": "1"})
    registry.register(moved, 0)
    registry.heartbeat(make_instance("moved"), 0)
    tick(registry, 90_000)
    assert [("r1", "demo.orders", "old")] == list(shown(registry))
    _, legacy = registry.self_preservation()
    assert 1 == legacy.live
    tick(registry, 90_001)
    assert 0 == len(registry)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"service_id": None}, "serviceId"),
        ({"service_id": " \t"}, "serviceId"),
        ({"instance_id": ""}, "instanceId"),
        ({"instance_id": None}, "instanceId"),
        ({"url": None}, "url"),
        ({"url": "  "}, "url"),
    ],
)
@pytest.mark.parametrize("operation", ["register", "heartbeat", "unregister"])
def test_blank_fields_are_refused(registry, make_instance, fields, field, operation):
    """Every operation refuses blank identities and URLs in the words of the original (spec 1.3)."""
    with pytest.raises(InvalidInstance) as caught:
        getattr(registry, operation)(make_instance(**fields), 0)
    assert (field, f"argument instance.{field} is null or whitespace") == (caught.value.field, str(caught.value))
    assert (1, 0) == (registry.counters.refused_invalid, len(registry.services))


@pytest.mark.parametrize("region", ["r2", None])
@pytest.mark.parametrize("operation", ["register", "heartbeat", "unregister"])
def test_another_region_is_refused(registry, make_instance, region, operation):
    """Instances of another region are refused by every operation, known or not (spec 6.5)."""
    registry.register(make_instance(), 0)
    with pytest.raises(WrongRegion, match="is not the region 'r1' of this node"):
        getattr(registry, operation)(make_instance(region_id=region), 1)
    assert (1, 1) == (registry.counters.refused_region, len(registry))


def test_a_full_registry_takes_no_more(make_registry, make_instance):
    """At the limit new and returning instances are refused; known ones can still renew, change and leave."""
    registry = make_registry(limits=NodeLimits(max_instances=2))
    expired = make_instance("a")
    registry.register(expired, 0)
    tick(registry, TTL + 1)
    registry.register(make_instance("b"), TTL + 1)
    registry.register(make_instance("c"), TTL + 1)
    for refused in (
        lambda: registry.register(make_instance("d"), TTL + 2),
        lambda: registry.heartbeat(expired, TTL + 2),
    ):
        with pytest.raises(TooManyInstances, match="it holds 2 instances"):
            refused()
    assert registry.heartbeat(make_instance("b", port=1), TTL + 3) is not None
    registry.unregister(make_instance("b"), TTL + 4)
    registry.heartbeat(expired, TTL + 5)
    assert (2, 2) == (len(registry), registry.counters.refused_full)


def test_a_large_instance_is_refused(make_registry, make_instance):
    """An instance whose JSON is above the limit is refused and changes nothing."""
    registry = make_registry(limits=NodeLimits(max_content_bytes=400))
    registry.register(make_instance(), 0)
    with pytest.raises(InstanceTooLarge, match="the most this node takes is 400"):
        registry.register(make_instance(metadata={"a": "x" * 400}), 1)
    assert (1, 1) == (registry.counters.refused_large, registry.counters.registered)


@pytest.mark.parametrize("field", ["service_id", "instance_id", "group_id", "zone_id"])
def test_an_id_that_is_too_long_is_refused(registry, make_instance, field):
    """Registering, unregistering and a first heartbeat say which id; one of 1 024 characters is taken."""
    for name in ("x" * 1_025, "\u0130" * 513):  # in lower case that letter is two
        long = make_instance(**{field: name})
        for refused in (registry.register, registry.heartbeat, registry.unregister):
            if name.isascii() or field in {"service_id", "instance_id"}:
                with pytest.raises(IdTooLong, match=r"has 102[56] characters, the most this node takes is 1024"):
                    refused(long, 0)
    assert (0, 0) == (len(registry), registry.dead)
    assert registry.counters.refused_large in {3, 6}
    registry.register(make_instance(**{field: "x" * 1_024}), 0)
    assert 1 == len(registry)


def test_content_with_an_id_that_is_too_long_does_not_replace_what_is_there(registry, make_instance):
    """A heartbeat of a registered instance is refused with it, like a registration."""
    lease = registry.register(make_instance(), 0)
    before = lease.record
    with pytest.raises(IdTooLong, match="zoneId"):
        registry.heartbeat(make_instance(zone_id="z" * 2_000), 1)
    assert before is lease.record


def test_two_owners_of_an_instance_are_one_instance(registry, changes, make_instance, caplog):
    """The last writer wins, each difference is one change, in order, and the plan of the other owner is void."""
    mine, yours = make_instance(port=1), make_instance(port=2)
    lease = registry.register(mine, 0)
    for now in range(1, 1_001):
        plan = registry.plan([lease], 0)
        assert lease is registry.heartbeat(yours if now % 2 else mine, now * 10)
        assert not registry.renew(plan, now * 10)
    assert (1, 0, 1_000) == (len(registry), registry.dead, registry.counters.rewritten)
    contents = [encode_canonical(mine), encode_canonical(yours)]
    assert [contents[number % 2] for number in range(1_001)] == [change.visible for change in changes]
    assert [contents[1 - number % 2] for number in range(1, 1_001)] == [change.previous for change in changes[1:]]
    assert contents[0] == lease.record.content
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "service='demo.orders' instance='10.0.0.1'" in warning.getMessage()


def test_equal_content_in_heartbeats_counts_as_no_replacement(registry, make_instance):
    """Only other content does; an instance that is registered anew is not in doubt either."""
    registry.register(make_instance(), 0)
    registry.heartbeat(make_instance(), 1)
    registry.register(make_instance(port=2), 2)
    assert 0 == registry.counters.rewritten
    assert 0 == registry.rewrites.of(("demo.orders", "10.0.0.1"), 3)


def test_the_dead_are_swept_a_lifetime_after_they_died(registry, make_instance):
    """Removed and expired records are remembered for a lifetime, then forgotten, and raise the floor."""
    registry.register(make_instance("a"), 0)
    registry.unregister(make_instance("b", service_id="other"), 0)
    tick(registry, TTL + 1)
    tick(registry, LIFETIME)
    assert 2 == registry.dead
    tick(registry, LIFETIME + 1)
    assert (1, ["demo.orders"]) == (registry.dead, list(registry.services))
    assert {Origin("n1", 1): 2} == registry.floor
    tick(registry, LIFETIME + TTL + 2)
    assert (0, {}, 2) == (registry.dead, dict(registry.services), registry.counters.swept)
    assert registry.heartbeat(make_instance("a"), LIFETIME + TTL + 3) is None


def test_sweeping_is_bounded_per_tick(registry, make_instance):
    """A tick sweeps at most `limit` records and says that more is due."""
    for number in range(3):
        registry.unregister(make_instance(str(number)), 0)
    late = LIFETIME + 1
    assert [True, True, False] == [registry.tick(late, WALL + late, 1) for _ in range(3)]
    assert 0 == registry.dead


def test_the_dead_are_bounded_too(make_registry, make_instance):
    """Beyond as many dead records as instances are allowed, the oldest is swept early and counted."""
    registry = make_registry(limits=NodeLimits(max_instances=2))
    for number in range(5):
        registry.unregister(make_instance(str(number)), 0)
    assert (2, 3) == (registry.dead, registry.counters.swept_early)
    assert ["3", "4"] == [record.key[2] for record in registry.records()]


def test_versions_pass_what_the_client_knows(registry, make_instance):
    """The new version is above the one that the client brings, and the clock stays above it."""
    known = (10**18, "n9")
    assert registry.register(make_instance(), 0, known).record.version > known
    assert registry.register(make_instance("b"), 0).record.version > known
    later = (10**18 + 100, "n9")
    assert registry.unregister(make_instance(), 0, later).record.version > later


def test_heartbeat_with_a_version(registry, make_instance):
    """With a version, a heartbeat newer than the record must register, and the content is not looked at."""
    lease = registry.register(make_instance(), 0)
    version = lease.record.version
    assert registry.heartbeat(make_instance(port=1), 1, version) is lease
    assert version == lease.record.version
    newer = (version[0] + 1, "n2")
    assert registry.heartbeat(make_instance(), 1, newer) is None
    assert registry.register(make_instance(), 1).record.version > newer


def test_a_failing_listener_disturbs_nobody(registry, make_instance, caplog):
    """A listener that raises is logged and counted; the change happened and the next listener hears of it."""

    def fail(change: Change) -> None:
        raise RuntimeError("no")

    heard: list[Change] = []
    registry.on_change(fail)
    registry.on_change(heard.append)
    with caplog.at_level(logging.ERROR):
        registry.register(make_instance(), 0)
    assert (1, 1, 1) == (len(heard), len(registry), registry.counters.listener_failures)
    assert "service=demo.orders instance=10.0.0.1" in caplog.text


def test_a_plan_renews_all_its_leases(registry, changes, make_instance):
    """A plan renews normal and legacy leases, each once, without a change."""
    instances = [make_instance("a"), make_instance("b", metadata={"java_registry": "1"})]
    leases = [registry.register(instance, 0) for instance in instances]
    plan = registry.plan([*leases, leases[0]], 0)
    assert registry.renew(plan, 15_000)
    tick(registry, 15_000 + TTL)
    assert (2, 2, 2) == (len(registry), len(changes), registry.counters.renewed_by_plan)


def test_a_plan_renews_silent_leases(registry, make_instance):
    """A plan brings back leases that have gone silent."""
    plan = registry.plan([registry.register(make_instance(), 0)], 0)
    tick(registry, TTL)
    assert registry.renew(plan, TTL)
    tick(registry, 2 * TTL)
    assert 1 == len(registry)


@pytest.mark.parametrize("event", ["change", "register", "unregister", "expire", "sweep", "revive"])
def test_a_plan_is_void_once_a_lease_changed(registry, make_instance, event):
    """After any change of one of its leases a plan does nothing at all."""
    other = registry.register(make_instance("other", metadata={"java_registry": "1"}), 0)
    plan = registry.plan([registry.register(make_instance(), 0), other], 0)
    if event == "change":
        registry.heartbeat(make_instance(port=1), 1)
    elif event == "register":
        registry.register(make_instance(), 1)
    elif event == "unregister":
        registry.unregister(make_instance(), 1)
    else:
        tick(registry, TTL + 1)
        if event == "revive":
            registry.heartbeat(make_instance(), TTL + 1)
        elif event == "sweep":
            tick(registry, TTL + LIFETIME + 2)
    heard = other.heard
    assert not registry.renew(plan, TTL + LIFETIME + 3)
    assert (heard, 0) == (other.heard, registry.counters.renewed_by_plan)


def test_ten_thousand_instances(registry, changes, make_instance):
    """10 000 instances register, renew by plan and expire in bounded ticks."""
    leases = [registry.register(make_instance(str(number)), number // 10) for number in range(10_000)]
    assert registry.renew(registry.plan(leases, 0), 1_000)
    calls = 1
    late = 1_000 + TTL + 60_000 + 1
    while registry.tick(late, WALL + late, 500):
        calls += 1
    assert (0, 20_000) == (len(registry), len(changes))
    assert calls >= 20


def test_apply_takes_changes_of_an_origin_in_order(make_registry, make_instance):
    """A foreign change applies only as the next of its origin; repeated and early ones change nothing."""
    a, b = make_registry("a"), make_registry("b")
    sent: list[Change] = []
    a.on_change(sent.append)
    a.register(make_instance(), 0)
    a.register(make_instance("2", metadata={"java_registry": "1"}), 0)
    a.unregister(make_instance(), 1)
    first, second, third = sent
    assert not b.apply(second.origin, second.seq, second.record, 0, 0)
    for change in (first, second, third):
        assert b.apply(change.origin, change.seq, change.record, 0, 0)
        assert not b.apply(change.origin, change.seq, change.record, 0, 0)
    assert shown(a) == shown(b)
    assert {Origin("a", 1): 3, Origin("b", 1): 0} == b.vector
    assert b.self_preservation()[1].live == 1
    assert b.register(make_instance(), 0).record.version > third.record.version


def test_a_renewal_that_others_gave_up_on_is_asserted(make_registry, make_instance):
    """A node that was still heard by its client answers a foreign expiry with a change of its own [assertion]."""
    a, b = make_registry("a"), make_registry("b")
    to_a: list[Change] = []
    to_b: list[Change] = []
    a.on_change(to_b.append)
    b.on_change(to_a.append)
    a.register(make_instance(), 0)
    b.apply(to_b[0].origin, 1, to_b[0].record, 0, 0)
    a.heartbeat(make_instance(), 15_000)
    tick(b, TTL + 1)
    expiry = to_a[-1]
    a.apply(expiry.origin, expiry.seq, expiry.record, 0, TTL + 1)
    assert (1, 3) == (len(a), len(to_b))
    answer = to_b[-1]
    assert answer.record.asserted == answer.record.renewed > answer.record.expired
    b.apply(answer.origin, answer.seq, answer.record, TTL + 1 - 15_000, TTL + 1)
    assert 1 == len(b)


def test_a_renewal_older_than_the_ttl_is_given_up_with_the_others(make_registry, make_instance):
    """A node that holds a silent lease joins those who gave up instead of asserting it [aged]."""
    timings = NodeTimings(ttl=20_000)
    a, b = make_registry("a", timings=timings), make_registry("b", timings=timings)
    to_a: list[Change] = []
    to_b: list[Change] = []
    a.on_change(to_b.append)
    b.on_change(to_a.append)
    a.register(make_instance(), 0)
    b.apply(to_b[0].origin, 1, to_b[0].record, 0, 0)
    a.heartbeat(make_instance(), 1_000)
    tick(b, TTL + 1)
    expiry = to_a[-1]
    a.apply(expiry.origin, expiry.seq, expiry.record, 0, 30_000)
    assert (0, None) == (len(a), to_b[-1].visible)


def foreign(registry: Registry, **fields: object) -> Record:
    """Return the record of the only key of a registry as another node may have it."""
    (mine,) = registry.records()
    return msgspec.structs.replace(mine, dots=(Dot(Origin("n2", 1), 1),), **fields)


def test_what_ends_a_lease_names_its_latest_renewal(registry, changes, make_instance):
    """Expiry gives up the renewal of the last heartbeat, and a removal keeps it."""
    lease = registry.register(make_instance(), 0)
    registry.heartbeat(make_instance(), 5_000)
    renewed = lease.renewed
    assert renewed > lease.record.renewed
    tick(registry, 5_000 + TTL + 1)
    assert renewed == lease.record.expired == lease.record.renewed
    registry.heartbeat(make_instance(), 30_000)
    registry.heartbeat(make_instance(), 35_000)
    renewed = lease.renewed
    registry.unregister(make_instance(), 40_000)
    assert renewed == lease.record.renewed


@pytest.mark.parametrize("operation", ["register", "heartbeat"])
def test_a_lease_returns_in_the_millisecond_in_which_others_gave_it_up(registry, make_instance, operation):
    """A renewal is above the expiry it voids, also when both meet in one millisecond."""
    lease = registry.register(make_instance(), 0)
    registry.heartbeat(make_instance(), 5)
    registry.apply(Origin("n2", 1), 1, foreign(registry, expired=lease.renewed), 0, 5)
    assert 0 == len(registry)
    getattr(registry, operation)(make_instance(), 5)
    assert (1, True) == (len(registry), lease.record.renewed > lease.record.expired)


def test_a_foreign_renewal_counts_as_heard(registry, make_instance):
    """A change that brings a newer renewal renews the lease here too, as long ago as its age says."""
    lease = registry.register(make_instance(), 0)
    record = foreign(registry, renewed=(lease.renewed[0] + 1, "n2"))
    registry.apply(Origin("n2", 1), 1, record, 2_000, 17_000)
    tick(registry, 15_000 + TTL)
    assert 1 == len(registry)
    tick(registry, 15_001 + TTL)
    assert 0 == len(registry)


def test_own_stamps_are_above_foreign_renewals(registry, make_instance):
    """The clock passes every stamp of a foreign record."""
    registry.register(make_instance(), 0)
    far = (10**18, "n2")
    registry.apply(Origin("n2", 1), 1, foreign(registry, renewed=far), 0, 1)
    assert registry.register(make_instance("other"), 1).record.version > far
