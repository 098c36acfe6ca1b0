"""The state of the connection as a function of outcomes and time."""

from artemis.client.connection import Connection, ConnectionState
from artemis.client.events import StateChanged

CONNECTED, SUSPENDED, LOST = ConnectionState.CONNECTED, ConnectionState.SUSPENDED, ConnectionState.LOST


def test_it_begins_suspended_and_connects_with_the_first_answer() -> None:
    """Before the first answer nothing is known."""
    connection = Connection(lost_after=20, now=0.0)
    assert connection.state is SUSPENDED
    assert connection.answered(1.0) == StateChanged(SUSPENDED, CONNECTED, "a node answered")


def test_only_changes_are_told() -> None:
    """A second answer in a row is no news, nor is a second failure."""
    connection = Connection(lost_after=20, now=0.0)
    assert connection.failed("refused") is None
    connection.answered(1.0)
    assert connection.answered(2.0) is None
    assert connection.failed("refused") == StateChanged(CONNECTED, SUSPENDED, "refused")
    assert connection.failed("refused") is None


def test_silence_longer_than_a_lease_is_a_loss() -> None:
    """The time counts from the last answer, not from the first failure."""
    connection = Connection(lost_after=20, now=0.0)
    connection.answered(5.0)
    connection.failed("refused")
    assert connection.lost_at == 25.0
    assert connection.tick(24.9) is None
    assert connection.tick(25.0) == StateChanged(SUSPENDED, LOST, "no answer for 20 s")
    assert connection.lost_at is None


def test_it_comes_back_from_a_loss() -> None:
    """One answer is enough."""
    connection = Connection(lost_after=20, now=0.0)
    connection.tick(20.0)
    assert connection.failed("refused") is None
    assert connection.answered(30.0) == StateChanged(LOST, CONNECTED, "a node answered")
    assert connection.lost_at is None


def test_who_was_suspended_for_long_is_not_connected_any_more() -> None:
    """The first look says so already, and the first sign of life of the process tells of it."""
    connection = Connection(lost_after=20, now=0.0)
    connection.watch(0.0)
    connection.answered(1.0)
    connection.watch(5.0)
    assert (CONNECTED, CONNECTED, LOST) == tuple(connection.state_at(now) for now in (5.0, 24.9, 25.0))
    assert connection.watch(35.0) == StateChanged(CONNECTED, LOST, "this process was suspended for 30 s")
    assert connection.watch(40.0) is None
    assert connection.answered(40.0) == StateChanged(LOST, CONNECTED, "a node answered")


def test_an_idle_client_that_runs_stays_connected() -> None:
    """Nothing has been asked for long, and nothing has failed."""
    connection = Connection(lost_after=20, now=0.0)
    connection.answered(1.0)
    for now in range(0, 200, 5):
        assert connection.watch(now) is None
    assert connection.state_at(200.0) is CONNECTED
