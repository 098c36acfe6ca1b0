"""What the commands print: tables for people, JSON for machines on stdout; messages and errors on stderr.

Names in a registry are anybody's: they are shown as they are, never as markup, emoji or codes for the terminal.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artemis.client import InstanceChange
    from artemis.model import Instance, Service, ServiceNodeStatus


_PIPE = 1000
_PROSE = 24
"""Columns of a sentence that is wrapped, at least."""


def say(text: str) -> None:
    """Tell a person something that is not the result."""
    _console(stderr=True).print(plain(text, keep="\n"), soft_wrap=True)


def ended(text: str) -> str:
    """Return a sentence with its end; one that asks or ends with the words of others has one."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def print_json(value: object) -> None:
    """Print one JSON document on one line of stdout, with the names of the wire."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Print one line of a result on stdout."""
    _console().print(plain(text), soft_wrap=True)


def plain(text: str, keep: str = "") -> str:
    """Return a text with everything that does not print, but for what to `keep`, as an escape such as \\x1b."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape").decode("ascii") for one in text
    )


def counted(count: int, noun: str) -> str:
    """Return `1 lease`, `2 leases`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def services_table(services: Iterable[Service]) -> None:
    """Print services with the number of their live instances and the zones these are in."""
    table = _table("SERVICE", "INSTANCES", "ZONES")
    for service in sorted(services, key=lambda one: (one.service_id or "").lower()):
        instances = [instance for instance in service.instances or () if instance is not None]
        zones = sorted({instance.zone_id or "" for instance in instances})
        table.add_row(*_cells(service.service_id, len(instances), ", ".join(zones)))
    _print(table)


def instances_table(instances: Iterable[Instance]) -> None:
    """Print instances with what identifies and what reaches them."""
    table = _table("INSTANCE", "URL", "ZONE", "GROUP", "STATUS", "METADATA")
    for instance in instances:
        metadata = " ".join(f"{key}={value}" for key, value in sorted((instance.metadata or {}).items()))
        row = (instance.instance_id, instance.url, instance.zone_id, instance.group_id, instance.status, metadata)
        table.add_row(*_cells(*row))
    _print(table)


def status_table(server: str, status: ServiceNodeStatus) -> None:
    """Print what a node says about itself."""
    table = _table("NODE", "STATUS", "REGION", "ZONE", "REGISTRY", "DISCOVERY")
    zone = status.node.zone if status.node is not None else None
    url = status.node.url if status.node is not None else None
    table.add_row(
        *_cells(
            url or server,
            status.status,
            zone.region_id if zone is not None else None,
            zone.zone_id if zone is not None else None,
            _serves(status.status, status.can_service_registry),
            _serves(status.status, status.can_service_discovery),
        )
    )
    _print(table)


def rows_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, prose: bool = False) -> None:
    """Print rows under the names of their columns, without a line for these when they are all empty.

    With `prose` the last column holds sentences, which alone are wrapped where the terminal is narrow.
    """
    table = _table(*columns, prose=prose)
    for row in rows:
        table.add_row(*_cells(*row))
    _print(table)


def change_line(change: InstanceChange, *, with_service: bool = False) -> str:
    """Return a change as one line for people, naming the service where there are several."""
    service = f"{change.instance.service_id}/" if with_service else ""
    return f"{change.change_type:<7}{service}{change.instance.instance_id}  {change.instance.url}"


def change_document(change: InstanceChange) -> dict[str, object]:
    """Return a change of a service in the shape of the wire (spec 1.4)."""
    return {"changeTime": change.change_time, "changeType": change.change_type, "instance": change.instance}


def _serves(status: str | None, flag: bool | None) -> str:
    if status in {"up", "down"}:
        return "yes" if status == "up" else "no"
    return "yes" if flag else "no"


def _table(*columns: str, prose: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for number, column in enumerate(columns, start=1):
        last = number == len(columns)
        table.add_column(
            column, overflow="fold", no_wrap=prose and not last, min_width=_PROSE if prose and last else None
        )
    return table


def _cells(*values: object) -> list[Text]:
    return [Text("-" if value in {None, ""} else plain(str(value))) for value in values]


def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def _print(table: Table) -> None:
    console = _console()
    if not console.is_terminal:
        # A pipe has no width; a line that is cut there would be lost for `grep`.
        console = _console(width=_PIPE)
    with console.capture() as shown:
        console.print(table)
    # Not padded to the width of the last column.
    console.file.write("".join(f"{line.rstrip()}\n" for line in shown.get().splitlines()))
