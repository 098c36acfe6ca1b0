"""What `msgtrans top` shows, for people: readable in 80 columns and 24 lines.

Not here: asking a server (`top`), and terminals: everything here turns a `Look` into something rich can print.
What a server says is shown as it is, never as markup or as codes for the terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from rich.columns import Columns
from rich.console import Group
from rich.table import Table
from rich.text import Text

from msgtrans.cli.top import counters
from msgtrans.cli.words import all_harmless, duration, harmless, plural, volume

if TYPE_CHECKING:
    from rich.console import RenderableType

    from msgtrans.cli.top import Look
    from msgtrans.middleware import WorkerSummary
    from msgtrans.monitor.latency import Latencies

TRAFFIC: Final = frozenset(
    {
        "connections_open",
        "connections_total",
        "packets_sent",
        "packets_received",
        "bytes_sent",
        "bytes_received",
    }
)
"""Counters that have a place of their own at the top."""
ORDINARY: Final = frozenset({"read_pauses", "discarded"})
"""Counters of what is no failure of anybody."""
HEAD: Final = 5  # lines above the counters
TABLE: Final = 1  # the line above the sessions
BARS: Final = "▁▂▃▄▅▆▇█"
SILENT: Final = 3.0  # seconds without a report that are worth telling
WIDE: Final = 72  # columns for all there is; with fewer, what matters less is left out


def screen(look: Look, *, lines: int = 24, columns: int = 80, hint: str = "") -> RenderableType:
    """Everything of one look, in at most `lines` lines as far as the counters allow. hint: the last line, if any.

    columns: with fewer than 72, totals of the traffic and the queues of the sessions are left out.
    """
    look = replace(look, statistics=all_harmless(look.statistics), trouble=harmless(look.trouble))
    events = _events(look)
    wide = columns >= WIDE
    parts: list[RenderableType] = [_head(look), _traffic(look, wide=wide)]
    watched = _watched(look, columns)
    parts += watched
    workers = look.statistics.workers[: max(lines // 3, 1)]
    if workers:
        parts.append(_workers(look, workers))
    if events:
        parts.append(Columns(events, padding=(0, 3)))
    used = HEAD + len(watched) + (len(events) + 1) // 2 + TABLE + bool(hint) + (len(workers) + TABLE if workers else 0)
    parts.append(_sessions(look, most=max(lines - used, 3), wide=wide))
    if hint:
        parts.append(Text(hint, style="dim"))
    return Group(*parts)


def _head(look: Look) -> Text:
    statistics = look.statistics
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(look.uri, style="bold")
    head.append(f"  {statistics.name} {statistics.version}, up {duration(statistics.uptime)}")
    if look.trouble:
        head.append(f"\n{look.trouble}", style="bold red")
    else:
        head.append(f"\nlistening on {', '.join(statistics.listeners) or 'no port of its own'}", style="dim")
    return head


def _traffic(look: Look, *, wide: bool) -> RenderableType:
    totals, rates = look.statistics.counters, look.rates
    table = Table.grid(padding=(0, 3))
    for _ in range(4 if wide else 3):
        table.add_column(justify="right", no_wrap=True)
    rows = (
        ("in", totals.packets_received, totals.bytes_received, rates and (rates.packets_in, rates.bytes_in)),
        ("out", totals.packets_sent, totals.bytes_sent, rates and (rates.packets_out, rates.bytes_out)),
    )
    for name, packets, size, per_second in rows:
        now = f"{per_second[0]:,.0f} packets/s" if per_second else "- packets/s"
        speed = f"{per_second[1] / 1e6:,.2f} MB/s" if per_second else "- MB/s"
        total = [Text(f"{packets:,} packets, {volume(size)}", style="dim")] if wide else []
        table.add_row(Text(name, style="bold"), now, speed, *total)
    opened = f", {look.opened:,.0f}/s new" if rates else ""
    count, _, word = plural(totals.connections_open, "session").partition(" ")
    sessions = Text(count, style="bold")
    whose = f", in {plural(len(look.statistics.workers), 'worker')} together" if look.statistics.workers else ""
    sessions.append(f" {word} open{opened}, {totals.connections_total:,} ever{whose}", style="not bold")
    return Group(table, sessions)


def _watched(look: Look, columns: int) -> list[Text]:
    """The trend of the rates, and what a server tells that is watched or tuned: a line each."""
    lines, watched, whose = [], look.statistics.watched, _whose(look)
    if len(look.trend) > 1:
        most = max(look.trend)
        bars = "".join(BARS[round(rate / most * (len(BARS) - 1))] if most else BARS[0] for rate in look.trend)
        lines.append(Text(f"{bars} {most:,.0f} packets/s at most", style="dim"))
    if watched.health is not None:
        told = f"{whose}health {watched.health:.0f}, p99 {watched.p99_latency_us or 0:,.0f} us"
        line = Text(told)
        if watched.alerts:
            line.append(f"; {'; '.join(watched.alerts)}".replace("_", " "), style="bold red")
        lines.append(line)
    if look.asked is not None:
        lines.append(Text(f"{whose}own requests: {look.asked.count:,} answered, {_waits(look.asked)}"))
    if len(watched.protocols) > 1:
        each = (
            f"{protocol.name} {plural(protocol.sessions, 'session')} {protocol.packets_received:,.0f} in/s "
            f"{protocol.packets_sent:,.0f} out/s"
            for protocol in watched.protocols
        )
        lines.append(Text(whose + "; ".join(each)))
    if watched.decisions:
        lines.append(Text(f"{whose}tuned {'; '.join(reversed(watched.decisions))}".replace("_", " "), style="dim"))
    for line in lines:
        line.truncate(columns, overflow="ellipsis")
        line.no_wrap = True
    return lines


def _whose(look: Look) -> str:
    """In front of what holds for the worker that answers alone; nothing without several."""
    worker = look.statistics.worker
    if worker is None:
        return "one worker: " if look.statistics.workers else ""
    return f"worker {worker}: "


def _waits(asked: Latencies) -> str:
    return f"p50 {asked.percentile(0.5) * 1e6:,.0f} us, p99 {asked.percentile(0.99) * 1e6:,.0f} us"


def _events(look: Look) -> list[Text]:
    found = []
    for name, value in counters(look.statistics.counters).items():
        if name in TRAFFIC or not value:
            continue
        growth = look.grown.get(name, 0)
        style = "" if name in ORDINARY else "bold red" if growth else "yellow"
        more = f" (+{growth:,})" if growth else ""
        found.append(Text(f"{name.replace('_', ' ')} {value:,}{more}", style=style, no_wrap=True))
    return found


def _workers(look: Look, shown: list[WorkerSummary]) -> Table:
    """The worker processes, as far as there is room; the sessions below are those of one of them."""
    statistics = look.statistics
    more = len(statistics.workers) - len(shown)
    again = f", {plural(statistics.restarts, 'restart')}" if statistics.restarts else ""
    table = Table(box=None, padding=(0, 1), header_style="reverse", expand=True)
    table.add_column("worker", justify="right")
    table.add_column("process", justify="right")
    table.add_column(f"{f'{more} more not shown' if more else ''}{again}".removeprefix(", "), ratio=1, no_wrap=True)
    for name in ("up", "sessions", "in/s", "out/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for worker in shown:
        rate = look.workers.get(worker.pid)
        silent = f"silent for {duration(worker.reported)}" if worker.reported >= SILENT else ""
        table.add_row(
            str(worker.index),
            str(worker.pid),
            Text(silent if worker.ready else "starting", style="bold red" if silent else ""),
            duration(worker.uptime),
            f"{worker.counters.connections_open:,}",
            f"{rate.packets_in:,.0f}" if rate else "-",
            f"{rate.packets_out:,.0f}" if rate else "-",
        )
    return table


def _sessions(look: Look, most: int, *, wide: bool) -> Table:
    busiest = look.busiest()
    table = Table(box=None, padding=(0, 1), header_style="reverse", expand=True)
    table.add_column("session", justify="right")
    table.add_column("on")
    peer = f"peer, {whose.removesuffix(': ')} only" if (whose := _whose(look)) else "peer"
    table.add_column(peer, overflow="ellipsis", no_wrap=True, ratio=1)
    more = ("queued", "asked") if wide else ()
    waits = ("p50 us", "p99 us") if wide and look.answers else ()
    for name in ("open", "in/s", "out/s", *more, *waits):
        table.add_column(name, justify="right", no_wrap=True)
    for session, rate in busiest[:most]:
        table.add_row(
            str(session.id),
            Text(session.protocol),
            Text(session.peer or "-"),
            duration(session.seconds),
            f"{rate.packets_in:,.0f}" if rate else "-",
            f"{rate.packets_out:,.0f}" if rate else "-",
            *((volume(session.outbound_bytes), str(session.pending)) if wide else ()),
            *(_columns(look.answers.get(session.id)) if waits else ()),
        )
    return table


def _columns(asked: Latencies | None) -> tuple[str, str]:
    if asked is None:
        return "-", "-"
    return f"{asked.percentile(0.5) * 1e6:,.0f}", f"{asked.percentile(0.99) * 1e6:,.0f}"
