"""A cluster goes from one version of the messages between nodes to the next, node by node."""

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest
from mesh_nodes import Member, members
from typer.testing import CliRunner

from artemis.cli.app import app
from artemis.cluster import messages
from artemis.cluster.messages import Changes, Digest, Versions
from artemis.cluster.trial import CLAIM, spoken_versions
from artemis.testing import running_cluster
from artemis.testing.histories_observed import observed, sdk_callers, until

TTL, SETTLE = 2.0, 4.0
OLD, BOTH, NEW = {CLAIM: "1-1"}, {CLAIM: "1-2"}, {CLAIM: "2-2"}


def members_of(url: str) -> list[dict[str, object]]:
    """What a node says of the others."""
    return json.loads(page(f"{url}/api/v1/cluster"))["members"]


def page(url: str) -> str:
    """A page of a node."""
    with urllib.request.urlopen(url, timeout=5.0) as answer:  # noqa: S310 - http
        return answer.read().decode()


async def test_no_lookup_fails_while_the_cluster_goes_from_old_to_both_to_new(tmp_path: Path) -> None:
    """Each node is ended and started twice: first beside the old ones with both versions, then with the new one only.

    In the end all speak the new one with each other, and all that clients kept is there.
    """
    options: dict[str, float | bool] = {"lease_ttl": TTL, "self_preservation": False}
    everybody = {"sdk-0", "sdk-1", "sdk-2"}
    async with (
        running_cluster(3, data_dir=tmp_path, environments=dict.fromkeys(range(3), OLD), **options) as cluster,
        observed(cluster, tmp_path / "history.jsonl", "answered", "kept", ttl=TTL, settle=SETTLE) as one,
        sdk_callers(one, 3) as callers,
    ):
        for node in range(3):
            await one.shows(node, *everybody)
        for release in (BOTH, NEW):
            for n, node in enumerate(cluster.nodes):
                with one.history.fault("upgraded", node.url):
                    await asyncio.to_thread(node.stop)
                    await asyncio.to_thread(node.restart, release)
                await one.shows(n, *everybody)
                await asyncio.to_thread(cluster.wait_linked)
        for node in cluster.nodes:
            await until(lambda node=node: [2, 2] == [each.get("protocol") for each in members_of(node.url)])
        for caller in callers:
            assert everybody == set(await caller.lookup("orders") or ())


async def test_nodes_without_a_common_version_say_so_and_lose_nothing(tmp_path: Path) -> None:
    """Each goes on alone, names the other's versions and what to do, and has what the other accepted once it can."""
    async with (
        running_cluster(2, data_dir=tmp_path, environments={0: OLD, 1: OLD}, join_timeout=1, lease_ttl=60) as cluster,
        observed(cluster, tmp_path / "history.jsonl", "kept", ttl=60, settle=SETTLE) as one,
    ):
        old, new = cluster.nodes
        a, b = one.direct
        assert "ok" == await a.register("orders", "before", "x")
        await one.shows(1, "before")
        await asyncio.to_thread(new.stop)
        await asyncio.to_thread(new.restart, NEW)
        assert ("ok", "ok") == (await a.register("orders", "at-old", "x"), await b.register("orders", "at-new", "x"))
        for node in (old, new):
            await until(lambda node=node: ["version"] == [each.get("refusal") for each in members_of(node.url)])
            [told] = members_of(node.url)
            assert f"({old.url}) to a release that speaks version 2" in str(told["error"])
            assert "nothing is lost meanwhile" in str(told["error"])
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["cluster", "status", "--server", old.url])
        assert 1 == shown.exit_code
        assert f"{old.url} speaks version 1, {new.url} speaks version 2. Update {old.url};" in shown.output
        await one.shows(0, "before", "at-old")
        await one.shows(1, "before", "at-new")
        metrics = await asyncio.to_thread(page, f"{old.url}/metrics")
        assert 'artemis_cluster_refused_links_total{dialled_by="us",reason="version"}' in metrics
        await asyncio.to_thread(old.stop)
        await asyncio.to_thread(old.restart, BOTH)
        for node in (0, 1):
            await one.shows(node, "before", "at-old", "at-new")


async def test_a_message_of_a_later_version_is_sent_to_those_only_who_speak_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody else misses it, or ends the link for it."""
    monkeypatch.setattr(messages, "SINCE", {Digest: 2})
    old, both, new = (
        Member("old", versions=Versions(1, 1)),
        Member("both", versions=Versions(1, 2)),
        Member("new", versions=Versions(2, 2)),
    )
    async with members(old, both, new):
        both.dial(old, new)
        await both.until_linked(old, new)
        assert [1, 2] == [both.state("old").protocol, both.state("new").protocol]
        both.replica.outbox.append((None, Digest(1, b"")))
        known = both.say(1)
        await new.until(lambda: len(new.replica.received) == 2)
        await old.until(lambda: old.replica.received)
        assert [("both", Digest(1, b"")), ("both", known)] == new.replica.received
        assert [("both", known)] == old.replica.received
        assert isinstance(known, Changes)


def test_what_a_node_says_it_speaks_is_what_it_speaks_unless_that_is_tried_out() -> None:
    """A claim that cannot be read is none."""
    assert messages.SPOKEN == spoken_versions({}) == spoken_versions({CLAIM: "x"})
    assert Versions(1, 2) == spoken_versions({CLAIM: "1-2"})
