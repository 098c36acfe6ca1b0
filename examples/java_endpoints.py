"""Do on the wire what the Java SDK does: python examples/java_endpoints.py [URL of a node].

It keeps an instance alive over the heartbeat WebSocket, which also tells it to register, and hears of it over the
instance-change WebSocket. Ends when it has seen itself come and go.
"""

import asyncio
import sys

import aiohttp


async def heartbeats(
    session: aiohttp.ClientSession, sockets: aiohttp.ClientSession, registry: str, instance: dict[str, object]
) -> None:
    """Every 5 s a message with all our instances; what the node does not know is registered from its answer."""
    async with sockets.ws_connect(f"{registry}/ws/registry/heartbeat") as socket:
        while True:
            await socket.send_json({"instances": [instance]})
            answer = await socket.receive_json()
            lost = [
                failed["instance"]
                for failed in answer["failedInstances"] or ()
                if failed["errorCode"] == "data-not-found"
            ]
            if lost:
                print(f"not known yet: registering {lost[0]['instanceId']}", flush=True)
                await session.post(f"{registry}/api/registry/register.json", json={"instances": lost})
            await asyncio.sleep(5)


async def main(registry: str = "http://127.0.0.1:8080") -> None:
    # Its WebSockets have connections of their own, as in Java.
    async with aiohttp.ClientSession() as session, aiohttp.ClientSession() as sockets:
        async with session.get(f"{registry}/api/status/node.json") as answer:
            zone = (await answer.json())["nodeStatus"]["node"]["zone"]
        instance = {
            "regionId": zone["regionId"],
            "zoneId": zone["zoneId"],
            "serviceId": "example.java",
            "instanceId": "127.0.0.1:9000",
            "ip": "127.0.0.1",
            "port": 9000,
            "url": "http://127.0.0.1:9000/",
            "status": "up",
        }
        async with sockets.ws_connect(f"{registry}/ws/discovery/instance-change") as changes:
            await changes.send_json({"serviceId": "example.java"})  # a DiscoveryConfig; there is no answer
            beating = asyncio.create_task(heartbeats(session, sockets, registry, instance))
            change = await changes.receive_json()
            print(f"{change['changeType']}: {change['instance']['url']}", flush=True)
            beating.cancel()
            await session.post(f"{registry}/api/registry/unregister.json", json={"instances": [instance]})
            change = await changes.receive_json()
            print(f"{change['changeType']}: {change['instance']['url']}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
