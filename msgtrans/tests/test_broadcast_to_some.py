"""A message to some sessions of a server, encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgtrans import MessageReceived, TransportClient, TransportServer

if TYPE_CHECKING:
    from conftest import Until


async def next_message(client: TransportClient, events: object) -> bytes:
    async for event in events:
        if isinstance(event, MessageReceived):
            return event.context.payload
    raise AssertionError("the client was disconnected")


async def test_only_those_named_get_it(server: TransportServer, until: Until) -> None:
    """A broadcast to two of three sessions reaches these two, and a closed one among them is left out."""
    uri = f"tcp://{server.tcp_address}"
    async with TransportClient(uri) as first, TransportClient(uri) as second, TransportClient(uri) as third:
        await until(lambda: len(server.sessions) == 3)
        one, two, three = server.sessions.values()
        streams = [client.events() for client in (first, second, third)]
        assert server.broadcast(b"for two", to=[one, three]) == 2
        assert server.broadcast(b"for all") == 3
        got = [
            await next_message(client, events) for client, events in zip((first, second, third), streams, strict=True)
        ]
        assert got == [b"for two", b"for all", b"for two"]
        await two.close()
        assert server.broadcast(b"for those still there", to=[one, two]) == 1
