"""What the route rules of a service mean for its instances, exactly as Java's SDK computes it (spec 1.5, 5.3).

Pure. Not here: which of the groups, and which instance of it, gets the next request; see `choices`.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artemis.model import Instance, RouteRule, ServiceGroup

RouteStrategy = Literal["weighted-round-robin", "close-by-visit"]

DEFAULT_ROUTE = "default-route-rule"
CANARY_ROUTE = "canary-route-rule"
DEFAULT_GROUP = "default-group-key"
DEFAULT_WEIGHT = 5
WEIGHT_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class RouteGroup:
    """A share of a service's traffic: the instances that take it, at least one, and its weight (0 to 10 000)."""

    key: str
    weight: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """A route rule with the groups that have instances; it may have none left."""

    route_id: str
    strategy: RouteStrategy
    groups: tuple[RouteGroup, ...]


def fixed_weight(weight: int | None) -> int:
    """Correct a weight: missing and negative ones are 5, those above 10 000 are that, 0 stays 0 (spec 1.5)."""
    if weight is None or weight < 0:
        return DEFAULT_WEIGHT
    return min(weight, WEIGHT_LIMIT)


def group_key(instance: Instance) -> str:
    """Return the group key of an instance: service/region/zone/group/instance in lower case (spec 1.5).

    A blank group is ``default``; blank parts are left out, and leading slashes and surrounding space of the others.
    """
    parts = (
        instance.service_id,
        instance.region_id,
        instance.zone_id,
        (instance.group_id or "").strip() or "default",
        instance.instance_id,
    )
    path = ""
    for part in parts:
        if text := (part or "").strip().lstrip("/"):
            path = text if not path else f"{path}{text}" if path.endswith("/") else f"{path}/{text}"
    return path.lower()


def routes_of(
    rules: Iterable[RouteRule | None],
    instances: Sequence[Instance],
    logic_instances: Iterable[Instance] = (),
    names: Names | None = None,
) -> dict[str, Route]:
    """Return the routes of a service by id in lower case, always with ``default-route-rule`` (spec 5.3).

    ``instances`` are the physical ones. Rules that are null, have a blank id or no groups are ignored; of several with
    one id the last that leads anywhere counts. Where nobody made a default rule it is all instances, evenly.
    Ids are the same in any letter case, unlike in Java (spec 13, defect 1). ``names`` remembers those of instances from
    one answer to the next.
    """
    wanted = [rule for rule in rules if rule is not None and (rule.route_id or "").strip() and rule.groups]
    found: dict[str, Route] = {}
    if wanted:
        members = _Members(instances, logic_instances, names or Names())
        for rule in wanted:
            route = _route(rule, members)
            if route.groups or route.route_id not in found:
                found[route.route_id] = route
    if DEFAULT_ROUTE not in found:
        whole = RouteGroup(DEFAULT_GROUP, DEFAULT_WEIGHT, tuple(instances))
        found[DEFAULT_ROUTE] = Route(DEFAULT_ROUTE, "weighted-round-robin", (whole,) if instances else ())
    return found


class Names:
    """The ids and group keys of instances, remembered for those that the last answer showed already."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Instance, str, str]] = {}

    def of(self, instances: Sequence[Instance]) -> list[tuple[str, str]]:
        """Return the id in lower case, empty if it is blank, and the group key of each."""
        known = self._known
        # What is remembered holds the instance, so its address in memory means no other one.
        self._known = {id(one): known.get(id(one)) or (one, _id(one), group_key(one)) for one in instances}
        return [self._known[id(one)][1:] for one in instances]


class _Members:
    """The instances of a service by id, and the physical ones in the order of their group keys."""

    def __init__(self, instances: Sequence[Instance], logic_instances: Iterable[Instance], names: Names) -> None:
        self._instances = instances
        self._names = names.of(instances)
        self.by_id = {key: one for one in logic_instances if (key := _id(one))}
        self.by_id |= {key: one for (key, _), one in zip(self._names, instances, strict=True) if key}
        self._places = sorted((path, place) for place, (key, path) in enumerate(self._names) if key)

    def of(self, group: ServiceGroup, *, canary: bool) -> tuple[Instance, ...]:
        """Return the instances of a group: those it lists, those below its key, and for a canary those it brings."""
        chosen: dict[str, Instance] = {}
        for instance_id in group.instance_ids or ():
            key = (instance_id or "").lower()
            if key in self.by_id:
                chosen[key] = self.by_id[key]
        for place in self._below((group.group_key or "").lower()):
            chosen[self._names[place][0]] = self._instances[place]
        if canary:
            for one in group.instances or ():
                if one is not None and _id(one):
                    chosen.setdefault(_id(one), one)
        return tuple(chosen.values())

    def _below(self, key: str) -> list[int]:
        # In the order of characters, what starts with "key/" is what lies from there to "key0".
        start, end = bisect_left(self._places, (f"{key}/",)), bisect_left(self._places, (f"{key}0",))
        return sorted(place for _, place in self._places[start:end])


def _route(rule: RouteRule, members: _Members) -> Route:
    route_id = (rule.route_id or "").strip().lower()
    groups = tuple(
        RouteGroup((group.group_key or "").lower(), fixed_weight(group.weight), instances)
        for group in rule.groups or ()
        if group is not None
        and (group.group_key or "").strip()
        and (instances := members.of(group, canary=route_id == CANARY_ROUTE))
    )
    close = (rule.strategy or "").strip().lower() == "close-by-visit"
    return Route(route_id, "close-by-visit" if close else "weighted-round-robin", groups)


def _id(instance: Instance) -> str:
    # Blank ids name nobody; the others count as they are, but for their letter case.
    text = instance.instance_id or ""
    return text.lower() if text.strip() else ""
