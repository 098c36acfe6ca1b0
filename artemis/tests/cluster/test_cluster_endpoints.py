"""What a node tells of the others, whom it sends clients to, how old its answers are, and its switches."""

import pytest

from artemis.cluster.addresses import peer_url
from artemis.cluster.members import Announced, Members, MemberTimings
from artemis.cluster.standing import Standing
from artemis.cluster.suspicion import Patience
from artemis.model import LookupRequest, RegistryRequest
from artemis.model.cluster import ForceRequest, UpNodesRequest
from artemis.model.management import OperateServerRequest, ServerKey
from artemis.model.requests import DiscoveryConfig
from artemis.server.handlers import cluster, force, management, status
from artemis.server.node import Node, NodeIdentity

WALL = 1_700_000_000_000
UP = Standing(
    status="up", registry=True, discovery=True, registry_from_other_zones=True, discovery_from_other_zones=True
)
SHUT = Standing(status="up", registry=True, discovery=True)


def announced(node: str, zone: str = "z1", epoch: int = 1) -> Announced:
    """A node with this id, which is its host as well."""
    return Announced(node=node, epoch=epoch, url=peer_url(f"http://{node}:1"), zone=zone)


@pytest.fixture
def node() -> Node:
    """A node `n` that serves, in a cluster without others yet."""
    made = Node(NodeIdentity(node_id="n", epoch=1, region="r1", zone="z1", url="http://n:1"), now=0, wall=WALL)
    made.members = Members(announced("n"), MemberTimings(patience=Patience(suspect=3_000, down=10_000)))
    made.tick(0, WALL)
    return made


def know(node: Node, *others: tuple[str, str, Standing]) -> Members:
    """Let the node have met these others: id, zone, and what it says of itself."""
    members = node.members
    assert members is not None
    for name, zone, standing in others:
        members.met(announced(name, zone), 0)
        members.told(name, standing, 0)
    return members


def handed_out(node: Node, now: int = 0, **request: str) -> tuple[list[str], list[str]]:
    """The hosts of the nodes that clients are sent to: for registry, for discovery."""
    asked = UpNodesRequest(**request)
    answers = [ask(node, asked, now) for ask in (cluster.up_registry_nodes, cluster.up_discovery_nodes)]
    registry, discovery = (
        [(each.url or "").removeprefix("http://").removesuffix(":1") for each in answer.nodes or () if each]
        for answer in answers
    )
    return registry, discovery


def statuses(node: Node, now: int = 0) -> dict[str, str | None]:
    """The status of every node that the cluster page shows, by URL."""
    shown = status.cluster(node, None, now).nodes_status or []
    return {each.node.url or "": each.status for each in shown if each is not None and each.node is not None}


def test_the_page_shows_the_node_itself_and_then_the_others_of_its_zone(node: Node) -> None:
    """Configured addresses where nobody was met are there as well, of which nothing is known."""
    members = know(node, ("a", "z2", UP), ("b", "Z1", UP))
    members.configure([peer_url("http://a:1"), peer_url("http://c:1")], 0)
    assert ["http://n:1", "http://b:1", "http://a:1", "http://c:1"] == list(statuses(node))
    answer = status.cluster(node, None, 0)
    assert 4 == answer.node_count
    unmet = (answer.nodes_status or [])[3]
    assert unmet is not None
    assert ("unknown", None, None) == (unmet.status, unmet.can_service_registry, unmet.allow_registry_from_other_zone)


@pytest.mark.parametrize(
    ("standing", "registry", "discovery"),
    [
        (UP, True, True),
        (Standing(status="starting", registry_from_other_zones=True, discovery_from_other_zones=True), False, False),
        (Standing(status="down", registry_from_other_zones=True, discovery_from_other_zones=True), False, False),
        (Standing(status="starting", discovery=True, discovery_from_other_zones=True), False, True),
        (Standing(), False, False),
    ],
)
def test_clients_are_sent_to_nodes_that_serve(node: Node, standing: Standing, registry: bool, discovery: bool) -> None:
    """For each of the two services; the node itself comes first."""
    know(node, ("a", "z1", standing))
    assert (["n", "a"] if registry else ["n"], ["n", "a"] if discovery else ["n"]) == handed_out(node)


def test_other_zones_are_listed_where_they_are_welcome(node: Node) -> None:
    """The zone of the caller counts, not that of the node that answers (spec 6.5)."""
    know(node, ("a", "z2", UP), ("b", "z2", SHUT))
    assert (["n", "a"], ["n", "a"]) == handed_out(node, region_id="r1", zone_id="z1")
    assert (["n", "a", "b"], ["n", "a", "b"]) == handed_out(node, region_id="R1", zone_id="Z2")
    assert ([], []) == handed_out(node, region_id="r2", zone_id="z2")


def test_a_silent_node_is_unknown_then_down_and_believed_when_it_is_steady_again(node: Node) -> None:
    """Clients are sent to it as long as it is believed only; a connection that ends is suspicion at once."""
    members = know(node, ("a", "z1", UP))
    seen = []
    for now in range(0, 12_000, 1_000):
        members.tick(now, WALL + now)
        seen.append((statuses(node, now)["http://a:1"], len(handed_out(node, now)[0])))
    assert [("up", 2)] * 3 + [("unknown", 1)] * 7 + [("down", 1)] * 2 == seen
    members.heard("a", 12_000)
    seen = []
    for now in range(12_000, 16_000, 1_000):
        members.heard("a", now)
        members.tick(now, WALL + now)
        seen.append((statuses(node, now)["http://a:1"], len(handed_out(node, now)[0])))
    assert [("unknown", 1)] * 3 + [("up", 2)] == seen
    members.lost("a", 16_000)
    assert "unknown" == statuses(node, 16_000)["http://a:1"]


def test_a_farewell_is_believed_at_once(node: Node) -> None:
    """Also while messages of that life still come; the next life is another matter."""
    members = know(node, ("a", "z1", UP))
    members.farewell("a", 1, 100, leaving=False)
    members.heard("a", 200)
    members.told("a", UP, 200)
    members.tick(300, WALL)
    assert ("down", ["n"]) == (statuses(node, 300)["http://a:1"], handed_out(node, 300)[0])
    members.met(announced("a", epoch=2), 400)
    members.told("a", UP, 400)
    members.tick(500, WALL)
    assert ("up", ["n", "a"]) == (statuses(node, 500)["http://a:1"], handed_out(node, 500)[0])


def test_a_node_that_does_not_serve_sends_clients_to_those_that_do(node: Node) -> None:
    """It drains, and is in no list of its own."""
    know(node, ("a", "z1", UP))
    node.drain(0)
    assert (["a"], ["a"]) == handed_out(node)


def ask(node: Node) -> tuple[str | None, str | None]:
    """What a client hears who registers, and one who looks something up."""
    registered = node.register(RegistryRequest(instances=[None]), 0)
    found = node.lookup(LookupRequest(region_id="r1", zone_id="z1", discovery_configs=[DiscoveryConfig()]), 0)
    return registered.response_status.error_code, found.response_status.error_code


OK, UNAVAILABLE = "success", "service-unavailable"


def test_a_node_that_waits_serves_nobody_and_says_for_what(node: Node) -> None:
    """In the original's words first."""
    node.wait_for("it waits for a")
    assert (UNAVAILABLE, UNAVAILABLE) == ask(node)
    text = "Serivce registry is not in up state. Current status: starting; it waits for a"
    assert text == node.register(RegistryRequest(instances=[None]), 0).response_status.message
    node.tick(0, WALL)
    assert "starting" == node.status
    node.wait_for(None)
    assert (OK, OK) == ask(node)


def test_a_wrong_clock_ends_registry_alone_until_it_is_right(node: Node) -> None:
    """The status leaves the word to the flags; operators' decisions have stamps as well, and wait (spec 6.3)."""
    node.blame_clock("the wall clock is wrong")
    own = node.node_status(None, 0).node_status
    assert own is not None
    assert ("starting", False, True) == (own.status, own.can_service_registry, own.can_service_discovery)
    assert (UNAVAILABLE, OK) == ask(node)
    assert "the wall clock is wrong" == node.standing.why
    request = OperateServerRequest(server_key=ServerKey(region_id="r1", server_id="1"), operation="o", operator_id="a")
    assert UNAVAILABLE == management.operate_server(node, request, 0).response_status.error_code
    node.blame_clock(None)
    assert (OK, OK, "up") == (*ask(node), node.status)


def test_a_heartbeat_plan_is_void_when_registry_ends(node: Node) -> None:
    """What was recognised before is judged anew."""
    before = node.generation
    node.blame_clock("wrong")
    assert before < node.generation


@pytest.mark.parametrize(
    ("service", "expected", "state"),
    [("registry", (UNAVAILABLE, OK), "starting"), ("discovery", (OK, UNAVAILABLE), "starting")],
)
def test_a_service_that_is_forced_down_is_down_until_the_switch_is_off(
    node: Node, service: str, expected: tuple[str, str], state: str
) -> None:
    """The original needs a restart for that (defect 11)."""
    answer = force.force(node, ForceRequest(service=service, force="down", operator_id="alice"), 5)
    assert (*expected, state) == (*ask(node), node.status)
    assert f"{service} is forced down by alice" == answer.why
    shown = getattr(force.forced(node, None, 9), service)
    assert ("down", "alice", WALL + 5) == (shown.force, shown.operator_id, shown.since)
    answer = force.force(node, ForceRequest(service=service, force="off", operator_id="bob"), 6)
    assert (OK, OK, "up") == (*ask(node), node.status)
    assert (None, None, None) == (answer.registry, answer.discovery, answer.why)


def test_both_services_are_switched_together_without_a_name(node: Node) -> None:
    """A node that is down by hand says so."""
    force.force(node, ForceRequest(force="DOWN", operator_id="alice"), 0)
    assert (UNAVAILABLE, UNAVAILABLE, "down") == (*ask(node), node.status)
    force.force(node, ForceRequest(force="off", operator_id="alice"), 0)
    assert "up" == node.status


def test_a_node_can_be_forced_up_before_its_start_is_over(node: Node) -> None:
    """And with a clock that is wrong; switched off, what held it holds it again, and a drain holds in any case."""
    node.wait_for("it waits for a")
    node.blame_clock("wrong")
    force.force(node, ForceRequest(force="up", operator_id="alice"), 0)
    assert (OK, OK, "up") == (*ask(node), node.status)
    force.force(node, ForceRequest(force="off", operator_id="alice"), 0)
    assert (UNAVAILABLE, UNAVAILABLE, "starting") == (*ask(node), node.status)
    force.force(node, ForceRequest(force="up", operator_id="alice"), 0)
    node.drain(0)
    assert (UNAVAILABLE, UNAVAILABLE, "down") == (*ask(node), node.status)


def test_the_start_does_not_overwrite_a_force_down(node: Node) -> None:
    """In the original it does (defect 11)."""
    node.wait_for("it waits for a")
    force.force(node, ForceRequest(service="registry", force="down", operator_id="alice"), 0)
    node.wait_for(None)
    assert (UNAVAILABLE, OK) == ask(node)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (None, "operatorId"),
        (ForceRequest(force="up", service="x", operator_id="a"), "service must be registry or discovery"),
        (ForceRequest(operator_id="a"), "force must be up, down or off"),
        (ForceRequest(force="up"), "operatorId must say who"),
        (ForceRequest(force="up", operator_id="a" * 256), "operatorId must say who"),
    ],
)
def test_a_switch_that_says_too_little_switches_nothing(node: Node, request_: ForceRequest | None, said: str) -> None:
    """The answer says what is missing."""
    answer = force.force(node, request_, 0)
    assert "bad-request" == answer.response_status.error_code
    assert said in (answer.response_status.message or "")
    assert {} == node.availability.forced


def test_the_age_of_answers_is_the_silence_of_the_most_silent_node_that_counts(node: Node) -> None:
    """One that is up or suspected counts: its age grows until it is taken for down; a farewell ends it at once."""
    members = know(node, ("a", "z1", UP), ("b", "z1", UP), ("c", "z1", Standing(status="starting")))
    current = {"a": 900, "b": 400, "c": 100}

    def age(now: int) -> int:
        node.in_contact(members.oldest_contact(current, now))
        return node.age(now)

    assert 600 == age(1_000)
    for now in (4_000, 9_000, 10_000):
        members.heard("a", now)
        members.tick(now, WALL)
    current["a"] = 10_000
    assert 0 == age(10_000)  # b is down
    members.farewell("a", 1, 10_000, leaving=False)
    assert 0 == age(60_000)
    assert node.as_of is None


def test_of_a_node_that_was_never_all_known_its_whole_life_may_be_missing(node: Node) -> None:
    """Its epoch is the wall clock of its start, as long as that was right."""
    members = node.members
    assert members is not None
    members.met(announced("a", epoch=WALL - 5_000), 0)
    members.told("a", UP, 0)
    members.tick(100, WALL + 100)
    node.in_contact(members.oldest_contact({}, 100))
    assert 5_100 == node.age(100)


def test_an_address_where_nobody_was_met_counts_until_it_would_be_down(node: Node) -> None:
    """A node that serves alone says for that long that it may lack something."""
    members = node.members
    assert members is not None
    members.configure([peer_url("http://a:1")], 1_000)
    ages = []
    for now in (1_500, 10_999, 11_000):
        node.in_contact(members.oldest_contact({}, now))
        ages.append(node.age(now))
    assert [500, 9_999, 0] == ages


def test_a_node_that_never_got_a_copy_for_its_clock_says_how_long(node: Node) -> None:
    """Somebody is there, and has what it lacks; unless it is that one whose clock is wrong."""
    members = node.members
    assert members is not None
    members.configure([peer_url("http://a:1")], 1_000)
    members.trouble(peer_url("http://a:1"), "the clocks differ", clock=True)
    assert 1_000 == members.oldest_contact({}, 90_000)
    members.clocks.measure("a", 60_000, 5, 90_000, WALL)
    members.clocks.measure("b", 0, 5, 90_000, WALL)
    members.clocks.fault(90_000, WALL)
    assert members.oldest_contact({}, 90_000) is None


def test_two_nodes_that_refuse_each_other_for_their_clocks_say_how_old_they_are(node: Node) -> None:
    """Both go on, as nobody can tell whose clock is wrong; a third one that agrees settles it."""
    members = know(node, ("a", "z1", UP))
    for now in (0, 4_000, 15_000):
        members.clocks.measure("a", 60_000, 5, now, WALL + now)
        members.tick(now, WALL + now)
        members.clocks.fault(now, WALL + now)
    assert 0 == members.oldest_contact({"a": 0}, 15_000)
    members.clocks.measure("b", 10, 5, 15_000, WALL + 15_000)
    members.clocks.fault(15_000, WALL + 15_000)
    assert members.oldest_contact({"a": 0}, 15_000) is None


def test_the_older_of_both_ages_counts(node: Node) -> None:
    """A snapshot that is not confirmed yet, and a node that is silent."""
    node.in_contact(50)
    node.stale_since = 20
    assert 80 == node.age(100)
    node.stale_since = None
    assert 50 == node.age(100)
    node.in_contact(None)
    assert 0 == node.age(100)
