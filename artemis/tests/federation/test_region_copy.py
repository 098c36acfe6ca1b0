"""The copy of another region: what it holds, what it doubts, how old it is, and where its bounds are."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artemis.client.discovery.guard import Guard
from artemis.federation.copy import AGAIN, RegionCopy
from artemis.federation.records import REMEMBERED
from artemis.federation.rules import NOTHING, beside
from artemis.federation.state import Followed, Standing
from artemis.model import Instance, RouteRule, Service
from artemis.push import Dialect, Subscriber, decode_cursor
from artemis.registry import Origin

WALL = 1_700_000_000_000


def made(**options: object) -> RegionCopy:
    """Return an empty copy of the region eu, begun at 0."""
    return RegionCopy("eu", Origin("us-1~1", 7), **{"wall_clock": lambda: WALL, "now": 0, "wall": WALL, **options})


def one(number: int, service: str = "orders", region: str = "eu", **more: object) -> Instance:
    """Return an instance."""
    name = f"i{number}"
    return Instance(region_id=region, zone_id="z1", service_id=service, instance_id=name, url=f"http://{name}/", **more)


def listed(copy: RegionCopy, instances: list[Instance], now: int, *, broken: bool = False) -> None:
    """Let the copy take in that this is all there is."""
    listing = copy.begin(now)
    for each in instances:
        listing.instance(each, now)
    for _ in listing.finish(now, broken=broken):
        pass
    copy.confirm(now, 0, f"at {now}")


def names(copy: RegionCopy, service: str = "orders") -> list[str]:
    """Return the ids of the instances that callers see."""
    return [str(each.instance_id) for each in copy.catalog.view(service).service().instances or () if each]


def test_a_copy_shows_what_was_listed_and_what_changed_since() -> None:
    """As callers of the other region see it."""
    copy = made()
    assert (copy.ready, names(copy)) == (False, [])
    listed(copy, [one(1), one(2)], 10)
    copy.put(one(3), 20)
    copy.remove(("orders", "i1"), 20)
    copy.put(one(2, status="down"), 30)
    assert (copy.ready, names(copy)) == (True, ["i2", "i3"])
    assert copy.catalog.view("orders").service().instances[0].status == "down"


def test_its_age_is_that_of_its_nodes_and_the_time_since() -> None:
    """It grows while nobody confirms it, and a late word about the past does not make it older."""
    copy = made()
    copy.confirm(1_000 - 250, 1, "c")
    assert (copy.age(1_000), copy.age(61_000), copy.missing_nodes) == (250, 60_250, 1)
    copy.confirm(500, 0, None)
    assert (copy.age(1_000), copy.missing_nodes, copy.upstream) == (250, 0, "c")


def test_nothing_ends_by_time() -> None:
    """There are no leases: who is not told that an instance went goes on showing it."""
    copy = made()
    listed(copy, [one(1)], 0)
    for now in range(0, 100 * REMEMBERED, REMEMBERED):
        assert not copy.tick(now, WALL + now)
    assert names(copy) == ["i1"]


def test_what_went_is_forgotten_after_a_while() -> None:
    """Tombstones do not gather."""
    copy = made()
    listed(copy, [one(number) for number in range(100)], 0)
    for number in range(100):
        copy.remove(("orders", f"i{number}"), 10)
    assert copy.registry.dead == 100
    copy.tick(10 + REMEMBERED, WALL)
    assert copy.registry.dead == 100
    copy.tick(11 + REMEMBERED, WALL)
    assert copy.registry.dead == 0


@pytest.mark.parametrize("bad", [one(1, region="us"), one(1, service=" "), Instance(region_id="eu", service_id="a")])
def test_what_cannot_be_used_is_left_out_and_counted(bad: Instance) -> None:
    """An instance of a third region above all: a copy is never shown as part of another one."""
    copy = made()
    assert copy.put(bad, 0) is None
    assert (copy.counters.refused, copy.registry.live_services) == (1, 0)


# -- doubts


def test_an_empty_listing_is_doubted_and_then_believed() -> None:
    """A region that comes back without its memory has instances that are alive."""
    copy = made(guard=Guard(share=0.5, hold=30_000))
    listed(copy, [one(number) for number in range(4)], 0)
    listed(copy, [], 1_000)
    assert (len(names(copy)), copy.held.instances, copy.counters.doubted) == (4, 4, 4)
    assert "nobody told that the others went" in copy.held.why
    copy.put(one(0), 2_000)
    listed(copy, [one(0)], 3_000)
    copy.tick(30_999, WALL)
    assert len(names(copy)) == 4
    copy.tick(31_000, WALL)
    assert (names(copy), copy.held) == (["i0"], (0, ""))


def test_a_listing_that_shows_most_is_believed() -> None:
    """What it lacks has gone."""
    copy = made()
    listed(copy, [one(number) for number in range(4)], 0)
    listed(copy, [one(number) for number in range(3)], 1_000)
    assert (names(copy), copy.held.instances) == (["i0", "i1", "i2"], 0)


def test_after_a_broken_sequence_whatever_is_lacking_is_doubted() -> None:
    """The node does not know where the copy stood, so its past is another one."""
    copy = made()
    listed(copy, [one(number) for number in range(4)], 0)
    listed(copy, [one(number) for number in range(3)], 1_000, broken=True)
    assert (len(names(copy)), copy.held.instances) == (4, 1)


def test_who_is_told_to_have_gone_is_not_doubted() -> None:
    """Also if he was, before."""
    copy = made()
    listed(copy, [one(1), one(2)], 0)
    listed(copy, [], 1_000)
    copy.remove(("orders", "i1"), 2_000)
    assert (names(copy), copy.held.instances) == (["i2"], 1)


# -- bounds


def test_what_finds_no_room_is_left_out_counted_and_asked_for_again() -> None:
    """Once there is room."""
    copy = made(max_instances=10)
    listed(copy, [one(number) for number in range(12)], 0)
    assert (len(copy.registry), copy.left_out, copy.counters.left_out) == (10, 2, 2)
    assert not copy.wants_listing(AGAIN)
    for number in range(3):
        copy.remove(("orders", f"i{number}"), 10)
    assert (copy.wants_listing(AGAIN - 1), copy.wants_listing(AGAIN)) == (False, True)
    listed(copy, [one(number) for number in range(3, 12)], AGAIN)
    assert (len(copy.registry), copy.left_out) == (9, 0)


def test_an_instance_that_outgrows_its_room_is_not_shown_as_it_was() -> None:
    """What is known of it is not so any more."""
    copy = made(max_instances=1)
    listed(copy, [one(1)], 0)
    copy.put(one(1, metadata={"large": "x" * 2_000}), 10)
    assert (names(copy), copy.left_out, copy.bytes) == ([], 1, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["put", "large", "remove"])), max_size=40))
def test_its_bytes_are_those_of_what_it_holds(steps: list[tuple[int, str]]) -> None:
    """Whatever comes and goes."""
    copy = made(max_instances=4)
    for now, (number, step) in enumerate(steps):
        match step:
            case "put":
                copy.put(one(number), now)
            case "large":
                copy.put(one(number, metadata={"x": "x" * 900}), now)
            case _:
                copy.remove(("orders", f"i{number}"), now)
    held = [content for _, content in copy.catalog.instances("orders")]
    assert (copy.bytes, len(copy.registry)) == (sum(map(len, held)), len(held))
    assert (len(held) <= 4, copy.bytes <= 4 * 1024) == (True, True)


# -- cursors and pushes


def test_a_cursor_is_of_use_in_its_own_copy_alone() -> None:
    """Elsewhere it brings everything, never a part: not in a copy begun anew, and not in that of another node."""
    copy = made()
    listed(copy, [one(1)], 0)
    cursor = decode_cursor(copy.cursor())
    copy.put(one(2), 10)
    assert (cursor.kind, cursor.name) == ("federated", "eu")
    missed = copy.log.since("orders", cursor)
    assert (missed.full, len(missed.changes)) == (False, 1)
    other = RegionCopy("eu", Origin("us-2~1", 7), wall_clock=lambda: WALL, now=0, wall=WALL)
    listed(other, [one(2)], 0)
    anew = RegionCopy("eu", Origin("us-1~2", 7), wall_clock=lambda: WALL, now=0, wall=WALL)
    listed(anew, [one(2)], 0)
    assert [each.log.since("orders", cursor).full for each in (other, anew)] == [True, True]


def test_changes_are_pushed_with_the_name_of_the_region() -> None:
    """So that a receiver of several regions knows which one it is."""
    copy = made()
    listed(copy, [one(1)], 0)
    subscriber = Subscriber(Dialect.NATIVE, lambda: None)
    copy.stream.attach(subscriber)
    assert copy.stream.subscribe(subscriber, "orders") is None
    copy.put(one(2), 10)
    (message,) = [msgspec.json.decode(each) for each in subscriber.take(1_000_000)]
    assert (message["regionId"], message["serviceId"], message["cursor"]) == ("eu", "orders", copy.cursor())
    assert [(each["changeType"], each["instance"]["instanceId"]) for each in message["changes"]] == [("new", "i2")]


def test_what_stays_the_same_is_pushed_to_nobody() -> None:
    """A listing that shows what is known moves no cursor."""
    copy = made()
    listed(copy, [one(1), one(2)], 0)
    before = copy.cursor()
    listed(copy, [one(2), one(1)], 10)
    assert (copy.cursor(), copy.counters.changes) == (before, 2)


def test_route_rules_are_shown_as_the_other_region_has_them() -> None:
    """A change of them is told as one of the whole service, and they go when they are shown no more."""
    copy = made()
    listed(copy, [one(1)], 0)
    start = copy.catalog.version
    rules = [RouteRule(route_id="default-route-rule", strategy="weighted-round-robin", groups=[])]
    found = beside(Service(service_id="orders", route_rules=rules, logic_instances=[one(9), None]))
    copy.put_beside("orders", found)
    view = copy.catalog.view("orders").service()
    assert ([each.route_id for each in view.route_rules], [each.instance_id for each in view.logic_instances]) == (
        ["default-route-rule"],
        ["i9"],
    )
    assert copy.log.after("orders", start).full
    listed(copy, [one(1)], 10)
    assert (copy.rules, copy.catalog.view("orders").service().route_rules) == ((), [])
    copy.put_beside("orders", NOTHING)
    assert copy.bytes == sum(len(content) for _, content in copy.catalog.instances("orders"))


def test_the_standing_says_since_when_and_why() -> None:
    """A new reason in the same state is news, and the time goes on."""
    standing = Standing(Followed.CONNECTING, 0)
    assert standing.become(Followed.UNREACHABLE, 10, "no answer", "http://a")
    assert not standing.become(Followed.UNREACHABLE, 20, "no answer")
    assert standing.become(Followed.UNREACHABLE, 30, "refused", "http://b")
    assert (standing.since, standing.why, standing.node) == (10, "refused", "http://b")
    assert standing.become(Followed.FOLLOWING, 40)
    assert (standing.since, standing.why, standing.node) == (40, "", "http://b")
