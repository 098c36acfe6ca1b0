"""A seeded row of faults on a real cluster, one after the other and some at once, judged by all laws.

ARTEMIS_CAMPAIGN_SEED=17 chooses another row, ARTEMIS_CAMPAIGN_FAULTS=100 a longer one.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

from campaign_faults import TTL, at_work, killed, paused, stopped

from artemis.testing import running_cluster
from artemis.testing.histories_observed import ObservedCluster, observed, sdk_callers
from artemis.testing.links import Passes, Weather

SEED = int(os.environ.get("ARTEMIS_CAMPAIGN_SEED", "1"))
FAULTS = int(os.environ.get("ARTEMIS_CAMPAIGN_FAULTS", "6"))
SETTLE = 8.0


async def split(one: ObservedCluster, chance: Random) -> None:
    """A node is cut off in one of the ways that there are."""
    alone = chance.randrange(3)
    others = {0, 1, 2} - {alone}
    weather = Weather(passes=chance.choice([Passes.NOTHING, Passes.LOST, Passes.RESET]))
    with one.history.fault("partition"):
        if chance.random() < 0.3:
            one.cluster.cut(alone, min(others), one_way=True)
        elif chance.random() < 0.4:
            one.cluster.flap({alone}, others, weather=weather, bad=chance.uniform(0.1, 1), fine=chance.uniform(0.1, 1))
        else:
            one.cluster.split({alone}, others, weather=weather)
        await asyncio.sleep(chance.uniform(0.2, 2 * TTL))
        one.cluster.heal()


async def slow(one: ObservedCluster, chance: Random) -> None:
    """All links are bad."""
    with one.history.fault("bad links"):
        one.cluster.split({0}, {1}, {2}, weather=Weather(delay=chance.uniform(0, 0.2), jitter=chance.uniform(0, 0.4)))
        await asyncio.sleep(chance.uniform(0.2, 2 * TTL))
        one.cluster.heal()


KINDS: list[Callable[[ObservedCluster, Random], Awaitable[None]]] = [killed, stopped, paused, split, split, slow]


async def test_a_row_of_faults_breaks_no_law(tmp_path: Path) -> None:
    """Nodes end, hang and are cut off while plain clients and those of the SDK go on; each fault is over in the end."""
    chance = Random(SEED)  # noqa: S311 - a campaign is to be repeated
    laws = ("kept", "visible", "removed", "converged", "watch", "cursor")
    async with (
        running_cluster(3, linked=True, data_dir=tmp_path, lease_ttl=TTL, self_preservation=False) as cluster,
        observed(cluster, tmp_path / "history.jsonl", *laws, ttl=TTL, settle=SETTLE) as one,
        sdk_callers(one, 2, urls=[node.url for node in cluster.nodes]),
    ):
        async with at_work(one, SEED):
            for _ in range(FAULTS):
                await chance.choice(KINDS)(one, chance)
                await asyncio.sleep(chance.uniform(0, TTL))
        await asyncio.to_thread(cluster.wait_linked)
        for node in cluster.nodes:
            assert node.process.poll() is None
        await one.settle()
