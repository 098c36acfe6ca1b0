"""Each call to the system that QUIC makes fails in each way, on both loops (case 31): what users see of it.

The faults are made by a library that stands before the C library of a process of its own; `quic_faults` says which.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import pytest
from carriers import LOOPS
from fault_shim import needs_shim
from quic_faults import QUIC_FAULTS, QUIC_PASSING, Seen, run_quic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fault_table import Fault

pytestmark = needs_shim
UNTOLD = {"EAGAIN", "EINTR", "EMSGSIZE"}  # to be made again, or how the size of datagrams is found out
MOST = 300  # calls in a tenth of a second that are no spin
PlayOf: TypeAlias = "Callable[[str], list[tuple[Fault, Seen]]]"


@pytest.fixture(scope="module")
def play(shim: Path) -> PlayOf:
    """Runs the table on a loop, once."""

    @cache
    def once(loop: str) -> list[tuple[Fault, Seen]]:
        seen = run_quic(shim, loop)
        return [(fault, seen[str(fault)]) for fault in QUIC_FAULTS]

    return once


on_each_loop = pytest.mark.parametrize("loop", LOOPS)


@on_each_loop
def test_every_fault_of_quic_was_met(play: PlayOf, loop: str) -> None:
    """The calls that are to fail are those that are made."""
    assert [] == [str(fault) for fault, seen in play(loop) if not seen.hits]


@on_each_loop
def test_a_datagram_that_fails_is_only_lost(play: PlayOf, loop: str) -> None:
    """Whatever the system says to sending or receiving on an open session, on either side: requests are answered, the
    session stays, and others, new ones too, are served."""
    for fault, seen in play(loop):
        if fault.moment == "open":
            assert (["done", "done"], True) == (seen.requests, seen.open), fault
        assert (True, 0) == (seen.others, seen.descriptors), fault


@on_each_loop
def test_trouble_is_told_once_with_words(play: PlayOf, loop: str) -> None:
    """What is refused is logged once for each socket, with the system's words and what to do; nothing else is."""
    for fault, seen in play(loop):
        if fault.moment != "open":
            continue
        if fault.error in UNTOLD or (fault.call == "receive" and fault.whose != "lasting"):
            assert [] == seen.told, fault
            continue
        assert 1 <= len(seen.told) <= 2, fault  # the other client's socket, too
        assert len(set(seen.told)) == len(seen.told), fault
        for line in seen.told:
            doing = {"send": "sending", "receive": "receiving"}[fault.call]
            assert line.startswith(f"msgtrans.quic: the system refuses {doing} on 127.0.0.1:"), fault
            assert os.strerror(fault.number) in line, fault
            assert (fault.error == "EPERM") == ("a firewall of this machine forbids it" in line), fault


@on_each_loop
def test_an_error_that_stays_is_no_spin(play: PlayOf, loop: str) -> None:
    """A socket that gives nothing but errors is left alone for a moment, again and again, until it works."""
    for fault, seen in play(loop):
        if fault.whose == "lasting":
            assert seen.hits <= MOST, fault


@on_each_loop
def test_connecting_over_quic_says_what_failed(play: PlayOf, loop: str) -> None:
    """An attempt that meets a fault connects all the same, or raises a ConnectError that says what and where."""
    for fault, seen in play(loop):
        if fault.moment != "connecting":
            continue
        if seen.error is None:
            assert ["done"] == seen.requests, fault
            assert fault.call in {"receive", "setsockopt"} or fault.error in QUIC_PASSING, fault
            continue
        assert seen.error.startswith("ConnectError: "), fault
        assert "localhost" in seen.error or "quic://127.0.0.1:" in seen.error, fault
        if fault.error == "ECONNREFUSED":
            assert "nothing listens there; check that the server runs" in seen.error, fault
        elif fault.call != "getaddrinfo":
            assert os.strerror(fault.number) in seen.error, fault
        if fault.call in {"send", "receive"}:
            assert fault.error not in QUIC_PASSING, fault


@on_each_loop
def test_a_listener_that_cannot_start_says_why(play: PlayOf, loop: str) -> None:
    """What the system refuses while a listener starts is a ConnectError, and nothing is left open."""
    for fault, seen in play(loop):
        if fault.moment == "starting":
            assert seen.error is not None
            assert seen.error.startswith("ConnectError: cannot listen on 127.0.0.1:0: "), fault
