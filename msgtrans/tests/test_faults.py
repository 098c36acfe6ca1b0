"""Each call to the system fails in each way, on both loops and all transports on TCP (case 31): what users see of it.

The faults are made by a library that stands before the C library of a process of its own; `faults` says which.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import pytest
from carriers import LOOPS, TCP, TLS, WS, WSS
from fault_shim import needs_shim
from fault_table import FAULTS, PASSING, WALKS, Fault
from faults import Outcome, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_shim
ON_TCP = (TCP, TLS, WS, WSS)  # transports whose calls these are
ASYNCIO, UVLOOP = "asyncio", "uvloop"
EXHAUSTED = {"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"}
POOL_WARNS = "msgtrans.pool: a server "  # is down, or has closed a new connection: once, as long as that lasts


class Play:
    """What one process saw: outcomes in the order of the faults, and what was left of sessions in the end."""

    def __init__(self, loop: str, carrier: str, outcomes: dict[str, list[Outcome]], left: list[str]) -> None:
        self.loop = loop
        self.carrier = carrier
        self.left = left
        self._outcomes = outcomes

    def of(self, whose: str, moment: str) -> list[tuple[Fault, Outcome]]:
        """Those of one kind of client, at one moment."""
        return [
            (fault, self._outcomes[str(fault)][0])
            for fault in FAULTS
            if fault.whose == whose and fault.moment == moment
        ]

    def all(self) -> list[tuple[Fault, Outcome]]:
        """All of them."""
        return [(fault, self._outcomes[str(fault)][0]) for fault in FAULTS]

    def steps(self, walk: Fault) -> list[Outcome]:
        """What came of each step of a walk."""
        return self._outcomes[str(walk)]

    def is_made(self, fault: Fault) -> bool:
        """Whether the call is made at all then, by this loop on this transport."""
        if fault.call == "close":
            return self.loop == ASYNCIO  # uvloop closes without the C library
        if fault.moment == "closing":
            return fault.call != ("send" if self.carrier == TCP else "shutdown")
        return (self.loop, fault.side, fault.call) != (ASYNCIO, "server", "getpeername")  # which `accept` tells


@pytest.fixture(scope="module")
def play(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Play]:
    """Runs the table on a loop and a transport, once."""
    folder = tmp_path_factory.mktemp("certificates")

    @cache
    def once(loop: str, carrier: str) -> Play:
        return Play(loop, carrier, *run(shim, loop, carrier, folder))

    return once


on_each = pytest.mark.parametrize(("loop", "carrier_name"), [(loop, name) for name in ON_TCP for loop in LOOPS])
PlayOf: TypeAlias = "Callable[[str, str], Play]"


@on_each
def test_every_fault_was_met(play: PlayOf, loop: str, carrier_name: str) -> None:
    """The calls that are to fail are those that are made."""
    seen = play(loop, carrier_name)
    assert {str(fault): seen.is_made(fault) for fault, _ in seen.all()} == {
        str(fault): outcome.hits > 0 for fault, outcome in seen.all()
    }


@on_each
def test_a_session_whose_call_fails_ends_once_and_says_why(play: PlayOf, loop: str, carrier_name: str) -> None:
    """Both ends are closed once; where it failed with reason `error` and the system's words; requests fail at once."""
    for fault, outcome in play(loop, carrier_name).of("client", "open"):
        if fault.error in PASSING:
            continue
        told = os.strerror(fault.number)
        if (loop, fault.call, fault.error) == (UVLOOP, "receive", "ENOBUFS"):
            told = "get_buffer()"  # uvloop takes it for a fault of ours
        assert outcome.near is not None, fault
        assert outcome.far is not None, fault
        assert "error" == outcome.near[0], fault
        assert told in outcome.near[1], fault
        assert outcome.far[0] in {"error", "normal"}, fault
        assert ([1, 1], ["SessionClosedError"]) == (outcome.endings, outcome.requests), fault


@on_each
def test_what_passes_is_no_fault(play: PlayOf, loop: str, carrier_name: str) -> None:
    """A call that is to be made again is made again, and nobody notices."""
    for fault, outcome in play(loop, carrier_name).of("client", "open"):
        if fault.error in PASSING:
            assert (None, None, ["done"]) == (outcome.near, outcome.far, outcome.requests), fault


@on_each
def test_closing_ends_whatever_fails_meanwhile(play: PlayOf, loop: str, carrier_name: str) -> None:
    """A graceful close whose own calls fail ends as any other: once on both sides, requests failing at once."""
    for fault, outcome in play(loop, carrier_name).of("client", "closing"):
        assert outcome.near is not None, fault
        assert "normal" == outcome.near[0], fault
        assert ([1, 1], ["SessionClosedError"]) == (outcome.endings, outcome.requests), fault


@on_each
def test_connecting_says_what_failed(play: PlayOf, loop: str, carrier_name: str) -> None:
    """An attempt that meets a fault connects all the same, or raises a ConnectError that says what and where."""
    for fault, outcome in play(loop, carrier_name).of("client", "connecting"):
        if outcome.error is None:
            assert outcome.requests in (["done"], ["SessionClosedError"]), fault
            assert [1] == outcome.endings, fault
            continue
        assert outcome.error.startswith("ConnectError: "), fault
        if fault.call in {"socket", "connect"}:
            assert os.strerror(fault.number) in outcome.error, fault
            assert (fault.error == "ENETUNREACH") == ("check that the server runs" in outcome.error), fault
        elif fault.call == "getaddrinfo" and fault.error.startswith("EAI_"):
            assert "the name 'localhost' does not resolve" in outcome.error, fault
        elif fault.call != "getaddrinfo":
            assert "://127.0.0.1:" in outcome.error, fault


@on_each
def test_connections_come_back(play: PlayOf, loop: str, carrier_name: str) -> None:
    """A ReconnectingClient answers whatever failed; a pool replaces what broke and hands out what works."""
    seen = play(loop, carrier_name)
    for moment in ("open", "connecting"):
        for fault, outcome in seen.of("reconnecting", moment):
            assert ["done"] * 3 == outcome.requests, fault
        for fault, outcome in seen.of("pool", moment):
            assert "done" == outcome.requests[-1], fault
            assert {"done", "SessionClosedError"} >= set(outcome.requests), fault
        if moment == "open":
            assert all(["done"] * 3 == outcome.requests[1:] for _, outcome in seen.of("pool", moment))


@on_each
def test_whichever_call_of_a_life_fails(play: PlayOf, loop: str, carrier_name: str) -> None:
    """From connecting to closing, each call to read and to write fails once: each request is answered or fails at once,
    the session ends once, and nothing is left."""
    for walk in WALKS:
        steps = play(loop, carrier_name).steps(walk)
        assert len(steps) >= 3, walk
        for number, outcome in enumerate(steps):
            assert {"done", "SessionClosedError", "ConnectError"} >= set(outcome.requests), (walk, number)
            assert outcome.endings == ([] if outcome.requests == ["ConnectError"] else [1]), (walk, number)
            assert ([], True, []) == (outcome.left, outcome.others, outcome.told), (walk, number)


@on_each
def test_nothing_is_left_and_others_notice_nothing(play: PlayOf, loop: str, carrier_name: str) -> None:
    """After each fault the listener and another session go on; descriptors, tasks, timers and sessions are as before;
    nothing is logged but that nothing could be accepted, or closed, and by a pool that a server failed it."""
    seen = play(loop, carrier_name)
    for fault, outcome in seen.all():
        assert ([], True) == (outcome.left, outcome.others), fault
        if fault.call == "accept" and fault.error in EXHAUSTED and loop == ASYNCIO:
            assert 1 == len(outcome.told), fault
            assert "out of system resource" in outcome.told[0], fault
        elif fault.call == "close" and loop == ASYNCIO:
            assert 1 == len(outcome.told), fault  # by asyncio, which closes as its very last step
        elif (loop, fault.call, fault.error) != (UVLOOP, "receive", "ENOBUFS"):
            assert [] == [line for line in outcome.told if fault.whose != "pool" or POOL_WARNS not in line], fault
    connection = "WebSocketConnection" if carrier_name in {WS, WSS} else "StreamConnection"
    assert ["Session", "Session", connection, connection] == seen.left
