"""What the demonstration knows about its fleet, and how it looks."""

import io

from rich.console import Console

from artemis.demo.board import Board, Happening
from artemis.demo.fleet import MEMBERS, SERVICES, VICTIMS
from artemis.demo.member import Report
from artemis.demo.screen import describe_calls, picture, summary


def running_board() -> Board:
    """Return a board on which everything runs."""
    board = Board(MEMBERS)
    for plan in MEMBERS:
        board.started(plan.instance_id)
        board.listed(plan.instance_id, f"http://{plan.instance_id}")
    return board


def test_the_fleet_is_large_enough_for_one_to_be_away() -> None:
    """At least three services, several instances each, and one victim less than 15 % of all."""
    assert len(SERVICES) >= 3
    assert all(plan.instances >= 2 for plan in SERVICES)
    assert 1 / len(MEMBERS) < 0.15
    assert set(VICTIMS) <= {plan.instance_id for plan in MEMBERS}
    assert {called for plan in SERVICES for called in plan.calls} < {plan.service_id for plan in SERVICES}


def test_the_state_follows_process_and_registry() -> None:
    """From starting to gone and back, in this order."""
    board = Board(MEMBERS)
    row = board.rows["orders-2"]
    board.started("orders-2")
    states = [row.state]
    board.listed("orders-2", "http://x")
    states.append(row.state)
    board.ended("orders-2")
    states.append(row.state)
    board.delisted("orders-2")
    states.append(row.state)
    assert states == ["starting", "up", "dead, lease still live", "gone, lease expired"]
    assert not board.complete
    assert running_board().complete


def test_rates_come_from_two_reports() -> None:
    """A restarted process begins to count anew, and a dead one does nothing."""
    board = running_board()
    board.report(Report("orders-1", served=10, called={"prices": 10}), 1.0)
    assert describe_calls(board) == "none yet"
    board.report(Report("orders-1", served=14, called={"prices": 18}), 3.0)
    assert board.rows["orders-1"].served_rate == 2.0
    assert board.call_rates() == {("orders", "prices"): 4.0}
    assert describe_calls(board) == "orders -> prices 4.0/s"
    board.ended("orders-1")
    assert board.call_rates() == {}
    board.started("orders-1")
    board.report(Report("orders-1", served=1), 5.0)
    assert board.rows["orders-1"].served_rate == 0.0


def test_repeated_calls_are_told_once_an_outage_and_counted_always() -> None:
    """The next outage is news again."""
    board = running_board()
    reports = [Report("orders-1", retried={"prices": count}, failed=count) for count in (0, 2, 5)]
    for at, report in enumerate(reports):
        board.report(report, float(at))
    text = "orders-1 got no answer from prices and repeated the call on another instance"
    assert list(board.happenings) == [Happening(1.0, text)]
    assert (board.repeated, board.rows["orders-1"].failed) == (5, 5)
    board.ended("prices-1")
    board.report(Report("orders-1", retried={"prices": 6}, failed=5), 3.0)
    assert board.told == 2
    assert summary(board) == "8 of 9 instances up; none yet; repeated 6, failed 5"


def test_the_screen_fits_a_small_terminal() -> None:
    """Every instance shows in 24 lines of 100 columns, with the latest that happened."""
    board = running_board()
    for number in range(30):
        board.tell(float(number), f"happening {number}")
    screen = io.StringIO()
    Console(width=100, height=24, file=screen).print(picture(board, "http://127.0.0.1:8080", 30.0, 24))
    lines = screen.getvalue().splitlines()
    assert len(lines) <= 24
    for plan in MEMBERS:
        assert any(plan.instance_id in line for line in lines)
    assert any("happening 29" in line for line in lines)
