"""The commands and another region: shown from the node's copy with its age, or refused; a node that shows none."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from artemis import ArtemisClient, Instance, InstanceChange
from artemis.cli.app import app
from artemis.cli.watching import Watcher
from artemis.testing import running_node_sync

Run = Callable[..., Result]
PATIENCE = 30.0


@pytest.fixture(scope="module")
def showing_url(cli_node_url: str) -> Iterator[str]:
    """A node of the region here that shows the region r of the other tests' node."""
    with running_node_sync(region="here", federate=f"r={cli_node_url}") as node:
        yield node.url


@pytest.fixture
def registered(run: Run, showing_url: str, fresh_service: str) -> Iterator[str]:
    """A service with an instance in the region r that the node here has copied."""
    given = run("register", "--service", fresh_service, "--ip", "10.0.0.7", "--port", "80")
    assert given.exit_code == 0, given.output
    until_copied(showing_url, fresh_service)
    yield fresh_service
    run("unregister", "--service", fresh_service, "--instance", "10.0.0.7:80")


def at(url: str, *arguments: str) -> Result:
    """Run a command against a node."""
    return CliRunner().invoke(app, arguments, env={"ARTEMIS_SERVER": url, "COLUMNS": "200"})


def until_copied(url: str, service: str) -> None:
    """Wait until a node shows an instance of a service of r."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = at(url, "instances", service, "--region", "r", "--json")
        if found.exit_code == 0 and json.loads(found.stdout)["instances"]:
            return
        time.sleep(0.05)
    raise AssertionError(found.output)


def test_instances_of_another_region_are_shown_with_their_age(showing_url: str, registered: str) -> None:
    """For people on stderr, for machines beside what there always was."""
    shown = at(showing_url, "instances", registered, "--region", "R")
    assert "10.0.0.7:80" in shown.stdout
    assert "Shown as this node has copied it from the region R, " in shown.output
    document = json.loads(at(showing_url, "instances", registered, "--region", "r", "--json").stdout)
    assert (document["regionId"], document["instances"][0]["regionId"]) == ("r", "r")
    assert isinstance(document["ageMs"], int)
    own = json.loads(at(showing_url, "instances", registered, "--region", "here", "--json").stdout)
    assert own == {"serviceId": registered, "instances": []}


def test_services_of_another_region_are_counted(showing_url: str, registered: str) -> None:
    """Those of the own region are not among them."""
    document = json.loads(at(showing_url, "services", "--region", "r", "--json").stdout)
    (found,) = [each for each in document["services"] if each["serviceId"] == registered]
    assert ([one["instanceId"] for one in found["instances"]], document["regionId"]) == (["10.0.0.7:80"], "r")
    table = at(showing_url, "services", "--region", "r").stdout
    (line,) = [line.split() for line in table.splitlines() if line.startswith(registered)]
    assert line[:2] == [registered, "1"]
    assert json.loads(at(showing_url, "services", "--json").stdout) == {"services": []}


def test_a_region_that_is_not_shown_is_refused(cli_node_url: str, showing_url: str) -> None:
    """With exit code 1 and the reason; nothing of the own region is shown in its place."""
    for url in (cli_node_url, showing_url):
        for command in (("instances", "orders"), ("services",), ("watch", "orders")):
            refused = at(url, *command, "--region", "mars")
            assert (refused.exit_code, "region 'mars' is not the region" in refused.output) == (1, True)
            assert (url == showing_url) == ("of other regions it shows 'r'" in refused.output)
    everything = at(showing_url, "watch", "*", "--region", "r")
    assert (everything.exit_code, "in the node's own region alone" in everything.output) == (2, True)


def test_what_is_copied_is_explained_by_its_own_nodes(cli_node_url: str, showing_url: str, registered: str) -> None:
    """A node knows what another region shows and not why, and says whom to ask."""
    refused = at(showing_url, "explain", registered, "10.0.0.7:80", "--region", "R")
    assert (1, True) == (refused.exit_code, f"its own nodes decide what is shown; ask {cli_node_url}" in refused.output)
    assert 0 == at(cli_node_url, "explain", registered, "10.0.0.7:80", "--region", "r").exit_code
    stranger = at(showing_url, "explain", registered, "10.0.0.7:80", "--region", "mars")
    assert (1, True) == (stranger.exit_code, "'mars' is not the region 'here'" in stranger.output)


def test_status_has_a_line_for_each_region(showing_url: str, registered: str) -> None:
    """How it stands, and how old what is shown may be."""
    assert registered
    shown = at(showing_url, "status").stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("region r")]
    assert "following for " in line
    assert " ms old" in line


@pytest.fixture
async def owner(cli_node_url: str) -> AsyncIterator[ArtemisClient]:
    """A client in the region r."""
    async with ArtemisClient(servers=[cli_node_url], region_id="r", zone_id="z") as client:
        yield client


async def test_a_watch_follows_another_region(showing_url: str, owner: ArtemisClient, fresh_service: str) -> None:
    """By long polls, which say all there is and then each change."""
    seen: asyncio.Queue[InstanceChange] = asyncio.Queue()

    async def look() -> list[Instance]:
        raise AssertionError("nothing has to be looked up")

    troubles: list[str] = []
    watcher = Watcher(showing_url, fresh_service, look, seen.put_nowait, troubles.append, 0.1, region="r")
    task = asyncio.create_task(watcher.run())
    try:
        async with (
            asyncio.timeout(PATIENCE),
            owner.registered(Instance(service_id=fresh_service, ip="10.0.0.9", port=80)),
        ):
            first = await seen.get()
        async with asyncio.timeout(PATIENCE):
            second = await seen.get()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [(each.change_type, each.instance.instance_id) for each in (first, second)] == [
        ("new", "10.0.0.9:80"),
        ("delete", "10.0.0.9:80"),
    ]
    assert troubles == []
