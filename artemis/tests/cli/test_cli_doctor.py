"""`artemis doctor`: each check on what nodes may say, and the command on real clusters."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from artemis.cli.app import app
from artemis.cli.cluster_seen import Seen
from artemis.cli.doctor import diagnose
from artemis.cli.doctor_checks import Examined, Finding
from artemis.cluster.trial import CLAIM
from artemis.model.cluster_members import ClusterMember
from artemis.model.cluster_status import ClusterDrain, ClusterViewResponse
from artemis.model.engine import EngineView
from artemis.model.regions import OtherRegion
from artemis.model.status import PreservationState, ShownWorker
from artemis.model.vitals import VitalsResponse
from artemis.testing import running_cluster_sync

A, B, C = "http://a:1", "http://b:1", "http://c:1"
NOW = 1_700_000_000.0
OPTIONS = {"leaseTtl": 20_000, "tombstoneLifetime": 600_000}
MIXED = (
    f"releases are mixed: {A} has 1.0.0 with version 1 of the messages, {B} has 1.10.0 with version 1 of the messages"
)
WELL = ShownWorker(process=6, ready=True, silent_ms=900)
HANDING = "the others take over: 0 sessions left, instances that it renews are counted"
Run = Callable[..., Result]


def member(url: str, **told: object) -> ClusterMember:
    """What a node thinks of another one, well unless told otherwise."""
    values = {"node_id": url[7:8], "connected": True, "receiving": True, "presence": "steady", "configured": True}
    return ClusterMember(url=url, status="up", **(values | told))


def node(
    url: str, *members: ClusterMember, vitals: dict[str, object] | None = None, offset: float = 0.0, **told: object
) -> Examined:
    """A node that answers, well unless told otherwise."""
    values: dict[str, object] = {
        "url": url,
        "node_id": url[7:8],
        "status": "up",
        "in_cluster": True,
        "cluster_name": "artemis",
        "region_id": "r",
        "data_digest": "0f",
        "members": list(members),
        "version": "1.0.0",
        "oldest_protocol": 1,
        "newest_protocol": 1,
    }
    seen = Seen(url=url, view=ClusterViewResponse(**(values | told)))
    known = VitalsResponse(**({"options": OPTIONS} | (vitals or {})))
    return Examined(seen=seen, vitals=known, offset=offset, error=1.0, took=2.0)


def silent(url: str, why: str = "Connection refused") -> Examined:
    """A node that does not answer from here."""
    return Examined(seen=Seen(url=url, silence=why))


def found(*nodes: Examined) -> list[tuple[str, str, str]]:
    """Everything that is not OK: check, level, text."""
    return [(each.check, each.level, each.text) for each in all_of(*nodes) if each.level != "OK"]


def all_of(*nodes: Examined) -> list[Finding]:
    """All findings."""
    return list(diagnose(nodes, NOW))


def pair(**second: object) -> tuple[Examined, Examined]:
    """Two nodes, of which the second has something."""
    return node(A, member(B)), node(B, member(A), **second)


def test_a_cluster_that_is_well_is_told_check_by_check() -> None:
    """Each check says what it looked at."""
    findings = all_of(*pair())
    assert {"OK"} == {each.level for each in findings}
    assert len(findings) == len({each.check for each in findings})


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (
            (node(A, member(B)), silent(B)),
            ("reachability", "FAIL", f"{B} does not answer from here (Connection refused): {A} takes it for up"),
        ),
        (
            (node(A, member(B)), silent(B, "its certificate is not accepted (expired)")),
            (
                "reachability",
                "WARN",
                f"{B} does not answer from here (its certificate is not accepted (expired)): {A} takes it for up",
            ),
        ),
        (
            (node(A, member(B, connected=False, error="no route")), node(B, member(A))),
            ("reachability", "FAIL", f"{A} cannot send to {B}: no route"),
        ),
        (
            (node(A, member(B, receiving=False)), node(B, member(A))),
            ("reachability", "FAIL", f"{A} hears nothing of {B}, although it can send to it"),
        ),
        (
            (*pair(), node(C, member(A), member(B, presence="unmet", connected=False, why="refused"))),
            ("reachability", "FAIL", f"{C} has {B} in its list and has never met it (refused)"),
        ),
        (pair(status="starting", why="it copies"), ("status", "FAIL", f"{B} says that it is starting: it copies")),
        (
            pair(status="down", draining=ClusterDrain(operator_id="alice", phase="handing")),
            (
                "status",
                "WARN",
                f"{B} is taken out of service by alice; {HANDING}",
            ),
        ),
        (pair(in_cluster=False), ("status", "FAIL", f"{B} is in no cluster")),
        (
            pair(vitals={"workers": [WELL, ShownWorker(index=1, process=7, ready=True, silent_ms=3_000)]}),
            ("status", "FAIL", f"worker 1 of {B}, process 7, has stood still for 3 s: whoever came to it waits"),
        ),
        (
            pair(vitals={"workers": [WELL, ShownWorker(index=1, process=7, silent_ms=4_000, uptime_ms=4_000)]}),
            ("status", "WARN", f"worker 1 of {B}, process 7, does not serve yet, 4 s after its start"),
        ),
        (pair(node_id="a"), ("membership", "FAIL", f"{A} and {B} have the same id a")),
        (
            pair(cluster_name="other"),
            (
                "membership",
                "FAIL",
                f"they are not one cluster ({A}: artemis in region r, {B}: other in region r)",
            ),
        ),
        (
            (node(A, member(B, refusal="secret", connected=False)), node(B, member(A))),
            ("membership", "FAIL", f"{A} and {B} have different cluster secrets"),
        ),
        (
            pair(unlisted={"DNS": "no such name"}),
            ("membership", "WARN", f"{B} cannot tell the nodes of DNS: no such name"),
        ),
        (
            pair(offset=4_000.0),
            ("clocks", "FAIL", f"the clock of {B} is 3998 ms or more ahead of that of {A}; 2500 are allowed"),
        ),
        (
            pair(offset=-2_000.0),
            ("clocks", "WARN", f"the clock of {A} is 1998 ms or more ahead of that of {B}, of 2500 allowed"),
        ),
        (
            (node(A, member(B), offset=9_000.0), node(B, member(A), offset=9_001.0)),
            ("clocks", "WARN", "the clock of this machine is 8999 ms or more off those of all nodes, which agree"),
        ),
        (
            pair(version="1.10.0"),
            (
                "versions",
                "WARN",
                MIXED,
            ),
        ),
        (
            pair(vitals={"options": {**OPTIONS, "leaseTtl": 30_000}}),
            ("options", "FAIL", f"--lease-ttl is 20 s at {A}, 30 s at {B}"),
        ),
        (
            pair(vitals={"options": {**OPTIONS, "peerGrace": 1}, "least_lifetime_ms": 700_000}),
            ("options", "WARN", f"{B} remembers what was removed for 10 min, too short for so many nodes"),
        ),
        (
            (*pair(), node(C, member(A, configured=True), member(B, configured=False))),
            ("options", "WARN", f"lists of nodes differ: {A} and {B}, {C} have different ones"),
        ),
        (
            pair(data_digest="10"),
            ("data", "FAIL", f"nodes know different things, longer than changes take: {A} against {B}"),
        ),
        (pair(age_ms=9_000), ("data", "WARN", f"answers of {B} are 9 s old")),
        (pair(held=2), ("data", "WARN", f"{B} holds 2 changes back until those before them come")),
        (pair(alone="it serves without C"), ("data", "WARN", f"{B}: it serves without C")),
        (
            (node(A, member(B, queued=5_000)), node(B, member(A))),
            ("queues", "WARN", f"5000 messages of {A} wait for {B}"),
        ),
        (
            pair(counters={"overflows": 3}),
            (
                "queues",
                "WARN",
                f"{B}: a queue to a peer was dropped, and repaired by an exchange, 3 times since its start",
            ),
        ),
        (
            pair(vitals={"counters": {"connectionsRefused": 7}}),
            ("queues", "WARN", f"{B}: 7 connections were refused beyond --max-connections since its start"),
        ),
        (
            pair(vitals={"data_free": 5 << 20, "data_total": 100 << 20}),
            ("machines", "WARN", f"the disk of the data directory of {B} has 5% left, 5 MiB"),
        ),
        (
            pair(vitals={"data_free": 1 << 20, "data_total": 100 << 20}),
            ("machines", "FAIL", f"the disk of the data directory of {B} has 1% left, 1 MiB"),
        ),
        (
            pair(vitals={"files_open": 900, "files_limit": 1_024}),
            ("machines", "WARN", f"{B} has 900 of 1024 files open"),
        ),
        (
            pair(vitals={"certificate_expires": int(NOW) + 86_400}),
            ("certificates", "WARN", f"the certificate of {B} ends in 1 d"),
        ),
        (
            pair(vitals={"certificate_expires": int(NOW) - 1}),
            ("certificates", "FAIL", f"the certificate of {B} has expired"),
        ),
        (
            pair(
                vitals={"regions": [OtherRegion(region_id="eu", state="unreachable", state_ms=5_000, why="no answer")]}
            ),
            ("regions", "FAIL", f"{B} can show nothing of region eu, which is unreachable for 5 s: no answer"),
        ),
        (
            pair(vitals={"regions": [OtherRegion(region_id="eu", ready=True, age_ms=60_000, why="no answer")]}),
            ("regions", "WARN", f"what {B} shows of region eu is 1 min old: no answer"),
        ),
        (
            pair(vitals={"regions": [OtherRegion(region_id="eu", ready=True, left_out=2, max_instances=9)]}),
            ("regions", "WARN", f"{B} leaves 2 instances of region eu out; it holds 9"),
        ),
        (
            pair(vitals={"regions": [OtherRegion(region_id="eu", ready=True, held=1, held_why="a listing lacked it")]}),
            ("regions", "WARN", f"{B} keeps 1 instance of region eu in doubt: a listing lacked it"),
        ),
        (
            pair(vitals={"regions": [OtherRegion(region_id="eu", ready=True)]}),
            ("regions", "WARN", f"nodes show different other regions ({A}: none; {B}: eu)"),
        ),
    ],
)
def test_what_is_not_well_is_found(nodes: tuple[Examined, ...], expected: tuple[str, str, str]) -> None:
    """With the nodes that it is about; every failure says what to do."""
    assert expected in found(*nodes)
    assert [] == [each for each in all_of(*nodes) if each.level == "FAIL" and not each.advice]


def test_a_node_that_left_for_good_is_told_once() -> None:
    """By whoever heard it, also where others have not or were started since; and that it is still in lists."""
    left = {"node_id": None, "presence": "departed", "connected": False, "receiving": False}
    unmet = {"node_id": None, "presence": "unmet", "connected": False, "receiving": False}
    gone = {"presence": "gone", "connected": False, "receiving": False}
    for other in (left, unmet, gone):
        lacking = {} if other is left else {"alone": "it serves without C"}
        nodes = (node(A, member(B), member(C, **left)), node(B, member(A), member(C, **other), **lacking), silent(C))
        text = f"{C} has left for good and is still in the lists of {A} and {B}"
        assert [("reachability", "WARN", text)] == found(*nodes)
        [advice] = [each.advice for each in all_of(*nodes) if each.level == "WARN"]
        assert "take its URL from there" in advice
    mourning = node(B, member(A), member(C, **unmet), alone="it serves without C", unlisted={"DNS": "no such name"})
    assert 3 == len(found(node(A, member(B), member(C, **left)), mourning, silent(C)))
    there = (node(A, member(B), member(C, **left, error="refused")), node(B, member(A), member(C)))
    assert ("reachability", "FAIL", f"{A} cannot send to {C}: refused") in found(*there, node(C, member(A), member(B)))


def test_records_that_differ_are_counted_where_that_is_known() -> None:
    """Against the first node."""
    one, two = pair(data_digest="10")
    two = Examined(seen=two.seen, vitals=two.vitals, differs=3)
    [(_, _, text)] = found(one, two)
    assert text.endswith(f"; 3 records at {B} differ from those of {A}")


def test_nodes_without_a_common_version_are_told_once() -> None:
    """And not as links that are missing."""
    refused = {"refusal": "version", "connected": False, "receiving": False}
    nodes = (node(A, member(B, **refused)), node(B, member(A, **refused), oldest_protocol=2, newest_protocol=2))
    told = found(*nodes)
    assert ["versions", "versions"] == [check for check, _, _ in told]
    assert f"{A} speaks version 1, {B} speaks version 2. Update {A}" in told[0][2]
    assert ("FAIL", "WARN") == (told[0][1], told[1][1])


@pytest.mark.parametrize(("why", "check"), [("secret", "membership"), ("clock", "clocks")])
def test_two_nodes_that_refuse_each_other_are_told_once(why: str, check: str) -> None:
    """Although both tell of it."""
    refused = {"connected": False, "receiving": False, "refusal": why, "error": "as it is"}
    nodes = (node(A, member(B, **refused)), node(B, member(A, **refused)))
    assert [check] == [name for name, _, _ in found(*nodes)]


def test_self_preservation_and_the_engine_are_told() -> None:
    """Each where it is."""
    held = PreservationState(active=True, enabled=True, heard=1, live=10, reason="few were heard")
    engine = EngineView(servers="nats://e", state="no-quorum", why="it has no leader")
    told = found(node(A, member(B), leases=held, engine=engine), node(B, member(A), engine=EngineView(state="ready")))
    assert {("self-preservation", "WARN"), ("engine", "FAIL")} == {(check, level) for check, level, _ in told}


def test_of_what_an_engine_that_is_away_brings_with_it_is_said_that_it_ends_with_it() -> None:
    """And not that an exchange or a repair helps, which go through the engine."""
    engine = EngineView(servers="nats://e", state="connecting", why="nobody is there")
    nodes = (
        node(A, member(B), engine=engine, age_ms=9_000),
        node(B, member(A), engine=engine, data_digest="f0", age_ms=1_000),
    )
    advice = {each.advice for each in all_of(*nodes) if each.check == "data"}
    assert {"that ends by itself once the engine works for all of them again"} == advice


def test_an_engine_that_works_for_nobody_is_told_once() -> None:
    """And not as links that are missing between the nodes around it."""
    cut = {"connected": False, "receiving": False, "presence": "steady"}
    engine = EngineView(servers="nats://e", state="refused", why="permit it")
    nodes = (node(A, member(B, **cut), engine=engine), node(B, member(A, **cut), engine=engine))
    assert [("engine", "FAIL", f"{A} and {B} say that the engine is refused: permit it")] == found(*nodes)


def test_a_node_that_does_not_tell_its_vitals_is_no_trouble() -> None:
    """One of an earlier release."""
    one, two = pair()
    assert [] == found(one, Examined(seen=two.seen, took=1.0))


# -- the command


def doctor(url: str, *arguments: str) -> Result:
    """Run it."""
    return CliRunner().invoke(app, ["doctor", *arguments], env={"ARTEMIS_SERVER": url, "COLUMNS": "300"})


def test_a_real_cluster_is_well_until_something_befalls_it() -> None:
    """A node that hangs does not hang the command, and a later release is told."""
    with running_cluster_sync(3) as cluster:
        one, two, three = cluster.nodes
        well = doctor(one.url, "--json")
        assert 0 == well.exit_code, well.output
        told = json.loads(well.stdout)
        assert (True, set(cluster.urls)) == (told["ok"], {each["url"] for each in told["nodes"]})
        # Of a machine that is busy there may be a word.
        levels = {each["check"]: each["level"] for each in told["findings"]}
        assert ["OK"] * 4 == [levels[check] for check in ("reachability", "membership", "versions", "options")]
        assert "FAIL" not in levels.values()
        three.stop()
        three.restart({CLAIM: "2-3"})
        mixed = doctor(one.url)
        assert (0, True) == (mixed.exit_code, "releases are mixed" in mixed.output), mixed.output
        two.pause()
        hanging = doctor(f"{two.url},{one.url}")
        two.resume()
        assert 1 == hanging.exit_code
        assert f"FAIL  reachability: {two.url} does not answer from here (no answer within 5 s)" in hanging.output


def test_a_node_that_has_left_is_one_finding() -> None:
    """That it is still in lists; nothing is said to be missing, and `status` finds no trouble."""
    with running_cluster_sync(3) as cluster:
        one, two, three = cluster.nodes
        left = CliRunner().invoke(app, ["cluster", "leave", "--yes"], env={"ARTEMIS_SERVER": three.url})
        assert 0 == left.exit_code, left.output
        assert 0 == three.process.wait(10)
        told = doctor(one.url, "--json")
        findings = [each for each in json.loads(told.stdout)["findings"] if each["level"] != "OK"]
        lists = " and ".join(sorted([one.url, two.url]))
        text = f"{three.url} has left for good and is still in the lists of {lists}"
        assert (0, [text]) == (told.exit_code, [each["text"] for each in findings if each["check"] != "queues"])
        status = CliRunner().invoke(app, ["cluster", "status"], env={"ARTEMIS_SERVER": two.url, "COLUMNS": "300"})
        assert (0, True) == (status.exit_code, f"{text}; take it from there." in status.output), status.output
        assert "without" not in status.output


def test_where_no_node_answers_that_is_said() -> None:
    """With the code of all commands for it."""
    with running_cluster_sync(1) as cluster:
        url = cluster.urls[0]
    assert 3 == doctor(url).exit_code


def test_a_node_alone_is_examined_too(cli_node_url: str) -> None:
    """It has no others, which is no fault."""
    assert 0 == doctor(cli_node_url).exit_code


def test_a_token_file_that_cannot_be_read_is_a_wrong_command(cli_node_url: str) -> None:
    """Also where the token would not be needed."""
    refused = doctor(cli_node_url, "--token-file", "/nowhere")
    assert (2, True) == (refused.exit_code, "cannot read /nowhere" in refused.output)
