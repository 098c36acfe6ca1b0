"""What a node says of the other regions that it shows: in its overview, and as numbers of `/metrics`. No I/O.

Not here: what is shown of them (`node`), and how they are followed (`artemis.federation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from artemis.model.regions import OtherRegion

if TYPE_CHECKING:
    from artemis.federation.federation import Region
    from artemis.server.regions import Regions

_GAUGES: dict[str, tuple[str, Callable[[OtherRegion], float]]] = {
    "following": ("1 while changes of another region come as they happen, else 0.", lambda each: each.state == _GOOD),
    "instances": ("Instances in the copy of another region.", lambda each: each.instances),
    "services": ("Services in the copy of another region.", lambda each: each.services),
    "missing_nodes": ("Nodes of another region that the age of its copy leaves out.", lambda each: each.missing_nodes),
    "left_out_instances": ("Instances that found no room in the copy at its last listing.", lambda each: each.left_out),
    "held_instances": ("Instances that are kept although a listing lacked them.", lambda each: each.held),
}
_GOOD = "following"
_AGE = "How old the copy of another region may be; without one there is no number."
_EVENTS = (
    "What happened to copies of other regions: changes of instances, listings of everything, resumed connections, "
    "failures of connections, refused: instances that cannot be used, left_out: that found no room, doubted: that a "
    "listing lacked and that were kept for a while."
)


def other_regions(regions: Regions, now: int) -> list[OtherRegion] | None:
    """Return how it stands with each; None for a node that shows none."""
    return [_view(each, now) for each in regions.followed] or None


def region_metrics(regions: Regions, now: int) -> Iterator[Metric]:
    """Yield all families; none for a node that shows no other region."""
    followed = regions.followed
    if not followed:
        return
    views = [_view(each, now) for each in followed]
    for name, (text, value) in _GAUGES.items():
        family = GaugeMetricFamily(f"artemis_region_{name}", text, labels=["region"])
        for view in views:
            family.add_metric([view.region_id or ""], value(view))
        yield family
    ages = GaugeMetricFamily("artemis_region_age_seconds", _AGE, labels=["region"])
    for view in views:
        if view.ready:
            ages.add_metric([view.region_id or ""], view.age_ms / 1000)
    yield ages
    events = CounterMetricFamily("artemis_region_events", _EVENTS, labels=["region", "event"])
    for region, view in zip(followed, views, strict=True):
        counted = msgspec.structs.asdict(region.copy.counters)
        for event, count in {**counted, "resumed": view.resumed, "failures": view.failures}.items():
            events.add_metric([view.region_id or "", event], count)
    yield events


def _view(region: Region, now: int) -> OtherRegion:
    copy, standing = region.copy, region.standing
    return OtherRegion(
        age_ms=copy.age(now),
        changes=copy.counters.changes,
        cursor=copy.cursor(),
        failures=standing.failures,
        held=copy.held.instances,
        held_why=copy.held.why,
        instances=len(copy.registry),
        left_out=copy.left_out,
        listings=copy.counters.listings,
        max_instances=copy.max_instances,
        missing_nodes=copy.missing_nodes,
        node=standing.node,
        ready=copy.ready,
        refused=copy.counters.refused,
        region_id=copy.region,
        resumed=standing.resumed,
        services=copy.registry.live_services,
        state=standing.state.value,
        state_ms=max(0, now - standing.since),
        urls=[*copy.where],
        why=standing.why,
    )
