"""What an endpoint does with all of its sessions takes several turns of the loop when these are many."""

from __future__ import annotations

import asyncio

import pytest
from memory_link import MemoryLink

from msgtrans import Flag, Optimizations, Packet, SessionConfig, broadcasting, encode, sweeping
from msgtrans.endpoint import Endpoint
from msgtrans.session import Session


def open_sessions(endpoint: Endpoint, count: int) -> list[Session]:
    """So many of one endpoint, each over a link in memory."""
    made = []
    for number in range(1, count + 1):
        link = MemoryLink(endpoint.config)
        link.session = Session(number, link, endpoint, asyncio.get_running_loop(), 1)
        endpoint.session_opened(link.session)
        made.append(link.session)
    return made


def link_of(session: Session) -> MemoryLink:
    """What it writes to."""
    link = session._link
    assert isinstance(link, MemoryLink)
    return link


async def test_a_sweep_looks_at_some_sessions_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that are silent for too long are closed a slice in each turn, and the watch goes on behind the last."""
    monkeypatch.setattr(sweeping, "SLICE", 2)
    endpoint = Endpoint(SessionConfig(idle_timeout=60.0))
    sessions = open_sessions(endpoint, 5)
    for session in sessions:
        session._active_at -= 61

    endpoint.sweeping._sweep()
    timed_out = [endpoint.counters.idle_timeouts]
    for _ in range(3):
        await asyncio.sleep(0)
        timed_out.append(endpoint.counters.idle_timeouts)

    assert [2, 4, 5, 5] == timed_out
    endpoint._stop_watching()


async def test_a_sweep_that_is_stopped_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two turns, it looks at no more sessions."""
    monkeypatch.setattr(sweeping, "SLICE", 2)
    endpoint = Endpoint(SessionConfig(idle_timeout=60.0))
    for session in open_sessions(endpoint, 5):
        session._active_at -= 61

    endpoint.sweeping._sweep()
    endpoint._stop_watching()
    await asyncio.sleep(0)

    assert 2 == endpoint.counters.idle_timeouts


async def test_counters_of_many_sessions_are_their_sums() -> None:
    """Statistics add up what open and closed sessions moved."""
    endpoint = Endpoint()
    sessions = open_sessions(endpoint, 3)
    for number, session in enumerate(sessions, start=1):
        session.packets_sent, session.packets_received = number, 10 * number
        session.bytes_sent, session.bytes_received = 100 * number, 1000 * number
    sessions[0].abort()
    await sessions[0].wait_closed()

    stats = endpoint.stats()

    assert (6, 60, 600, 6000) == (stats.packets_sent, stats.packets_received, stats.bytes_sent, stats.bytes_received)
    assert 2 == stats.connections_open
    endpoint._stop_watching()


async def test_a_broadcast_is_written_to_some_sessions_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every session gets it once, a slice of them in each turn, and what a session sends after it follows it."""
    monkeypatch.setattr(broadcasting, "SLICE", 2)
    endpoint = Endpoint()
    sessions = open_sessions(endpoint, 5)
    for session in sessions:  # so that each would write at once
        session.receive([Packet(2, 1)])

    queued = broadcasting.broadcast(encode(Packet(0, 7, b"news")), sessions)
    sessions[4].send_nowait(b"more")
    written = [[len(link_of(session).sent()) for session in sessions]]
    for _ in range(2):
        await asyncio.sleep(0)
        written.append([len(link_of(session).sent()) for session in sessions])

    assert 5 == queued
    assert [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 2]] == written
    assert [b"news", b"more"] == [packet.payload for packet in link_of(sessions[4]).sent()]
    endpoint._stop_watching()


async def test_a_session_that_closes_meanwhile_writes_the_broadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graceful close does not wait for the turn of the session, and nothing is written twice."""
    monkeypatch.setattr(broadcasting, "SLICE", 1)
    endpoint = Endpoint()
    first, second, third = sessions = open_sessions(endpoint, 3)
    links = [link_of(session) for session in sessions]

    broadcasting.broadcast(encode(Packet(0, 7, b"news")), [first, second, third])
    third.abort()
    await second.close()
    await asyncio.sleep(0)

    assert [1, 1, 0] == [len(link.sent()) for link in links]
    endpoint._stop_watching()


async def test_a_command_is_broadcast_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broadcasts of high priority do not wait for later turns, nor do sessions that gather nothing."""
    monkeypatch.setattr(broadcasting, "SLICE", 1)
    endpoint = Endpoint(SessionConfig(optimizations=Optimizations(coalescing=False)))
    ungathered = open_sessions(endpoint, 3)
    gathering = Endpoint()
    sessions = open_sessions(gathering, 3)
    for session in sessions:
        session.receive([Packet(2, 1)])

    broadcasting.broadcast(encode(Packet(0, 7, b"news")), ungathered)
    broadcasting.broadcast(encode(Packet(0, 7, b"now", flags=Flag.HIGH_PRIORITY)), sessions)

    assert [1, 1, 1, 1, 1, 1] == [len(link_of(session).sent()) for session in (*ungathered, *sessions)]
    endpoint._stop_watching()
    gathering._stop_watching()


async def test_an_idle_client_has_no_timer() -> None:
    """Nothing is looked for until a packet has begun; a server looks for idle sessions all the time."""
    endpoint = Endpoint()
    (session,) = open_sessions(endpoint, 1)
    idle = endpoint.sweeping.rests

    session.count_kept(10)
    begun = endpoint.sweeping.rests
    session.count_kept(-10)
    endpoint.sweeping.stop()
    endpoint.sweeping._sweep()
    ended = endpoint.sweeping.rests
    link_of(session).inside_packet = True
    session.count_kept(0)  # as after an empty fragment
    empty = endpoint.sweeping.rests
    endpoint.sweeping.stop()

    assert (True, False, True, False) == (idle, begun, ended, empty)


async def test_a_packet_that_has_begun_is_watched_until_it_ends() -> None:
    """While bytes of it are kept each look is followed by another, and the session ends at its packet_timeout."""
    endpoint = Endpoint(SessionConfig(packet_timeout=0.05))
    (session,) = open_sessions(endpoint, 1)
    link_of(session).inside_packet = True

    session.count_kept(10)
    await asyncio.wait_for(session.wait_closed(), 30)

    assert 1 == endpoint.counters.packet_timeouts
