"""Listeners: functions that are called with every change of a service."""

import asyncio
import logging
import threading
from collections.abc import Awaitable
from queue import SimpleQueue

import pytest

from artemis import ArtemisClient, Instance
from artemis.client import InstanceChange, ListenerFailed, ServiceView
from artemis.client.discovery.worker import Worker

PATIENCE = 60.0


def instance(service_id: str, name: str = "a", url: str = "http://x") -> Instance:
    """Build an instance."""
    return Instance(region_id="local", zone_id="zone1", service_id=service_id, instance_id=name, url=url)


class Heard:
    """A listener of either kind, and what it heard."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[InstanceChange, ServiceView]] = SimpleQueue()
        self.threads: set[threading.Thread] = set()

    def plain(self, change: InstanceChange, view: ServiceView) -> None:
        """Hear, in whatever thread."""
        self.threads.add(threading.current_thread())
        self.calls.put((change, view))

    async def on_loop(self, change: InstanceChange, view: ServiceView) -> None:
        """Hear, on the loop."""
        self.plain(change, view)

    async def next(self) -> tuple[str, str | None, int]:
        """Wait for the next call: what happened to whom, and how many instances there are."""
        change, view = await asyncio.to_thread(self.calls.get, True, PATIENCE)
        return change.change_type, change.instance.instance_id, len(view.instances)


@pytest.mark.parametrize("kind", ["plain", "on_loop"])
async def test_a_listener_is_told_what_is_there_comes_changes_and_goes(
    client: ArtemisClient, service_id: str, kind: str
) -> None:
    """With the whole service each time; a coroutine function on the loop, a plain one in a thread."""
    heard = Heard()
    await client.api.register([instance(service_id)])
    client.listen(service_id, getattr(heard, kind))
    assert await heard.next() == ("new", "a", 1)
    await client.api.register([instance(service_id, "b")])
    assert await heard.next() == ("new", "b", 2)
    await client.api.register([instance(service_id, "b", "http://y")])
    assert await heard.next() == ("change", "b", 2)
    await client.api.unregister([instance(service_id)])
    assert await heard.next() == ("delete", "a", 1)
    assert (threading.current_thread() in heard.threads) == (kind == "on_loop")


async def test_a_function_that_returns_a_coroutine_has_it_awaited(client: ArtemisClient, service_id: str) -> None:
    """As a function around a coroutine function does."""
    heard = Heard()

    def wraps(change: InstanceChange, view: ServiceView) -> Awaitable[None]:
        return heard.on_loop(change, view)

    client.listen(service_id, wraps)
    await client.api.register([instance(service_id)])
    assert await heard.next() == ("new", "a", 1)


async def test_a_listener_that_blocks_holds_up_other_functions_alone(client: ArtemisClient, service_id: str) -> None:
    """Lookups, watches and coroutine functions go on; it is told afterwards what is left of the changes."""
    entered, go_on, heard, other = threading.Event(), threading.Event(), Heard(), Heard()

    def blocks(change: InstanceChange, view: ServiceView) -> None:
        entered.set()
        go_on.wait(PATIENCE)
        heard.plain(change, view)

    client.listen(service_id, blocks)
    client.listen(service_id, other.on_loop)
    await client.api.register([instance(service_id)])
    assert await asyncio.to_thread(entered.wait, PATIENCE)
    assert await other.next() == ("new", "a", 1)
    await client.api.register([instance(service_id, "b")])
    assert await other.next() == ("new", "b", 2)
    await client.api.unregister([instance(service_id, "b")])
    assert await other.next() == ("delete", "b", 1)
    await client.api.register([instance(service_id, "c")])
    assert await other.next() == ("new", "c", 2)
    go_on.set()
    assert [(await heard.next())[:2] for _ in range(2)] == [("new", "a"), ("new", "c")]


@pytest.mark.parametrize("kind", ["plain", "on_loop"])
async def test_a_listener_that_raises_is_told_of_the_next_change(
    client: ArtemisClient, service_id: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An event carries what it raised, and the log where."""
    heard = Heard()

    def plain(change: InstanceChange, view: ServiceView) -> None:
        heard.plain(change, view)
        raise KeyError("a bug")

    async def on_loop(change: InstanceChange, view: ServiceView) -> None:
        plain(change, view)

    events = client.events()
    client.listen(service_id, plain if kind == "plain" else on_loop)
    await client.api.register([instance(service_id)])
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, ListenerFailed):
                break
    assert event.service_id == service_id
    assert isinstance(event.error, KeyError)
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]
    await client.api.register([instance(service_id, "b")])
    assert [(await heard.next())[1] for _ in range(2)] == ["a", "b"]


async def test_the_log_has_one_traceback_for_each_kind_of_failure(
    client: ArtemisClient, service_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However often a listener fails; every tenfold count of a kind is a line, and every failure an event."""
    events = client.events()

    def fails(change: InstanceChange, view: ServiceView) -> None:
        raise KeyError if change.change_type == "new" else OSError

    client.listen(service_id, fails)
    await client.api.register([instance(service_id, str(number)) for number in range(12)])
    failed: list[Exception] = []
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, ListenerFailed):
                failed.append(event.error)
            if len(failed) == 12:
                await client.api.unregister([instance(service_id, "0")])
            if len(failed) == 13:
                break
    assert [KeyError] * 12 + [OSError] == list(map(type, failed))
    records = [record for record in caplog.records if service_id in record.message]
    assert [KeyError, None, OSError] == [record.exc_info and record.exc_info[0] for record in records]
    assert records[1].message == f"a listener of {service_id} failed 10 times with KeyError"


class Stop(BaseException):
    """What test frameworks raise."""


@pytest.mark.parametrize("error", [SystemExit(3), Stop(), StopIteration(), asyncio.CancelledError()])
async def test_a_plain_listener_that_raises_what_ends_threads_is_told_of_the_next_change(
    client: ArtemisClient, service_id: str, error: BaseException
) -> None:
    """So are the others, which share its thread."""
    heard, other = Heard(), Heard()

    def exits(change: InstanceChange, view: ServiceView) -> None:
        heard.plain(change, view)
        raise error

    events = client.events()
    client.listen(service_id, exits)
    client.listen(service_id, other.plain)
    await client.api.register([instance(service_id)])
    async with asyncio.timeout(PATIENCE):
        async for event in events:
            if isinstance(event, ListenerFailed):
                break
    assert error in {event.error, event.error.__cause__}
    await client.api.register([instance(service_id, "b")])
    assert [(await heard.next())[1] for _ in range(2)] == ["a", "b"]
    assert [(await other.next())[1] for _ in range(2)] == ["a", "b"]


async def test_a_closed_listener_is_told_nothing_more(client: ArtemisClient, service_id: str) -> None:
    """Also when it closes itself, in its thread; closing once more does nothing."""
    heard, other = Heard(), Heard()

    def once(change: InstanceChange, view: ServiceView) -> None:
        listener.close()
        listener.close()
        heard.plain(change, view)

    listener = client.listen(service_id, once)
    assert listener.service_id == service_id
    with client.listen(service_id, other.plain) as closed:
        pass
    async with client.listen(service_id, other.plain) as closed_too:
        pass
    client.listen(service_id, other.on_loop)
    await client.api.register([instance(service_id)])
    assert await heard.next() == ("new", "a", 1)
    assert await other.next() == ("new", "a", 1)
    await client.api.register([instance(service_id, "b")])
    assert await other.next() == ("new", "b", 2)
    assert heard.calls.empty()
    assert listener.closed
    assert closed.closed
    assert closed_too.closed


async def test_what_cannot_be_called_is_an_error(client: ArtemisClient, service_id: str) -> None:
    """At once."""
    with pytest.raises(TypeError, match="a listener is a function"):
        client.listen(service_id, "print")  # type: ignore[arg-type]


async def test_closing_the_client_does_not_wait_long_for_a_listener(
    client: ArtemisClient, service_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that one is still running; nothing hangs."""
    entered, go_on = threading.Event(), threading.Event()

    def blocks(change: InstanceChange, view: ServiceView) -> None:
        entered.set()
        go_on.wait(PATIENCE)

    client.listen(service_id, blocks)
    client.listen(f"{service_id}-unused", blocks)
    await client.api.register([instance(service_id)])
    assert await asyncio.to_thread(entered.wait, PATIENCE)
    async with asyncio.timeout(PATIENCE):
        await client.__aexit__(None, None, None)
    go_on.set()
    assert [r.message for r in caplog.records if "still running" in r.message] == [
        f"a listener of {service_id} is still running after the client was closed"
    ]


async def test_a_worker_runs_one_function_after_another() -> None:
    """Returns and raises what they do; a caller that is cancelled leaves the others alone."""
    worker, go_on = Worker("test"), threading.Event()
    blocked = asyncio.ensure_future(worker.run(lambda: go_on.wait(PATIENCE)))
    after = [asyncio.ensure_future(worker.run(lambda number=number: 6 // number)) for number in (2, 0)]
    await asyncio.sleep(0)
    blocked.cancel()
    go_on.set()
    results = await asyncio.gather(*after, return_exceptions=True)
    assert results[0] == 3
    assert isinstance(results[1], ZeroDivisionError)
    worker.close()
    worker.close()
