"""How the fleet looks: a live table for a terminal, plain lines for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from artemis.demo.board import Board, Row

_OTHER_LINES = 20
"""Lines of the screen that are not happenings; these get the rest."""

_COLOURS = {"up": "green", "starting": "yellow", "dead, lease still live": "red", "gone, lease expired": "dim"}


def picture(board: Board, node: str, at: float, height: int) -> Group:
    """Return the whole screen, ``height`` lines high: instances, call rates, what happened last, what to try."""
    table = Table(expand=True, box=box.SIMPLE_HEAD, title=f"registry {node}   {at:.0f} s", title_justify="left")
    for column in ("service", "instance", "state", "address"):
        table.add_column(column, no_wrap=True)
    for column in ("served/s", "calls/s", "repeated", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = ""
    for row in board.rows.values():
        service_id = row.plan.service_id
        table.add_row(service_id if service_id != previous else "", *_cells(row))
        previous = service_id
    latest = list(board.happenings)[-max(3, height - _OTHER_LINES) :]
    happened = Text("\n", overflow="ellipsis", no_wrap=True).join(
        Text(f"{one.at:6.1f} s  {one.text}") for one in latest
    )
    entrance = next((row.url for row in board.rows.values() if row.listed), "")
    hints = Text(
        f"Ctrl-C ends everything. In another terminal: artemis watch orders --server {node}   curl {entrance or 'URL'}",
        style="dim",
    )
    calls = Text("calls: " + describe_calls(board))
    return Group(table, calls, Panel(happened, title="what happens", title_align="left"), hints)


def describe_calls(board: Board) -> str:
    """Return who calls whom how often, in one line."""
    rates = board.call_rates()
    parts = [f"{caller} -> {called} {rate:.1f}/s" for (caller, called), rate in sorted(rates.items()) if rate > 0]
    return ", ".join(parts) or "none yet"


def summary(board: Board) -> str:
    """Return the state of the fleet in one line."""
    rows = board.rows.values()
    up = sum(row.running and row.listed for row in rows)
    failed = sum(row.failed for row in rows)
    return f"{up} of {len(rows)} instances up; {describe_calls(board)}; repeated {board.repeated}, failed {failed}"


def _cells(row: Row) -> list[Text]:
    calls = sum(row.called_rates.values())
    return [
        Text(row.plan.instance_id),
        Text(row.state, style=_COLOURS[row.state]),
        Text(row.url),
        Text(f"{row.served_rate:.1f}" if row.running else "-"),
        Text(f"{calls:.1f}" if row.running and row.plan.calls else "-"),
        Text(str(row.retried) if row.plan.calls else "-"),
        Text(str(row.failed) if row.plan.calls else "-", style="red" if row.failed else ""),
    ]
