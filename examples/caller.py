"""The shortest caller of a service: python examples/caller.py [URL of the registry]."""

import asyncio
import sys

import aiohttp

from artemis import ArtemisClient


async def main(registry: str) -> None:
    async with (
        ArtemisClient(servers=[registry], region_id="local", zone_id="zone1") as client,
        aiohttp.ClientSession() as http,
    ):
        greetings = client.balancer("greetings")
        await greetings.ready()
        for _ in range(3):
            async with http.get(f"{greetings.next().url}/hello") as answer:
                print(await answer.text())


asyncio.run(main(*sys.argv[1:] or ["http://127.0.0.1:8080"]))
