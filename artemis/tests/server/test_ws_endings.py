"""How long connections may take to end whose sessions are over."""

import pytest

from artemis.server.websocket.endings import Endings


class Peer:
    """A connection whose peer takes what the test says."""

    def __init__(self, unsent: int = 0) -> None:
        self.unsent = unsent


@pytest.fixture
def endings() -> Endings[Peer]:
    """2 s for the answer, 10 s without progress, 60 s in all."""
    return Endings(2.0, 10.0, 60.0)


def cut_at(endings: Endings[Peer], *, patient: bool = True) -> int:
    """The second in which somebody is cut."""
    return next(second for second in range(1, 200) if endings.overdue(second, patient=patient))


def test_a_peer_that_has_everything_has_the_time_for_an_answer(endings: Endings[Peer]) -> None:
    """Then it is cut."""
    endings.begin(Peer(), 0)
    assert cut_at(endings) == 3


def test_a_peer_that_takes_nothing_is_cut_after_the_stall(endings: Endings[Peer]) -> None:
    """At a shutdown, which has little time, as if it had everything."""
    endings.begin(Peer(100), 0)
    assert cut_at(endings) == 10
    endings.forget(Peer())
    assert cut_at(endings, patient=False) == 3


def test_a_peer_that_reads_on_gets_everything_and_the_time_for_an_answer(endings: Endings[Peer]) -> None:
    """However slowly, as long as something moves."""
    peer = Peer(3)
    endings.begin(peer, 0)
    for second in range(1, 30):
        peer.unsent = 3 - second // 9
        assert endings.overdue(second) == []
    assert endings.overdue(29.1) == [peer]


def test_a_peer_that_reads_a_byte_now_and_then_is_cut_in_the_end(endings: Endings[Peer]) -> None:
    """Nobody holds a connection for ever."""
    peer = Peer(1000)
    endings.begin(peer, 0)
    for second in range(1, 60):
        peer.unsent -= 1
        assert endings.overdue(second) == []
    peer.unsent -= 1
    assert endings.overdue(60) == [peer]


def test_a_deadline_of_a_goodbye_holds_whatever_is_unsent(endings: Endings[Peer]) -> None:
    """What a peer that has said goodbye is still to get must leave in time."""
    endings.hurry(Peer(10), 30)
    assert cut_at(endings) == 31
