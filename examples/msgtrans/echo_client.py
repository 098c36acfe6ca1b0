"""A client of echo_server.py, on any transport: only the URI says which.

python examples/msgtrans/echo_client.py [URI, default tcp://127.0.0.1:8001; try ws://127.0.0.1:8002/]
"""

import asyncio
import sys

from msgtrans import Closed, Context, Established, EventStream, MessageReceived, TransportClient, TransportError


async def trace(events: EventStream) -> None:
    """Print what happens. Messages come as events because no handler is set for them."""
    async for event in events:
        match event:
            case Established(session):
                print(f"connected over {session.protocol} to {session.peer_address}")
            case MessageReceived(context):
                print(f"the server says {context.payload.decode()!r}")
            case Closed(_, reason):
                print(f"disconnected ({reason})")


async def main(uri: str = "tcp://127.0.0.1:8001") -> None:
    client = TransportClient(uri)
    asked = asyncio.Event()

    @client.on_request
    def introduce_myself(context: Context) -> bytes:  # servers may ask, too
        print(f"the server asks {context.payload.decode()!r}")
        asked.set()
        return b"a Python client"

    tracing = asyncio.create_task(trace(client.events()))
    async with client:
        await client.send(b"Hello from Python!")
        await client.send(bytes(range(0x41, 0x5B)))

        answer = await client.request(b"What time is it?")
        print(f"answered {answer.payload.decode()!r}")
        answer = await client.request(b"Binary request", biz_type=7)
        print(f"answered {answer.payload.decode()!r}")

        try:
            async with asyncio.timeout(5):
                await asked.wait()
        except TimeoutError:
            print("the server asks nothing")
    await tracing  # ends with the connection


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:2]))
    except TransportError as error:  # it says what went wrong, and often what to do
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted")
