"""The metrics of clients of a real node, read as a scrape reads them."""

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from artemis import ArtemisClient, ClientOptions, Instance, UnreachableError
from artemis.client.telemetry.prometheus import PrometheusTelemetry

Numbers = dict[tuple[str, ...], float]


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of one's own."""
    return CollectorRegistry()


@pytest.fixture
def connect(node_url: str, quick: ClientOptions, registry: CollectorRegistry) -> Callable[..., ArtemisClient]:
    """`connect(client="a", url=...)`: a client that shows itself in the registry."""

    def make(client: str | None = None, url: str = node_url) -> ArtemisClient:
        telemetry = PrometheusTelemetry(registry, client=client)
        return ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=quick, telemetry=telemetry)

    return make


def scraped(registry: CollectorRegistry, name: str) -> Numbers:
    """The samples of one name, without the beginning that all share, by their labels' values in the labels' order."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name == f"artemis_client_{name}"
    }


async def test_calls_are_counted_and_timed(connect: Callable[..., ArtemisClient], registry: CollectorRegistry) -> None:
    """By operation and outcome, the attempts by what carried them too."""
    async with connect() as client:
        await client.api.node_status()
        await client.api.node_status()
        assert 2 == scraped(registry, "calls_total")["1", "status.node", "ok"]
        assert 2 == scraped(registry, "attempts_total")["1", "status.node", "ok", "http"]
        assert 2 == scraped(registry, "call_seconds_count")["1", "status.node"]
        assert 0 < scraped(registry, "call_seconds_sum")["1", "status.node"]


async def test_calls_that_fail_are_counted_too(
    connect: Callable[..., ArtemisClient], registry: CollectorRegistry
) -> None:
    """One call, and each of its attempts."""
    async with connect("away", "http://127.0.0.1:1") as client:
        with pytest.raises(UnreachableError):
            await client.api.node_status()
    assert {("away", "status.node", "unreachable"): 1} == scraped(registry, "calls_total")
    assert {("away", "status.node", "unanswered", "http"): 3} == scraped(registry, "attempts_total")


async def test_the_state_of_a_client_is_shown_until_it_is_left(
    connect: Callable[..., ArtemisClient], registry: CollectorRegistry, service_id: str
) -> None:
    """State, link, services, age, leases; counters stay."""
    async with connect("mine") as client, client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)):
        await client.service(service_id)
        assert {("mine", "connected"): 1, ("mine", "suspended"): 0, ("mine", "lost"): 0} == scraped(registry, "state")
        assert 1 == sum(scraped(registry, "link").values())
        assert {("mine",): 1} == scraped(registry, "services")
        assert 0 <= scraped(registry, "view_age_seconds")["mine",]
        assert {("mine",): 0} == scraped(registry, "instances_held")
        assert {("mine", "held"): 1} == scraped(registry, "leases")
        assert {("mine",): 0} == scraped(registry, "events_missed_total") == scraped(registry, "dropped_entries_total")
        assert 1 == scraped(registry, "events_total")["mine", "registered"]
    assert {} == scraped(registry, "state") == scraped(registry, "services")
    assert 1 == scraped(registry, "events_total")["mine", "unregistered"]


async def test_pushes_and_changes_of_the_link_are_counted(
    connect: Callable[..., ArtemisClient], registry: CollectorRegistry, service_id: str
) -> None:
    """By the kind of link."""
    async with connect() as client, connect() as other:
        events = client.events()
        await client.service(service_id)
        while client.link.value != "msgtrans":
            await anext(events)
        assert {("1", "msgtrans"): 1} == scraped(registry, "link_switches_total")
        watch = client.watch(service_id)
        async with other.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)):
            await anext(watch)
            assert 1 <= scraped(registry, "pushes_total")["1", "msgtrans"]


async def test_clients_in_one_process_have_names(
    connect: Callable[..., ArtemisClient], registry: CollectorRegistry
) -> None:
    """The smallest number that is free, unless they are given one."""
    async with connect() as first, connect() as second, connect("named"):
        await first.api.node_status()
        await second.api.node_status()
        assert {("1",), ("2",), ("named",)} == set(scraped(registry, "services"))
        assert {"1", "2"} == {labels[0] for labels in scraped(registry, "calls_total")}
    async with connect():
        assert {("1",)} == set(scraped(registry, "services"))
