"""Follow a service over the WebSocket of a node, without a gap: python examples/websocket_changes.py SERVICE [URL].

`*` follows all services. Plain aiohttp, no SDK: what a client in any language does.
"""

import asyncio
import contextlib
import sys

import aiohttp


async def main(service: str, registry: str = "http://127.0.0.1:8080") -> None:
    cursor = ""  # of no use to any node, so the first answer is everything that is live
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.ws_connect(f"{registry}/ws", heartbeat=10) as socket:
                    await socket.send_json({"type": "subscribe", "service_id": service, "cursor": cursor})
                    async for message in socket:
                        heard = message.json()
                        if heard["type"] == "error":
                            sys.exit(heard["message"])
                        if heard.get("fullSync"):
                            print("everything that is live:", flush=True)
                        for change in heard.get("changes", ()):  # "reload": look the service ("*": all) up over HTTP
                            print(f"{change['changeType']:<7}{change['instance']['instanceId']}", flush=True)
                        # The node resumes behind this one after a disconnect, so remember it when all is done.
                        cursor = heard.get("cursor") or cursor
            except (aiohttp.ClientError, OSError) as error:
                print(f"disconnected: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(1)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:] or ["orders"]))
