"""Everything that happens on a server and on its client, as both of them tell it: one process, full trace.

python examples/msgtrans/transport_events.py [URI to listen on, default tcp://127.0.0.1:0]
"""

import asyncio
import sys

from msgtrans import (
    Closed,
    Established,
    EventStream,
    MessageReceived,
    RequestReceived,
    TransportClient,
    TransportError,
    TransportServer,
)


async def trace(name: str, events: EventStream) -> None:
    """Print what happens, and answer requests: without a handler, they come as events too."""
    async for event in events:
        match event:
            case Established(session):
                print(f"{name}: session {session.id} is open on {session.protocol}")
            case MessageReceived(context):
                print(f"{name}: message {context.message_id} says {context.payload.decode()!r}")
            case RequestReceived(context):
                print(f"{name}: request {context.message_id} asks {context.payload.decode()!r}")
                context.respond(b"yes, " + context.payload)
            case Closed(session, reason):
                print(f"{name}: session {session.id} is closed ({reason}), {session.packets_received} packets came")


async def main(uri: str) -> None:
    server = TransportServer(listen=[uri])
    async with server:
        client = TransportClient(server.uris[0])
        traces = [
            asyncio.create_task(trace("server", server.events())),
            asyncio.create_task(trace("client", client.events())),
        ]
        async with client:
            await client.send(b"good morning")
            answer = await client.request(b"is anybody there?")
            print(f"the client got {answer.payload.decode()!r}")

            # Sessions are the same on both sides: a server asks and sends just so.
            (session,) = server.sessions.values()
            await session.send(b"news")
            answer = await session.request(b"and are you there?")
            print(f"the server got {answer.payload.decode()!r}")
    await asyncio.gather(*traces)  # the streams end when the client disconnects and the server stops


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:2] or ["tcp://127.0.0.1:0"]))
    except TransportError as error:  # the port is in use, for example
        sys.exit(str(error))
