"""The shortest service that registers itself: python examples/service.py [URL of the registry]."""

import asyncio
import signal
import sys

from aiohttp import web

from artemis import ArtemisClient, Instance


async def hello(request: web.Request) -> web.Response:
    return web.Response(text=f"hello from {request.url}")


async def main(registry: str) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    app = web.Application()
    app.router.add_get("/hello", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    me = Instance(service_id="greetings", ip="127.0.0.1", port=runner.addresses[0][1])
    async with ArtemisClient(servers=[registry], region_id="local", zone_id="zone1") as client, client.registered(me):
        await stop.wait()  # leaving the block unregisters, and waits until the callers know


asyncio.run(main(*sys.argv[1:] or ["http://127.0.0.1:8080"]))
