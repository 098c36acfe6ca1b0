"""What a node makes of the others: the start, the clock, whom it dials and what it says in the log."""

import msgspec
import pytest
import structlog
from structlog.testing import LogCapture

from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.joining import Joining
from artemis.cluster.mesh.handshake import Party, Peer, Skew
from artemis.cluster.mesh.wire import Code, Refusal
from artemis.cluster.replica import Replica
from artemis.cluster.standing import Standing, Switch
from artemis.cluster.starting import CopyingStart
from artemis.cluster.timings import ClusterTimings
from artemis.model import Instance, RegistryRequest
from artemis.server.config import ServeConfig
from artemis.server.http.pages import Pages
from artemis.server.membership import Membership
from artemis.server.metrics import Metrics
from artemis.server.node import Node, NodeIdentity

WALL = 1_700_000_000_000
UP = Standing(status="up", registry=True, discovery=True)
INSTANCE = Instance(region_id="r1", zone_id="z1", service_id="orders", instance_id="1", url="http://x", port=1)


def url(host: str) -> PeerUrl:
    """The address of the node on this host."""
    return peer_url(f"http://{host}:1")


def peer(node: str, *, epoch: int = WALL, announced: str | None = None) -> Peer:
    """The other side of a link."""
    party = Party(cluster="c", region="r1", zone="z1", node=node, epoch=epoch, url=announced or f"http://{node}:1")
    return Peer(party=party, protocol=1, skew=Skew(0, 5), rtt=5, listed=True)


class World:
    """A node `n` with its membership, and time that passes when it is told to."""

    def __init__(self, **options: object) -> None:
        self.now, self.wall = 0, WALL
        self.log = LogCapture()
        self.dialled: list[list[PeerUrl]] = []
        self.linked: list[str] = []
        self.node = Node(
            NodeIdentity(node_id="n", epoch=WALL, region="r1", zone="z1", url="http://10.0.0.1:1"), now=0, wall=WALL
        )
        self.replica = Replica(self.node.registry, None, ClusterTimings(), now=0, wall=WALL)
        config = ServeConfig.model_construct(**options)
        self.start = CopyingStart(Joining("z1", round(config.join_timeout * 1000), 0), self.replica)
        self.membership = Membership(
            config,
            self.node,
            self.replica,
            self.start,
            listing=["file peers"],
            now=lambda: self.now,
            wall=lambda: self.wall,
            log=structlog.wrap_logger(None, processors=[self.log], wrapper_class=structlog.BoundLogger),
        )
        self.membership.links = lambda: self.linked
        self.membership.receiving = self.linked.__contains__
        self.membership.dial = self.dialled.append

    def run(self, milliseconds: int = 0) -> None:
        """Let time pass."""
        for step in [100] * (milliseconds // 100) + [milliseconds % 100]:
            self.sleep(step)
            self.node.tick(self.now, self.wall)
            self.membership.tick()

    def sleep(self, milliseconds: int) -> None:
        """Let time pass in which this node stands still."""
        self.now += milliseconds
        self.wall += milliseconds

    def said(self, event: str) -> list[str]:
        """The reasons with which this was logged."""
        return [str(entry.get("reason", "")) for entry in self.log.entries if entry["event"] == event]


@pytest.fixture
def world() -> World:
    """A node with the default options."""
    return World()


def test_a_node_waits_for_its_list_and_says_so(world: World) -> None:
    """In its standing, which `/health/ready` shows, and once in the log."""
    world.run()
    world.run(100)
    assert ("starting", "it waits for the list of nodes from file peers") == (
        world.node.status,
        world.node.standing.why,
    )
    assert ["it waits for the list of nodes from file peers"] == world.said("node does not serve yet")


def test_a_list_without_others_makes_the_first_node(world: World) -> None:
    """It serves at once, its own address being no peer."""
    world.membership.listed("file peers", [url("10.0.0.1")])
    world.run()
    assert ("up", [[]], ["it is the only node"]) == (world.node.status, world.dialled, world.said("node serves"))


def test_a_node_copies_before_it_serves(world: World) -> None:
    """Exchanges are with whom it copies from, and with anybody after that."""
    world.membership.listed("file peers", [url("a"), url("b")])
    world.run()
    assert [[url("a"), url("b")]] == world.dialled
    assert not world.membership.met(peer("a"), url("a"))
    world.linked.append("a")
    world.membership.told("a", UP)
    world.run(100)
    assert ("starting", ["a"]) == (world.node.status, list(world.replica.partners or ()))
    world.replica.compared["a"] = 200
    world.run(100)
    assert ("up", None) == (world.node.status, world.replica.partners)
    assert ["it has copied from node a in zone z1"] == world.said("node serves")


def test_a_node_that_copies_from_elsewhere_as_well_does_not_say_yet_that_it_serves(world: World) -> None:
    """A first copy from a Java peer comes after the nodes of its own kind."""
    world.node.copy_first("it waits for a first copy from a Java peer")
    world.membership.listed("file peers", [url("10.0.0.1")])
    world.run()
    said = world.said("node serves"), world.said("node does not serve yet")
    assert ("starting", [], ["it waits for a first copy from a Java peer"]) == (world.node.status, *said)


def test_nobody_waits_longer_than_the_join_timeout(world: World) -> None:
    """The reason names whom it waited for, and why that was in vain."""
    world.membership.listed("file peers", [url("a")])
    world.membership.trouble(url("a"), Refusal(Code.UNREACHABLE, "nothing listens there"))
    world.run(4_999)
    assert "starting" == world.node.status
    world.run(1)
    assert "up" == world.node.status
    waited = "it waits for http://a:1 (nothing listens there) to be reached, and the join timeout"
    (serves,) = [entry for entry in world.log.entries if entry["event"] == "node serves"]
    assert ("warning", "http://a:1 (nothing listens there)") == (serves["log_level"], serves["without"])
    assert waited in serves["reason"]


def test_lists_of_several_sources_are_one(world: World) -> None:
    """Each replaces what it said itself, and only changes are dialled."""
    world.membership.listed("options", [url("a")])
    world.membership.listed("file peers", [url("a"), url("b")])
    world.run()
    world.run(100)
    world.membership.listed("file peers", [])
    world.run()
    assert [[url("a"), url("b")], [url("a")]] == world.dialled


def test_an_address_that_leads_to_the_node_itself_is_dialled_no_more(world: World) -> None:
    """Found by the node's id at the handshake (defect 12), and said."""
    world.membership.listed("file peers", [url("my-name"), url("a")])
    world.run()
    world.membership.trouble(url("my-name"), Refusal(Code.MYSELF, "it is this node itself"))
    assert 1 == len(world.dialled)
    world.run()
    assert [url("a")] == world.dialled[-1]
    assert 1 == len(world.said("own address among the peers"))


def test_whoever_was_met_takes_turns_before_its_first_message(world: World) -> None:
    """Members are told to the replica at the handshake."""
    world.membership.met(peer("a"), None)
    assert {"n", "a"} == world.membership.members.ids


def test_a_node_without_a_usable_url_is_no_member(world: World) -> None:
    """It could not be handed out to clients."""
    refused = world.membership.met(peer("a", announced="10.0.0.9:80"), None)
    assert "node a announces no usable URL: '10.0.0.9:80' does not look like http://HOST:PORT" in refused


def test_a_connection_that_another_one_has_replaced_is_no_loss(world: World) -> None:
    """The node goes on sending on the newer one."""
    world.membership.met(peer("a"), None)
    world.linked.append("a")
    world.membership.lost(peer("a"))
    (view,) = world.membership.members.views(0)
    assert "steady" == view.presence
    world.linked.clear()
    world.membership.lost(peer("a"))
    (view,) = world.membership.members.views(0)
    assert "suspected" == view.presence


def test_the_node_whose_clock_is_wrong_ends_registry_until_it_is_right(world: World) -> None:
    """Said once at each turn."""
    world.membership.listed("file peers", [])
    world.run()
    for node in ("a", "b"):
        world.membership.met(peer(node), None)
        world.membership.measured(node, Skew(-60_000, 5))
    world.run(100)
    assert ("starting", False, True) == (world.node.status, world.node.serves_registry, world.node.serves_discovery)
    assert "60.0 s ahead of all the others" in world.node.standing.why
    world.wall -= 60_000
    world.run(100)
    assert not world.node.serves_registry
    for node in ("a", "b"):
        world.membership.measured(node, Skew(10, 5))
    world.run(100)
    assert "up" == world.node.status
    assert (1, 1) == (len(world.said("registry is not served")), len(world.said("registry is served again")))


def test_a_node_whose_clock_is_wrong_goes_on_showing_what_it_has_and_gives_up_nothing() -> None:
    """Others may hear what it does not, so it says how old that is; once it is right, leases have a whole TTL more."""
    world = World(join_timeout=0.5)
    world.membership.listed("file peers", [url("a"), url("b")])
    for name in ("a", "b"):
        world.membership.met(peer(name), url(name))
        world.membership.told(name, UP)
    world.run(1_000)
    world.node.register(RegistryRequest(instances=[INSTANCE]), world.now)
    ttl, jumped = world.node.registry.timings.ttl, world.now
    world.wall += 3_600_000
    for _ in range(8 * ttl // 5_000):
        for name in ("a", "b"):
            world.membership.measured(name, Skew(-3_600_000, 5))
            world.membership.trouble(url(name), Refusal(Code.CLOCK, "the clocks differ"))
        world.run(5_000)
    assert (503, False, True, 1) == (
        Pages(world.node, Metrics(lambda: pytest.fail("not asked for")), lambda: world.now).ready().status,
        world.node.serves_registry,
        world.node.serves_discovery,
        len(world.node.registry),
    )
    assert world.node.age(world.now) >= world.now - jumped
    world.wall -= 3_600_000
    world.run(100)
    for name in ("a", "b"):
        world.membership.measured(name, Skew(0, 5))
    world.run(ttl - 1_000)
    assert (True, 1) == (world.node.serves_registry, len(world.node.registry))
    world.run(2_000)
    assert 0 == len(world.node.registry)


def test_an_operator_who_lets_a_node_serve_in_spite_of_its_clock_has_silent_instances_given_up() -> None:
    """It hears clients then, so their silence means something."""
    world = World(join_timeout=0.0)
    world.run(100)
    world.node.blame_clock("wrong")
    world.node.force("registry", Switch("up", "alice", 1))
    world.node.register(RegistryRequest(instances=[INSTANCE]), world.now)
    for _ in range(world.node.registry.timings.ttl // 1_000 + 2):
        world.node.tick(world.now, world.wall)
        world.sleep(1_000)
    assert 0 == len(world.node.registry)


TAKEN = Refusal(Code.NODE_ID, "node n has two epochs", b"p" * 32)
"""What a node of the cluster says that is linked with another one of our id; its proof was checked."""


def test_only_a_node_of_the_cluster_keeps_another_one_from_starting() -> None:
    """Neither a stranger at the address of one, nor what we find ourselves: that two others have one id."""
    world = World(join_timeout=1.0)
    world.membership.listed("file peers", [url("a")])
    world.membership.trouble(url("a"), Refusal(Code.NODE_ID, "node b has two epochs"))
    world.run(1_500)
    assert "up" == world.node.status


def test_a_node_whose_id_somebody_else_has_serves_nobody_until_that_one_is_gone() -> None:
    """Nor does the join timeout end that: with two lives at once what one of them accepts is not merged."""
    world = World(join_timeout=1.0)
    world.membership.listed("file peers", [url("a")])
    world.membership.trouble(url("a"), TAKEN)
    world.run(5_000)
    assert ("starting", "it waits until no other node has its id: http://a:1 says: node n has two epochs") == (
        world.node.status,
        world.node.standing.why,
    )
    assert 1 == len(world.said("node does not serve yet"))
    world.membership.met(peer("a"), url("a"))
    world.membership.told("a", UP)
    world.linked.append("a")
    world.run(500)
    assert "starting" == world.node.status  # and now it may copy, for as long as any other
    world.run(1_000)
    assert "up" == world.node.status


def test_a_node_whose_id_somebody_else_keeps_ends() -> None:
    """A connection of a former life of it would have gone by then."""
    world = World(join_timeout=1.0, peer_down=3.0)
    ends: list[str] = []
    world.membership.end = ends.append
    world.membership.listed("file peers", [url("a")])
    world.membership.trouble(url("a"), TAKEN)
    world.run(6_000)
    assert [] == ends
    world.run(200)
    assert "another node has its id: http://a:1 says: node n has two epochs; if this one is the copy" in ends[0]


def test_a_node_ends_when_another_one_with_its_id_stays(world: World) -> None:
    """By that one's own proof, or that of a node which was linked with it; the one that stays only says so."""
    ends: list[str] = []
    world.membership.end = ends.append
    world.membership.twin("there are two", True)
    assert ([], ["there are two"]) == (ends, world.said("second node with the id of this one"))
    world.membership.twin("there are two", False)
    world.membership.parted(peer("a"), Refusal(Code.NODE_ID, "node n has two epochs"))
    world.membership.parted(peer("a"), Refusal(Code.STOPPING, "it stops"))
    advice = "else give that one an empty --data-dir, or end it, then start this one again"
    assert ["there are two", "http://a:1 says: node n has two epochs"] == [said.partition("; ")[0] for said in ends]
    assert [True, True] == [said.endswith(advice) for said in ends]


def test_a_node_that_serves_apart_ends_when_the_cluster_has_another_one_with_its_id() -> None:
    """One with a link to any member goes on: there the nodes themselves decide, when they meet."""
    world = World(join_timeout=1.0, peer_down=3.0)
    ends: list[str] = []
    world.membership.end = ends.append
    world.run(1_500)
    assert "up" == world.node.status
    world.membership.listed("file peers", [url("a")])
    world.linked.append("b")
    world.membership.trouble(url("a"), TAKEN)
    world.run(7_000)
    assert [] == ends
    world.linked.remove("b")
    world.run(6_000)
    assert [] == ends
    world.run(300)
    assert "another node has its id: http://a:1 says: node n has two epochs; if this one is the copy" in ends[0]
    assert 1 == len(world.said("second node with the id of this one"))


def test_a_lifetime_that_is_too_short_for_so_many_nodes_is_named_once_for_each_size() -> None:
    """The options could not know how many there would be (design 4.1)."""
    world = World(peers_file="peers", tombstone_lifetime=190.0)
    for number in range(4):
        world.membership.met(peer(f"a{number}"), None)
        world.run()
    nodes = [entry["nodes"] for entry in world.log.entries if "lifetime" in entry["event"]]
    assert [3, 4, 5] == nodes
    world.membership.reconfigure(ServeConfig.model_construct(peers_file="peers", tombstone_lifetime=600.0))
    assert 3 == len([entry for entry in world.log.entries if "lifetime" in entry["event"]])


def test_what_is_thought_of_others_is_logged_when_it_changes(world: World) -> None:
    """With the reason."""
    world.membership.met(peer("a"), None)
    for _ in range(12):
        world.run(1_000)
    assert [("member unknown", "not met"), ("member down", "unknown")] == [
        (entry["event"], entry["was"]) for entry in world.log.entries if entry["event"].startswith("member")
    ]


def test_an_engine_that_is_missing_is_no_list_of_nodes() -> None:
    """It is what the node serves without, and not some nodes of it."""
    world = World(join_timeout=1.0)
    world.membership.troubled("the engine nats://h:1", "it cannot be reached")
    for _ in range(12):
        world.run(1_000)
    assert "it serves without the engine nats://h:1 (it cannot be reached)" == world.node.alone(world.now)


def test_a_node_that_serves_without_others_says_without_whom_and_why() -> None:
    """Those that were never met, those that are down and did not say farewell, and those that a source cannot name."""
    world = World(join_timeout=1.0)
    world.membership.listed("file peers", [url("a"), url("b"), url("c")])
    world.membership.trouble(url("a"), Refusal(Code.SECRET, "another secret"))
    world.membership.troubled("DNS name x", "it names no nodes")
    for name in ("b", "c"):
        world.membership.met(peer(name), url(name))
        world.membership.told(name, UP)
    world.run(100)
    assert "" == world.node.alone(world.now)  # it does not serve
    world.membership.farewell("c", WALL, leaving=False)
    world.run(12_000)
    assert (
        "it serves without http://a:1 (another secret); without http://b:1 (nothing was heard of it for 12.1 s); "
        "without nodes of DNS name x (it names no nodes)"
    ) == world.node.alone(world.now)
    page = Pages(world.node, Metrics(lambda: pytest.fail("not asked for")), lambda: world.now).ready()
    assert (200, {"status": "up", "alone": world.node.alone(world.now)}) == (
        page.status,
        msgspec.json.decode(page.body),
    )
    world.membership.troubled("DNS name x", "")
    world.membership.listed("file peers", [url("c")])
    world.run(world.membership.members._timings.forget)
    assert "" == world.node.alone(world.now)


def test_while_nobody_can_be_heard_nobody_is_judged(world: World) -> None:
    """Clients are sent on to those who were there; the age of what they are told grows, and ends with the silence."""
    world.membership.deaf = lambda: world.now < 60_000
    world.membership.reached = lambda: 0 if world.now < 60_000 else world.now
    world.membership.listed("file peers", [])
    assert not world.membership.met(peer("a"), None)
    world.membership.told("a", UP)
    world.run(50_000)
    (view,) = world.membership.members.views(world.now)
    assert ("up", "steady", 50_000) == (view.status, view.presence, world.node.age(world.now))
    world.run(10_500)
    (view,) = world.membership.members.views(world.now)
    assert ("up", "steady") == (view.status, view.presence)
    world.run(20_000)
    (view,) = world.membership.members.views(world.now)
    assert ("down", "gone", 0) == (view.status, view.presence, world.node.age(world.now))


def test_while_nobody_can_be_heard_only_what_was_heard_here_is_given_up(world: World) -> None:
    """Nobody could say that the others hear the rest; when they are heard again, it has a fresh TTL and a grace."""
    deaf = True
    world.membership.deaf = lambda: deaf
    world.membership.listed("file peers", [])
    assert not world.membership.met(peer("a"), None)
    there = Node(NodeIdentity(node_id="a", epoch=WALL, region="r1", zone="z1", url="http://a:1"), now=0, wall=WALL)
    lease = there.registry.register(msgspec.structs.replace(INSTANCE, instance_id="2"), 0)
    registry = world.node.registry
    world.node.register(RegistryRequest(instances=[INSTANCE]), world.now)
    registry.apply(there.registry.origin, 1, lease.record, 0, world.now)
    world.run(600_000)
    assert ["2"] == [name for name, _ in world.node.catalog.instances("orders")]
    kept = registry.find("orders", "2")
    assert kept is not None
    assert registry.lease_state(kept).kept
    assert "no other node is heard" in registry.self_preservation()[0].reason
    deaf = False
    world.run(29_900)
    assert ["2"] == [name for name, _ in world.node.catalog.instances("orders")]
    world.run(300)
    assert [] == [name for name, _ in world.node.catalog.instances("orders")]


def test_without_self_preservation_a_node_that_hears_nobody_gives_up_all_that_is_silent(world: World) -> None:
    """Who switches it off wants nothing kept."""
    world.membership.deaf = lambda: True
    world.node.registry.enable_self_preservation(False)
    world.membership.listed("file peers", [])
    assert not world.membership.met(peer("a"), None)
    there = Node(NodeIdentity(node_id="a", epoch=WALL, region="r1", zone="z1", url="http://a:1"), now=0, wall=WALL)
    lease = there.registry.register(INSTANCE, 0)
    world.node.registry.apply(there.registry.origin, 1, lease.record, 0, world.now)
    world.run(30_300)
    assert [] == [name for name, _ in world.node.catalog.instances("orders")]


def test_a_node_that_has_just_been_met_counts_for_the_age_at_once(world: World) -> None:
    """Not only with the next tick: all that it has accepted may be missing."""
    world.membership.listed("file peers", [])
    world.run(5_000)
    assert 0 == world.node.age(world.now)
    assert not world.membership.met(peer("a"), None)
    world.membership.told("a", UP)
    assert 5_000 == world.node.age(world.now)
