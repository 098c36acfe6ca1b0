"""Following a region whose nodes are machines of several workers: a listing and what comes after it may be of two."""

import asyncio
import sys

import pytest
from worker_machines import DEADLINE, labelled, machine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="connections are spread over workers on Linux")


async def test_a_region_that_has_nothing_yet_is_followed_whichever_of_its_workers_answer():
    """The position of a listing holds at the worker that tells of changes, also before there was any."""
    async with machine(region="eu") as eu, machine(region="us", workers=4, federate=f"eu={eu.url}") as us:
        connection = await us.connect()
        expected = {f'region="eu",worker="{worker}"': 1.0 for worker in range(4)}
        async with asyncio.timeout(DEADLINE):
            while expected != dict(labelled(await connection.metrics(), "artemis_region_following")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        listings = [
            value
            for labels, value in labelled(await connection.metrics(), "artemis_region_events_total")
            if 'event="listings"' in labels
        ]
        assert 4.0 == sum(listings)
