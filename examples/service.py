"""The shortest service that registers itself: python examples/service.py [URL of the registry]."""

import asyncio
import contextlib
import sys

from aiohttp import web

from artemis import ArtemisClient, Instance


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=f"hello from {request.url}")


async def main(registry: str) -> None:
    app = web.Application()
    app.router.add_get("/hello", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    me = Instance(service_id="greetings", ip="127.0.0.1", port=runner.addresses[0][1])
    async with ArtemisClient(servers=[registry], region_id="local", zone_id="zone1") as client, client.registered(me):
        await asyncio.Event().wait()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(*sys.argv[1:] or ["http://127.0.0.1:8080"]))
