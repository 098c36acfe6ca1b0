"""What the demonstration knows about its fleet, and how it looks."""

import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from artemis.demo.board import Board, Happening
from artemis.demo.command import this_command
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
    assert describe_calls(board) == "no calls yet"
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
    text = "orders-1 got no answer from prices and asked another instance"
    assert list(board.happenings) == [Happening(1.0, text)]
    assert (board.repeated, board.rows["orders-1"].failed) == (5, 5)
    board.ended("prices-1")
    board.report(Report("orders-1", retried={"prices": 6}, failed=5), 3.0)
    assert board.told == 2
    assert summary(board) == "8 of 9 instances up; no calls yet; 6 repeated, 5 failed"


def drawn(board: Board, node: str, width: int, height: int) -> list[str]:
    """Draw the screen."""
    screen = io.StringIO()
    shown = picture(board, node, 1234.0, (width, height), ".venv/bin/artemis")
    Console(width=width, height=height, file=screen).print(shown)
    return screen.getvalue().splitlines()


def busy_board() -> Board:
    """Return a board on which everything runs, calls, and has happened."""
    board = running_board()
    for plan in MEMBERS:
        board.listed(plan.instance_id, "http://127.0.0.1:34567")
        for at in (1, 2):
            board.report(Report(plan.instance_id, served=8 * at, called=dict.fromkeys(plan.calls, 4 * at)), float(at))
    board.ended("inventory-2")
    board.tell(3600.0, "inventory-2 killed (SIGKILL) without goodbye; its lease lives on")
    board.tell(3601.0, "storefront-1 got no answer from orders and asked another instance")
    board.tell(3602.0, "inventory-2 is back at http://127.0.0.1:34567")
    return board


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (130, 45)])
def test_the_screen_can_be_read_whole(width: int, height: int) -> None:
    """In 24 lines of 80 columns nothing is cut; wider ones show the addresses too."""
    lines = drawn(busy_board(), "http://127.0.0.1:8080", width, height)
    text = "\n".join(lines)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for plan in MEMBERS:
        assert any(line.split()[:1] == [plan.instance_id] for line in lines)
    for part in (
        "dead, lease still live",
        "inventory-2 killed (SIGKILL) without goodbye; its lease lives on",
        "storefront-1 got no answer from orders and asked another instance",
        "inventory-2 is back at http://127.0.0.1:34567",
        "orders -> inventory 12.0/s, orders -> prices 12.0/s, storefront -> orders 8.0/s",
    ):
        assert part in text
    assert [line.strip() for line in lines[-2:]] == [".venv/bin/artemis watch orders", "curl http://127.0.0.1:34567"]
    assert text.count(":34567") == (2 if width < 110 else 2 + len(MEMBERS))


def test_the_screen_shows_the_latest_and_the_address_that_commands_need() -> None:
    """A node at another address than the commands' default is named."""
    board = running_board()
    for number in range(30):
        board.tell(float(number), f"happening {number}")
    lines = drawn(board, "http://127.0.0.1:9999", 80, 24)
    assert any("happening 29" in line for line in lines)
    assert not any("happening 20" in line for line in lines)
    assert lines[-2].strip() == ".venv/bin/artemis watch orders --server http://127.0.0.1:9999"


def test_the_command_is_told_as_it_can_be_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By name if the shell finds it there, else by the path from here."""
    program = tmp_path / "bin" / "artemis"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert this_command("bin/artemis") == str(Path("bin", "artemis"))
    assert this_command(str(program)) == str(Path("bin", "artemis"))
    assert this_command(str(tmp_path / "artemis" / "__main__.py")) == f"{Path('bin', 'python')} -m artemis"
    monkeypatch.chdir(program.parent)
    assert this_command(str(program)) == "./artemis"
    monkeypatch.setenv("PATH", str(program.parent))
    assert this_command(str(program)) == "artemis"
