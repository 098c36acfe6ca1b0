"""Who is a member: configured and announced nodes, lives of one node, and this node itself."""

from collections.abc import Callable

import msgspec
import pytest

from artemis.cluster.addresses import PeerUrl, peer_url
from artemis.cluster.configured import MAX_MEMBERS
from artemis.cluster.member_view import MemberView
from artemis.cluster.members import Announced, Members, MemberTimings
from artemis.cluster.standing import Standing
from artemis.cluster.suspicion import Patience

TIMINGS = MemberTimings(patience=Patience(suspect=3_000, down=10_000), forget=60_000)
WALL = 1_700_000_000_000
UP = Standing(status="up", registry=True, discovery=True)


def url(host: str) -> PeerUrl:
    """The address of the node on this host."""
    return peer_url(f"http://{host}:1")


def who(node: str, host: str | None = None, epoch: int = 1) -> Announced:
    """What the node says at the handshake."""
    return Announced(node=node, epoch=epoch, url=url(host or node), zone="z1")


@pytest.fixture
def members() -> Members:
    """Those of node `n`, which is at 10.0.0.1."""
    return Members(who("n", "10.0.0.1"), TIMINGS)


def seen(members: Members, now: int = 0) -> dict[str, MemberView]:
    """All members by id, or by URL if they were not met."""
    return {view.node or str(view.url): view for view in members.views(now)}


def test_its_own_address_is_no_peer(members: Members) -> None:
    """Compared whole: addresses that contain each other are different nodes (defect 12)."""
    others = [url("110.0.0.1"), url("10.0.0.11"), peer_url("http://10.0.0.1:10")]
    assert [] == members.configure([peer_url("HTTP://10.0.0.1:1/"), *others], 0)
    assert others == members.addresses


def test_an_address_that_leads_to_itself_is_no_peer_from_then_on(members: Members) -> None:
    """Found at the handshake, and remembered when the list comes again."""
    members.configure([url("my-name"), url("a")], 0)
    members.is_me(url("my-name"))
    assert [url("a")] == members.addresses
    members.configure([url("my-name"), url("a")], 1)
    assert [url("a")] == members.addresses


def test_a_node_on_loopback_leaves_others_out_and_says_what_to_do() -> None:
    """They could not reach it; a list that comes later is not checked at the start."""
    members = Members(who("n", "127.0.0.1"), TIMINGS)
    refused = members.configure([url("10.0.0.2"), url("localhost")], 0)
    assert [url("localhost")] == members.addresses
    (sentence,) = refused
    assert sentence.startswith("http://10.0.0.2:1 is left out: this node could tell it only http://127.0.0.1:1")
    assert sentence.endswith("give --self-url http://ADDRESS:PORT")


def test_an_emptied_list_leaves_nobody_to_dial(members: Members) -> None:
    """The original keeps the old list (defect 11)."""
    members.configure([url("a")], 0)
    members.configure([], 1)
    assert ([], {}) == (members.addresses, seen(members))


def test_there_is_a_limit_to_both_kinds_of_members(members: Members) -> None:
    """What is beyond it is named."""
    refused = members.configure([url(f"h{number}") for number in range(MAX_MEMBERS + 1)], 0)
    assert ["http://h9:1 is left out: a node knows 64 others at most"] == refused
    for number in range(MAX_MEMBERS):
        assert not members.met(who(f"h{number}"), 0)
    assert f"a node knows {MAX_MEMBERS} others at most, and has met as many" == members.met(who("late"), 0)
    assert not members.met(who("h0", epoch=2), 0)


def test_of_too_many_addresses_those_stay_that_were_met(members: Members) -> None:
    """Whatever the order in which the list comes; the rest is the same at every node, and is told in one sentence."""
    members.configure([url("z")], 0)
    members.met(who("z"), 0, url("z"))
    everybody = [url(f"h{number:03}") for number in range(MAX_MEMBERS + 7)] + [url("z")]
    for several in (everybody, everybody[::-1]):
        refused = members.configure(several, 1)
        assert {url("z"), *everybody[: MAX_MEMBERS - 1]} == set(members.addresses)
        assert len(refused) == 1
        assert refused[0].endswith(" and 3 more are left out: a node knows 64 others at most")


def test_members_that_are_gone_make_room(members: Members) -> None:
    """Nodes that come back under another name each time would fill the table; configured ones stay."""
    members.configure([url("h0")], 0)
    for number in range(MAX_MEMBERS):
        members.met(who(f"h{number}"), number)
    members.tick(9_000, WALL)
    assert members.met(who("late"), 9_000)
    members.tick(20_000, WALL)
    assert not members.met(who("late"), 20_000)
    members.farewell("h2", 1, 20_000, leaving=False)
    assert not members.met(who("later"), 20_000)
    assert {"h0", "late", "later", "h3"} <= members.ids
    assert not {"h1", "h2"} & members.ids


def test_members_are_those_who_were_met(members: Members) -> None:
    """Whatever is thought of them; the own id is one of the ids."""
    members.configure([url("a"), url("b")], 0)
    members.met(who("a"), 0, url("a"))
    members.met(who("c"), 0)
    members.tick(50_000, WALL)
    assert {"n", "a", "c"} == members.ids
    assert [("a", True), ("c", False), ("http://b:1", True)] == [
        (name, view.configured) for name, view in seen(members, 50_000).items()
    ]
    assert ["http://b:1"] == members.unmet


def test_a_configured_name_is_the_node_that_was_met_there(members: Members) -> None:
    """Though that announces another address."""
    members.configure([url("name")], 0)
    members.trouble(url("name"), "nothing listens there")
    assert ["http://name:1 (nothing listens there)"] == members.unmet
    members.met(who("a", "10.0.0.2"), 0, url("name"))
    view = seen(members)["a"]
    assert (1, True, url("10.0.0.2")) == (len(seen(members)), view.configured, view.url)


def test_two_addresses_of_one_node_are_one_member(members: Members) -> None:
    """Of a stranger nothing is known by that."""
    members.configure([url("name"), url("a")], 0)
    members.met(who("a"), 0, url("a"))
    members.same(url("name"), "stranger")
    assert ["http://name:1"] == members.unmet
    members.same(url("name"), "a")
    members.same(url("other"), "a")
    assert ([], ["a"]) == (members.unmet, list(seen(members)))


def test_a_node_that_dials_first_is_found_by_the_address_that_it_announces(members: Members) -> None:
    """In either order."""
    members.configure([url("a")], 0)
    members.met(who("a"), 0)
    members.met(who("b"), 0)
    members.configure([url("a"), url("b")], 0)
    assert {"a": True, "b": True} == {name: view.configured for name, view in seen(members).items()}


def test_a_new_node_at_an_old_address_takes_its_place(members: Members) -> None:
    """The old one is announced from then on, and forgotten in time."""
    members.configure([url("a")], 0)
    members.met(who("old", "a"), 0, url("a"))
    members.met(who("new", "a"), 1_000, url("a"))
    assert {"old": False, "new": True} == {name: view.configured for name, view in seen(members).items()}
    members.heard("new", 60_001)
    members.tick(60_001, WALL)
    assert {"n", "new"} == members.ids


def test_announced_members_are_forgotten_and_configured_ones_stay(members: Members) -> None:
    """After as long a silence as records are remembered."""
    members.configure([url("a")], 0)
    members.met(who("a"), 0, url("a"))
    members.met(who("b"), 0)
    members.tick(60_000, WALL)
    assert {"n", "a", "b"} == members.ids
    members.tick(60_001, WALL)
    assert {"n", "a"} == members.ids
    members.configure([], 60_002)
    members.tick(60_003, WALL)
    assert {"n"} == members.ids


def test_a_node_that_leaves_is_no_member_any_more(members: Members) -> None:
    """Its address waits for another one, if it is configured, and nobody is missing there."""
    members.configure([url("a")], 0)
    members.met(who("a"), 0, url("a"))
    members.farewell("a", 1, 5, leaving=True)
    members.trouble(url("a"), "connection refused", nobody=True)
    view = seen(members, 7)["http://a:1"]
    assert ({"n"}, "departed", "down", 2) == (members.ids, view.presence, view.status, view.since)
    assert (0, [], [], None) == (
        members.lacking(),
        members.unmet,
        members.missing(7),
        members.oldest_contact({}, 7),
    )


@pytest.mark.parametrize("event", ["met", "refused", "listed"])
def test_where_a_node_left_another_one_may_be(members: Members, event: str) -> None:
    """One that is met there, one that cannot be met, or one that is to come, as its address is in a new list."""
    members.configure([url("a")], 0)
    members.met(who("a"), 0, url("a"))
    members.farewell("a", 1, 5, leaving=True)
    match event:
        case "met":
            members.met(who("b", "a"), 6, url("a"))
        case "refused":
            members.trouble(url("a"), "it has another secret")
        case _:
            members.configure([], 6)
            members.configure([url("a")], 7)
    assert ["steady" if event == "met" else "unmet"] == [view.presence for view in seen(members, 8).values()]


def test_the_farewell_of_an_earlier_life_is_not_that_of_a_later_one(members: Members) -> None:
    """It may come late."""
    members.met(who("a", epoch=5), 0)
    members.told("a", UP, 0)
    members.farewell("a", 4, 2, leaving=True)
    assert ("up", 5) == (seen(members)["a"].status, seen(members)["a"].epoch)


def test_a_node_that_was_put_back_is_a_member(members: Members) -> None:
    """Its clock was ahead in its life before, or its data is that of an old backup: it is not shut out for as long as
    that life is remembered, and has said nothing yet."""
    members.met(who("a", epoch=5), 0)
    members.told("a", UP, 0)
    members.farewell("a", 5, 1, leaving=False)
    assert "" == members.met(who("a", epoch=4), 2)
    assert (4, "steady", "unknown") == (
        seen(members)["a"].epoch,
        seen(members)["a"].presence,
        seen(members)["a"].status,
    )
    members.told("a", UP, 2)
    assert 0 == members.oldest_contact({}, 2)


def test_an_epoch_that_is_still_to_come_tells_nothing_of_when_a_node_began(members: Members) -> None:
    """Answers are not taken for younger than they are, as when its clock was years ahead at some start."""
    members.met(who("a", epoch=WALL + 10**12), 100)
    members.told("a", UP, 100)
    members.tick(200, WALL + 200)
    assert -WALL == members.oldest_contact({}, 200)


def test_a_later_life_has_said_nothing_yet(members: Members) -> None:
    """What the one before served says nothing of it."""
    members.met(who("a"), 0)
    members.told("a", UP, 0)
    members.met(who("a", epoch=2), 1)
    view = seen(members)["a"]
    assert ("unknown", False, "it has not said yet what it serves") == (view.status, view.standing.registry, view.why)


def test_what_a_node_says_is_shown_with_what_is_wrong_with_the_links_to_it(members: Members) -> None:
    """Each direction by itself."""
    members.configure([url("a")], 0)
    members.met(who("a"), 0, url("a"))
    members.told("a", Standing(status="starting", why="it waits for b"), 0)
    members.trouble(url("a"), "connection refused")
    assert "it waits for b; connection refused" == seen(members)["a"].why
    members.lost("a", 1_000, "its connection ended")
    assert "nothing was heard of it for 1.0 s; its connection ended; connection refused" == (
        seen(members, 1_000)["a"].why
    )
    members.met(who("a"), 2_000)
    members.tick(2_000, WALL)
    assert "it is back after 1 interruption; it is believed if it is steady for 3.0 s more; connection refused" == (
        seen(members, 2_000)["a"].why
    )
    members.met(who("a"), 2_000, url("a"))
    assert "connection refused" not in seen(members, 2_000)["a"].why


def test_of_a_stranger_nothing_is_noted(members: Members) -> None:
    """Messages may come before a handshake is told of, or after a node was forgotten."""
    before = members.generation
    members.heard("a", 1)
    members.told("a", UP, 1)
    members.lost("a", 1)
    members.farewell("a", 1, 1, leaving=False)
    assert ({}, before) == (seen(members), members.generation)


def test_changes_of_what_is_thought_are_told_once(members: Members) -> None:
    """For the log; a farewell is told by itself."""
    members.met(who("a"), 0)
    members.met(who("b"), 0)
    members.farewell("b", 1, 0, leaving=False)
    assert [[], ["a"], [], ["a"], []] == [members.tick(now, WALL) for now in (2_999, 3_000, 4_000, 10_000, 11_000)]


def test_other_times_hold_for_everybody_at_once(members: Members) -> None:
    """Those who were met before included."""
    members.met(who("a"), 0)
    members.retime(MemberTimings(patience=Patience(suspect=30_000, down=40_000), skew=7))
    assert ([], 7) == (members.tick(29_999, WALL), members.clocks.limit)
    assert ["a"] == members.tick(30_000, WALL)


def test_the_skew_of_a_member_is_shown(members: Members) -> None:
    """As measured, moved on with both clocks."""
    members.met(who("a"), 0)
    members.tick(0, WALL)
    members.clocks.measure("a", 250, 3, 0, WALL)
    assert (250, None) == (seen(members)["a"].skew, Members(who("n"), TIMINGS).clocks.skew("a", 0, WALL))


def test_what_a_node_that_has_said_nothing_yet_accepted_may_be_missing(members: Members) -> None:
    """It counts for the age from the handshake on, until it says that it takes no registrations."""
    members.tick(1_000, WALL + 1_000)
    assert "" == members.met(who("a", epoch=WALL + 400), 1_000)
    assert 400 == members.oldest_contact({}, 1_000)
    members.told("a", Standing(status="starting", metadata={"version": "1"}), 1_100)
    assert members.oldest_contact({}, 1_100) is None
    members.told("a", UP, 1_200)
    assert 400 == members.oldest_contact({}, 1_200)


def test_the_workers_of_a_machine_are_one_node(members: Members) -> None:
    """The one that serves best speaks for all; siblings are not shown at all."""
    for node, host in (("a", "10.0.0.2"), ("a#1", "10.0.0.2"), ("n#1", "10.0.0.1"), ("b", "10.0.0.3")):
        members.met(who(node, host), 0)
    members.told("a#1", UP, 0)
    shown = {view.url.host: (view.node, view.status, view.why) for view in members.nodes(0)}
    said = "not up of its 2 processes: a: it has not said yet what it serves"
    assert {"10.0.0.2", "10.0.0.3"} == shown.keys()
    assert ("a#1", "up", said) == shown["10.0.0.2"]


def test_other_nodes_at_one_url_are_shown_each(members: Members) -> None:
    """As when one was started anew with another id: the former one is still to be seen."""
    members.met(who("a", "10.0.0.2"), 0)
    members.met(who("b", "10.0.0.2"), 0)
    assert {"a", "b"} == {view.node for view in members.nodes(0)}


def test_a_machine_is_missing_when_all_of_its_workers_are(members: Members) -> None:
    """Once; siblings never are, as their machine is there."""
    for node, host in (("a", "10.0.0.2"), ("a#1", "10.0.0.2"), ("n#1", "10.0.0.1")):
        members.met(who(node, host), 0)
    members.heard("a#1", 5_000)
    members.tick(11_000, WALL)
    assert (0, []) == (members.lacking(), members.missing(11_000))
    members.tick(16_000, WALL)
    (missing,) = members.missing(16_000)
    assert (1, 1) == (members.lacking(), missing.count("http://10.0.0.2:1"))


def machine(members: Members, *processes: int) -> None:
    """Be told that the node at 10.0.0.2 is a machine whose processes are linked with at these ports."""
    members.sent_on(peer_url("http://10.0.0.2:1"), [peer_url(f"http://10.0.0.2:{port}") for port in processes], 0)


def process(node: str, port: int) -> Announced:
    """One of them."""
    return msgspec.structs.replace(who(node, "10.0.0.2"), link=peer_url(f"http://10.0.0.2:{port}"))


def test_a_machine_is_met_when_one_of_its_processes_is_and_the_others_are_told_of(members: Members) -> None:
    """Nobody takes it for complete until all were met; then all of them are configured."""
    members.configure([peer_url("http://10.0.0.2:1")], 0)
    machine(members, 9000, 9001)
    assert ["http://10.0.0.2:1"] == members.unmet
    members.met(process("a", 9000), 0, peer_url("http://10.0.0.2:9000"))
    members.same(peer_url("http://10.0.0.2:1"), "a")
    members.told("a", UP, 0)
    members.trouble(peer_url("http://10.0.0.2:9001"), "refused", origin=peer_url("http://10.0.0.2:1"))
    assert (["http://10.0.0.2:9001 (refused)"], 0) == (members.unmet, members.lacking())
    (shown,) = members.nodes(0)
    assert ("a", "up", "not up of its 2 processes: http://10.0.0.2:9001: refused") == (
        shown.node,
        shown.status,
        shown.why,
    )
    assert 0 == members.oldest_contact({"a": 50}, 100)  # what the other one has accepted may be missing
    members.met(process("a#1", 9001), 100)
    members.told("a#1", UP, 100)
    assert [] == members.unmet
    assert {"a": True, "a#1": True} == {view.node: view.configured for view in members.views(100)}
    (shown,) = members.nodes(100)
    assert "" == shown.why


def _killed(members: Members, node: str, now: int) -> None:
    members.lost(node, now, "its connection ended")
    members.trouble(process(node, PORTS[node]).dialled_at, "nothing listens there", nobody=True)


def _silent(members: Members, node: str, now: int) -> None:
    members.heard("a" if node == "a#1" else "a#1", now + 20_000)
    members.tick(now + 20_000, WALL)


def _ended(members: Members, node: str, now: int) -> None:
    members.farewell(node, 1, now, leaving=False)


def _left(members: Members, node: str, now: int) -> None:
    members.farewell(node, 1, now, leaving=True)


def _started_again(members: Members, node: str, now: int) -> None:
    _killed(members, node, now)
    members.met(msgspec.structs.replace(process(node, PORTS[node]), epoch=2), now)
    members.told(node, Standing(status="starting", metadata={"version": "1"}), now)


def _elsewhere(members: Members, node: str, now: int) -> None:
    _killed(members, node, now)
    machine(members, 9_002, *[port for other, port in PORTS.items() if other != node])


def _port_in_trouble(members: Members, node: str, now: int) -> None:
    _killed(members, node, now)
    members.trouble(url("10.0.0.2"), "it accepts connections and has not answered for 3 s")


PORTS = {"a": 9_000, "a#1": 9_001}


@pytest.mark.parametrize("node", PORTS)
@pytest.mark.parametrize(
    "fate",
    [_killed, _silent, _ended, _left, _started_again, _elsewhere, _port_in_trouble],
    ids=lambda fate: fate.__name__,
)
def test_a_machine_is_up_as_long_as_one_of_its_processes_is(
    members: Members, fate: Callable[[Members, str, int], None], node: str
) -> None:
    """Whatever becomes of the other one, the first one included."""
    members.configure([url("10.0.0.2")], 0)
    machine(members, *PORTS.values())
    for each, port in PORTS.items():
        members.met(process(each, port), 0, process(each, port).dialled_at)
        members.same(url("10.0.0.2"), each)
        members.told(each, UP, 0)
    fate(members, node, 100)
    (shown,) = members.nodes(100)
    assert ("up", UP) == (shown.status, shown.standing)
    assert (0, []) == (members.lacking(), members.missing(100))


def test_processes_that_were_met_before_their_machine_tells_of_them_are_met(members: Members) -> None:
    """They dialled this node, or were dialled as the addresses that they announce."""
    members.configure([peer_url("http://10.0.0.2:1")], 0)
    for node, port, dialled in (("a", 9000, None), ("a#1", 9001, peer_url("http://10.0.0.2:9001"))):
        members.met(process(node, port), 0, dialled)
        members.told(node, UP, 0)
    machine(members, 9000, 9001)
    (shown,) = members.nodes(0)
    assert ([], "") == (members.unmet, shown.why)


def test_a_process_that_a_machine_has_no_more_is_forgotten_in_time(members: Members) -> None:
    """Once the others are where they are now."""
    members.configure([peer_url("http://10.0.0.2:1")], 0)
    machine(members, 9000, 9001)
    for node, port in (("a", 9000), ("a#1", 9001)):
        members.met(process(node, port), 0, peer_url(f"http://10.0.0.2:{port}"))
        members.same(peer_url("http://10.0.0.2:1"), node)
    machine(members, 9005)
    assert {"a": True, "a#1": True} == {view.node: view.configured for view in members.views(0)}
    members.met(process("a", 9005), 10, peer_url("http://10.0.0.2:9005"))
    machine(members, 9005)
    assert {"a": True, "a#1": False} == {view.node: view.configured for view in members.views(10)}


def test_what_befalls_the_address_of_a_machine_is_no_trouble_of_its_processes(members: Members) -> None:
    """Only what befalls their own addresses is."""
    members.configure([peer_url("http://10.0.0.2:1")], 0)
    members.met(process("a", 9000), 0)
    members.told("a", UP, 0)
    members.trouble(peer_url("http://10.0.0.2:1"), "nothing listens there")
    assert "" == members.view("a", 0).why
    members.trouble(peer_url("http://10.0.0.2:9000"), "nothing listens there", origin=peer_url("http://10.0.0.2:1"))
    assert "nothing listens there" == members.view("a", 0).why


def test_siblings_that_were_not_met_yet_are_waited_for_and_no_nodes() -> None:
    """A machine shows one node while it starts."""
    sibling = peer_url("http://127.0.0.1:9000")
    members = Members(who("n", "10.0.0.1"), MemberTimings(), siblings=[sibling])
    members.configure([sibling], 0)
    assert (["http://127.0.0.1:9000"], 0, []) == (members.unmet, members.lacking(), [*members.nodes(0)])
    assert [] == members.missing(0)
