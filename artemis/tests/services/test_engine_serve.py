"""Whole nodes around real nats-servers: `artemis serve --cluster nats://...`, killed, cut off and misled."""

import asyncio
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats
import pytest
from engine_clusters import ask, register, shown, until, until_all_show, view
from own_clocks import own_clock

from artemis import ArtemisClient
from artemis.testing.clusters import nodes_known_to, running_cluster, running_cluster_sync
from artemis.testing.nats_servers import NatsServer, free_port, nats_cluster, nats_server
from artemis.testing.node import NodeFailedError, OptionValue, RunningNode, arguments_of

pytestmark = pytest.mark.skipif(nats_server() is None, reason="there is no nats-server")
ARTEMIS = (sys.executable, "-m", "artemis")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a server, which ends with the test."""
    one = NatsServer(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


def test_what_is_registered_at_one_node_all_show(server: NatsServer) -> None:
    """And each offers all nodes to clients, as the nodes of a mesh do."""
    with running_cluster_sync(3, engine=server.url, lease_ttl=600) as cluster:
        for n, node in enumerate(cluster.nodes):
            register(node.url, f"at-{n}")
        until_all_show(cluster, {"at-0", "at-1", "at-2"})


def test_without_the_engine_all_go_on_and_are_one_again_when_it_is_back(server: NatsServer) -> None:
    """What each accepted meanwhile reaches the others; clients are offered all nodes all the time."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600) as cluster:
        a, b = cluster.nodes
        server.kill()
        until(lambda: bool(view(a.url)["alone"]) and bool(view(b.url)["alone"]), lambda: (a.output, b.output))
        register(a.url, "at-a")
        register(b.url, "at-b")
        assert ({"at-a"}, {"at-b"}) == (shown(a.url), shown(b.url))
        assert {a.url, b.url} == nodes_known_to(a.url) == nodes_known_to(b.url)
        server.start()
        until_all_show(cluster, {"at-a", "at-b"})
        until(lambda: view(a.url)["alone"] is None, lambda: a.output)


def test_a_node_that_was_killed_comes_back_with_what_it_knew(server: NatsServer, tmp_path: Path) -> None:
    """Read on from its snapshot, with what the others accepted meanwhile."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600, data_dir=tmp_path, snapshot_interval=1) as cluster:
        a, b = cluster.nodes
        register(a.url, "at-a")
        until_all_show(cluster, {"at-a"})
        until((tmp_path / "node1" / "registry.snapshot").exists, lambda: b.output)
        b.kill()
        register(a.url, "meanwhile")
        b.restart()
        assert {"at-a", "meanwhile"} == shown(b.url)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Give a cluster of three servers, which ends with the test."""
    servers = nats_cluster(tmp_path / "nats")
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.kill()


def test_the_leader_of_the_servers_is_not_missed(three: list[NatsServer]) -> None:
    """What is accepted while another one takes its place reaches everybody."""
    engine = "nats://" + ",".join(server.address for server in three)
    with running_cluster_sync(2, engine=engine, lease_ttl=600) as cluster:
        a, b = cluster.nodes
        leader, copies = asyncio.run(leader_of(three[0].url))
        assert 3 == copies
        next(server for server in three if server.folder.name == leader).kill()
        register(a.url, "at-a")
        register(b.url, "at-b")
        until_all_show(cluster, {"at-a", "at-b"})
        until(lambda: view(a.url)["dataDigest"] == view(b.url)["dataDigest"], lambda: (a.output, b.output))


def test_a_bucket_has_as_many_copies_as_are_asked_for(three: list[NatsServer]) -> None:
    """By the node that creates it; where there are too few servers it says what to do."""
    engine = "nats://" + ",".join(server.address for server in three)
    with one_node(engine, cluster_replicas=5, join_timeout=1) as node:
        until(lambda: "--cluster-replicas" in str(engine_of(node.url)["why"]), lambda: view(node.url))
    with one_node(engine, cluster_replicas=2):
        assert 2 == asyncio.run(leader_of(three[0].url))[1]


def test_a_node_starts_without_the_engine_and_joins_when_it_is_there(server: NatsServer) -> None:
    """It serves after the join timeout, says why, and is one with the others later, by itself."""
    server.kill()
    with running_cluster_sync(1, engine=server.url, lease_ttl=600, join_timeout=1) as cluster:
        (node,) = cluster.nodes
        register(node.url, "early")
        seen = view(node.url)
        engine = seen["engine"]
        assert isinstance(engine, dict)
        assert ("connecting", False, 1) == (engine["state"], engine["synced"], engine["waiting"])
        assert "cannot be reached" in str(engine["why"])
        assert "the engine" in str(seen["alone"])
        server.start()
        until(lambda: engine_of(node.url)["state"] == "ready", lambda: node.output)
        with one_node(server.url) as further:
            assert {"early"} == shown(further.url)
            until(lambda: nodes_known_to(node.url) == {node.url, further.url}, lambda: node.output)


def test_a_node_that_leaves_is_known_no_more(server: NatsServer) -> None:
    """To the others, at once; what was registered at it stays until it is silent for its TTL."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600) as cluster:
        a, b = cluster.nodes
        register(a.url, "at-a")
        until_all_show(cluster, {"at-a"})
        answer = ask(a.url, "/api/v1/cluster/leave", {"operatorId": "test"})
        assert 0 == a.process.wait(15), answer
        until(lambda: view(b.url)["members"] == [], lambda: b.output)
        assert {"at-a"} == shown(b.url)


def test_a_copy_of_a_node_ends_with_words(server: NatsServer, tmp_path: Path) -> None:
    """One that serves stays, and goes on; the copy never serves."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600, data_dir=tmp_path) as cluster:
        a, _ = cluster.nodes
        register(a.url, "at-a")
        until_all_show(cluster, {"at-a"})
        shutil.copytree(tmp_path / "node0", tmp_path / "copy")
        copy = RunningNode(arguments_of({"cluster": server.url, "port": 0, "data_dir": str(tmp_path / "copy")}))
        try:
            assert 1 == copy.process.wait(30)
            with pytest.raises(NodeFailedError, match="there are two nodes with the id"):
                copy.wait_ready()
            assert "node serves" not in copy.output
        finally:
            copy.stop()
        assert a.process.poll() is None
        cluster.wait_linked(10)
        assert {"at-a"} == shown(a.url)


def test_an_engine_that_hangs_takes_nobody_down(server: NatsServer) -> None:
    """All others are silent then, and none of them is judged for it; the age of what is shown says it."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600) as cluster:
        a, b = cluster.nodes
        server.halt()
        until(lambda: engine_of(a.url)["state"] != "ready", lambda: view(a.url))
        register(a.url, "at-a")
        until(lambda: int(str(view(a.url)["ageMs"])) > 8_000, lambda: view(a.url))
        assert {a.url, b.url} == nodes_known_to(a.url)
        server.go_on()
        until_all_show(cluster, {"at-a"})


def test_of_two_nodes_whose_clocks_differ_the_wrong_one_knows(server: NatsServer, tmp_path: Path) -> None:
    """The engine's clock is the third, so the one that is wrong serves no registry until it is right."""
    clock, environment = own_clock(tmp_path)
    with running_cluster_sync(2, engine=server.url, lease_ttl=8, environments={1: environment}) as cluster:
        a, b = cluster.nodes
        clock.write_text("+30\n")
        until(lambda: view(b.url)["servesRegistry"] is False, lambda: (view(a.url), view(b.url)))
        until(lambda: nodes_known_to(a.url) == {a.url}, lambda: view(a.url))
        assert "wall clock of this node is" in str(view(b.url)["why"])
        until(lambda: "the clock of node" in str(engine_of(a.url)["refused"]), lambda: view(a.url))
        assert view(a.url)["servesRegistry"] is True
        clock.write_text("+0\n")
        cluster.wait_linked()


def test_operators_decisions_count_for_all(server: NatsServer) -> None:
    """Whichever node takes them, as in a mesh."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600) as cluster:
        a, b = cluster.nodes
        register(a.url, "x", "y")
        until_all_show(cluster, {"x", "y"})
        subprocess.run([*ARTEMIS, "pullout", "orders", "x", "--server", b.url], check=True, capture_output=True)
        until_all_show(cluster, {"y"})
        subprocess.run([*ARTEMIS, "pullin", "orders", "x", "--server", a.url], check=True, capture_output=True)
        until_all_show(cluster, {"x", "y"})


def test_diff_and_repair_are_with_the_engine(server: NatsServer) -> None:
    """Which is the one peer of every node."""
    with running_cluster_sync(1, engine=server.url, lease_ttl=600) as cluster:
        url = cluster.nodes[0].url
        register(url, "x", "y")
        until(lambda: engine_of(url)["waiting"] == 0, lambda: view(url))
        for command, words in (("diff", "knows the same"), ("repair", "done")):
            done = subprocess.run(
                [*ARTEMIS, "cluster", command, "--server", url], check=False, capture_output=True, text=True
            )
            assert (0, True) == (done.returncode, words in done.stdout + done.stderr), done


def test_a_bucket_that_is_deleted_is_filled_again(server: NatsServer) -> None:
    """With what the nodes know; nothing is lost and callers notice nothing."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600) as cluster:
        a, b = cluster.nodes
        register(a.url, "at-a")
        until_all_show(cluster, {"at-a"})
        asyncio.run(delete_stream(server.url))
        register(b.url, "at-b")
        until_all_show(cluster, {"at-a", "at-b"})
        until(
            lambda: engine_of(a.url)["remade"] == 1 and engine_of(a.url)["state"] == "ready", lambda: view(a.url), 90.0
        )
        until(lambda: view(a.url)["dataDigest"] == view(b.url)["dataDigest"], lambda: (a.output, b.output))
        with one_node(server.url) as further:
            assert {"at-a", "at-b"} == shown(further.url)


def test_a_full_bucket_is_said_and_nothing_is_lost(server: NatsServer) -> None:
    """New instances wait at their node, which serves them; the others go on as ever."""
    with running_cluster_sync(2, engine=server.url, lease_ttl=600, cluster_max_entries=1_000) as cluster:
        a, b = cluster.nodes
        register(a.url, *[f"i{n}" for n in range(1_100)])
        until(lambda: engine_of(a.url)["state"] == "full", lambda: view(a.url))
        assert 1_100 == len(shown(a.url))
        until(lambda: len(shown(b.url)) >= 990, lambda: view(b.url))
        until(lambda: engine_of(a.url)["waiting"] == 1_100 - len(shown(b.url)), lambda: (view(a.url), view(b.url)))
        assert 1_100 == len(shown(a.url))
        done = status(a.url)
        assert (1, True) == (done.returncode, "says that the engine is full" in done.stdout), done.stdout


@pytest.mark.parametrize(
    ("config", "jetstream", "state", "words"),
    [
        ("", False, "refused", "no JetStream"),
        ("authorization { token: secret }", True, "refused", "does not know this user"),
    ],
)
def test_an_engine_that_cannot_be_used_is_said(
    tmp_path: Path, config: str, jetstream: bool, state: str, words: str
) -> None:
    """The node serves what it has, and an operator sees why that is all."""
    server = NatsServer(tmp_path / "nats", config=config, jetstream=jetstream)
    server.start()
    try:
        with running_cluster_sync(1, engine=server.url, join_timeout=1) as cluster:
            url = cluster.nodes[0].url
            until(lambda: engine_of(url)["state"] == state, lambda: engine_of(url))
            assert words in str(engine_of(url)["why"])
            done = status(url)
            assert (1, True) == (done.returncode, words in done.stdout), done.stdout
    finally:
        server.kill()


def test_a_login_lets_nodes_in(tmp_path: Path) -> None:
    """And a file that others can read is said."""
    server = NatsServer(tmp_path / "nats", config="authorization { user: artemis, password: s3cret }")
    server.start()
    login = tmp_path / "login"
    login.write_text("artemis\ns3cret\n")
    login.chmod(0o644)
    try:
        with running_cluster_sync(2, engine=server.url, cluster_password_file=str(login)) as cluster:
            register(cluster.nodes[0].url, "x")
            until_all_show(cluster, {"x"})
            assert "login of the engine readable by others" in cluster.nodes[0].output
    finally:
        server.kill()


def test_another_region_is_another_cluster(server: NatsServer) -> None:
    """Nodes of two regions with one name say so on both sides, and neither takes the other's data."""
    with running_cluster_sync(1, engine=server.url, lease_ttl=600) as cluster:
        here = cluster.nodes[0]
        register(here.url, "here")
        with one_node(server.url, region="elsewhere", join_timeout=1) as there:
            until(lambda: engine_of(there.url)["state"] == "foreign", lambda: engine_of(there.url))
            for node in (here, there):
                until(lambda node=node: bool(engine_of(node.url)["refused"]), lambda node=node: node.output)
            for url in (here.url, there.url):
                (sentence,) = engine_of(url)["refused"] or [""]
                assert "give that of one another --cluster-name" in sentence
            assert 0 == view(there.url)["instances"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cluster", "nats://h", "--peers", "http://h:1"], "by its peers or by --cluster, not both"),
        (["--cluster", "nats://h", "--peers-file", "x"], "by its peers or by --cluster, not both"),
        (["--cluster", "http://h"], "give nats://HOST:PORT"),
        (["--cluster", "nats://user:secret@h"], "belong into files"),
        (["--cluster", "nats://localhost", "--cluster-secret-file", "x"], "cluster-secret-file: peers use it"),
        (["--cluster", "nats://10.1.2.3"], "give --self-url"),
        (["--cluster-token-file", "x"], "cluster-token-file: is of use only with --cluster"),
        (["--cluster-replicas", "3"], "cluster-replicas: is of use only with --cluster"),
        (["--cluster-max-entries", "5000"], "cluster-max-entries: is of use only with --cluster"),
        (["--cluster", "nats://h", "--cluster-token-file", "x", "--cluster-password-file", "y"], "not several"),
    ],
)
def test_wrong_options_are_refused(options: list[str], words: str) -> None:
    """With a sentence that says what to give."""
    done = subprocess.run([*ARTEMIS, "serve", *options], check=False, capture_output=True, text=True, timeout=30)
    assert (2, True) == (done.returncode, words in done.stderr), done.stderr


def test_a_login_that_cannot_be_read_keeps_a_node_from_starting(tmp_path: Path) -> None:
    """With its name, and that of the option."""
    options = ["--port", "0", "--cluster", "nats://localhost", "--cluster-token-file", str(tmp_path / "none")]
    done = subprocess.run([*ARTEMIS, "serve", *options], check=False, capture_output=True, text=True, timeout=30)
    words = f"--cluster-token-file: cannot read {tmp_path / 'none'}"
    assert (1, True) == (done.returncode, words in done.stderr), done.stderr


async def test_a_rolling_restart_fails_no_lookup(server: NatsServer, tmp_path: Path) -> None:
    """Of a client that is told of the nodes, as in a mesh."""
    async with running_cluster(3, engine=server.url, lease_ttl=600, data_dir=tmp_path) as cluster:
        register(cluster.nodes[0].url, "x")
        await asyncio.to_thread(until_all_show, cluster, {"x"})
        failed: list[str] = []
        done = asyncio.Event()

        async def look_up(client: ArtemisClient) -> None:
            while not done.is_set():
                found = {each.instance_id for each in (await client.service("orders")).instances}
                if found != {"x"}:
                    failed.append(str(found))
                await asyncio.sleep(0.02)

        urls = [node.url for node in cluster.nodes]
        async with ArtemisClient(servers=urls, region_id="local", zone_id="zone1") as client:
            looking = asyncio.create_task(look_up(client))
            for node in cluster.nodes:
                await asyncio.to_thread(node.stop)
                await asyncio.to_thread(node.restart)
                await asyncio.to_thread(cluster.wait_linked)
            done.set()
            await looking
        assert [] == failed


@contextmanager
def one_node(engine: str, **options: OptionValue) -> Iterator[RunningNode]:
    """A node that serves for the length of the block, perhaps beside others."""
    node = RunningNode(arguments_of({"port": 0, "cluster": engine, "lease_ttl": 600, **options}))
    try:
        node.wait_ready()
        yield node
    finally:
        node.stop()


def engine_of(url: str) -> dict[str, object]:
    """How a node stands with its engine."""
    engine = view(url)["engine"]
    assert isinstance(engine, dict)
    return engine


def status(url: str) -> subprocess.CompletedProcess[str]:
    """What `artemis cluster status` says."""
    return subprocess.run([*ARTEMIS, "cluster", "status", "--server", url], check=False, capture_output=True, text=True)


async def delete_stream(url: str) -> None:
    """Delete the bucket of the cluster."""
    connection = await nats.connect(url)
    await connection.jetstream().delete_stream("KV_artemis_artemis")
    await connection.close()


async def leader_of(url: str) -> tuple[str, int]:
    """The name of the server that leads those that keep the bucket, and how many these are."""
    connection = await nats.connect(url)
    found = await connection.jetstream().stream_info("KV_artemis_artemis")
    await connection.close()
    assert found.cluster is not None
    return str(found.cluster.leader), int(found.config.num_replicas or 0)


_ACCOUNT = "accounts { A: { %s users: [ {user: a, password: a} ] } }\nno_auth_user: a\n"


@pytest.mark.parametrize("own", [False, True])
def test_a_leaf_node_shares_the_jetstream_of_its_hub_or_is_told_of(tmp_path: Path, own: bool) -> None:
    """One with a JetStream of its own has another bucket, and nodes at both sides say so."""
    port = free_port()
    hub = NatsServer(
        tmp_path / "hub",
        limits="domain: hub",
        config=f"leafnodes {{ listen: 127.0.0.1:{port} }}\n" + _ACCOUNT % "jetstream: enabled,",
    )
    remote = f'leafnodes {{ remotes = [ {{ url: "nats-leaf://a:a@127.0.0.1:{port}", account: A }} ] }}\n'
    leaf = NatsServer(
        tmp_path / "leaf",
        jetstream=own,
        limits="domain: leaf",
        config=remote
        + (_ACCOUNT % ("jetstream: enabled," if own else ""))
        + ("" if own else "default_js_domain { A: hub }\n"),
    )
    try:
        hub.start()
        leaf.start()
        with one_node(hub.url) as a, one_node(leaf.url) as b:
            until(lambda: nodes_known_to(a.url) == {a.url, b.url}, lambda: a.output)
            register(b.url, "x")
            if own:
                until(lambda: "different buckets" in str(engine_of(a.url)["refused"]), lambda: view(a.url))
                assert (1, True) == (status(a.url).returncode, "different buckets" in status(a.url).stdout)
            else:
                until(lambda: shown(a.url) == {"x"}, lambda: view(a.url))
                hub.kill()
                until(lambda: engine_of(b.url)["state"] != "ready", lambda: view(b.url))
                register(b.url, "y")
                hub.start()
                until(lambda: shown(a.url) == {"x", "y"}, lambda: (view(a.url), view(b.url)))
    finally:
        hub.kill()
        leaf.kill()


PERMITTED = """authorization { users: [ { user: artemis, password: secret, permissions: {
  publish: [ "artemis.artemis.>", "$KV.artemis_artemis.>",
    "$JS.API.STREAM.INFO.KV_artemis_artemis", "$JS.API.STREAM.CREATE.KV_artemis_artemis",
    "$JS.API.STREAM.UPDATE.KV_artemis_artemis",
    "$JS.API.STREAM.PURGE.KV_artemis_artemis", "$JS.API.DIRECT.GET.KV_artemis_artemis.>",
    "$JS.API.CONSUMER.CREATE.KV_artemis_artemis", "$JS.API.CONSUMER.DELETE.KV_artemis_artemis.>",
    "$JS.FC.KV_artemis_artemis.>" ]
  subscribe: [ "artemis.artemis.>", "_INBOX.>" ] } } ] }
"""
"""What docs/operating.md says that nodes must be permitted."""


@pytest.fixture
def permitting(tmp_path: Path) -> Iterator[tuple[NatsServer, dict[str, OptionValue]]]:
    """Give a server that permits as much, and the options of nodes that log in there."""
    server = NatsServer(tmp_path / "nats", config=PERMITTED)
    server.start()
    login = tmp_path / "login"
    login.write_text("artemis\nsecret\n")
    login.chmod(0o600)
    yield server, {"lease_ttl": 600, "cluster_password_file": str(login)}
    server.kill()


def test_nodes_need_no_more_than_the_documents_say(
    permitting: tuple[NatsServer, dict[str, OptionValue]], tmp_path: Path
) -> None:
    """With these permissions and no others all that nodes do works."""
    documented = Path(__file__).parents[3] / "docs" / "operating.md"
    assert PERMITTED in documented.read_text(encoding="utf-8")
    server, options = permitting
    with running_cluster_sync(2, engine=server.url, **options) as cluster:
        a, b = cluster.nodes
        register(a.url, "x")
        until_all_show(cluster, {"x"})
        done = subprocess.run([*ARTEMIS, "cluster", "diff", "--server", b.url], check=False, capture_output=True)
        assert 0 == done.returncode, done
        counters = view(a.url)["counters"]
        assert isinstance(counters, dict)
        assert {0} == {counters.get(name, 0) for name in ("engineMessagesErrors", "engineFailures")}, counters
        assert "Violation" not in (tmp_path / "nats" / "log").read_text()
        assert "ready" == engine_of(a.url)["state"]


def test_nodes_that_may_not_talk_to_each_other_say_so(permitting: tuple[NatsServer, dict[str, OptionValue]]) -> None:
    """With the bucket permitted and nothing else: in status, metrics and log and by `doctor`, until it is mended."""
    server, options = permitting
    with running_cluster_sync(2, engine=server.url, **options) as cluster:
        a, b = cluster.nodes
        server.configure(PERMITTED.replace('"artemis.artemis.>", ', ""))
        for node in cluster.nodes:
            until(lambda node=node: engine_of(node.url)["state"] == "refused", lambda node=node: view(node.url))
        for words in (
            "not hear this node",
            "this node does not hear the others; permit it to subscribe to artemis.artemis.>",
        ):
            until(lambda words=words: words in str(engine_of(a.url)["why"]), lambda: engine_of(a.url))
        register(a.url, "x")
        until_all_show(cluster, {"x"})
        with urllib.request.urlopen(f"{b.url}/metrics", timeout=10) as response:  # noqa: S310
            assert 'artemis_cluster_engine_state{state="refused"} 1.0' in response.read().decode()
        told = subprocess.run([*ARTEMIS, "doctor", "--server", a.url], check=False, capture_output=True, text=True)
        assert 1 == told.stdout.count("FAIL"), told.stdout
        (line,) = [line for line in told.stdout.splitlines() if line.startswith("FAIL")]
        assert (1, True) == (told.returncode, "permit it to publish to artemis.artemis.>" in line), told
        assert any("engine not ready" in line and "permit it" in line for line in a.output.splitlines())
        server.configure(PERMITTED)
        for node in cluster.nodes:
            until(lambda node=node: engine_of(node.url)["state"] == "ready", lambda node=node: view(node.url))
        cluster.wait_linked()
