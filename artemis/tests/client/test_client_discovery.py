"""Finding services at a real node, and keeping them current."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from artemis import ArtemisClient, ClientOptions, Instance, NoInstancesError, RefusedError, UnreachableError
from artemis.client import ClosedError, InstanceChange, LimitError, LookupFailed, Watch
from artemis.testing import RunningNode, running_node

PATIENCE = 60.0


def instance(service_id: str, port: int = 1, **fields: str) -> Instance:
    """Build an instance that can be registered as it is."""
    name = f"i{port}"
    return Instance(
        region_id="local",
        zone_id="zone1",
        service_id=service_id,
        instance_id=name,
        url=f"http://127.0.0.1:{port}",
        metadata=dict(fields),
    )


def client_of(node: RunningNode, options: ClientOptions) -> ArtemisClient:
    """Make a client of a node."""
    return ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=options)


async def step(watch: Watch) -> InstanceChange:
    """Take the next change."""
    async with asyncio.timeout(PATIENCE):
        return await anext(watch)


async def test_a_service_is_answered_with_its_live_instances(client: ArtemisClient, service_id: str) -> None:
    """Whole, in the registry's order, whatever the letter case."""
    await client.api.register([instance(service_id, 2), instance(service_id, 1)])
    view = await client.service(service_id.upper())
    assert view.instances == (instance(service_id, 1), instance(service_id, 2))
    assert view.age >= 0.0


async def test_an_unknown_service_has_no_instances(client: ArtemisClient, service_id: str) -> None:
    """That is an answer, not an error."""
    assert (await client.service(service_id)).instances == ()


async def test_a_service_in_use_stays_current(client: ArtemisClient, other: ArtemisClient, service_id: str) -> None:
    """Later calls answer from what the background lookups bring."""
    assert (await client.service(service_id)).instances == ()
    await other.api.register([instance(service_id)])
    await step(client.watch(service_id))
    assert (await client.service(service_id)).instances == (instance(service_id),)


async def test_many_first_uses_at_once_share_one_answer(client: ArtemisClient, service_id: str) -> None:
    """All get the same view of the service."""
    await client.api.register([instance(service_id)])
    views = await asyncio.gather(*(client.service(service_id) for _ in range(20)))
    assert [view.instances for view in views] == [(instance(service_id),)] * 20


async def test_a_lookup_from_another_region_is_refused(node_url: str, service_id: str, quick: ClientOptions) -> None:
    """The region is a hard boundary, and the caller is told."""
    async with ArtemisClient(servers=[node_url], region_id="elsewhere", zone_id="z", options=quick) as client:
        with pytest.raises(RefusedError, match="no-permission") as caught:
            await client.service(service_id)
        assert (caught.value.node, caught.value.operation) == (node_url, "discovery/lookup.json")


async def test_without_a_registry_the_first_use_raises(unused_tcp_port: int, quick: ClientOptions) -> None:
    """An empty answer would say that there is nobody, which is not known."""
    servers = [f"http://127.0.0.1:{unused_tcp_port}"]
    async with ArtemisClient(servers=servers, region_id="r", zone_id="z", options=quick) as client:
        with pytest.raises(UnreachableError):
            await client.service("orders")
        with pytest.raises(UnreachableError):
            await anext(client.watch("orders"))
        with pytest.raises(UnreachableError):
            await client.balancer("orders").ready()


async def test_a_watch_tells_what_is_there_comes_changes_and_goes(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """In this order for one instance: new, change, delete."""
    await other.api.register([instance(service_id)])
    watch = client.watch(service_id)
    there = await step(watch)
    assert (there.change_type, there.instance) == ("new", instance(service_id))
    assert there.change_time > 1_600_000_000_000
    await other.api.register([instance(service_id, version="2")])
    changed = await step(watch)
    assert (changed.change_type, changed.instance) == ("change", instance(service_id, version="2"))
    await other.api.register([instance(service_id, 2)])
    assert (await step(watch)).instance == instance(service_id, 2)
    await other.api.unregister([instance(service_id)])
    gone = await step(watch)
    assert (gone.change_type, gone.instance.instance_id) == ("delete", "i1")


async def test_a_slow_watcher_gets_the_difference_and_not_the_history(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """What came and went while nobody asked is not told; what is left arrives as one change."""
    slow, quick = client.watch(service_id), client.watch(service_id)
    async with other.registered(instance(service_id, 1)):
        await step(slow)
        await step(quick)
        async with other.registered(instance(service_id, 2)):
            assert (await step(quick)).instance.instance_id == "i2"
        assert (await step(quick)).change_type == "delete"
        async with other.registered(instance(service_id, 3)):
            await step(quick)
            assert (await step(slow)).instance.instance_id == "i3"


async def test_a_watch_ends_with_the_client(client: ArtemisClient, service_id: str) -> None:
    """Nobody hangs."""

    async def follow() -> list[InstanceChange]:
        return [change async for change in client.watch(service_id)]

    following = asyncio.create_task(follow())
    await client.service(service_id)
    await client.__aexit__(None, None, None)
    async with asyncio.timeout(PATIENCE):
        assert await following == []
    with pytest.raises(ClosedError):
        client.watch(service_id)


async def test_a_registry_that_comes_back_is_followed_again(quick: ClientOptions) -> None:
    """Until then the last answer stands and gets older, and an event tells that lookups fail."""
    options = replace(quick, guard_hold=0.5)
    async with running_node() as node, client_of(node, options) as client:
        await client.api.register([instance("orders")])
        view = await client.service("orders")
        events = client.events()
        await asyncio.to_thread(node.kill)
        async with asyncio.timeout(PATIENCE):
            async for event in events:
                if isinstance(event, LookupFailed):
                    break
        assert event.service_ids == ("orders",)
        older = await client.service("orders")
        assert older.instances == view.instances
        assert older.age > view.age
        watch = client.watch("orders")
        assert (await step(watch)).change_type == "new"
        await asyncio.to_thread(node.restart)
        assert (await step(watch)).change_type == "delete"
        await client.api.register([instance("orders", 2)])
        assert (await step(watch)).instance.instance_id == "i2"


async def test_round_robin_gives_every_instance_its_turn(client: ArtemisClient, service_id: str) -> None:
    """Also when every choice is made by a balancer of its own."""
    await client.api.register([instance(service_id, port) for port in (1, 2, 3)])
    await client.service(service_id)
    chosen = Counter(client.balancer(service_id).next().instance_id for _ in range(9))
    assert chosen == {"i1": 3, "i2": 3, "i3": 3}


async def test_random_choice_reaches_every_instance(client: ArtemisClient, service_id: str) -> None:
    """Each has the same chance at each choice."""
    await client.api.register([instance(service_id, port) for port in (1, 2, 3)])
    balancer = client.balancer(service_id, "random")
    await balancer.ready()
    assert {balancer.next().instance_id for _ in range(200)} == {"i1", "i2", "i3"}


async def test_a_balancer_passes_over_what_just_failed_while_there_is_another(
    client: ArtemisClient, service_id: str
) -> None:
    """With nothing else left it gives what there is."""
    await client.api.register([instance(service_id, 1), instance(service_id, 2)])
    balancer = client.balancer(service_id)
    await balancer.ready()
    failed = balancer.next()
    assert {balancer.next(avoid=[failed]).instance_id for _ in range(4)} == {"i1", "i2"} - {failed.instance_id}
    both = [instance(service_id, 1), instance(service_id, 2)]
    assert balancer.next(avoid=both) in both


async def test_a_balancer_without_instances_says_why(client: ArtemisClient, service_id: str) -> None:
    """Not looked up yet and nobody there are different errors; both may pass."""
    balancer = client.balancer(service_id)
    with pytest.raises(NoInstancesError, match="not been looked up yet") as caught:
        balancer.next()
    assert (caught.value.service_id, caught.value.retriable) == (service_id, True)
    await balancer.ready()
    with pytest.raises(NoInstancesError, match="none is live as of"):
        balancer.next()


async def test_asking_a_balancer_makes_the_service_followed(client: ArtemisClient, service_id: str) -> None:
    """The background lookup that it wakes brings the instances without anybody waiting for it."""
    await client.api.register([instance(service_id)])
    balancer = client.balancer(service_id)
    with pytest.raises(NoInstancesError):
        balancer.next()
    await step(client.watch(service_id))
    assert balancer.next() == instance(service_id)


async def test_an_unknown_strategy_is_an_error(client: ArtemisClient) -> None:
    """The error lists those that exist."""
    with pytest.raises(ValueError, match="round-robin, random"):
        client.balancer("orders", "weighted")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service_id", "kind", "complaint"),
    [(None, TypeError, "service_id must be text, not None"), (" ", ValueError, "service_id must not be blank")],
)
async def test_a_wrong_name_of_a_service_is_an_error_at_once(
    client: ArtemisClient, service_id: str, kind: type[Exception], complaint: str
) -> None:
    """Wherever it is given."""
    with pytest.raises(kind, match=complaint):
        await client.service(service_id)
    with pytest.raises(kind, match=complaint):
        client.watch(service_id)
    with pytest.raises(kind, match=complaint):
        client.balancer(service_id)


async def test_a_client_without_a_region_says_what_lookups_need(node_url: str) -> None:
    """Before anything is sent; whoever gives a region with the call needs none in the client."""
    async with ArtemisClient(servers=[node_url]) as client:
        for look_up in (client.service, client.api.lookup):
            with pytest.raises(ValueError, match=r"region_id=.* --region"):
                await look_up("orders")
        with pytest.raises(ValueError, match="region_id="):
            client.watch("orders")
        with pytest.raises(ValueError, match="region_id="):
            client.balancer("orders").next()
        assert [service.instances for service in await client.api.lookup(["orders"], region_id="local")] == [[]]


async def test_too_many_watched_services_are_refused(node_url: str) -> None:
    """The bound is on what is watched; a watch that nobody holds any more makes room."""
    options = ClientOptions(max_services=1)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
        watch = client.watch("one")
        with pytest.raises(LimitError, match="max_services=1"):
            client.watch("two")
        del watch
        client.watch("two")


async def test_all_services_can_be_listed(client: ArtemisClient, service_id: str) -> None:
    """A plain call; nothing is followed afterwards."""
    await client.api.register([instance(service_id)])
    assert service_id in [service.service_id for service in await client.api.services()]
