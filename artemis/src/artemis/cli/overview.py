"""How a node's overview reads for people: uptime, what it holds, who is connected, self-preservation. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from artemis.cli.output import counted

if TYPE_CHECKING:
    from artemis.model.cluster_status import ClusterViewResponse
    from artemis.model.regions import OtherRegion
    from artemis.model.status import OverviewResponse, PreservationState, ShownWorker

_MISSING = {"gone", "unmet"}
_EVER = 20 * 365 * 86_400_000
"""Milliseconds: a node that cannot tell how old its data are says how long clocks have run, since 1970."""
_SILENT = 2_500
"""Milliseconds without a sign of life, which a worker gives once a second, beyond which it stands still."""


def overview_rows(overview: OverviewResponse, view: ClusterViewResponse | None = None) -> list[tuple[str, str]]:
    """Return the lines of an overview: name and text; `view` tells which other nodes are missing in its data."""
    connections = ", ".join(f"{door} {count}" for door, count in sorted((overview.connections or {}).items()))
    push = ", ".join(f"{name} {count}" for name, count in sorted((overview.push or {}).items()) if count)
    return [
        ("version", f"{overview.version or '-'}, start {overview.epoch}"),
        ("up for", duration_text(overview.uptime_ms)),
        *_worker_rows(overview),
        ("holds", f"{counted(overview.instances, 'instance')} of {counted(overview.services, 'service')}"),
        ("connections", connections),
        ("push", push or "nothing yet"),
        ("data", f"{age_text(overview.age_ms)}{_without(view)}, cursor {overview.cursor or '-'}"),
        ("self-preservation", preservation_text(overview.leases)),
        ("... legacy leases", preservation_text(overview.legacy_leases)),
    ]


def _worker_rows(overview: OverviewResponse) -> list[tuple[str, str]]:
    """Return a line about the processes of a node with several."""
    if not overview.workers:
        return []
    each = (f"{duration_text(one.uptime_ms)}{_worker_text(one)}" for one in overview.workers)
    return [("workers", f"{len(overview.workers)}, up for {', '.join(each)}")]


def _worker_text(worker: ShownWorker) -> str:
    if not worker.ready:
        return " (not ready)"
    return f" (has stood still for {duration_text(worker.silent_ms)})" if stands_still(worker) else ""


def stands_still(worker: ShownWorker) -> bool:
    """Tell whether a worker that takes connections has given no sign of life for too long."""
    return worker.silent_ms > _SILENT


def cluster_rows(view: ClusterViewResponse | None) -> list[tuple[str, str]]:
    """Return a line about the other nodes, none for a node that has no others."""
    if view is None or not view.in_cluster:
        return []
    words = Counter(member.status or "unknown" for member in view.members or ())
    others = ", ".join(f"{count} {word}" for word, count in sorted(words.items())) or "none"
    return [("cluster", f"{view.cluster_name}, other nodes: {others}; more by `artemis cluster status`")]


def region_rows(overview: OverviewResponse) -> list[tuple[str, str]]:
    """Return a line for each other region that a node shows: how it stands, and how old what it shows may be."""
    return [(f"region {each.region_id}", _region_text(each)) for each in overview.regions or ()]


def _region_text(region: OtherRegion) -> str:
    since = f"{region.state} for {duration_text(region.state_ms)}"
    why = f", as {region.why}" if region.why else ""
    if not region.ready:
        return f"{since}{why}; nothing of it can be shown yet"
    held = f", {counted(region.held, 'instance')} in doubt" if region.held else ""
    left = f", {counted(region.left_out, 'instance')} left out" if region.left_out else ""
    missing = f" without {counted(region.missing_nodes, 'node')}" if region.missing_nodes else ""
    holds = f"{counted(region.instances, 'instance')} of {counted(region.services, 'service')}{held}{left}"
    return f"{since}{why}; {holds}, {age_text(region.age_ms)}{missing}"


def _without(view: ClusterViewResponse | None) -> str:
    """Say of which nodes data may lack what they accepted, beside the age, which tells nothing of that."""
    if view is None or not view.missing_nodes:
        return ""
    urls = [member.url for member in view.members or () if member.presence in _MISSING and member.url]
    which = f" ({', '.join(urls)})" if urls else ""
    return f" without {counted(view.missing_nodes, 'node')} that ought to be there{which}"


def preservation_text(state: PreservationState | None) -> str:
    """Return the state of self-preservation as one line, with its numbers and reason."""
    if state is None:
        return "-"
    word = "ACTIVE" if state.active else "on, not active" if state.enabled else "off"
    since = f" for {duration_text(state.for_ms)}" if state.active else ""
    return f"{word}{since}: {state.reason or '-'} ({state.heard} of {state.live} heard)"


def age_text(age: int, shown: str = "") -> str:
    """Say how old data are that may be so many milliseconds old, in other words for that if there are any."""
    return "of unknown age" if age > _EVER else f"{shown or f'{age} ms'} old"


def duration_text(milliseconds: int) -> str:
    """Return a span in the two largest of its units: `3 d 4 h`, `2 min 5 s`, `0 s`."""
    seconds = max(0, milliseconds) // 1000
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
