"""Asking whether an instance is healthy, and keeping it out of the registry while it is not."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

import pytest

from artemis import (
    ArtemisClient,
    ClientOptions,
    HealthChanged,
    HeartbeatFailed,
    Instance,
    LeaseState,
    Registered,
    Unregistered,
    Withheld,
)
from artemis.client.registration.health import HealthProbe
from artemis.testing import running_node

T = TypeVar("T")
PATIENCE = 60.0
OPTIONS = ClientOptions(
    heartbeat_interval=0.3, health_interval=0.05, attempt_timeout=1.0, attempts=2, backoff=0.02, backoff_limit=0.1
)


@pytest.fixture
async def owner(node_url: str) -> AsyncIterator[ArtemisClient]:
    """Open a client that asks for health often."""
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=OPTIONS) as one:
        yield one


class Health:
    """A callback whose answer a test decides."""

    def __init__(self, answer: bool | Exception | None = True) -> None:
        self.answer = answer
        self.calls = 0
        self.threads: set[int] = set()

    def check(self) -> bool | None:
        """Answer as told."""
        self.calls += 1
        self.threads.add(threading.get_ident())
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def check_async(self) -> bool | None:
        """Answer as told, in the loop."""
        return self.check()


async def first(events: AsyncIterator[object], kind: type[T], holds: Callable[[T], bool] = lambda _: True) -> T:
    """Return the first event of a kind for which something holds."""
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, kind) and holds(event):
                return event
    raise AssertionError(f"the events ended without {kind.__name__}")


async def seen(client: ArtemisClient, service_id: str) -> int:
    """Ask the registry itself for the number of instances of a service."""
    [service] = await client.api.lookup([service_id])
    return len(service.instances or ())


async def until(client: ArtemisClient, service_id: str, count: int) -> None:
    """Ask the registry until it shows so many instances."""
    async with asyncio.timeout(PATIENCE):
        while await seen(client, service_id) != count:
            pass


async def test_an_unhealthy_instance_is_taken_out_and_comes_back(
    owner: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """State, error and events say so; nobody has to wait for a lease to end."""
    health = Health()
    events = owner.events()
    instances = [Instance(service_id=service_id, ip="127.0.0.1", port=port) for port in (1, 2)]
    async with owner.registered(*instances, health=health.check_async) as registration:
        assert await seen(other, service_id) == 2
        health.answer = ValueError("no database")
        changed = await first(events, HealthChanged)
        reason = "the health check raised ValueError: no database"
        assert changed == HealthChanged(registration.instances[0], healthy=False, reason=reason)
        assert await first(events, Withheld) == Withheld(registration.instances[0], reason)
        await until(other, service_id, 0)
        assert (registration.state, registration.error) == (LeaseState.WITHHELD, reason)
        health.answer = None
        assert (await first(events, HealthChanged)).healthy
        assert (await first(events, Registered)).again
        await until(other, service_id, 2)
        assert (registration.state, registration.error) == (LeaseState.HELD, "")


async def test_what_is_not_healthy_at_first_is_registered_when_it_is(
    owner: ArtemisClient, other: ArtemisClient, service_id: str
) -> None:
    """Entering succeeds, so that a service can begin before all it needs is there."""
    health = Health(answer=False)
    async with owner.registered(
        Instance(service_id=service_id, ip="127.0.0.1", port=1), health=health.check
    ) as registration:
        assert (registration.state, registration.error) == (LeaseState.WITHHELD, "the health check says no")
        assert await seen(other, service_id) == 0
        health.answer = True
        await until(other, service_id, 1)
    assert await seen(other, service_id) == 0
    assert threading.get_ident() not in health.threads


async def test_what_is_withheld_is_left_without_a_message(owner: ArtemisClient, service_id: str) -> None:
    """It ends as every registration does, and is asked about no longer."""
    health = Health(answer=False)
    events = owner.events()
    async with owner.registered(
        Instance(service_id=service_id, ip="127.0.0.1", port=1), health=health.check_async
    ) as registration:
        pass
    assert await first(events, Unregistered) == Unregistered(registration.instance, None)
    assert registration.state is LeaseState.ENDED


async def test_a_registry_that_is_silent_is_told_of_health_as_soon_as_it_is_back() -> None:
    """What could not be taken out, or not be registered, is with one of the next heartbeats."""
    health = Health()
    async with (
        running_node() as node,
        ArtemisClient(servers=[node.url], region_id="local", zone_id="zone1", options=OPTIONS) as client,
    ):
        events = client.events()
        async with client.registered(
            Instance(service_id="orders", ip="127.0.0.1", port=1), health=health.check_async
        ) as registration:
            await asyncio.to_thread(node.kill)
            health.answer = False
            await first(events, Withheld)
            health.answer = True
            await first(events, HealthChanged, lambda event: event.healthy)
            await first(events, HeartbeatFailed)
            await asyncio.to_thread(node.restart)
            await first(events, Registered)
            assert await seen(client, "orders") == 1
            assert registration.state is LeaseState.HELD


async def test_plain_and_async_functions_and_what_they_return_are_asked() -> None:
    """A plain one runs in another thread; one that returns a coroutine has it awaited."""
    health = Health()
    assert await HealthProbe(health.check, limit=PATIENCE).ask() == ""
    assert threading.get_ident() not in health.threads
    assert await HealthProbe(health.check_async, limit=PATIENCE).ask() == ""
    assert threading.get_ident() in health.threads
    health.answer = False
    assert await HealthProbe(partial(health.check_async), limit=PATIENCE).ask() == "the health check says no"


@pytest.mark.parametrize("error", [ValueError(), SystemExit(3), KeyError("x")])
async def test_whatever_a_thread_ends_with_is_no_good_answer(error: BaseException) -> None:
    """An error without a text is told by its name."""

    def check() -> bool:
        raise error

    text = f"the health check raised {type(error).__name__}: {error}".rstrip(": ")
    assert await HealthProbe(check, limit=PATIENCE).ask() == text


async def test_a_function_that_hangs_is_unhealthy_and_not_called_again_before_it_returns() -> None:
    """So one thread is lost to it, and not one every few seconds."""
    calls, release, returned = [], threading.Event(), threading.Event()

    def check() -> bool:
        calls.append(1)
        release.wait(PATIENCE)
        returned.set()
        return True

    probe = HealthProbe(check, limit=0.05)
    assert await probe.ask() == "the health check has not answered within 0.05 s"
    assert await probe.ask() == "the health check of before has not returned yet"
    assert len(calls) == 1
    release.set()
    await asyncio.to_thread(returned.wait, PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while await probe.ask() != "":
            pass
    assert len(calls) >= 2


async def test_a_coroutine_that_hangs_is_cancelled() -> None:
    """And one that does not end even so is not called again."""
    ended, calls = asyncio.Event(), []

    async def stubborn() -> bool:
        calls.append(1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ended.wait()
        return True

    probe = HealthProbe(stubborn, limit=0.05)
    assert await probe.ask() == "the health check has not answered within 0.05 s"
    assert await probe.ask() == "the health check of before has not returned yet"
    assert len(calls) == 1
    ended.set()
    async with asyncio.timeout(PATIENCE):
        while await probe.ask() == "the health check of before has not returned yet":
            pass
    assert len(calls) == 2


async def test_leaving_ends_the_asking_and_leaks_no_task(node_url: str, service_id: str) -> None:
    """Also in the middle of a question that would never end."""
    before = asyncio.all_tasks()
    asked = asyncio.Event()

    async def slow() -> bool:
        if asked.is_set():
            await asyncio.Event().wait()
        asked.set()
        return True

    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=OPTIONS) as client:
        await client.registered(Instance(service_id=service_id, ip="127.0.0.1", port=1), health=slow).__aenter__()
        await asked.wait()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
