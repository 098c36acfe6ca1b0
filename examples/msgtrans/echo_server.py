"""One server on two transports: greets, asks its clients something, and echoes what they say.

python examples/msgtrans/echo_server.py [TCP address] [WebSocket address]      (then: echo_client.py)
"""

import asyncio
import signal
import sys
from contextlib import suppress

from msgtrans import CloseReason, Context, Session, TransportError, TransportServer


async def main(tcp: str = "127.0.0.1:8001", ws: str = "127.0.0.1:8002") -> None:
    server = TransportServer(tcp=tcp, ws=ws)

    # Handlers are the same for every transport. A coroutine runs beside the others; a plain function is faster.
    @server.on_connect
    async def greet(session: Session) -> None:
        print(f"session {session.id}: connected over {session.protocol} from {session.peer_address}")
        with suppress(TransportError):  # whoever left already need not be greeted
            await session.send(b"Welcome!")
            await asyncio.sleep(0.1)
            answer = await session.request(b"Who are you?")
            print(f"session {session.id}: is {answer.payload.decode()}")

    @server.on_disconnect
    def gone(session: Session, reason: CloseReason) -> None:
        print(f"session {session.id}: gone ({reason})")

    @server.on_message
    async def echo_message(context: Context) -> None:
        print(f"session {context.session.id}: says {context.payload.decode(errors='replace')!r}")
        await context.session.send(b"Echo: " + context.payload)

    @server.on_request
    def echo_request(context: Context) -> bytes:
        print(f"session {context.session.id}: asks {context.payload.decode(errors='replace')!r}")
        return b"Echo: " + context.payload

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        print(*(f"listening {uri}" for uri in server.uris), sep="\n", flush=True)
        await stop.wait()  # leaving the block stops: what is queued is still delivered


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:3]))
    except TransportError as error:  # the port is in use, for example
        sys.exit(str(error))
