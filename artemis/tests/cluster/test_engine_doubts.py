"""What a node makes of servers that do not keep the same: numbers of own puts, and how often all is read anew."""

from artemis.cluster.nats.doubting import MOST, REST, Doubting
from artemis.cluster.nats.numbering import MOST as PUTS
from artemis.cluster.nats.numbering import Numbering


def test_a_put_is_compared_when_it_was_answered_and_read() -> None:
    """Whichever of both comes first, and once."""
    numbering = Numbering()
    assert numbering.answered(1, 10) is None
    assert numbering.read(1, 10) is True
    assert numbering.read(2, 11) is None
    assert numbering.answered(2, 15) is False
    assert numbering.answered(2, 15) is None


def test_puts_that_are_never_read_are_bounded() -> None:
    """The oldest are forgotten, and nothing is said of them."""
    numbering = Numbering()
    for put in range(PUTS + 1):
        numbering.answered(put, put)
    assert numbering.read(0, 7) is None
    assert numbering.read(1, 1) is True


def test_all_is_read_anew_some_times_and_then_now_and_then() -> None:
    """Each time another server may bring it, and where none does better that costs little."""
    doubting = Doubting()
    assert [True] * MOST == [doubting.doubt(at) for at in range(MOST)]
    assert not doubting.lasting
    assert [False, False] == [doubting.doubt(10), doubting.doubt(REST)]
    assert doubting.lasting
    assert doubting.doubt(REST + MOST)
    assert not doubting.doubt(REST + MOST + 1)


def test_doubts_are_over_when_something_shows_it_or_none_came_for_a_while() -> None:
    """A put that was read where it was answered shows that all is well; that nothing is missing now shows little."""
    doubting = Doubting()
    for at in range(MOST + 1):
        doubting.doubt(at)
    doubting.wait(REST)
    assert doubting.lasting
    doubting.wait(REST + MOST)
    assert not doubting.lasting
    for at in range(MOST + 1):
        doubting.doubt(at)
    doubting.trust()
    assert not doubting.lasting
