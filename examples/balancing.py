"""Three ways to choose an instance: python examples/balancing.py [URL of the registry].

Expects a few instances of the service greetings, as examples/service.py registers one.
"""

import asyncio
import sys

import aiohttp

from artemis import ArtemisClient, Balancer, Instance


async def ask(http: aiohttp.ClientSession, balancer: Balancer, user: str) -> str:
    """Ask one instance, and another if that fails; the balancer learns from both how the instances do."""
    failed: list[Instance] = []
    for _ in range(2):
        try:
            with balancer.request(key=user, avoid=failed) as instance:
                failed.append(instance)
                async with http.get(f"{instance.url}/hello", raise_for_status=True) as answer:
                    return await answer.text()
        except aiohttp.ClientError as error:
            print(f"{failed[-1].url}: {error}", file=sys.stderr)
    raise SystemExit("no instance answers")


async def main(registry: str = "http://127.0.0.1:8080") -> None:
    async with (
        ArtemisClient(servers=[registry], region_id="local", zone_id="zone1") as client,
        aiohttp.ClientSession() as http,
    ):
        for strategy in ("round-robin", "power-of-two", "consistent-hash"):
            balancer = client.balancer("greetings", strategy)
            await balancer.ready()
            for user in ("ann", "bob", "ann"):
                print(f"{strategy} for {user}: {await ask(http, balancer, user)}")


asyncio.run(main(*sys.argv[1:]))
