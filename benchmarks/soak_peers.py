"""Peers without sessions, for the soak and churn programs: slow ones, vanishing ones, and what is no protocol at all.

They speak TCP, where TLS and WebSocket are expected too, and throw datagrams: what a server makes of broken handshakes
belongs to it.
Not here: clients that behave (`soak_loads.py`).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from soak_payloads import make
from soak_server import ECHO, MANY, MANY_SIZE, RUDE

from msgtrans import Packet, encode
from msgtrans.packet import REQUEST

if TYPE_CHECKING:
    import random

    from soak_world import World

RESET = struct.pack("ii", 1, 0)
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PORTS = ("tcp", "tls", "ws", "wss", "limited", "workers", "quic")


def garbage(chance: random.Random) -> bytes:
    """What somebody may send who does not know what is spoken, or does, and not well."""
    packet = encode(Packet(REQUEST, 7, make(1, chance.randrange(500)), RUDE))
    damaged = bytearray(packet)
    damaged[chance.randrange(min(len(packet), 16))] ^= 1 << chance.randrange(8)
    return chance.choice(
        (
            chance.randbytes(chance.randrange(1, 2000)),
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            UPGRADE + chance.randbytes(50),
            UPGRADE[: chance.randrange(len(UPGRADE))],
            b"\x16\x03\x01\x02\x00\x01" + chance.randbytes(200),
            bytes(damaged),
            packet[: chance.randrange(len(packet))],
            packet * 3 + chance.randbytes(20),
            b"",
        )
    )


async def rude(world: World) -> None:
    """Connect to any of the ports, send garbage, and go in one of several ways."""
    while await world.pause(8.0):
        name = world.chance.choice(PORTS)
        if name == "quic":
            throw(world.ports[name], world.chance)
        else:
            await visit(world.ports[name], garbage(world.chance), world.chance)
        world.seen["rude visits"] += 1


async def visit(port: int, data: bytes, chance: random.Random, *, stay: float = 0.3) -> None:
    """Connect, send, and end: in order, by half, by a reset, or after a while."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    try:
        writer.write(data)
        how = chance.randrange(4)
        if how == 0:
            await asyncio.wait_for(reader.read(1000), stay)
        elif how == 1 and writer.can_write_eof():
            writer.write_eof()
            await asyncio.wait_for(reader.read(), stay)
        elif how == 2:
            reset(writer)
    except (OSError, TimeoutError):
        return
    finally:
        writer.transport.abort() if chance.random() < 0.5 else writer.close()


def throw(port: int, chance: random.Random) -> None:
    """Datagrams that are nothing, or begin as those of QUIC do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thrown:
        for _ in range(chance.randrange(10)):
            head = chance.choice((b"", b"\xc3\x00\x00\x00\x01\x08", b"\x40", b"\xff\x00\x00\x00\x00\x08"))
            thrown.sendto(head + chance.randbytes(chance.choice((0, 20, 1200))), ("127.0.0.1", port))


async def vanishing(world: World) -> None:
    """Say half of a packet, then nothing for longer than the server waits for the rest, or a shorter time."""
    while await world.pause(1.0):
        packet = encode(Packet(REQUEST, 7, make(1, world.chance.randrange(200_000)), ECHO))
        reader, writer = await asyncio.open_connection("127.0.0.1", world.ports["tcp"])
        try:
            writer.write(packet[: world.chance.randrange(1, len(packet))])
            async with asyncio.timeout(world.chance.uniform(0.1, 14.0)):
                closing = asyncio.ensure_future(reader.read())
                ending = asyncio.ensure_future(world.ending.wait())
                try:
                    await asyncio.wait([closing, ending], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    closing.cancel()
                    ending.cancel()
                    await asyncio.gather(closing, ending, return_exceptions=True)
        except TimeoutError:
            world.seen["vanished in a packet"] += 1
        finally:
            reset(writer)


async def slow(world: World) -> None:
    """Ask for much and read little of it, then read on, or go."""
    while await world.pause(0.5):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.ports["tcp"], limit=4096)
        try:
            size = world.chance.randrange(300_000)
            ask = encode(Packet(REQUEST, 7, MANY_SIZE.pack(size), MANY))
            writer.write(ask * world.chance.randrange(30))
            for _ in range(world.chance.randrange(100)):
                if not await world.pause(20.0):
                    break
                await asyncio.wait_for(reader.read(2000), 0.2)
        except (OSError, TimeoutError):
            world.seen["slow: nothing more came"] += 1
        finally:
            reset(writer)
        world.seen["slow readers"] += 1


def reset(writer: asyncio.StreamWriter) -> None:
    """End with a reset."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
