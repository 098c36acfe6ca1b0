"""Questions about many instances: a page of those that are selected, a page of services. An addition to the originals.

Whatever it takes to answer is done in steps, so that 100 000 instances hold nobody up. What changes between the steps
is shown in its old or its new state.
Not here: who may ask, and answers (`artemis.server.handlers.queries`).
"""

from collections.abc import Generator, Iterable

import msgspec

from artemis.discovery.catalog import Catalog
from artemis.discovery.ordering import in_order
from artemis.discovery.selections import Selection
from artemis.registry import Registry

STEP = 500
"""Instances looked at in one step: about a millisecond."""


class Page(msgspec.Struct, frozen=True):
    """Which part of a result: pages of `size`, the first one is 1."""

    number: int
    size: int

    def holds(self, index: int) -> bool:
        """Tell whether the result with this index, from 0, is on the page."""
        return (self.number - 1) * self.size <= index < self.number * self.size


class FoundInstances(msgspec.Struct, frozen=True):
    """The instances on a page, as JSON, and how many there are on all."""

    instances: list[bytes]
    total: int


class FoundServices(msgspec.Struct, frozen=True):
    """The services on a page, each with the number of its instances that callers see, and how many there are on all."""

    services: list[tuple[str, int]]
    total: int


def find_instances(
    registry: Registry, catalog: Catalog, services: Iterable[str] | None, wanted: Selection, page: Page
) -> Generator[None, None, FoundInstances]:
    """Find the instances that callers see and that are `wanted`, in the order of service and instance id.

    `services` are ids in lower case, None for all. Yields between steps and returns what was found.
    """
    found: list[bytes] = []
    total = looked_at = 0
    for service in (yield from in_order(registry.services if services is None else services)):
        entry = registry.services.get(service)
        names: list[str] = []
        for name in (yield from in_order(entry.leases if entry else ())):
            names.append(name)
            if len(names) == STEP:
                total = _take(registry, catalog, (service, names), (wanted, page), found, total)
                names = []
                yield
        total = _take(registry, catalog, (service, names), (wanted, page), found, total)
        looked_at += 1 + len(names)
        if looked_at >= STEP:
            looked_at = 0
            yield
    return FoundInstances(found, total)


def _take(
    registry: Registry,
    catalog: Catalog,
    names: tuple[str, list[str]],
    ask: tuple[Selection, Page],
    found: list[bytes],
    total: int,
) -> int:
    """Add to `found` what of these instances belongs there; return the new total."""
    wanted, page = ask
    every = not wanted
    for _, content in _visible(registry, catalog, *names):
        if every or wanted.matches(content):
            if page.holds(total):
                found.append(content)
            total += 1
    return total


def _visible(registry: Registry, catalog: Catalog, service: str, names: list[str]) -> tuple[tuple[str, bytes], ...]:
    entry = registry.services.get(service)
    if entry is None:
        return ()
    leases = [(name, entry.leases.get(name)) for name in names]
    return catalog.visible(
        service, tuple((name, lease.record.content) for name, lease in leases if lease is not None and lease.live)
    )


def find_services(
    registry: Registry, catalog: Catalog, prefix: str, page: Page
) -> Generator[None, None, FoundServices]:
    """Find the services with live instances whose ids start with `prefix`, in any letter case, in the order of ids.

    Yields between steps and returns what was found. Instances are counted for the services on the page only.
    """
    prefix = prefix.lower()
    total = 0
    keys: list[str] = []
    for index, service in enumerate((yield from in_order(registry.services)), 1):
        entry = registry.services.get(service)
        if entry is not None and entry.live and service.startswith(prefix):
            if page.holds(total):
                keys.append(service)
            total += 1
        if index % STEP == 0:
            yield
    found = []
    looked_at = 0
    for service in keys:
        entry = registry.services.get(service)
        names = list(entry.leases) if entry else []
        count = 0
        for start in range(0, len(names), STEP):
            part = names[start : start + STEP]
            count += len(_visible(registry, catalog, service, part))
            looked_at += len(part)
            if looked_at >= STEP:
                looked_at = 0
                yield
        found.append((catalog.spelling(service), count))
    return FoundServices(found, total)
