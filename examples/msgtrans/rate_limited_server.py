"""A server that lets each session ask 5 times at once and 20 times a second, and tells those who ask more.

python examples/msgtrans/rate_limited_server.py      (server and a client in a hurry, in one process)
"""

import asyncio
from collections import Counter

from msgtrans import Context, SessionConfig, TransportClient, TransportError, TransportServer
from msgtrans.config import Backpressure, RateLimit

LIMIT = RateLimit(requests_per_second=20, burst_size=5, strategy=Backpressure.REJECT)


async def main() -> None:
    server = TransportServer(tcp="127.0.0.1:0", session=SessionConfig(rate_limit=LIMIT))

    @server.on_request
    def answer(_: Context) -> bytes:
        return b"done"

    @server.on_error
    def explain(_: Context, error: Exception) -> bytes | None:
        # The protocol has no error packet: what a refused request is answered with is up to the application.
        return b"too fast" if isinstance(error, TransportError) else None

    async with server, TransportClient(server.uris[0]) as client:
        answers = await asyncio.gather(*(client.request(b"work") for _ in range(12)))
        for told, count in Counter(each.payload.decode() for each in answers).items():
            print(f"{count} of 12: {told}")
        await asyncio.sleep(0.25)  # time for 5 more
        late = await client.request(b"work")
        print(f"a moment later: {late.payload.decode()}")
        print(f"the server has refused {server.stats().rate_limited}")


if __name__ == "__main__":
    asyncio.run(main())
