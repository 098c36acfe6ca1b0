"""A seeded row of faults on real machines with several workers, one after the other, judged by all laws.

ARTEMIS_CAMPAIGN_SEED=17 chooses another row, ARTEMIS_CAMPAIGN_FAULTS=100 a longer one.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from random import Random

import pytest
from campaign_faults import TTL, at_work, killed, stopped
from engine_clusters import ask, shown

from artemis.testing import RunningNode, running_cluster
from artemis.testing.histories_observed import ObservedCluster, observed, sdk_callers, until
from artemis.testing.namespaces import Machine, Network
from artemis.testing.nats_servers import NatsServer, nats_server
from artemis.testing.node import OptionValue

SEED = int(os.environ.get("ARTEMIS_CAMPAIGN_SEED", "1"))
FAULTS = int(os.environ.get("ARTEMIS_CAMPAIGN_FAULTS", "6"))
MACHINES, WORKERS = 2, 2

Fault = Callable[[ObservedCluster, Random], Awaitable[None]]

pytestmark = pytest.mark.timeout(120 + 40 * FAULTS)


def workers_of(node: RunningNode) -> list[int]:
    """The processes of the workers of a machine, of those that serve; none while it does not say."""
    try:
        shown = ask(node.url, "/api/v1/status").get("workers")
    except (OSError, HTTPException):
        return []
    return [int(each["process"]) for each in shown if each["ready"]] if isinstance(shown, list) else []


def whole(node: RunningNode) -> bool:
    """Tell whether all workers of a machine serve."""
    return len(workers_of(node)) == WORKERS


async def one_of(node: RunningNode, chance: Random) -> int:
    """The process of one of the workers of a machine."""
    await until(lambda: whole(node))
    return chance.choice(await asyncio.to_thread(workers_of, node))


async def worker_killed(one: ObservedCluster, chance: Random) -> None:
    """A worker is killed, and another one takes its place."""
    node = chance.choice(one.cluster.nodes)
    worker = await one_of(node, chance)
    with one.history.fault("killed", node.url):
        os.kill(worker, signal.SIGKILL)
        await until(lambda: worker not in workers_of(node) and whole(node))


async def worker_paused(one: ObservedCluster, chance: Random) -> None:
    """A worker hangs for a while, less than it takes to be replaced."""
    node = chance.choice(one.cluster.nodes)
    worker = await one_of(node, chance)
    with one.history.fault("paused", node.url):
        os.kill(worker, signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.1, 2 * TTL))
        os.kill(worker, signal.SIGCONT)


async def reloaded(one: ObservedCluster, chance: Random) -> None:
    """All workers are replaced one by one, which nobody may notice."""
    node = chance.choice(one.cluster.nodes)
    await until(lambda: whole(node))
    before = set(await asyncio.to_thread(workers_of, node))
    node.process.send_signal(signal.SIGHUP)
    await until(lambda: not before & set(workers_of(node)) and whole(node))


KINDS: list[Fault] = [
    killed,
    stopped,
    worker_killed,
    worker_killed,
    worker_paused,
    worker_paused,
    reloaded,
    reloaded,
]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    """Give a server to stand around."""
    if nats_server() is None:
        pytest.skip("there is no nats-server")
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server.url
    server.kill()


def cut(machines: Sequence[Machine]) -> Fault:
    """Return the fault that one of these reaches no other any more, in one of the ways that there are."""

    async def one_is_cut_off(one: ObservedCluster, chance: Random) -> None:
        alone = chance.choice(machines)
        others = [each for each in machines if each is not alone]
        way = chance.choice(["both", "forth", "back", "lossy"])
        with one.history.fault("partition"):
            for other in others:
                if way in ("both", "forth"):
                    alone.blackhole(other.address)
                if way in ("both", "back"):
                    other.blackhole(alone.address)
                if way == "lossy":
                    alone.drop(chance.uniform(0.1, 0.5), other.address)
            await asyncio.sleep(chance.uniform(0.2, 3 * TTL))
            for each in machines:
                each.heal()

    return one_is_cut_off


async def judged(
    path: Path, settle: float, wait: float, *, machines: Sequence[Machine] = (), **options: OptionValue
) -> None:
    """Let the row of faults befall machines with workers; answers wait for siblings up to so many seconds."""
    count = len(machines) or MACHINES
    kinds = [*KINDS, *[cut(machines)] * 4] if machines else KINDS
    chance = Random(SEED)  # noqa: S311 - a campaign is to be repeated
    laws = ("kept", "visible", "removed", "converged", "watch", "cursor")
    async with (
        running_cluster(
            count,
            machines=machines,
            data_dir=path,
            workers=WORKERS,
            workers_wait=wait,
            lease_ttl=TTL,
            self_preservation=False,
            **options,  # type: ignore[arg-type]
        ) as cluster,
        observed(cluster, path / "history.jsonl", *laws, ttl=TTL, settle=settle, several=True) as one,
        sdk_callers(one, 2, urls=[node.url for node in cluster.nodes]),
    ):
        async with at_work(one, SEED):
            for _ in range(FAULTS):
                await chance.choice(kinds)(one, chance)
                await asyncio.sleep(chance.uniform(0, TTL))
        await asyncio.to_thread(cluster.wait_linked)
        await until(lambda: all(whole(node) for node in cluster.nodes))
        one.keep("late", 0)  # what is there to see when all has been calm for long
        await until(lambda: all("late" in shown(node.url) for node in cluster.nodes))
        await one.settle()


async def test_a_row_of_faults_on_machines_in_a_mesh_breaks_no_law(tmp_path: Path, secret: str) -> None:
    """Workers end, hang and are replaced while plain clients and those of the SDK go on."""
    await judged(tmp_path, 8.0, 10, cluster_secret_file=secret)


async def test_a_row_of_faults_on_machines_of_a_network_breaks_no_law(
    network: Network, tmp_path: Path, secret: str
) -> None:
    """The same, and they are cut off from each other."""
    machines = [network.machine() for _ in range(MACHINES)]
    await judged(tmp_path, 8.0, 10, machines=machines, cluster_secret_file=secret)


async def test_a_row_of_faults_on_machines_around_an_engine_breaks_no_law(tmp_path: Path, engine: str) -> None:
    """The same; what is put there twice within 50 ms is waited for in vain, so for no longer than usual."""
    await judged(tmp_path, 12.0, 1, engine=engine)
