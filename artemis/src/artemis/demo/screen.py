"""How the fleet looks: a live table for a terminal, plain lines for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from artemis.cli.parameters import DEFAULT_SERVER

if TYPE_CHECKING:
    from artemis.demo.board import Board, Row

_OTHER_LINES = 21
"""Lines of the screen that are not happenings; these get the rest."""
_WIDE = 110
"""Columns from which on there is room for the addresses of the instances."""

_COLOURS = {"up": "green", "starting": "yellow", "dead, lease still live": "red", "gone, lease expired": "dim"}


def picture(board: Board, node: str, at: float, size: tuple[int, int], command: str) -> Group:
    """Return the whole screen: instances, call rates, what happened last, what to try.

    ``size`` is its width and height; 80 by 24 is enough. ``command`` is how the command is called that runs.
    """
    width, height = size
    wide = width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, title_justify="left")
    table.title = f"registry {node}   {at:.0f} s"
    for column in ("instance", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("served/s", "calls/s", "repeated", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    if wide:
        table.add_column("address", no_wrap=True)
    for row in board.rows.values():
        table.add_row(*_cells(row), *([row.url] if wide else []))
    latest = list(board.happenings)[-max(3, height - _OTHER_LINES) :]
    happened = Text("\n").join(Text(f"{one.at:6.1f} s  {one.text}") for one in latest)
    calls = Text(describe_calls(board))
    hints = Text(f"Ctrl-C ends everything. In another terminal:\n  {_hint(board, node, command)}", style="dim")
    for text in (happened, calls, hints):
        text.no_wrap, text.overflow = True, "ellipsis"
    return Group(table, calls, Panel(happened, title="what happens", title_align="left"), hints)


def describe_calls(board: Board) -> str:
    """Return who calls whom how often, in one line."""
    rates = board.call_rates()
    parts = [f"{caller} -> {called} {rate:.1f}/s" for (caller, called), rate in sorted(rates.items()) if rate > 0]
    return ", ".join(parts) or "no calls yet"


def _hint(board: Board, node: str, command: str) -> str:
    server = "" if node == DEFAULT_SERVER else f" --server {node}"
    entrance = next((row.url for row in board.rows.values() if row.listed), "")
    return f"{command} watch orders{server}\n  curl {entrance or 'URL'}"


def summary(board: Board) -> str:
    """Return the state of the fleet in one line."""
    rows = board.rows.values()
    up = sum(row.running and row.listed for row in rows)
    failed = sum(row.failed for row in rows)
    return f"{up} of {len(rows)} instances up; {describe_calls(board)}; {board.repeated} repeated, {failed} failed"


def _cells(row: Row) -> list[Text]:
    calls = sum(row.called_rates.values())
    return [
        Text(row.plan.instance_id),
        Text(row.state, style=_COLOURS[row.state]),
        Text(f"{row.served_rate:.1f}" if row.running else "-"),
        Text(f"{calls:.1f}" if row.running and row.plan.calls else "-"),
        Text(str(row.retried) if row.plan.calls else "-"),
        Text(str(row.failed) if row.plan.calls else "-", style="red" if row.failed else ""),
    ]
