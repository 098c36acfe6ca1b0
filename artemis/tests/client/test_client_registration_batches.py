"""Registering several instances at once, changing them, and filters that keep some out."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import msgspec
import pytest

from artemis import (
    ArtemisClient,
    ClientOptions,
    FilterFailed,
    Instance,
    LeaseState,
    Registered,
    RegistrationRefusedError,
    UnreachableError,
    Unregistered,
    Withheld,
)
from artemis.testing import running_node

T = TypeVar("T")
PATIENCE = 60.0


def at(service_id: str, port: int, **fields: str) -> Instance:
    """Describe an instance by its port."""
    return Instance(service_id=service_id, ip="127.0.0.1", port=port, **fields)  # type: ignore[arg-type]


async def first(events: AsyncIterator[object], kind: type[T], holds: Callable[[T], bool] = lambda _: True) -> T:
    """Return the first event of a kind for which something holds."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, kind) and holds(event):
                return event
    raise AssertionError(f"the events ended without {kind.__name__}")


async def found(client: ArtemisClient, service_id: str) -> list[Instance]:
    """Ask the registry itself for the instances of a service."""
    [service] = await client.api.lookup([service_id])
    return [instance for instance in service.instances or () if instance is not None]


async def until(client: ArtemisClient, service_id: str, holds: Callable[[list[Instance]], bool]) -> None:
    """Ask the registry until something holds of the instances."""
    async with asyncio.timeout(PATIENCE):
        while not holds(await found(client, service_id)):
            pass


async def test_several_instances_are_one_registration(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """All are visible inside the block and gone after it."""
    async with client.registered(*[at(service_id, port) for port in (1, 2, 3)]) as registration:
        assert len(await found(other, service_id)) == 3
        assert [one.port for one in registration.instances] == [1, 2, 3]
        assert (registration.instance.port, registration.state) == (1, LeaseState.HELD)
    assert await found(other, service_id) == []


async def test_if_one_is_refused_none_is_registered(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """The error names who was refused, and those accepted are taken out again before it comes."""
    good, bad = at(service_id, 1), at(service_id, 2, region_id="elsewhere")
    with pytest.raises(RegistrationRefusedError) as caught:
        await client.registered(good, bad).__aenter__()
    assert [one.instance.port for one in caught.value.failed if one.instance] == [2]
    assert await found(other, service_id) == []
    async with client.registered(good):
        assert len(await found(other, service_id)) == 1


async def test_leaving_that_is_cancelled_renews_none_of_them(
    node_url: str, other: ArtemisClient, service_id: str
) -> None:
    """What the first of several messages did not say, the heartbeats do: the instances are strays."""
    options = ClientOptions(batch_size=1, heartbeat_interval=0.1, drain_timeout=0)
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as one:
        registration = await one.registered(*[at(service_id, port) for port in (1, 2, 3)]).__aenter__()
        leaving = asyncio.ensure_future(registration.unregister())
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert leaving.cancelled()
        assert (registration.state, one.status.leases) == (LeaseState.ENDED, 0)
        await until(other, service_id, lambda left: not left)


async def test_nothing_and_the_same_twice_are_mistakes(client: ArtemisClient, service_id: str) -> None:
    """The second one leaves nothing behind."""
    with pytest.raises(ValueError, match="at least one instance"):
        client.registered()
    with pytest.raises(ValueError, match="already"):
        await client.registered(at(service_id, 1), at(service_id, 1)).__aenter__()
    async with client.registered(at(service_id, 1)):
        assert len(await found(client, service_id)) == 1


async def test_ten_thousand_instances_do_not_hold_up_the_loop_for_long(node_url: str, service_id: str) -> None:
    """They travel in many messages, and between these others have their turn."""
    options = ClientOptions(heartbeat_interval=0.5, attempt_timeout=10.0)
    instances = [at(service_id, 1, instance_id=f"i{number}") for number in range(10_000)]
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
        registration = client.registered(*instances)
        taking = asyncio.create_task(take_turns())
        async with registration:
            assert registration.state is LeaseState.HELD
        taking.cancel()
        await asyncio.wait([taking])
        assert turns > 100
        assert await found(client, service_id) == []


async def test_an_update_is_visible_at_once(client: ArtemisClient, other: ArtemisClient, service_id: str) -> None:
    """Content, status and metadata can change, of one or all instances; heartbeats keep what is new."""
    async with client.registered(at(service_id, 1), at(service_id, 2)) as registration:
        await registration.update(at(service_id, 2, group_id="blue"))
        assert [one.group_id for one in registration.instances] == [None, "blue"]
        assert {one.group_id for one in await found(other, service_id)} == {None, "blue"}
        await registration.set_status("down")
        assert {one.status for one in await found(other, service_id)} == {"down"}
        await registration.set_metadata({"version": "2"})
        assert [one.metadata for one in await found(other, service_id)] == [{"version": "2"}] * 2
        events = client.events()
        await client.api.unregister(registration.instances)
        assert (await first(events, Registered)).instance.metadata == {"version": "2"}
        assert registration.state is LeaseState.HELD


async def test_an_identity_cannot_change(client: ArtemisClient, service_id: str) -> None:
    """And outside of its block a registration cannot change at all."""
    registration = client.registered(at(service_id, 1))
    with pytest.raises(RuntimeError, match="not entered"):
        await registration.set_status("down")
    async with registration:
        with pytest.raises(ValueError, match=r"127\.0\.0\.1:2 is not registered here"):
            await registration.update(at(service_id, 2))
    with pytest.raises(RuntimeError, match="has ended"):
        await registration.set_status("down")


async def test_a_refused_update_changes_nothing(quick: ClientOptions) -> None:
    """The error says why; the instance stays in the registry as it was."""
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=quick) as client,
        client.registered(at("orders", 1)) as registration,
    ):
        with pytest.raises(RegistrationRefusedError):
            await registration.set_metadata({"much": "x" * 100_000})
        assert (registration.state, registration.instance.metadata) == (LeaseState.HELD, None)
        [shown] = await found(client, "orders")
        assert shown.metadata is None


async def test_an_update_that_nobody_hears_comes_with_a_later_heartbeat(quick: ClientOptions) -> None:
    """The error says that it has not arrived yet."""
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=quick) as client,
        client.registered(at("orders", 1)) as registration,
    ):
        await asyncio.to_thread(node.kill)
        with pytest.raises(UnreachableError):
            await registration.set_status("down")
        events = client.events()
        await asyncio.to_thread(node.restart)
        assert (await first(events, Registered)).instance.status == "down"


class Only:
    """A filter that keeps instances by their port."""

    name = "only"

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self.error: Exception | None = None

    def keep(self, instance: Instance) -> bool:
        """Answer as told."""
        if self.error is not None:
            raise self.error
        return instance.port in self.ports


async def test_filters_withhold_instances_and_let_them_back(
    node_url: str, other: ArtemisClient, quick: ClientOptions, service_id: str
) -> None:
    """They are asked before the registration and before every heartbeat."""
    only = Only(1)
    async with ArtemisClient(
        servers=[node_url], region_id="local", zone_id="zone1", options=quick, registry_filters=[only]
    ) as client:
        events = client.events()
        async with client.registered(at(service_id, 1), at(service_id, 2)) as registration:
            assert [one.port for one in await found(other, service_id)] == [1]
            withheld = await first(events, Withheld)
            assert (withheld.instance.port, withheld.reason) == (2, "the registry filter only keeps it out")
            assert (registration.state, registration.error) == (LeaseState.WITHHELD, withheld.reason)
            only.ports = (2,)
            assert (await first(events, Registered, lambda event: event.again)).instance.port == 2
            await until(other, service_id, lambda shown: [one.port for one in shown] == [2])


async def test_a_filter_that_raises_has_no_say(node_url: str, quick: ClientOptions, service_id: str) -> None:
    """The instances stay, and an event carries the error."""
    only = Only()
    only.error = ValueError("broken")
    async with ArtemisClient(
        servers=[node_url], region_id="local", zone_id="zone1", options=quick, registry_filters=[only]
    ) as client:
        events = client.events()
        async with client.registered(at(service_id, 1), at(service_id, 2)) as registration:
            assert len(await found(client, service_id)) == 2
            assert await first(events, FilterFailed) == FilterFailed("only", registration.instance, only.error)


async def test_entering_can_be_cancelled_anywhere_and_leaves_nothing_behind(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """What a node has accepted meanwhile is taken out again, and not seen for the rest of its lease."""
    for turns in range(1, 400, 8):
        registration = client.registered(at(service_id, 1))
        entering = asyncio.create_task(registration.__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        entering.cancel()
        await asyncio.wait([entering])
        if not entering.cancelled():
            await registration.unregister()
    await until(other, service_id, lambda shown: not shown)
    async with client.registered(at(service_id, 1)):
        assert len(await found(other, service_id)) == 1


async def test_leaving_can_be_cancelled_and_is_finished_in_the_background(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """The instance is gone before its lease has ended."""
    registration = await client.registered(at(service_id, 1)).__aenter__()
    leaving = asyncio.create_task(registration.unregister())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert (leaving.cancelled(), registration.state) == (True, LeaseState.ENDED)
    await until(other, service_id, lambda shown: not shown)


async def test_a_registry_that_accepts_and_never_answers_holds_nobody_for_ever() -> None:
    """Entering raises, and so does leaving not."""
    options = ClientOptions(heartbeat_interval=0.1, attempt_timeout=0.1, attempts=2, backoff=0.0, close_timeout=0.3)
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    async with (
        asyncio.timeout(PATIENCE),
        ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options) as client,
    ):
        with pytest.raises(UnreachableError, match=r"no answer within 0\.1 s"):
            await client.registered(at("orders", 1)).__aenter__()
    silent.close()
    for writer in held:
        writer.close()
    await silent.wait_closed()


async def test_two_clients_that_hold_the_same_instance_both_keep_it(
    client: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """The one that stays brings it back with its next heartbeat when the other one leaves."""
    async with client.registered(at(service_id, 1)):
        async with other.registered(at(service_id, 1)):
            assert len(await found(client, service_id)) == 1
        await until(client, service_id, lambda shown: len(shown) == 1)


async def test_closing_in_the_middle_of_heartbeats_takes_everything_out(
    node_url: str, other: ArtemisClient, service_id: str
) -> None:
    """A heartbeat that is under way registers nothing again."""
    options = ClientOptions(heartbeat_interval=0.001)
    for _ in range(20):
        async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=options) as client:
            registration = await client.registered(at(service_id, 1)).__aenter__()
            await other.api.unregister([registration.instance])
            await client.api.node_status()
        assert await found(other, service_id) == []


async def test_a_client_can_drain_and_go_on(client: ArtemisClient, other: ArtemisClient, service_id: str) -> None:
    """Everything is taken out; looking up still works, and so does registering anew."""
    events = client.events()
    registrations = [await client.registered(at(service_id, port)).__aenter__() for port in (1, 2)]
    await client.drain()
    assert await found(other, service_id) == []
    assert {(await first(events, Unregistered)).instance.port for _ in registrations} == {1, 2}
    assert (await client.service(service_id)).instances == ()
    async with client.registered(msgspec.structs.replace(registrations[0].instance)):
        assert len(await found(other, service_id)) == 1
