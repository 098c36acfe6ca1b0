"""A node is taken out of a cluster of real processes for good, while clients use all of it."""

import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from artemis import ArtemisClient, ClientOptions, Instance
from artemis.cli.app import app
from artemis.client.calls.transport import HttpTransport, Reply
from artemis.client.events import HeartbeatFailed
from artemis.client.nodes import addresses
from artemis.testing import running_cluster, running_cluster_sync
from artemis.testing.clusters import nodes_known_to
from artemis.testing.histories_observed import observed, sdk_callers

TTL, SETTLE = 2.0, 4.0
OPTIONS: dict[str, float | bool] = {"lease_ttl": TTL, "self_preservation": False}
ORDERS = Instance(region_id="local", zone_id="zone1", service_id="orders", instance_id="kept", url="http://x/")


def artemis(url: str, *arguments: str) -> Result:
    """Run a command against a node."""
    return CliRunner().invoke(app, ["cluster", *arguments], env={"ARTEMIS_SERVER": url, "COLUMNS": "200"})


def register(url: str, name: str) -> str:
    """Register an instance; the code of the answer."""
    instance = {"regionId": "local", "zoneId": "z", "serviceId": "orders", "instanceId": name, "url": "http://x/"}
    body = json.dumps({"instances": [instance]}).encode()
    asked = urllib.request.Request(f"{url}/api/registry/register.json", body, {"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - as above
        return str(json.load(answer)["responseStatus"]["errorCode"])


def shown(url: str) -> set[str]:
    """The instances of the service that a node shows."""
    body = json.dumps({"discoveryConfig": {"serviceId": "orders", "regionId": "local", "zoneId": "zone1"}}).encode()
    asked = urllib.request.Request(f"{url}/api/discovery/service.json", body, {"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - as above
        service = json.load(answer).get("service") or {}
    return {str(each["instanceId"]) for each in service.get("instances") or ()}


class Asking:
    """Tells when a list of nodes was asked for. Being no `HttpTransport` it is the only way to the nodes."""

    def __init__(self) -> None:
        self._http = HttpTransport(max_answer_bytes=1 << 20)
        self.asked = asyncio.Event()

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as its base
        """See `Transport.call`."""
        reply = await self._http.call(node, path, body, timeout)
        if path.startswith("cluster/"):
            self.asked.set()
        return reply

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._http.close()


def client_of(url: str, options: ClientOptions, transport: Asking | None = None) -> ArtemisClient:
    """A client that knows one node."""
    return ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options, transport=transport)


async def test_a_node_that_drains_costs_no_lookup_and_no_instance(tmp_path: Path) -> None:
    """It ends when the clients of all kinds renew elsewhere, and is told by what the command shows."""
    everybody = {"sdk-0", "sdk-1", "sdk-2"}
    async with (
        running_cluster(3, **OPTIONS) as cluster,
        observed(cluster, tmp_path / "history.jsonl", "answered", "kept", ttl=TTL, settle=SETTLE) as one,
        sdk_callers(one, 3) as callers,
    ):
        for node in range(3):
            await one.shows(node, *everybody)
        one.look(1)
        with one.history.fault("drained", cluster.nodes[0].url):
            result = await asyncio.to_thread(
                artemis, cluster.nodes[0].url, "leave", "--drain", "--yes", "--operator", "a"
            )
        assert 0 == result.exit_code, result.output
        assert "has left and ended" in result.output
        assert "still renewed there" in result.output
        assert 0 == await asyncio.to_thread(cluster.nodes[0].process.wait)
        assert set(cluster.urls[1:]) == nodes_known_to(cluster.nodes[1].url)
        for node in (1, 2):
            await one.shows(node, *everybody)
        for caller in callers:
            assert everybody == set(await caller.lookup("orders") or ())


def test_a_node_that_stays_is_used_again() -> None:
    """Until the end it can be undone; who waited for it is told."""
    with running_cluster_sync(2, lease_ttl=20) as cluster:
        one, other = cluster.nodes
        assert "success" == register(one.url, "kept-here")
        command = [sys.executable, "-m", "artemis", "cluster", "leave", "--drain", "--yes", "--server", one.url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as leaving:
            assert leaving.stderr is not None
            said = leaving.stderr.readline()
            assert "clients are sent away" in said or "1 instance is still renewed there" in said
            wait(lambda: nodes_known_to(other.url) == {other.url})
            assert nodes_known_to(one.url) == {other.url}
            leaving.send_signal(signal.SIGINT)
            rest = leaving.stderr.read()
            assert 130 == leaving.wait()
        assert "artemis cluster stay" in rest
        status = artemis(other.url, "status")
        assert 0 == status.exit_code, status.output
        assert f"{one.url} is taken out of service by" in status.output
        stays = artemis(one.url, "stay")
        assert (0, True) == (stays.exit_code, "stays" in stays.output)
        wait(lambda: nodes_known_to(other.url) == set(cluster.urls))
        assert "success" == register(one.url, "new-here")
        assert 1 == artemis(one.url, "stay").exit_code


def test_a_node_that_nobody_can_replace_does_not_drain_unless_forced() -> None:
    """The last one of a cluster."""
    with running_cluster_sync(2, **OPTIONS) as cluster:
        one, other = cluster.nodes
        assert 0 == other.stop()
        wait(lambda: nodes_known_to(one.url) == {one.url})
        refused = artemis(one.url, "leave", "--drain", "--yes")
        assert (1, True) == (refused.exit_code, "no other node is up" in refused.output)
        assert "success" == register(one.url, "a")
        forced = artemis(one.url, "leave", "--drain", "--yes", "--force")
        assert (0, True) == (forced.exit_code, "has left and ended" in forced.output), forced.output
        assert 0 == one.process.wait()


def test_two_nodes_that_drain_do_not_wait_for_each_other_in_turn() -> None:
    """The second is refused, and goes on serving."""
    with running_cluster_sync(2, lease_ttl=60) as cluster:
        one, other = cluster.nodes
        assert "success" == register(one.url, "a")
        late = artemis(one.url, "leave", "--drain", "--yes", "--timeout", "1")
        assert "goes on" in late.output
        wait(lambda: nodes_known_to(other.url) == {other.url})
        refused = artemis(other.url, "leave", "--drain", "--yes")
        assert (1, True) == (refused.exit_code, "no other node is up" in refused.output)
        assert "success" == register(other.url, "b")


async def test_an_instance_lives_while_its_client_knows_no_other_node() -> None:
    """Its client is sent away and comes back; the node hears it nevertheless, and waits."""
    options = ClientOptions(heartbeat_interval=0.3, address_interval=0, attempts=1)
    async with running_cluster(2, **OPTIONS) as cluster:
        one, other = cluster.nodes
        async with client_of(one.url, options) as client, client.registered(ORDERS):
            events = client.events()
            leaving = await asyncio.to_thread(artemis, one.url, "leave", "--drain", "--yes", "--timeout", "6")
            assert "is not done after 6 s, and goes on" in leaving.output, leaving.output
            assert "1 instance is still renewed there" in leaving.output
            async with asyncio.timeout(30):
                await anext(event async for event in events if isinstance(event, HeartbeatFailed))
            assert {"kept"} == shown(other.url)
            assert 0 == (await asyncio.to_thread(artemis, one.url, "stay")).exit_code
        await asyncio.to_thread(wait, lambda: not shown(other.url))


async def test_a_client_that_learnt_its_nodes_while_the_others_were_away_finds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks for them again when its only node sends it away, long before it would."""
    monkeypatch.setattr(addresses, "SOON", 0.1)
    options = ClientOptions(heartbeat_interval=0.3, address_interval=3600)
    async with running_cluster(2, **OPTIONS) as cluster:
        one, other = cluster.nodes
        other.pause()
        await asyncio.to_thread(wait, lambda: nodes_known_to(one.url) == {one.url})
        asking = Asking()
        async with client_of(one.url, options, asking) as client, client.registered(ORDERS):
            async with asyncio.timeout(30):
                await asking.asked.wait()
            other.resume()
            await asyncio.to_thread(cluster.wait_linked)
            left = await asyncio.to_thread(artemis, one.url, "leave", "--drain", "--yes", "--timeout", "40")
            assert (0, True) == (left.exit_code, "has left and ended" in left.output), left.output
            assert {"kept"} == shown(other.url)
            assert other.url == client.status.node


def test_a_drain_that_takes_too_long_is_told_and_goes_on() -> None:
    """An instance whose client is stuck to the node is waited for until its lease ends."""
    with running_cluster_sync(2, lease_ttl=60) as cluster:
        one = cluster.nodes[0]
        assert "success" == register(one.url, "stuck")
        late = artemis(one.url, "leave", "--drain", "--yes", "--timeout", "1")
        assert 1 == late.exit_code
        assert "is not done after 1 s, and goes on" in late.output
        assert one.process.poll() is None
        assert 0 == artemis(one.url, "leave", "--yes").exit_code
        assert 0 == one.process.wait()


def wait(holds: object, seconds: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)
