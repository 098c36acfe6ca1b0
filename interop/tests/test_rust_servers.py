"""Servers made of the Rust crate are talked to by a client of ours (specification 2, 3.2, 8)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from rust_peers import LIMIT, Peer, connected, ends

from msgtrans import CloseReason

if TYPE_CHECKING:
    from msgtrans import Context, TransportClient


def padded(text: bytes, size: int) -> bytes:
    """What the programs send when they are asked for so many bytes."""
    return (text + b" ").ljust(size, b".") if len(text) < size else text


class Inbox:
    """The one-way messages that a client gets."""

    def __init__(self, client: TransportClient, count: int) -> None:
        self.messages: list[bytes] = []
        self.full = asyncio.Event()
        self.count = count
        client.on_message(self.keep)

    def keep(self, context: Context) -> None:
        self.messages.append(context.payload)
        if len(self.messages) == self.count:
            self.full.set()

    async def all(self) -> list[bytes]:
        """All of them, once there are as many as expected."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.full.wait(), LIMIT / 2)
        return self.messages


async def test_oneway_messages_come_back_in_order_from_a_rust_server(peer: Peer):
    """What we send one way arrives in order, and what it sends back does too."""
    async with connected(peer) as (_, client):
        inbox = Inbox(client, peer.many(40))
        for index in range(peer.many(40)):
            await client.send(b"oneway %d" % index)
        assert [b"oneway %d" % index for index in range(peer.many(40))] == await inbox.all()


async def test_a_rust_server_answers_our_requests(peer: Peer):
    """Requests that are asked all at once get their own answers."""
    async with connected(peer) as (_, client):
        questions = [b"request %d" % index for index in range(peer.many(100))]
        answers = await asyncio.gather(*(client.request(question) for question in questions))
    assert questions == [answer.payload for answer in answers]


async def test_large_requests_go_both_ways(peer: Peer):
    """The largest payloads of that version go both ways."""
    async with connected(peer) as (_, client):
        for _ in range(3):
            question = padded(b"large", peer.largest)
            assert question == (await client.request(question)).payload
        assert padded(b"given", peer.largest) == (await client.request(b"give %d" % peer.largest)).payload


async def test_we_answer_requests_of_a_rust_server(peer: Peer):
    """It asks, and gets our answers with the ids of its requests."""
    async with connected(peer) as (program, client):
        client.on_request(lambda context: context.payload)
        await client.send(b"do ask %d" % peer.window)
        line = await program.line("asked")
    assert (peer.window, peer.window) == (line["answered"], line["of"])


async def test_bursts_of_a_rust_server_arrive_whole(peer: Peer):
    """Messages that it sends without a pause all arrive in order."""
    async with connected(peer) as (_, client):
        inbox = Inbox(client, peer.burst)
        await client.send(b"do burst %d 100" % peer.burst)
        assert [padded(b"burst %d" % index, 100) for index in range(peer.burst)] == await inbox.all()
        assert b"alive" == (await client.request(b"alive")).payload


async def test_a_rust_server_that_closes_ends_our_session_normally(peer: Peer):
    """Its close, graceful or forced, is a normal end here (2.1 to 2.3)."""
    for order in (b"do close", b"do force"):
        async with connected(peer) as (program, client):
            reasons = ends(client)
            await client.send(order)
            assert CloseReason.NORMAL == await asyncio.wait_for(reasons.get(), LIMIT)
            await program.line("closed")


async def test_our_close_is_normal_to_a_rust_server(peer: Peer):
    """It reports Normal, after everything that was sent before."""
    async with connected(peer) as (program, client):
        assert b"last" == (await client.request(b"last")).payload
        await client.close()
        assert "Normal" == (await program.line("closed"))["reason"]


async def test_compressed_messages_of_a_rust_server_are_inflated(compressing_peer: Peer):
    """zlib and zstd of the crate are inflated before handlers see them."""
    async with connected(compressing_peer) as (_, client):
        inbox = Inbox(client, 2)
        for code in (1, 2):
            await client.send(b"do compress %d 4000" % code)
            await client.request(b"barrier")
        assert [padded(b"compressed", 4000)] * 2 == await inbox.all()


async def test_a_rust_server_that_can_inflates_what_we_compress(compressing_peer: Peer):
    """2.0 inflates requests, 1.0.10 hands over the compressed bytes (1.3), and to 1.0.0 nothing is compressed."""
    async with connected(compressing_peer) as (_, client):
        for code in (1, 2):
            question = padded(b"question", 4000)
            answer = (await client.request(question, compression=code)).payload
            assert (answer == question) is (compressing_peer.version != "1.0.10")
