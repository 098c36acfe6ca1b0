"""What links are made of, each alone: the queue of a peer, pauses between attempts, the intake of messages."""

import asyncio

import pytest
import trustme

from artemis.cluster.mesh.intake import TURN, Intake
from artemis.cluster.mesh.pauses import MeshTimings, Pauses
from artemis.cluster.mesh.queue import SendQueue
from artemis.server.cluster_files import ClusterFileError, check_authorities, read_secret


def test_a_queue_keeps_the_order():
    """What was put first is taken first, and the bytes that wait are known."""
    queue = SendQueue()
    assert [True, True] == [queue.put(b"one"), queue.put(b"three")]
    assert (2, 8) == (len(queue), queue.size)
    assert [b"one", b"three", None] == [queue.take(), queue.take(), queue.take()]
    assert (0, 0, 0) == (len(queue), queue.size, queue.dropped)


@pytest.mark.parametrize(("messages", "size"), [(3, 1_000), (1_000, 3)])
def test_a_full_queue_drops_everything(messages, size):
    """At the bound in number or in bytes nothing is kept: a gap is repaired whole."""
    queue = SendQueue(messages, size)
    assert [True, True, True, False] == [queue.put(b"x") for _ in range(4)]
    assert (0, 0, 4) == (len(queue), queue.size, queue.dropped)
    assert queue.put(b"y")
    assert b"y" == queue.take()


def test_one_large_message_always_fits():
    """A message beyond the bound passes when nothing waits, or it could never be sent."""
    queue = SendQueue(10, 3)
    assert queue.put(b"large message")
    assert not queue.put(b"x")


def test_a_cleared_queue_counts_nothing():
    """What waited when a link broke was not dropped for want of room."""
    queue = SendQueue()
    queue.put(b"x")
    queue.clear()
    assert (0, 0, 0) == (len(queue), queue.size, queue.dropped)


def test_pauses_grow_to_their_bound_and_are_spread():
    """Chance draws evenly from nothing to a bound that doubles; a steady link begins anew."""
    pauses = Pauses(MeshTimings(first_pause=0.1, longest_pause=2.0))
    assert [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0] == [pauses.next(1.0, refused=False) for _ in range(7)]
    assert [0.0, 1.0] == [pauses.next(chance, refused=False) for chance in (0.0, 0.5)]
    assert 9 == pauses.failed
    pauses.worked()
    assert (0, 0.1) == (pauses.failed, pauses.next(1.0, refused=False))


def test_who_refuses_is_asked_again_more_slowly():
    """Between half of the longest time and all of it."""
    pauses = Pauses(MeshTimings(refused_pause=5.0))
    assert [2.5, 5.0] == [pauses.next(0.0, refused=True), pauses.next(1.0, refused=True)]


def test_pauses_go_on_for_ever():
    """However long a peer is away, no number overflows."""
    pauses = Pauses(MeshTimings(longest_pause=2.0))
    assert {2.0} == {pauses.next(1.0, refused=False) for _ in range(5_000)} - {0.1, 0.2, 0.4, 0.8, 1.6}


class Handler:
    """Handles messages; each of them takes `cost` on a clock of its own."""

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.time = 0.0
        self.turns: list[list[bytes]] = [[]]
        self.intake: Intake[str] = Intake(self._handle, self._after, lambda: self.time)

    def _handle(self, source: str, message: bytes) -> None:
        self.turns[-1].append(message)
        self.time += self.cost

    def _after(self) -> None:
        self.turns.append([])


async def test_messages_are_handled_at_once():
    """While there is time in the turn nobody waits, and what follows from them is done once, after them."""
    handler = Handler(TURN / 100)
    assert [None, None] == [handler.intake.take("one", message) for message in (b"a", b"b")]
    assert [[b"a", b"b"]] == handler.turns
    await asyncio.sleep(0)
    assert [[b"a", b"b"], []] == handler.turns
    assert 0 == handler.intake.late


async def test_what_takes_longer_than_a_turn_waits_for_the_next():
    """Order is kept over turns, and whoever delivered what waits has something to wait for."""
    handler = Handler(TURN / 2)
    waits = [handler.intake.take(source, bytes([65 + n])) for n, source in enumerate(["x", "y", "x", "y", "x"])]
    assert [True, True, False, False, False] == [wait is None for wait in waits]
    assert (3, 3) == (len(handler.intake), handler.intake.late)
    await waits[-1]
    assert [[b"A", b"B"], [b"C", b"D"], [b"E"]] == [turn for turn in handler.turns if turn]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert handler.intake.take("x", b"F") is None


async def test_what_waits_of_a_lost_connection_is_forgotten():
    """Its messages would come after the word that it is gone."""
    handler = Handler(TURN)
    for source in ("x", "y", "x"):
        waiting = handler.intake.take(source, source.encode())
    handler.intake.forget("x")
    await waiting
    assert [[b"x"], [b"y"]] == [turn for turn in handler.turns if turn]


async def test_a_closed_intake_lets_everybody_go():
    """Nothing is handled any more, and nobody waits for ever."""
    handler = Handler(TURN)
    handler.intake.take("x", b"a")
    waiting = handler.intake.take("x", b"b")
    handler.intake.close()
    await waiting
    await asyncio.sleep(0)
    assert [[b"a"]] == handler.turns


def test_the_secret_is_the_first_line_of_its_file(tmp_path):
    """Blanks around it and further lines do not belong to it."""
    file = tmp_path / "secret"
    file.write_bytes(b"  a secret of some length \nsomething else\n")
    assert b"a secret of some length" == read_secret(file)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\na secret of some length\n"])
def test_a_short_secret_is_refused(tmp_path, content):
    """Whoever records a handshake must not find it by trying."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ClusterFileError, match="16 characters or more"):
        read_secret(file)


def test_a_missing_secret_file_is_named(tmp_path):
    """The complaint says which file and which option."""
    with pytest.raises(ClusterFileError, match=r"nowhere: No such file .* --cluster-secret-file"):
        read_secret(tmp_path / "nowhere")


def test_authorities_are_looked_at_before_they_are_needed(tmp_path):
    """A file without certificates, or none at all, is refused at the start rather than at each attempt to link."""
    file = tmp_path / "ca.pem"
    with pytest.raises(ClusterFileError, match=r"cannot read .*: No such file .* --cluster-ca-file"):
        check_authorities(file)
    file.write_text("nothing")
    with pytest.raises(ClusterFileError, match="has no certificates in PEM form"):
        check_authorities(file)
    trustme.CA().cert_pem.write_to_path(str(file))
    check_authorities(file)
