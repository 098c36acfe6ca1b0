"""The proxy that makes a network bad, in front of a peer that answers what it is sent."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from mesh_nodes import dialling

from artemis.cluster.mesh.wire import HELLO
from artemis.testing.links import BACK, FORTH, LinkProxy, Passes, Weather, Who, caller_of_mesh
from msgtrans import Packet, encode

CALLER = "http://127.0.0.1:1"


@asynccontextmanager
async def proxied(who: Who | None = None, hears: asyncio.Queue[bytes] | None = None) -> AsyncIterator[LinkProxy]:
    """A proxy in front of an echo, which tells what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65536):
                if hears is not None:
                    hears.put_nowait(data)
                writer.write(data)
                await writer.drain()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        with LinkProxy(server.sockets[0].getsockname()[1], who=who) as proxy:
            yield proxy


class Caller:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def asks(self, text: bytes) -> bytes:
        """Send something, and return what comes back of the same length."""
        self.says(text)
        return await self.hears(len(text))

    async def asks_for_ever(self) -> None:
        """Ask again and again."""
        while True:
            await self.asks(b"x")

    def says(self, text: bytes) -> None:
        """Send something."""
        self._writer.write(text)

    async def hears(self, size: int) -> bytes:
        """Return the next bytes."""
        async with asyncio.timeout(30):
            return await self._reader.readexactly(size)

    def ends(self) -> None:
        """Send no more."""
        self._writer.write_eof()

    async def rest(self) -> bytes:
        """Return what comes until the other side ends."""
        async with asyncio.timeout(30):
            return await self._reader.read()


@asynccontextmanager
async def calling(proxy: LinkProxy) -> AsyncIterator[Caller]:
    """A caller of a proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


async def call_and_wait(proxy: LinkProxy) -> None:
    """Connect, and wait for the end of that."""
    async with calling(proxy) as caller:
        await caller.rest()


def hello() -> bytes:
    """The first packet of a node that dials another."""
    return encode(Packet(packet_type=1, message_id=1, biz_type=HELLO, payload=dialling().hello))


async def test_bytes_pass_both_ways_and_so_do_ends():
    """In good weather a proxy is not noticed, but in its counts."""
    async with proxied() as proxy, calling(proxy) as caller:
        assert b"one" == await caller.asks(b"one")
        caller.says(b"two" * 100_000)
        caller.ends()
        assert b"two" * 100_000 == await caller.rest()
        assert {FORTH: 300_003, BACK: 300_003} == proxy.line.carried
        assert 1 == proxy.line.accepted


async def test_delay_is_that_of_each_way():
    """An answer takes both of them, and many pieces under way take no longer than one."""
    async with proxied() as proxy, calling(proxy) as caller:
        await caller.asks(b"x")
        proxy.line.worsen(Weather(delay=0.1))
        began = time.monotonic()
        assert b"x" * 50_000 == await caller.asks(b"x" * 50_000)
        assert time.monotonic() - began >= 0.2


async def test_connections_overtake_each_other_and_bytes_of_one_do_not():
    """Jitter reorders as a network does that TCP runs over."""
    async with proxied() as proxy, contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(calling(proxy)) for _ in range(8)]
        for caller in callers:
            await caller.asks(b"x")
        proxy.line.worsen(Weather(jitter=0.3))
        order: list[int] = []

        async def ask(number: int) -> None:
            text = bytes(range(200)) * 300
            assert text == await callers[number].asks(text)
            order.append(number)

        await asyncio.gather(*(ask(number) for number in range(8)))
        assert sorted(order) != order


async def test_bandwidth_is_bytes_in_a_second():
    """What is sent faster waits."""
    async with proxied() as proxy, calling(proxy) as caller:
        proxy.line.worsen(Weather(bandwidth=100_000), FORTH)
        began = time.monotonic()
        await caller.asks(b"x" * 20_000)
        assert time.monotonic() - began >= 0.2


async def test_what_waits_in_a_partition_arrives_after_it():
    """Nothing passes in either direction, nothing is lost, and new connections wait as well."""
    async with proxied() as proxy, calling(proxy) as old:
        await old.asks(b"x")
        proxy.line.cut()
        async with calling(proxy) as new:
            old.says(b"old")
            new.says(b"new")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await old.hears(1)
            proxy.line.clear()
            assert (b"old", b"new") == (await old.hears(3), await new.hears(3))


async def test_one_direction_can_be_cut_alone():
    """What is sent arrives, and its answer does not."""
    hears: asyncio.Queue[bytes] = asyncio.Queue()
    async with proxied(hears=hears) as proxy, calling(proxy) as caller:
        proxy.line.cut(BACK)
        caller.says(b"heard")
        async with asyncio.timeout(30):
            assert b"heard" == await hears.get()
        assert 0 == proxy.line.carried[BACK]
        proxy.line.clear()
        assert b"heard" == await caller.hears(5)


async def test_a_peer_that_is_half_gone_swallows_and_its_connections_are_reset_in_the_end():
    """Bytes that were lost never come; what comes after them would be wrong."""
    async with proxied() as proxy, calling(proxy) as caller:
        await caller.asks(b"x")
        proxy.line.worsen(Weather(passes=Passes.LOST))
        caller.says(b"lost" * 1_000_000)
        async with calling(proxy) as new:
            new.says(b"lost")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await new.hears(1)
            proxy.line.clear()
            for one in (caller, new):
                with pytest.raises(ConnectionResetError):
                    await one.rest()
        async with calling(proxy) as later:
            assert b"x" == await later.asks(b"x")


async def test_connections_can_be_reset_and_new_ones_with_them():
    """As by a firewall that answers for a machine that is gone."""
    async with proxied() as proxy, calling(proxy) as old:
        await old.asks(b"x")
        proxy.line.worsen(Weather(passes=Passes.RESET))
        with pytest.raises(ConnectionResetError):
            await old.rest()
        with pytest.raises(ConnectionResetError):
            await call_and_wait(proxy)
        proxy.line.clear()
        async with calling(proxy) as later:
            assert b"x" == await later.asks(b"x")


async def test_a_line_can_flap_until_something_else_is_asked_for():
    """It is bad and fine in turn, so everything arrives at some time."""
    async with proxied() as proxy, calling(proxy) as caller:
        proxy.line.flap(Weather(passes=Passes.RESET), bad=0.05, fine=0.05)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await caller.asks_for_ever()
        proxy.line.clear()
        async with calling(proxy) as later:
            for _ in range(20):
                assert b"x" == await later.asks(b"x")
                await asyncio.sleep(0.01)


async def test_callers_are_told_apart_by_what_they_say_first():
    """A peer is cut off while clients pass at the same port, however its greeting is cut into pieces."""
    async with proxied(caller_of_mesh) as proxy, calling(proxy) as peer, calling(proxy) as client:
        greeting = hello()
        for piece in (greeting[:5], greeting[5:40], greeting[40:]):
            peer.says(piece)
            await asyncio.sleep(0)
        assert greeting == await peer.hears(len(greeting))
        assert b"GET /" == await client.asks(b"GET /")
        assert (1, 1) == (proxy.line_of(CALLER).connections, proxy.line.connections)
        proxy.line_of(CALLER).cut()
        peer.says(b"unheard")
        assert b"heard" == await client.asks(b"heard")
        assert len(greeting) == proxy.line_of(CALLER).carried[FORTH]


async def test_a_target_that_is_not_there_resets_its_callers():
    """So does a target that is still to be named."""
    with LinkProxy() as proxy, pytest.raises(ConnectionResetError):
        await call_and_wait(proxy)


def test_weather_that_cannot_be_is_refused():
    """Times are not negative, and something passes."""
    with pytest.raises(ValueError, match="delay"):
        Weather(delay=-1)
    with pytest.raises(ValueError, match="bandwidth"):
        Weather(bandwidth=0)
