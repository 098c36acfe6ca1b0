"""`artemis cluster`: what people and machines are shown of a cluster, and the exit codes they can rely on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import Result

from artemis.cli.cluster_seen import Seen
from artemis.cli.cluster_view import link_rows, node_rows, remarks, same_data, troubles
from artemis.model.cluster_members import ClusterMember
from artemis.model.cluster_status import ClusterDrain, ClusterViewResponse
from artemis.model.engine import EngineView
from artemis.model.status import PreservationState
from artemis.testing import RunningNode, running_node_sync

Run = Callable[..., Result]

A, B, C = "http://a:1", "http://b:1", "http://c:1"


def member(url: str, status: str = "up", **told: object) -> ClusterMember:
    """What a node thinks of another one, well unless told otherwise."""
    name = url[7:8]
    values = {"node_id": name, "epoch": 7, "zone_id": "z", "connected": True, "receiving": True} | told
    return ClusterMember(url=url, status=status, **values)


def seen(url: str, *members: ClusterMember, **told: object) -> Seen:
    """A node that answers, well unless told otherwise."""
    name = url[7:8]
    values: dict[str, object] = {
        "url": url,
        "node_id": name,
        "epoch": 7,
        "status": "up",
        "in_cluster": True,
        "cluster_name": "artemis",
        "region_id": "r",
        "zone_id": "z",
        "data_digest": "0f",
        "vector": {"a/7": 5},
        "members": list(members),
        "serves_registry": True,
        "serves_discovery": True,
        "buckets": 1024,
    }
    return Seen(url=url, view=ClusterViewResponse(**(values | told)))


def test_nodes_that_see_the_same_have_no_trouble() -> None:
    """And it is said that they know the same."""
    nodes = [seen(A, member(B)), seen(B, member(A))]
    assert [] == troubles(nodes)
    assert ["All nodes that answer know the same."] == remarks(nodes)
    assert same_data(nodes)


def test_a_node_that_is_taken_out_of_service_is_no_trouble_and_told_with_how_far_it_is() -> None:
    """An operator wants it: the others know that it is down."""
    drain = ClusterDrain(operator_id="alice", phase="handing", renewed=1, sessions=0)
    nodes = [seen(A, member(B), status="down", draining=drain), seen(B, member(A, "down"))]
    assert [] == troubles(nodes)
    how_far = "the others take over: 0 sessions left, 1 instance is still renewed there"
    assert f"{A} is taken out of service by alice; {how_far}." in remarks(nodes)


def test_a_node_that_sees_another_view_is_named() -> None:
    """With its reason, and with what the node says of itself."""
    nodes = [
        seen(A, member(B), member(C)),
        seen(B, member(A), member(C, "unknown", why="nothing was heard of it for 4.0 s", connected=False)),
        seen(C, member(A), member(B)),
    ]
    assert [f"{B} takes {C} for unknown (nothing was heard of it for 4.0 s); it says that it is up."] == troubles(nodes)


def test_a_node_that_does_not_answer_is_told_with_what_the_others_think() -> None:
    """Each opinion once."""
    nodes = [
        seen(A, member(B), member(C, "down", why="it said farewell")),
        seen(B, member(A), member(C, "unknown")),
        Seen(url=C, silence="Connection refused"),
    ]
    assert [
        (
            f"{C} does not answer from here (Connection refused): {A} takes it for down (it said farewell); "
            f"{B} takes it for unknown."
        )
    ] == troubles(nodes)
    assert (C, "down/unknown", None) == node_rows(nodes)[2][:3]


def test_a_node_that_is_not_known_by_all_is_told() -> None:
    """Such as one that is missing in a list of peers."""
    assert [f"{A} does not know {B}; name it in its list of peers."] == troubles([seen(A), seen(B, member(A))])


def test_nobody_is_to_name_a_node_that_is_gone() -> None:
    """One that two nodes are told of and only one has met."""
    nodes = [seen(A, member(B), member(C, "down")), seen(B, member(A)), Seen(url=C, silence="Connection refused")]
    assert [f"{C} does not answer from here (Connection refused): {A} takes it for down."] == troubles(nodes)


def test_nobody_is_to_name_a_node_that_is_turned_away() -> None:
    """A list of peers changes nothing about a wrong secret, name of the cluster or clock."""
    why = "the cluster secrets of a and b differ"
    away = member(A, "unknown", why=why, error=why, connected=False, receiving=False)
    assert [f"{B} takes {A} for unknown ({why}); it says that it is up."] == troubles([seen(A), seen(B, away)])


def test_a_link_that_is_missing_is_told_with_what_went_wrong() -> None:
    """Although the node is believed, because it is heard."""
    nodes = [seen(A, member(B, connected=False, error="the secret is another one")), seen(B, member(A))]
    assert [f"{A} cannot send to {B}: the secret is another one."] == troubles(nodes)


def test_an_engine_that_is_away_explains_links_that_are_missing() -> None:
    """What the engine says of it is said once for all, and not again for each two nodes; a full one explains none."""
    cut = {"connected": False, "receiving": False}

    def around(state: str) -> list[Seen]:
        engine = EngineView(servers="nats://h:4222", state=state, why="nats://h:4222 cannot be reached")
        return [
            seen(A, member(B, **cut), engine=engine),
            seen(B, member(A, **cut), engine=engine),
            seen(C, engine=engine),
        ]

    assert [] == troubles(around("connecting"))
    assert 6 == len(troubles(around("full")))


def test_a_node_that_does_not_serve_all_says_why() -> None:
    """In the words of /health/ready."""
    nodes = [seen(A, status="starting", why="it waits for b to be reached", serves_registry=False)]
    assert [f"{A} says that it is starting: it waits for b to be reached."] == troubles(nodes)
    assert "discovery" == node_rows(nodes)[0][2]


def test_nodes_of_other_clusters_are_told_apart() -> None:
    """By name and region."""
    nodes = [seen(A, member(B)), seen(B, member(A), cluster_name="other"), seen(C, in_cluster=False)]
    which = f"{A} is of artemis in region r, {B} is of other in region r"
    assert f"They are not one cluster: {which}. Give all the same --cluster-name and --region." in troubles(nodes)
    assert f"{C} is in no cluster; start it with --peers, --peers-dns, --peers-file or --cluster." in troubles(nodes)


def test_what_is_on_its_way_is_no_trouble_and_what_differs_for_good_is() -> None:
    """Nodes with the same changes know the same, or something is wrong."""
    late = [seen(A, member(B)), seen(B, member(A), data_digest="1f", vector={"a/7": 2})]
    assert not same_data(late)
    assert ([], [f"{B} lacks 3 changes that others have, at this moment."]) == (troubles(late), remarks(late))
    wrong = [seen(A, member(B)), seen(B, member(A), data_digest="1f")]
    different = f"{A} and {B} took in the same changes but know different things: see `artemis cluster diff`."
    assert [different] == troubles(wrong)
    ended = [seen(A, member(B)), seen(B, member(A), vector={}, base={"a": 8})]
    assert "lacks" not in " ".join(remarks(ended)), "a life that is over is included without being named"


def test_active_self_preservation_and_held_changes_are_remarked() -> None:
    """They are worth knowing and no trouble."""
    active = PreservationState(active=True, enabled=True, for_ms=61_000, heard=1, live=9, reason="8 of 9 fell silent")
    nodes = [seen(A, leases=active, held=2)]
    assert [
        f"Self-preservation at {A}: ACTIVE for 1 min 1 s: 8 of 9 fell silent (1 of 9 heard).",
        f"{A} holds 2 changes back until those before them have come.",
    ] == remarks(nodes)
    assert [] == troubles(nodes)


def test_nobody_knows_what_lacks_of_a_node_that_is_not_heard() -> None:
    """Its numbers are of before, and would look as if all were well."""
    gone = [
        member(B, "down", presence=presence, receiving=receiving, connected=False, lag=0, differing_buckets=0)
        for presence, receiving in (("gone", True), ("left", True), ("unmet", False), ("suspected", True))
    ]
    view = seen(A, *gone).view
    assert view is not None
    assert [(None, None)] * 4 == [row[5:7] for row in link_rows(view)]


def test_whom_a_node_serves_without_is_remarked() -> None:
    """It is a trouble already where that node is asked in vain; a source that names nobody is one that nobody asks."""
    alone = f"it serves without {B} (the secret is another one); without nodes of DNS name x (it names no nodes)"
    nodes = [seen(A, alone=alone, unlisted={"DNS name x": "it names no nodes"})]
    assert ([], [f"{A} {alone[3:]}."]) == (troubles(nodes), remarks(nodes))
    starting = [seen(A, unlisted={"file p": "it is not text"})]
    assert [f"{A} cannot tell the nodes of file p: it is not text."] == remarks(starting)


def test_links_are_shown_with_their_numbers() -> None:
    """What is not known is left out."""
    one = member(B, rtt_ms=3, clock_skew_ms=-40, last_contact_ms=900, lag=1, differing_buckets=2, queued=4, dropped=5)
    other = member(C, connected=False, error="nothing listens there", last_contact_ms=None, receiving=False)
    view = seen(A, one, other).view
    assert view is not None
    assert [
        (B, "both ways", "3 ms", "-40 ms", "now", "1 change", "2 of 1024", 4, 5, None),
        (C, "none", None, None, "never", None, None, 0, 0, "nothing listens there"),
    ] == link_rows(view)
    silent = member("http://d:1", connected=False, presence="gone")
    half = seen(A, member(B, receiving=False), member(C, connected=False), silent).view
    assert half is not None
    assert ["to it only", "from it only", "none"] == [row[1] for row in link_rows(half)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningNode, RunningNode, Path]]:
    """Two nodes that are each other's peers, and the token of their operators."""
    folder = tmp_path_factory.mktemp("cluster")
    token, nobody = folder / "token", folder / "nobody"
    token.write_text("a-long-secret\n")
    token.chmod(0o600)
    nobody.write_text("")
    options = {"region": "r", "zone": "z", "admin_token_file": str(token)}
    with (
        running_node_sync(peers_file=str(nobody), **options) as one,
        running_node_sync(peers=one.url, **options) as other,
    ):
        yield one, other, token


def until(run: Callable[[], Result], good: Callable[[Result], bool]) -> Result:
    """Run a command until its result is good, for some times."""
    for _ in range(30):
        result = run()
        if good(result):
            return result
    return result


def test_status_asks_all_nodes(run: Run, two: tuple[RunningNode, RunningNode, Path]) -> None:
    """Whichever is asked; both are well, and know the same."""
    one, other, _ = two
    result = until(lambda: run("cluster", "status", server=other.url), lambda result: result.exit_code == 0)
    assert (result.exit_code, result.stderr) == (0, "")
    assert ["NODE", other.url, one.url] == [line.split()[0] for line in result.stdout.splitlines()[:3]]
    assert "both ways" in result.stdout
    assert "All nodes that answer know the same." in result.stdout
    document = json.loads(run("cluster", "status", "--json", server=one.url).stdout)
    assert (True, [], one.url) == (document["agree"], document["troubles"], document["server"])
    assert {one.url, other.url} == {node["url"] for node in document["nodes"]}
    assert 1 == len(document["nodes"][0]["view"]["members"])


def test_the_status_of_a_node_has_a_line_on_the_others(run: Run, two: tuple[RunningNode, RunningNode, Path]) -> None:
    """With the command that tells more; a node alone has none."""
    status = run("status", server=two[0].url).stdout
    assert "cluster            artemis, other nodes: 1 up; more by `artemis cluster status`" in status
    assert "cluster status" not in run("status").stdout


def test_diff_and_repair_tell_what_they_did(run: Run, two: tuple[RunningNode, RunningNode, Path]) -> None:
    """Nodes that know the same: 0 for both."""
    one, other, token = two
    asked = ("--token-file", str(token))
    until(lambda: run("cluster", "status", server=other.url), lambda result: result.exit_code == 0)
    same = run("cluster", "diff", one.url, *asked, server=other.url)
    assert (same.exit_code, same.stdout) == (0, "")
    assert f"{one.url} knows the same as this node." in same.stderr
    repaired = run("cluster", "repair", *asked, server=other.url)
    assert repaired.exit_code == 0
    assert [one.url, "done"] == repaired.stdout.splitlines()[1].split()[:2]
    document = json.loads(run("cluster", "repair", "--json", *asked, server=other.url).stdout)
    assert (True, 0) == (document["done"], document["peers"][0]["repair"]["repaired"])


def test_a_peer_that_nobody_knows_is_refused(run: Run, two: tuple[RunningNode, RunningNode, Path]) -> None:
    """With those that are known."""
    one, other, token = two
    result = run("cluster", "diff", "http://10.0.0.1:1", "--token-file", str(token), server=other.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"known are: {one.url}" in result.stderr


def test_operators_need_the_token(run: Run, two: tuple[RunningNode, RunningNode, Path]) -> None:
    """For all that is more than looking."""
    one, _, _ = two
    for arguments in (("diff",), ("repair",), ("leave", "--yes"), ("force", "down")):
        result = run("cluster", *arguments, server=one.url)
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert "--token-file" in result.stderr


def test_force_switches_and_shows(run: Run, two: tuple[RunningNode, RunningNode, Path]) -> None:
    """One service or both, until it is switched off."""
    _, other, token = two
    asked = ("--token-file", str(token), "--operator", "alice")
    down = run("cluster", "force", "down", "--service", "registry", *asked, server=other.url)
    assert down.exit_code == 0
    assert ["registry", "no", "down", "by", "alice"] == down.stdout.splitlines()[1].split()[:5]
    assert "registry is forced down by alice" in down.stderr
    status = run("cluster", "status", server=other.url)
    assert status.exit_code == 1
    assert f"{other.url} says that it is starting: registry is forced down by alice." in status.stdout
    off = run("cluster", "force", "off", *asked, server=other.url)
    assert ["registry", "yes", "-"] == off.stdout.splitlines()[1].split()
    assert f"{other.url} is up.\n" == run("cluster", "force", server=other.url).stderr


def test_a_node_that_leaves_ends(run: Run, tmp_path: Path, two: tuple[RunningNode, RunningNode, Path]) -> None:
    """With exit code 0, and the others do not know it any more."""
    one, _, token = two
    with running_node_sync(region="r", zone="z", peers=one.url, admin_token_file=str(token)) as third:
        until(
            lambda: run("cluster", "status", "--json", server=third.url),
            lambda result: len(json.loads(result.stdout)["nodes"]) == 3,
        )
        asked = run("cluster", "leave", "--token-file", str(token), server=third.url)
        assert (asked.exit_code, "give --yes" in asked.stderr) == (2, True)
        left = run("cluster", "leave", "--yes", "--token-file", str(token), server=third.url)
        assert (left.exit_code, left.stdout) == (0, "")
        assert f"{third.url} says farewell to " in left.stderr
        assert 0 == third.process.wait(10)
    status = json.loads(run("cluster", "status", "--json", server=one.url).stdout)
    assert third.url not in {node["url"] for node in status["nodes"]}


def test_a_node_alone_is_no_cluster(run: Run) -> None:
    """It is shown, and nothing is wrong with that."""
    result = run("cluster", "status")
    assert result.exit_code == 0
    assert "is in no cluster; start it with --peers" in result.stdout
    assert "in no cluster" in run("cluster", "repair").stderr


def test_without_a_node_it_ends_with_code_3(run: Run, unused_tcp_port: int) -> None:
    """As all commands do."""
    for arguments in (("status",), ("diff",), ("repair",), ("leave", "--yes"), ("force",)):
        result = run("cluster", *arguments, server=f"http://127.0.0.1:{unused_tcp_port}")
        assert (result.exit_code, result.stdout) == (3, "")


def test_a_difference_is_shown_with_both_sides(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """And counted, with what callers see of it."""
    answer = {
        "done": True,
        "number": 1,
        "peers": [
            {
                "nodeId": "b",
                "url": B,
                "state": "done",
                "tookMs": 3,
                "diff": {
                    "complete": True,
                    "count": 2,
                    "visible": 1,
                    "rows": 2,
                    "buckets": 1,
                    "differences": [
                        {
                            "serviceId": "s",
                            "instanceId": "i",
                            "visible": True,
                            "why": "coming",
                            "here": {"state": "absent"},
                            "there": {"state": "live", "written": 1_000, "nodeId": "b"},
                        },
                        {
                            "serviceId": "s",
                            "instanceId": "j",
                            "operation": "manual",
                            "visible": False,
                            "why": "going",
                            "here": {"state": "removed", "written": 2_000, "nodeId": "a"},
                            "there": {"state": "absent"},
                        },
                    ],
                },
            }
        ],
    }
    monkeypatch.setattr(
        "artemis.cli.calls.Conversation.post",
        lambda self, path, kind, *_: msgspec.convert(answer, kind),  # noqa: ARG005
    )
    result = run("cluster", "diff", "b")
    assert result.exit_code == 1
    rows = [line.split() for line in result.stdout.splitlines()]
    assert (["s", "i", "absent", "live,"], ["s", "j", "(manual)", "removed,"]) == (rows[1][:4], rows[2][:4])
    assert "a change has not come here yet" in result.stdout
    assert "2 differences; callers see 1 of them." in result.stderr


def test_two_nodes_with_one_id_are_both_shown_and_told_first() -> None:
    """And what one of them says is not taken for the word of the other."""
    other = "http://d:1"
    waits = "it waits until no other node has its id"
    refused = member(other, "unknown", node_id=None, presence="unmet", connected=False, receiving=False)
    twin = seen(other, member(B), node_id="a", status="starting", why=waits, serves_registry=False)
    nodes = [seen(A, member(B)), seen(B, member(A), refused), twin]
    assert [
        f"Two nodes have the id a: {A} and {other}; stop one and give it an empty --data-dir.",
        f"{other} says that it is starting: {waits}.",
        f"{B} takes {other} for unknown; it says that it is starting.",
    ] == troubles(nodes)
    assert [A, B, other] == [row[0] for row in node_rows(nodes)]


def test_status_shows_both_of_two_nodes_with_one_id(
    monkeypatch: pytest.MonkeyPatch, run: Run, cli_node_url: str
) -> None:
    """With exit code 1, in the document for machines as well; one that answers at two addresses is one."""
    views = {
        A: seen(A, member(B), member("http://d:1"), member("http://alias:1")).view,
        B: seen(B, member(A)).view,
        "http://d:1": seen("http://d:1", node_id="a").view,
        "http://alias:1": seen(B, member(A)).view,
    }
    monkeypatch.setattr("artemis.cli.cluster.get", lambda *_: views[A])
    monkeypatch.setattr("artemis.cli.cluster.get_each", lambda urls, *_: [views[url] for url in urls])
    result = run("cluster", "status", server=cli_node_url)
    sentence = f"Two nodes have the id a: {A} and http://d:1; stop one and give it an empty --data-dir."
    assert (1, sentence) == (result.exit_code, result.stdout.split("\n\n")[2].splitlines()[0])
    document = json.loads(run("cluster", "status", "--json").stdout)
    assert (sentence, [A, B, "http://d:1"]) == (document["troubles"][0], [node["url"] for node in document["nodes"]])


def test_what_keeps_nodes_apart_is_said_once_and_first() -> None:
    """Another name of the cluster or another secret, instead of what each node thinks of each for that reason."""

    def away(url: str, refusal: str) -> ClusterMember:
        return member(url, "unknown", why="no", error="no", refusal=refusal, connected=False, receiving=False)

    names = [
        seen(A, member(C), away(B, "cluster")),
        seen(B, away(A, "cluster"), away(C, "cluster"), cluster_name="other"),
        seen(C, member(A), away(B, "cluster")),
    ]
    which = f"{A} and {C} are of artemis in region r, {B} is of other in region r"
    assert [f"They are not one cluster: {which}. Give all the same --cluster-name and --region."] == troubles(names)
    secrets = [
        seen(A, member(C), away(B, "secret")),
        seen(B, away(A, "secret"), away(C, "secret")),
        seen(C, member(A), away(B, "secret")),
    ]
    advice = "give all the same --cluster-secret-file"
    assert [f"{B} has another cluster secret than {A} and {C}; {advice}."] == troubles(secrets)


def test_equal_opinions_are_one_sentence() -> None:
    """Of one node about several, and of several nodes about one."""
    why = "the clock of that node is wrong"
    doubted = [member(url, "unknown", why=why) for url in (B, C)]
    nodes = [
        seen(A, *doubted, alone=f"it serves without {B} and {C} ({why})"),
        seen(B, member(A, "down"), member(C), alone=f"it serves without {A}"),
        seen(C, member(A, "down"), member(B), alone=f"it serves without {A}"),
    ]
    assert [
        f"{B} and {C} take {A} for down; it says that it is up.",
        f"{A} takes {B} and {C} for unknown ({why}); they say that they are up.",
    ] == troubles(nodes)
    assert [f"{A} serves without {B} and {C} ({why}).", f"{B} and {C} serve without {A}."] == remarks(nodes)[:2]


def test_nobody_knows_the_clock_of_a_node_that_is_not_heard() -> None:
    """What was measured last says nothing of now."""
    view = seen(A, member(B, "down", presence="gone", receiving=False, connected=False, clock_skew_ms=9)).view
    assert view is not None
    assert None is link_rows(view)[0][3]


def test_who_is_missing_stands_beside_the_age_of_the_data(run: Run, unused_tcp_port: int) -> None:
    """A small age would look as if all were well."""
    other = f"http://127.0.0.1:{unused_tcp_port}"
    with running_node_sync(region="r", zone="z", peers=other, join_timeout=0.2) as node:
        shown = run("status", server=node.url).stdout
    assert f"ms old without 1 node that ought to be there ({other}), cursor " in shown


def test_a_node_that_is_there_and_refuses_is_not_called_silent(run: Run) -> None:
    """Its whole reason is said, in plain spelling, and what to do; nobody is told to start one."""
    with running_node_sync(region="r", zone="z") as node:
        assert 0 == run("cluster", "force", "down", "--operator", "alice" * 20, server=node.url).exit_code
        result = run("register", "--service", "s", "--port", "1", server=node.url)
    assert (1, "") == (result.exit_code, result.stdout)
    said = " ".join(result.stderr.split())
    who = "alice" * 20
    reason = f"it is down: registry is forced down by {who}; discovery is forced down by {who}"
    assert f"{node.url} answers and refuses registry/register.json: {reason}." in said
    assert f"`artemis cluster force off --server {node.url}`" in said
    assert not [word for word in ("No registry answers", "artemis serve`", "Serivce") if word in said]
