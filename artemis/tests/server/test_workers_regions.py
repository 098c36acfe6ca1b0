"""`artemis serve --workers 2 --federate`: each worker shows other regions, and none is asked before it has a copy."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from worker_machines import DEADLINE, LOOKUP, REGISTER, Connection, Machine, instance, labelled, machine

from artemis.testing.links import LinkProxy, Weather
from artemis.testing.nats_servers import NatsServer, nats_server
from artemis.testing.node import RunningNode, running_node

ELSEWHERE = {"discoveryConfigs": [{"serviceId": "s"}], "regionId": "eu", "zoneId": "zone1"}


@pytest.fixture
async def eu() -> AsyncIterator[RunningNode]:
    """A node of another region, with an instance that nobody has to renew."""
    async with running_node(region="eu", lease_ttl=600) as node:
        await _register(node, "x")
        yield node


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Give a server of NATS, which ends with the test."""
    one = NatsServer(tmp_path / "nats")
    one.start()
    yield one
    one.kill()


async def _register(node: RunningNode, name: str) -> None:
    request = {"instances": [{**instance(name), "regionId": "eu"}]}
    async with aiohttp.ClientSession() as session, session.post(f"{node.url}{REGISTER}", json=request) as answer:
        assert "success" == (await answer.json())["responseStatus"]["status"]


async def _copied(connection: Connection) -> list[str] | str:
    """The instances of `s` in eu that a worker shows, or why it shows none."""
    answer = (await connection.ask(LOOKUP, ELSEWHERE)).json()
    status, services = answer["responseStatus"], answer["services"]
    if not services:
        return str(status["message"])  # type: ignore[index]
    return sorted(each["instanceId"] for each in services[0]["instances"])  # type: ignore[index]


async def _until_copied(connections: list[Connection], names: list[str]) -> None:
    async with asyncio.timeout(DEADLINE):
        while [names] * len(connections) != [await _copied(each) for each in connections]:  # noqa: ASYNC110 - others
            await asyncio.sleep(0.02)


async def _follows(running: Machine, eu: RunningNode) -> None:
    """Both workers copy the region, which does not mix with their own, and tell of it by worker."""
    one, two = await running.at_each()
    await _until_copied([one, two], ["x"])
    await one.register("own")
    await _register(eu, "y")
    await _until_copied([one, two], ["x", "y"])
    async with asyncio.timeout(DEADLINE):
        while {"own"} != await two.found():  # noqa: ASYNC110 - another process shows it
            await asyncio.sleep(0.02)
    following = dict(labelled(await two.metrics(), "artemis_region_following"))
    assert {'region="eu",worker="0"': 1.0, 'region="eu",worker="1"': 1.0} == following
    regions = (await one.ask("/api/v1/status")).json()["regions"]
    assert [("eu", "following")] == [(each["regionId"], each["state"]) for each in regions]  # type: ignore[attr-defined]


async def test_each_worker_shows_other_regions(eu: RunningNode) -> None:
    """By a copy of its own, and none of it is of the machine's own region."""
    async with machine(federate=f"eu={eu.url}") as running:
        await _follows(running, eu)


@pytest.mark.skipif(nats_server() is None, reason="there is no nats-server")
@pytest.mark.parametrize("workers", [1, 2])
async def test_nodes_around_an_engine_show_other_regions(eu: RunningNode, server: NatsServer, workers: int) -> None:
    """A copy is never put into the bucket, of which the other nodes would take it."""
    async with machine(cluster=server.url, workers=workers, federate=f"eu={eu.url}") as running:
        if workers > 1:
            await _follows(running, eu)
            return
        [one] = await running.at_each(1)
        await _until_copied([one], ["x"])
        await one.register("own")
        assert ({"own"}, ["x"]) == (await one.found(), await _copied(one))
        async with machine(cluster=server.url, workers=1) as other:
            [plain] = await other.at_each(1)
            assert {"own"} == await plain.found()
            assert "region 'eu' is not the region 'local' of this node" == await _copied(plain)


async def test_a_worker_that_is_replaced_has_its_copy_before_anybody_comes_to_it(eu: RunningNode) -> None:
    """However long that takes, within bounds: the others show theirs meanwhile."""
    with LinkProxy(eu.port) as proxy:
        async with machine(federate=f"eu={proxy.url}") as running:
            await _until_copied(await running.at_each(), ["x"])
            proxy.line.worsen(Weather(delay=0.2))
            running.signal(1, signal.SIGKILL)
            await running.until_said("worker 1 ended")
            for connection in await running.at_each():
                assert ["x"] == await _copied(connection)


async def test_a_machine_is_followed_as_one_node_whichever_of_its_workers_ends() -> None:
    """The position of one holds at the other, so the copy goes on from it and has what is registered meanwhile."""
    async with machine(region="eu", lease_ttl=600) as eu, running_node(region="us", federate=f"eu={eu.url}") as us:
        showing, names = Connection(*await asyncio.open_connection("127.0.0.1", us.port)), ["a"]
        await _accept((await eu.at_each())[0], "a")
        await _until_copied([showing], names)
        for ending in (0, 1):
            staying = (await eu.at_each())[1 - ending]
            eu.signal(ending, signal.SIGKILL)
            names.append(f"without-{ending}")
            await _accept(staying, names[-1])
            await _until_copied([showing], names)
        (region,) = (await showing.ask("/api/v1/status")).json()["regions"]  # type: ignore[misc]
        assert (True, 0) == (region["resumed"] >= 1, region["held"])
        await showing.close()


async def _accept(worker: Connection, name: str) -> None:
    answer = await worker.ask(REGISTER, {"instances": [{**instance(name), "regionId": "eu"}]})
    assert "success" == answer.json()["responseStatus"]["status"]  # type: ignore[index]
