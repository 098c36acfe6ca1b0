"""What operators see and do of a cluster, at the doors of whole nodes: view, diff, repair, leave."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from test_mesh_nodes import Node, cluster

from msgtrans import TransportClient

Answer = dict[str, object]


async def ask(node: Node, path: str, body: Answer | None = None, **headers: str) -> tuple[int, Answer]:
    """Ask a node over HTTP: GET, or POST where there is a body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            "GET" if body is None else "POST",
            f"{node.server.url}/api/v1/{path}",
            json=body,
            headers=headers,
        ) as response,
    ):
        return response.status, json.loads(await response.read())


async def until_done(node: Node, path: str, body: Answer) -> Answer:
    """Begin a diff or a repair and return its outcome."""
    _, answer = await ask(node, path, body)
    while not answer["done"]:
        looks = iter((False, True))
        await node.notes.until(lambda looks=looks: next(looks))
        _, answer = await ask(node, f"cluster/outcome?number={answer['number']}")
    return answer


@pytest.fixture
async def pair(tmp_path) -> AsyncIterator[list[Node]]:
    """Two nodes that are each other's peers."""
    async with cluster(tmp_path, 2) as nodes:
        for node in nodes:
            await node.notes.until(
                lambda node=node: all(each[2] == "up" for each in node.server.node.members.present())
            )
        yield nodes


async def test_a_node_shows_itself_and_the_others(pair):
    """With all that is known of the link, and with vectors by which to compare."""
    one, two = pair
    one.register("a", "b")
    await two.until_shown("a", "b")
    status, shown = await ask(two, "cluster")
    assert (200, True, "artemis", two.server.url, "up", 2) == (
        status,
        shown["inCluster"],
        shown["clusterName"],
        shown["url"],
        shown["status"],
        shown["instances"],
    )
    (member,) = shown["members"]
    identity = one.server.node.identity
    assert (identity.node_id, identity.epoch, one.server.url, "z1", "up") == (
        member["nodeId"],
        member["epoch"],
        member["url"],
        member["zoneId"],
        member["status"],
    )
    assert (True, True, True, True, "steady", None) == (
        member["connected"],
        member["receiving"],
        member["servesRegistry"],
        member["configured"],
        member["presence"],
        member["why"],
    )
    assert (0, 0, 0, 0) == (member["lag"], member["queued"], member["dropped"], member["flaps"])
    assert 2 == shown["vector"][f"{identity.node_id}/{identity.epoch}"]
    assert member["lastContactMs"] >= 0
    assert abs(member["clockSkewMs"]) < 2_500
    assert shown["counters"]["changesApplied"] == 2


async def test_nodes_that_know_the_same_have_the_same_digest(pair):
    """Once all digests are made."""
    one, two = pair
    one.register("a", "b")
    await two.until_shown("a", "b")
    await one.notes.until(lambda: one.server.cluster.replica.digest == two.server.cluster.replica.digest)
    one.register("c")
    await two.until_shown("a", "b", "c")
    await one.notes.until(lambda: one.server.cluster.replica.digest == two.server.cluster.replica.digest)
    shown = [(await ask(node, "cluster"))[1]["dataDigest"] for node in pair]
    assert shown[0] == shown[1] != "0" * 16


async def test_the_view_is_there_over_the_binary_door(pair):
    """As all operations are."""
    one, _ = pair
    async with TransportClient(one.server.url.replace("http", "tcp")) as client:
        answer = await client.request(b"{}", biz_type=50)
        assert b'"inCluster":true' in answer.payload


async def test_a_diff_tells_what_differs_and_changes_nothing(pair):
    """What one side alone knows, and where the other is behind."""
    one, two = pair
    one.register("a", "b")
    await two.until_shown("a", "b")
    same = await until_done(two, "cluster/diff", {"peer": one.server.url})
    assert ("done", True, 0, []) == (
        same["peers"][0]["state"],
        *(same["peers"][0]["diff"][name] for name in ("complete", "count", "differences")),
    )
    two.server.cluster.replica.partners = ()
    swallowed = one.server.cluster.mesh._send
    one.server.cluster.mesh._send = lambda node, message: (
        swallowed(node, message) if type(message).__name__ == "Repair" else None
    )
    one.register("c")
    found = await until_done(two, "cluster/diff", {"peer": one.server.node.identity.node_id})
    (peer,) = found["peers"]
    assert (one.server.url, "done", 1, 1, {"orders": 1}, {"coming": 1}) == (
        peer["url"],
        peer["state"],
        peer["diff"]["count"],
        peer["diff"]["visible"],
        peer["diff"]["services"],
        peer["diff"]["reasons"],
    )
    (difference,) = peer["diff"]["differences"]
    assert ("orders", "c", "absent", "live", one.server.node.identity.node_id) == (
        difference["serviceId"],
        difference["instanceId"],
        difference["here"]["state"],
        difference["there"]["state"],
        difference["there"]["nodeId"],
    )
    assert {"a", "b"} == two.shown


async def test_a_repair_brings_what_is_missing_and_says_so(pair):
    """From all peers if none is named."""
    one, two = pair
    swallowed = one.server.cluster.mesh._send
    one.server.cluster.mesh._send = lambda node, message: (
        swallowed(node, message) if type(message).__name__ == "Repair" else None
    )
    two.server.cluster.replica.partners = ()
    one.register("a", "b", "c")
    two.server.cluster.replica.partners = None
    answer = await until_done(two, "cluster/repair", {})
    (peer,) = answer["peers"]
    assert ("done", one.server.url, 3, 0) == (
        peer["state"],
        peer["url"],
        peer["repair"]["repaired"],
        peer["repair"]["restated"],
    )
    assert {"a", "b", "c"} == two.shown
    _, shown = await ask(two, "cluster")
    assert 3 == shown["members"][0]["repaired"]


async def test_a_peer_that_is_none_is_refused_with_those_that_are(pair):
    """By id and by URL."""
    one, two = pair
    for path in ("cluster/diff", "cluster/repair"):
        status, answer = await ask(two, path, {"peer": "http://10.0.0.1:1"})
        assert 400 == status
        assert one.server.url in answer["message"]
    status, answer = await ask(two, "cluster/outcome?number=99")
    assert (400, True) == (status, "begin another one" in answer["message"])
    status, _ = await ask(two, "cluster/outcome?number=x")
    assert 400 == status


async def test_a_node_that_leaves_is_no_member_any_more(tmp_path):
    """Nobody waits for it, and what it accepted stays."""
    async with cluster(tmp_path, 3) as (one, two, three):
        two.register("a")
        await one.until_shown("a")
        await three.until_shown("a")
        two.register("b")
        status, answer = await ask(two, "cluster/leave", {"operatorId": "alice"})
        assert (200, 2) == (status, answer["members"])
        async with asyncio.timeout(30):
            await two.server.leaving.wait()
        await two.server.stop()
        gone = two.server.node.identity.node_id
        for node in (one, three):
            await node.notes.until(lambda node=node: gone not in node.server.node.members.ids)
            assert {"a", "b"} == node.shown


async def test_leave_asks_who_wants_it(pair):
    """It is not undone by a mistake."""
    one, _ = pair
    status, answer = await ask(one, "cluster/leave", {})
    assert (400, True) == (status, "operatorId" in answer["message"])
    assert not one.server.leaving.is_set()


async def test_what_changes_something_is_for_operators(tmp_path):
    """The view is for everybody."""
    token = tmp_path / "token"
    token.write_text("a-long-secret\n")
    async with cluster(tmp_path, 2, admin_token_file=token) as (one, two):
        for path in ("cluster/diff", "cluster/repair", "cluster/leave"):
            assert 401 == (await ask(one, path, {}))[0]
        assert 401 == (await ask(one, "cluster/outcome?number=1"))[0]
        assert 200 == (await ask(one, "cluster"))[0]
        status, answer = await ask(one, "cluster/repair", {}, Authorization="Bearer a-long-secret")
        assert (200, two.server.url) == (status, answer["peers"][0]["url"])


async def test_a_node_without_others_says_that_it_is_alone():
    """The view is of itself; nothing can be compared."""
    node = Node()
    await node.start()
    try:
        status, shown = await ask(node, "cluster")
        assert (200, False, [], "up") == (status, shown["inCluster"], shown["members"], shown["status"])
        for path in ("cluster/diff", "cluster/repair", "cluster/leave"):
            status, answer = await ask(node, path, {})
            assert (400, True) == (status, "start it with --peers" in answer["message"])
    finally:
        await node.server.stop()


def numbers(text: str) -> dict[str, float]:
    """The metrics of a cluster by name and labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("artemis_cluster_")]
    return {name: float(value) for name, _, value in lines}


async def scrape(node: Node) -> dict[str, float]:
    """Ask a node for its metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"{node.server.url}/metrics") as response:
        return numbers(await response.text())


async def test_metrics_tell_of_members_links_and_each_peer(pair):
    """By what clients are told of them, by direction, and by URL."""
    one, two = pair
    one.register("a", "b")
    await two.until_shown("a", "b")
    two.server.cluster.replica.want(one.server.node.identity.node_id)
    exchanges = two.server.cluster.replica.counters.exchanges
    await two.notes.until(lambda: two.server.cluster.replica.counters.exchanges > exchanges)
    found = await scrape(two)
    members = {word: found[f'artemis_cluster_members{{status="{word}"}}'] for word in ("up", "down", "unknown")}
    assert {"up": 1, "down": 0, "unknown": 0} == members
    assert (1, 1) == tuple(found[f'artemis_cluster_links{{direction="{way}"}}'] for way in ("in", "out"))
    peer = f'{{peer="{one.server.url}"}}'
    names = ("lag_changes", "differing_buckets", "queued_messages", "flaps")
    assert [0, 0, 0, 0] == [found[f"artemis_cluster_peer_{name}{peer}"] for name in names]
    assert found[f"artemis_cluster_peer_silence_seconds{peer}"] < 10
    assert abs(found[f"artemis_cluster_peer_clock_skew_seconds{peer}"]) < 2.5
    assert 2 == found['artemis_cluster_events_total{event="changes_applied"}']
    assert 0 == found["artemis_cluster_held_changes"]


async def test_metrics_count_refused_links_by_reason(tmp_path):
    """On both sides."""
    async with cluster(tmp_path, 1) as (one,):
        other = Node(peers=one.server.url, cluster_name="other", join_timeout=0)
        await other.start()
        try:
            await other.notes.until(lambda: other.server.cluster.mesh.refused)
            assert 1 <= (await scrape(other))['artemis_cluster_refused_links_total{dialled_by="us",reason="cluster"}']
            assert 1 <= (await scrape(one))['artemis_cluster_refused_links_total{dialled_by="them",reason="cluster"}']
        finally:
            await other.server.stop()


async def test_a_node_alone_has_no_metrics_of_a_cluster():
    """It pays nothing for what it does not have."""
    node = Node()
    await node.start()
    try:
        assert {} == await scrape(node)
    finally:
        await node.server.stop()


async def test_the_page_of_the_original_shows_lag_and_divergence_too(pair):
    """Beside what it always had; a node alone has nothing to add."""
    one, two = pair
    url = f"{two.server.url}/api/status/cluster.json"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        page = json.loads(await response.read())
    assert (2, ["up", "up"]) == (page["nodeCount"], [each["status"] for each in page["nodesStatus"]])
    (member,) = page["members"]
    assert (one.server.url, 0, True) == (member["url"], member["lag"], member["connected"])
    assert "differingBuckets" in member
