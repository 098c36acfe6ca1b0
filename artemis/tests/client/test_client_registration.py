"""Registering instances at a real node, and keeping them registered."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from artemis import (
    ArtemisClient,
    ClientOptions,
    ConnectionState,
    Instance,
    LeaseState,
    RegistrationRefusedError,
    UnreachableError,
)
from artemis.client import (
    ClosedError,
    HeartbeatFailed,
    NodeSwitched,
    Registered,
    RegistrationRefused,
    StateChanged,
    Unregistered,
)
from artemis.testing import RunningNode, running_node

T = TypeVar("T")
PATIENCE = 60.0


async def first(events: AsyncIterator[object], kind: type[T], holds: Callable[[T], bool] = lambda _: True) -> T:
    """Return the first event of a kind for which something holds."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, kind) and holds(event):
                return event
    raise AssertionError(f"the events ended without {kind.__name__}")


async def seen(client: ArtemisClient, service_id: str) -> list[str | None]:
    """Ask the registry itself for the instances of a service."""
    [service] = await client.api.lookup([service_id])
    return [instance.instance_id for instance in service.instances or () if instance is not None]


def client_of(node: RunningNode, options: ClientOptions) -> ArtemisClient:
    """Make a client of a node."""
    return ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=options)


async def test_an_instance_is_visible_at_once_and_gone_after_the_block(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """Entering registers without waiting for a heartbeat (defect 23), leaving unregisters."""
    async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)) as registration:
        assert await seen(other, service_id) == ["127.0.0.1:1"]
        assert (registration.state, registration.error) == (LeaseState.HELD, "")
        assert (registration.instance.region_id, registration.instance.status) == ("local", "up")
    assert await seen(other, service_id) == []
    assert registration.state is LeaseState.ENDED


async def test_unregistering_early_is_allowed_and_leaving_repeats_nothing(
    client: ArtemisClient, service_id: str
) -> None:
    """The event comes once."""
    events = client.events()
    async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)) as registration:
        await registration.unregister()
        assert await seen(client, service_id) == []
    await client.__aexit__(None, None, None)
    assert [type(event) for event in [item async for item in events]].count(Unregistered) == 1


async def test_heartbeats_keep_an_instance_beyond_its_lease(quick: ClientOptions) -> None:
    """What nobody renews expires; what this client holds, registered earlier, is still there then."""
    unrenewed = Instance(
        region_id="local", zone_id="zone1", service_id="orders", instance_id="unrenewed", url="http://127.0.0.1:2"
    )
    renewed = Instance(service_id="orders", ip="127.0.0.1", port=1)
    async with running_node(lease_ttl=2) as node, client_of(node, quick) as client, client.registered(renewed):
        await client.api.register([unrenewed])
        async with asyncio.timeout(PATIENCE):
            async for change in client.watch("orders"):
                if change.change_type == "delete":
                    break
        assert change.instance.instance_id == "unrenewed"
        assert await seen(client, "orders") == ["127.0.0.1:1"]


async def test_many_instances_are_renewed_in_bounded_messages(node_url: str, service_id: str) -> None:
    """One client can hold more instances than fit into a message."""
    options = ClientOptions(heartbeat_interval=0.2, batch_size=2)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
        async with asyncio.TaskGroup() as group:
            entered = [
                group.create_task(
                    client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=port)).__aenter__()
                )
                for port in range(1, 6)
            ]
        assert len(await seen(client, service_id)) == 5
        events = client.events()
        await client.api.unregister([task.result().instance for task in entered])
        for _ in entered:
            assert (await first(events, Registered)).again
        assert len(await seen(client, service_id)) == 5


async def test_an_instance_that_somebody_else_took_out_comes_back(client: ArtemisClient, service_id: str) -> None:
    """A heartbeat that finds no lease registers again, and says so."""
    async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)) as registration:
        events = client.events()
        await client.api.unregister([registration.instance])
        assert await first(events, Registered) == Registered(registration.instance, again=True)
        assert await seen(client, service_id) == ["127.0.0.1:1"]


async def test_a_refused_registration_raises_and_leaves_nothing_behind(client: ArtemisClient, service_id: str) -> None:
    """The error carries the registry's reason; the client does not go on offering the instance."""
    foreign = Instance(region_id="elsewhere", service_id=service_id, ip="127.0.0.1", port=1)
    registration = client.registered(foreign)
    with pytest.raises(RegistrationRefusedError, match="no-permission") as caught:
        await registration.__aenter__()
    assert (caught.value.error_code, caught.value.retriable) == ("no-permission", False)
    assert [failed.error_code for failed in caught.value.failed] == ["no-permission"]
    assert registration.state is LeaseState.PENDING
    async with client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1)):
        assert await seen(client, service_id) == ["127.0.0.1:1"]


async def test_without_a_registry_the_first_registration_raises(unused_tcp_port: int, quick: ClientOptions) -> None:
    """The error lists every attempt; retrying may help."""
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with ArtemisClient(servers=[url], region_id="r", zone_id="z", options=quick) as client:
        with pytest.raises(UnreachableError, match=r"3 times .*Connection refused") as caught:
            await client.registered(Instance(service_id="s", ip="127.0.0.1", port=1)).__aenter__()
        assert [attempt.node for attempt in caught.value.attempts] == [url] * 3
        assert caught.value.retriable
        assert client.state is ConnectionState.SUSPENDED


async def test_the_same_instance_cannot_be_registered_twice_at_a_time(client: ArtemisClient, service_id: str) -> None:
    """Neither by a second registration nor by entering one twice; after the end it can."""
    instance = Instance(service_id=service_id, ip="127.0.0.1", port=1)
    async with client.registered(instance) as registration:
        with pytest.raises(ValueError, match="already"):
            await client.registered(instance).__aenter__()
        with pytest.raises(RuntimeError, match="entered once"):
            await registration.__aenter__()
    async with client.registered(instance):
        assert await seen(client, service_id) == ["127.0.0.1:1"]


async def test_a_client_that_is_not_open_says_so(node_url: str) -> None:
    """Before and after its block nothing is sent."""
    client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1")
    with pytest.raises(ClosedError):
        await client.registered(Instance(service_id="s", ip="h", port=1)).__aenter__()
    async with client:
        assert (await client.api.node_status()).status == "up"
    with pytest.raises(ClosedError):
        await client.service("s")
    with pytest.raises(ClosedError):
        await client.api.services()
    with pytest.raises(RuntimeError, match="entered once"):
        await client.__aenter__()


async def test_servers_are_a_list() -> None:
    """One text would be taken for a list of letters."""
    with pytest.raises(TypeError, match="list of URLs"):
        ArtemisClient(servers="http://127.0.0.1:1")


async def test_leaving_the_client_takes_everything_out_and_ends_every_task(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """Also what was registered and never left, in the middle of heartbeats and lookups."""
    before = asyncio.all_tasks()
    for port in (1, 2):
        await client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=port)).__aenter__()
    await client.service(service_id)
    assert len(asyncio.all_tasks()) > len(before)
    await client.__aexit__(None, None, None)
    assert asyncio.all_tasks() == before
    assert await seen(other, service_id) == []


async def test_a_cancelled_registration_leaves_nothing_to_renew(client: ArtemisClient, service_id: str) -> None:
    """Whatever the node made of it, it can be registered anew at once."""
    instance = Instance(service_id=service_id, ip="127.0.0.1", port=1)
    entering = asyncio.create_task(client.registered(instance).__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    await asyncio.wait([entering])
    assert entering.cancelled()
    async with client.registered(instance):
        assert await seen(client, service_id) == ["127.0.0.1:1"]


async def test_clients_come_back_by_themselves_after_the_node_was_killed(quick: ClientOptions) -> None:
    """kill -9, restart on the same port: state and events tell, the instance is registered again."""
    async with running_node() as node, client_of(node, quick) as client:
        events = client.events()
        async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)) as registration:
            await asyncio.to_thread(node.kill)
            suspended = await first(events, StateChanged, lambda event: event.new is ConnectionState.SUSPENDED)
            assert suspended.old is ConnectionState.CONNECTED
            failed = await first(events, HeartbeatFailed)
            assert isinstance(failed.error, UnreachableError)
            assert registration.state is LeaseState.UNCERTAIN
            assert "no registry node answered" in registration.error
            await asyncio.to_thread(node.restart)
            assert await first(events, Registered) == Registered(registration.instance, again=True)
            assert (registration.state, client.state) == (LeaseState.HELD, ConnectionState.CONNECTED)
            assert await seen(client, "orders") == ["127.0.0.1:1"]


async def test_a_registry_that_stays_away_is_lost_and_leaving_is_still_quick() -> None:
    """After ``lost_after`` without an answer the state says so; leaving tells that the lease ends by itself."""
    options = ClientOptions(heartbeat_interval=0.1, attempts=1, lost_after=0.5)
    async with running_node() as node, client_of(node, options) as client:
        events = client.events()
        async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)):
            await asyncio.to_thread(node.kill)
            await first(events, StateChanged, lambda event: event.new is ConnectionState.LOST)
        left = await first(events, Unregistered)
        assert isinstance(left.error, UnreachableError)


async def test_a_registration_that_is_refused_later_shows_it(quick: ClientOptions) -> None:
    """Another region answers at the same address: state, error and one event tell; leaving still works."""
    async with running_node() as node, client_of(node, quick) as client:
        events = client.events()
        async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)) as registration:
            await asyncio.to_thread(node.kill)
            async with running_node(port=node.port, region="elsewhere"):
                refused = await first(events, RegistrationRefused)
                assert (refused.instance, refused.error_code) == (registration.instance, "no-permission")
                assert registration.state is LeaseState.REFUSED
                assert registration.error.startswith("no-permission: ")


async def test_the_client_moves_to_another_node_and_takes_its_instances_along(quick: ClientOptions) -> None:
    """Two nodes that know nothing of each other: what the first one held, the second one is told."""
    async with running_node() as one, running_node() as two:
        nodes = {one.url: one, two.url: two}
        async with ArtemisClient(servers=list(nodes), region_id="local", zone_id="zone1", options=quick) as client:
            events = client.events()
            async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)):
                left = client.server
                await asyncio.to_thread(nodes[left].kill)
                switched = await first(events, NodeSwitched)
                assert (switched.old, switched.new) == (left, client.server)
                assert (await first(events, Registered)).again
                assert await seen(client, "orders") == ["127.0.0.1:1"]


async def test_a_node_that_is_asked_to_end_says_goodbye_and_clients_move_on(quick: ClientOptions) -> None:
    """A drained node is as good a reason to move as a dead one, and nobody sees an error."""
    async with running_node() as one, running_node() as two:
        nodes = {one.url: one, two.url: two}
        async with ArtemisClient(servers=list(nodes), region_id="local", zone_id="zone1", options=quick) as client:
            events = client.events()
            async with client.registered(Instance(service_id="orders", ip="127.0.0.1", port=1)):
                assert await asyncio.to_thread(nodes[client.server].stop) == 0
                await first(events, NodeSwitched)
                assert (await first(events, Registered)).again
