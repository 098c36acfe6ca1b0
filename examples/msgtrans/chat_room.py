"""A chat over WebSocket. Rooms are paths; the browser and the terminal are in the same ones.

python examples/msgtrans/chat_room.py server [HOST:PORT]                  then open http://127.0.0.1:8080/lobby
python examples/msgtrans/chat_room.py client NAME [ws://HOST:PORT/ROOM]   and type
"""

import asyncio
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, quote

from msgtrans import (
    Address,
    Closed,
    Established,
    MessageReceived,
    Session,
    SessionConfig,
    TransportClient,
    TransportError,
    TransportServer,
    UnifiedPort,
)
from msgtrans.config import parse_address

LINE, NOTICE = 1, 2  # biz_type: what somebody said, and what the room says
LONGEST = 2000  # bytes of a line

# A member that does not keep up misses lines once so many bytes wait for it; nobody waits with it.
MEMBERS = SessionConfig(high_water=64 * 1024, max_outbound=256 * 1024)


class Page(asyncio.Protocol):
    """Answers any HTTP request with the page that joins the room of its path."""

    body = Path(__file__).with_suffix(".html").read_bytes()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.head = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self.head += data
        if b"\r\n\r\n" in self.head or len(self.head) > 16_384:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(self.body)}\r\n"
            self.transport.write(head.encode() + b"Connection: close\r\n\r\n" + self.body)
            self.transport.close()


async def serve(address: str = "127.0.0.1:8080") -> None:
    server = TransportServer(session=MEMBERS)  # listens nowhere itself: the port below belongs to the page, too
    port = UnifiedPort(msgtrans=None, http=Page, websocket=server.websocket_factory())
    chatting = asyncio.create_task(chat(server))
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with server, await loop.create_server(port, *parse_address(address)) as listening:
        bound = Address(*listening.sockets[0].getsockname()[:2])
        print(f"listening http://{bound}/lobby and ws://{bound}/lobby", flush=True)
        await stop.wait()
        listening.close()
        await server.stop()
    await chatting


async def chat(server: TransportServer) -> None:
    """All there is to a chat: one event after the other, in the order in which they happened."""
    rooms: defaultdict[str, set[Session]] = defaultdict(set)
    async for event in server.events():
        match event:
            case Established(session):
                name, room = who_and_where(session)
                rooms[room].add(session)
                server.broadcast(f"{name} is here".encode(), to=rooms[room], biz_type=NOTICE)
            case MessageReceived(context):
                name, room = who_and_where(context.session)
                line = context.payload[:LONGEST].decode(errors="replace")
                server.broadcast(f"{name}: {line}".encode(), to=rooms[room], biz_type=LINE)
            case Closed(session):
                name, room = who_and_where(session)
                rooms[room].discard(session)
                server.broadcast(f"{name} has left".encode(), to=rooms[room], biz_type=NOTICE)
                if not rooms[room]:
                    del rooms[room]


def who_and_where(session: Session) -> tuple[str, str]:
    """Name and room of a member, from the URL that it opened."""
    request = session.http_request
    if request is None:
        return f"guest {session.id}", "/lobby"
    names = parse_qs(request.query).get("name", [f"guest {session.id}"])
    return names[0][:40], request.path


async def join(name: str, uri: str = "ws://127.0.0.1:8080/lobby") -> None:
    client = TransportClient(f"{uri}?name={quote(name)}")

    async def show() -> None:
        async for event in client.events():
            match event:
                case MessageReceived(context):
                    text = context.payload.decode()
                    print(f"* {text}" if context.biz_type == NOTICE else text, flush=True)
                case Closed(_, reason):
                    print(f"* the chat is over ({reason})", flush=True)

    async def type_lines() -> None:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        async for line in lines:
            if text := line.strip():
                await client.send(text, biz_type=LINE)

    showing = asyncio.create_task(show())
    async with client:
        typing = asyncio.create_task(type_lines())
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, typing.cancel)  # Ctrl-C leaves, like Ctrl-D
        await asyncio.wait({typing, showing}, return_when=asyncio.FIRST_COMPLETED)
        typing.cancel()
    await showing


if __name__ == "__main__":
    try:
        match sys.argv[1:]:
            case ["server", *where] if len(where) < 2:
                asyncio.run(serve(*where))
            case ["client", name, *where] if len(where) < 2:
                asyncio.run(join(name, *where))
            case _:
                sys.exit(__doc__)
    except (TransportError, OSError) as error:  # nothing listens there, or the port is in use
        sys.exit(str(error))
    except KeyboardInterrupt:  # before it was connected
        sys.exit("interrupted")
