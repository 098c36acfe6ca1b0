"""Registrations of services that do without the registry for a while."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from awaited import first

from artemis import (
    ArtemisClient,
    ClientOptions,
    HeartbeatFailed,
    Instance,
    LeaseState,
    Registered,
    RegistrationRefused,
    UnreachableError,
)
from artemis.testing import running_node

PATIENCE = 60.0


async def test_one_that_is_not_required_begins_without_the_registry(quick: ClientOptions) -> None:
    """It tells of it by state and event, and registers by itself when the registry is there."""
    async with running_node() as node:
        node.kill()
        async with (
            asyncio.timeout(PATIENCE),
            ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=quick) as client,
        ):
            events = client.events()
            me = Instance(service_id="orders", ip="127.0.0.1", port=9000)
            async with client.registered(me, required=False) as registration:
                assert registration.state is LeaseState.UNCERTAIN
                assert registration.error != ""
                assert isinstance(await anext(events), HeartbeatFailed)
                await asyncio.to_thread(node.restart)
                change = await anext(client.watch("orders"))
                assert change.instance == registration.instance
            [left] = await client.api.lookup(["orders"])
            assert left.instances == []


async def test_one_that_is_not_required_begins_at_once_where_the_registry_is(
    client: ArtemisClient, service_id: str
) -> None:
    """Entering registers, as it does for those that are."""
    me = Instance(service_id=service_id, ip="127.0.0.1", port=9000)
    async with client.registered(me, required=False) as registration:
        assert registration.state is LeaseState.HELD
        assert (await client.service(service_id)).instances == (registration.instance,)


class Naming:
    """A name service that may not know the registry yet, or not answer at all."""

    def __init__(self) -> None:
        self.known = False
        self.answers = threading.Event()
        self.answers.set()
        self._real = socket.getaddrinfo

    def __call__(self, host: str, *args: Any, **more: Any) -> list[Any]:
        if host != "registry.example":
            return self._real(host, *args, **more)
        self.answers.wait()
        if not self.known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self._real("127.0.0.1", *args, **more)


@pytest.fixture
def naming(monkeypatch: pytest.MonkeyPatch) -> Iterator[Naming]:
    """Put the name service in place of the system's."""
    monkeypatch.delenv("ARTEMIS_IP", raising=False)
    one = Naming()
    monkeypatch.setattr(socket, "getaddrinfo", one)
    yield one
    one.answers.set()


def of_a_name(node_url: str, options: ClientOptions) -> ArtemisClient:
    """Make a client that knows its node by a name."""
    server = f"http://registry.example:{urlsplit(node_url).port}"
    return ArtemisClient(servers=[server], region_id="local", zone_id="zone1", options=options)


async def test_one_that_is_not_required_waits_for_its_address(
    naming: Naming, node_url: str, client: ArtemisClient, quick: ClientOptions, service_id: str
) -> None:
    """Where nobody knows the name of the registry yet, entering tells of that, and it registers as soon as one does."""
    async with asyncio.timeout(PATIENCE), of_a_name(node_url, quick) as one:
        events = one.events()
        async with one.registered(Instance(service_id=service_id, port=9000), required=False) as registration:
            assert registration.state is LeaseState.UNCERTAIN
            assert "no such name" in registration.error
            assert isinstance(await anext(events), HeartbeatFailed)
            with pytest.raises(UnreachableError, match="no such name"):
                await registration.set_status("busy")
            naming.known = True
            assert (await first(events, Registered)).instance == registration.instance
            assert (registration.state, registration.error) == (LeaseState.HELD, "")
            [shown] = await client.api.lookup([service_id])
            assert shown.instances == [registration.instance]
        assert (await client.api.lookup([service_id]))[0].instances == []


@pytest.mark.parametrize("end", ["unregister", "hand_over", "drain"])
async def test_one_that_is_left_before_it_has_an_address_never_registers(
    naming: Naming, node_url: str, quick: ClientOptions, service_id: str, end: str
) -> None:
    """Nor one that is drained with everything else; another one can be registered in its place."""
    me = Instance(service_id=service_id, port=9000)
    async with asyncio.timeout(PATIENCE), of_a_name(node_url, quick) as one:
        registration = await one.registered(me, required=False).__aenter__()
        if end == "hand_over":
            registration.hand_over()
        else:
            await (one.drain() if end == "drain" else registration.unregister())
        naming.known = True
        trying = [task for task in asyncio.all_tasks() if task.get_name().startswith("artemis client address of")]
        await asyncio.gather(*trying)
        assert one.status.leases == 0
        async with one.registered(me):
            assert one.status.leases == 1


async def test_a_name_service_that_hangs_holds_nobody_up_for_long(
    naming: Naming, node_url: str, quick: ClientOptions, service_id: str
) -> None:
    """Entering waits as long for an address as for an answer; one that is required raises."""
    naming.answers.clear()
    me = Instance(service_id=service_id, port=9000)
    async with asyncio.timeout(PATIENCE), of_a_name(node_url, replace(quick, attempt_timeout=0.05)) as one:
        async with one.registered(me, required=False) as registration:
            assert "the name 'registry.example' is not found within 0.05 s" in registration.error
        with pytest.raises(UnreachableError, match=r"not found within 0\.05 s"):
            await one.registered(me).__aenter__()


async def test_one_that_turns_out_to_be_there_already_is_refused(
    naming: Naming, node_url: str, quick: ClientOptions, service_id: str
) -> None:
    """Only the address tells that two are the same: an event says so, and the first one stays."""
    me = Instance(service_id=service_id, port=9000)
    async with asyncio.timeout(PATIENCE), of_a_name(node_url, quick) as one:
        events = one.events()
        second = await one.registered(me, me, required=False).__aenter__()
        naming.known = True
        refused = await first(events, RegistrationRefused)
        assert "has registered" in refused.message
        assert (second.state, one.status.leases) == (LeaseState.REFUSED, 0)
        await second.unregister()
        assert (second.state, second.error) == (LeaseState.ENDED, "")
