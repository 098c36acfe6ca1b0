"""What `artemis doctor` finds in the other regions that nodes show. Pure; see `doctor_checks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from artemis.cli.cluster_seen import worded
from artemis.cli.doctor_checks import Examined, Finding, Level
from artemis.cli.output import counted
from artemis.cli.overview import age_text, duration_text

if TYPE_CHECKING:
    from artemis.model.regions import OtherRegion

_CHECK = "regions"
_OLD = 10_000
"""Milliseconds that a copy may be old without being worth a word: a connection that ends is made again meanwhile."""


def regions(nodes: Sequence[Examined]) -> Iterator[Finding]:
    """Regions that are not followed, whose copy is old or lacks something, or that not all nodes show."""
    shown: dict[frozenset[str], list[str]] = {}
    for node in nodes:
        if node.vitals is None:
            continue
        its = node.vitals.regions or []
        shown.setdefault(frozenset((each.region_id or "").lower() for each in its), []).append(node.url)
        for each in its:
            yield from _of(node.url, each)
    if len(shown) > 1:
        those = "; ".join(f"{worded(urls)}: {', '.join(sorted(names)) or 'none'}" for names, urls in shown.items())
        text = f"nodes show different other regions ({those})"
        yield Finding(_CHECK, Level.WARN, text, "give all nodes the same --federate, as callers may be sent to any")


def _of(url: str, region: OtherRegion) -> Iterator[Finding]:
    name = f"region {region.region_id}"
    why = f": {region.why}" if region.why else ""
    if not region.ready:
        text = f"{url} can show nothing of {name}, which is {region.state} for {duration_text(region.state_ms)}{why}"
        yield Finding(_CHECK, Level.FAIL, text, "correct --federate, or see the nodes that it names")
    elif region.age_ms > _OLD:
        text = f"what {url} shows of {name} is {age_text(region.age_ms, duration_text(region.age_ms))}{why}"
        yield Finding(_CHECK, Level.WARN, text, f"see the nodes of {region.region_id}, and the network to them")
    if region.left_out:
        text = f"{url} leaves {counted(region.left_out, 'instance')} of {name} out; it holds {region.max_instances}"
        yield Finding(_CHECK, Level.WARN, text, "raise --federate-max-instances")
    if region.held:
        text = f"{url} keeps {counted(region.held, 'instance')} of {name} in doubt: {region.held_why}"
        yield Finding(_CHECK, Level.WARN, text, f"see whether the nodes of {region.region_id} have lost leases")
