"""Listening sockets that a supervisor keeps: which there are, and whom connections go to."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgtrans.workers.messages import MAX_SIZE, Begin, Failing, Frames, Listen, Report, frame, from_worker, to_worker
from msgtrans.workers.sockets import SPREADS, Listening

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LINUX = pytest.mark.skipif(not SPREADS, reason="only Linux spreads connections")


def ask(ordinal: int = 1, port: int = 0, hosts: tuple[str, ...] = ("127.0.0.1",)) -> Listen:
    return Listen(1, ordinal, hosts, port, 1024, True)


@pytest.fixture
def listening() -> Iterator[Listening]:
    """With a socket for each place."""
    made = Listening(reuse_port=True)
    yield made
    made.close()


def visits(sockets: dict[int, list[socket.socket]], count: int = 60) -> dict[int, int]:
    """How many of new connections each place gets."""
    address = next(iter(sockets.values()))[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(count)]
    found = dict.fromkeys(sockets, 0)
    for place, (accepting,) in sockets.items():
        with suppress(BlockingIOError):
            while True:
                accepting.accept()[0].close()
                found[place] += 1
    for client in clients:
        client.close()
    return found


def serving(found: dict[int, int]) -> Collection[int]:
    return {place for place, count in found.items() if count}


@LINUX
def test_places_have_sockets_of_their_own_on_one_port(listening: Listening) -> None:
    """Port 0 is the same port for all places, and each gets its share; asked again, it gets the same socket."""
    sockets = {place: listening.get(ask(), place, place) for place in range(3)}
    assert 1 == len({made[0].getsockname() for made in sockets.values()})
    assert 3 == len({made[0].fileno() for made in sockets.values()})
    assert listening.get(ask(), 1, 7) is sockets[1]
    assert {0, 1, 2} == serving(visits(sockets, 200))


@LINUX
def test_connections_go_to_places_that_serve(listening: Listening) -> None:
    """Only to these; to all when none serves, and again when all do, whichever places came and went."""
    sockets = {place: listening.get(ask(), place, place) for place in range(3)}
    for chosen in ({0}, {2}, {0, 1}, {1, 2}):
        listening.steer(chosen)
        assert chosen == serving(visits(sockets))
    for chosen in ((), {0, 1, 2}):
        listening.steer(chosen)
        assert {0, 1, 2} == serving(visits(sockets))
    listening.leave(0)
    del sockets[0]
    for chosen in ({1}, {2}, {1, 2}):
        listening.steer(chosen)
        assert chosen == serving(visits(sockets))
    sockets[0] = listening.get(ask(), 0, 9)
    for chosen in ({0}, {1}, {2}, {0, 2}):
        listening.steer(chosen)
        assert chosen == serving(visits(sockets))


def test_all_places_can_share_one_socket() -> None:
    """Without reuse_port there is one socket, which outlives every place."""
    listening = Listening(reuse_port=False)
    try:
        (one,) = listening.get(ask(), 0, 1)
        assert [one] == listening.get(ask(), 1, 2)
        listening.steer({1})
        listening.leave(1)
        socket.create_connection(one.getsockname()).close()
    finally:
        listening.close()


def test_port_0_is_another_port_for_each_listener(listening: Listening) -> None:
    """Listeners of one worker differ; a port that has a number is the same whichever listener asks."""
    (first,) = listening.get(ask(1), 0, 1)
    (second,) = listening.get(ask(2), 0, 1)
    assert first.getsockname() != second.getsockname()
    listening.close()
    port = first.fileno()
    assert port == -1


def test_a_port_in_use_is_refused(listening: Listening) -> None:
    """Also where the other one shares its port, by the same user even."""
    other = Listening(reuse_port=True)
    try:
        (taken,) = other.get(ask(), 0, 1)
        with pytest.raises(OSError, match="in use"):
            listening.get(ask(port=taken.getsockname()[1]), 0, 1)
    finally:
        other.close()


def test_what_no_worker_asked_for_is_closed(listening: Listening) -> None:
    """After a reload only what the new workers use stays."""
    (old,) = listening.get(ask(1), 0, 1)
    (kept,) = listening.get(ask(2), 0, 1)
    listening.get(ask(2), 0, 2)
    listening.keep_only({2})
    assert (-1, True) == (old.fileno(), kept.fileno() >= 0)


def test_addresses_that_are_not_there_are_left_out(listening: Listening) -> None:
    """Of the addresses of a name those that this machine has are taken; none at all is an error."""
    (made,) = listening.get(ask(hosts=("192.0.2.1", "127.0.0.1")), 0, 1)
    assert "127.0.0.1" == made.getsockname()[0]
    with pytest.raises(OSError, match="assign"):
        listening.get(ask(hosts=("192.0.2.1",)), 0, 1)


@settings(max_examples=30)
@given(st.data())
def test_messages_arrive_whole_however_they_are_cut(data: st.DataObject) -> None:
    """What was framed comes out in order, from pieces of any size."""
    sent = [Report({"packets": 5}), Failing("raised ValueError: ö", hopeless=True), ask(), Report({})]
    rest = b"".join(frame(message) for message in sent)
    frames, found = Frames(), []
    while rest:
        size = data.draw(st.integers(1, 100))
        found += [from_worker.decode(body) for body in frames.feed(rest[:size])]
        rest = rest[size:]
    assert sent == found


def test_nonsense_is_refused() -> None:
    """A length that no message has raises, and does not wait for so much."""
    with pytest.raises(ValueError, match="are the most"):
        Frames().feed((MAX_SIZE + 1).to_bytes(4, "big"))
    begin = Begin(index=0, count=1, life=1, report_interval=1.0, graceful_timeout=1.0, arguments=("a",))
    assert begin == to_worker.decode(frame(begin)[4:])
