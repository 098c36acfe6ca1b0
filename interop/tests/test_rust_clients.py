"""Clients made of the Rust crate talk to a server of ours (specification 2, 3.2, 8)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from rust_peers import LIMIT, Peer, drive, ends, running, told

from msgtrans import CloseReason, TransportServer

if TYPE_CHECKING:
    from msgtrans import Context

QUICK = {"max_idle_timeout": 2.0, "keep_alive_interval": None}


def keep(requests: list[Context], context: Context) -> bytes:
    """Answer a request with itself, and keep it."""
    requests.append(context)
    return context.payload


async def test_oneway_messages_of_a_rust_client_come_back_in_order(peer: Peer):
    """One-way messages arrive in order, and what we send back does too."""
    async with peer.server() as server:
        lines = await drive(peer, server, "oneway", count=peer.many(40), gap=5)
    sent, back, in_order = (told(lines, "oneway")[key] for key in ("sent", "back", "in_order"))
    assert (peer.many(40), peer.many(40), True) == (sent, back, in_order)


async def test_requests_of_a_rust_client_are_answered(peer: Peer):
    """Requests, as many at once as that version can have in flight, get their own answers."""
    async with peer.server() as server:
        lines = await drive(peer, server, "requests", count=peer.many(100), window=peer.window)
    assert (peer.many(100), []) == (told(lines, "requests")["answered"], told(lines, "requests")["wrong"])


async def test_one_listener_serves_all_versions_at_once():
    """On QUIC, clients with an application protocol and without, and both ways in which packets travel (case 17)."""
    peers = [Peer(version, "quic") for version in ("1.0.0", "1.0.10", "2.0")]
    peers = [one for one in peers if one.program.exists()]
    if not peers:
        pytest.skip("`make test-interop` builds the peers")
    async with Peer("1.0.0", "quic").server() as server:
        driven = [drive(one, server, "requests", count=40, window=one.window) for one in peers]
        found = await asyncio.gather(*driven)
    assert [(40, [])] * len(peers) == [
        (told(lines, "requests")["answered"], told(lines, "requests")["wrong"]) for lines in found
    ]


async def test_large_requests_of_a_rust_client_are_answered(peer: Peer):
    """The largest payloads of that version go both ways."""
    async with peer.server() as server:
        lines = await drive(peer, server, "requests", count=3, size=peer.largest)
    assert (3, []) == (told(lines, "requests")["answered"], told(lines, "requests")["wrong"])


async def test_a_rust_client_answers_our_requests(peer: Peer):
    """A server of ours asks a Rust client, and gets the answers."""
    server = peer.server()
    answers: list[bytes] = []

    async def ask(session):
        asked = [session.request(b"ask %d" % index) for index in range(peer.many(24))]
        answers.extend([answer.payload for answer in await asyncio.gather(*asked)])
        await session.close()

    server.on_message(lambda context: asyncio.ensure_future(ask(context.session)) and None)
    async with server:
        lines = await drive(peer, server, "listen", say="begin")
    assert [b"ask %d" % index for index in range(peer.many(24))] == answers
    assert peer.many(24) == told(lines, "listened")["requests"]


async def test_bursts_reach_a_rust_client(peer: Peer):
    """Messages in one turn of the loop all arrive, and the close behind them is noticed (8.2, case 23)."""
    server = peer.server()

    async def burst(session):
        for index in range(peer.many(40)):
            await session.send(b"burst %d" % index)
        await session.close()

    server.on_message(lambda context: asyncio.ensure_future(burst(context.session)) and None)
    async with server:
        lines = await drive(peer, server, "listen", say="begin")
    seen = [line["text"] for line in lines if line["event"] == "message"]
    assert [f"burst {index}" for index in range(peer.many(40))] == seen
    assert "Normal" == told(lines, "listened")["closed"]


async def test_a_rust_client_that_leaves_ends_its_session_normally(peer: Peer):
    """Its disconnect is a normal end here."""
    server = peer.server()
    reasons = ends(server)
    async with server:
        lines = await drive(peer, server, "leave")
        assert CloseReason.NORMAL == await asyncio.wait_for(reasons.get(), LIMIT)
    assert told(lines, "left")["answered"] is True


async def test_a_rust_client_that_is_killed_ends_its_session(peer: Peer):
    """A process that vanishes is noticed at once where the system says so, with QUIC when nothing comes any more."""
    server = TransportServer(listen=[peer.listener(**QUICK if peer.transport == "quic" else {})])
    reasons = ends(server)
    async with server:
        uri = f"{peer.transport}://{server.addresses[0]}" + ("/" if peer.transport == "ws" else "")
        async with running(peer, "drive", uri, "listen") as program:
            await program.line("connected")
            program.process.kill()
            reason = await asyncio.wait_for(reasons.get(), LIMIT)
    assert (CloseReason.TIMEOUT if peer.transport == "quic" else CloseReason.NORMAL) == reason


async def test_compressed_requests_of_a_rust_client_are_inflated(compressing_peer: Peer):
    """zlib and zstd of the crate are inflated here; ours is plain, and it takes that too."""
    for code in (1, 2):
        server, requests = compressing_peer.server(), []
        server.on_request(partial(keep, requests))
        async with server:
            lines = await drive(compressing_peer, server, "requests", count=3, size=4000, compression=code)
        assert (3, [code] * 3) == (told(lines, "requests")["answered"], [one.compression for one in requests])


async def test_what_is_marked_as_compressed_and_is_not_arrives_raw(peer: Peer):
    """A build without codecs marks plain payloads as compressed (1.3, vector V8); 2.0 refuses to send them."""
    server, requests = peer.server(), []
    server.on_request(partial(keep, requests))
    async with server:
        lines = await drive(peer, server, "requests", count=2, size=100, compression=2)
    payloads = [one.payload for one in requests]
    if peer.version == "2.0":
        assert [] == payloads
        assert "ompress" in told(lines, "requests")["wrong"][0]
    else:
        assert [b"request 0 ".ljust(100, b"."), b"request 1 ".ljust(100, b".")] == payloads
