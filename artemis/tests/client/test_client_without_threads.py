"""A client in a process that gets no more threads for a while: what needs one fails or waits, and then goes on."""

import asyncio
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from awaited import first

from artemis import ArtemisClient, ClientOptions, Instance
from artemis.client import DiskFailed, InstanceChange, ListenerFailed, ServiceView
from artemis.client.discovery import listeners
from artemis.client.registration.health import HealthProbe
from artemis.sync import ArtemisClient as BlockingClient

WORDS = "can't start new thread"


def refuse(thread: threading.Thread) -> None:
    """Start no thread, as a system at its limit."""
    raise RuntimeError(WORDS)


def instance(service_id: str) -> Instance:
    """Build an instance."""
    return Instance(region_id="local", zone_id="zone1", service_id=service_id, instance_id="a", url="http://x")


async def test_a_listener_is_told_when_there_is_a_thread(
    client: ArtemisClient, service_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change is not lost, and an event says why it waits."""
    monkeypatch.setattr(listeners, "NO_THREAD", 0.01)
    told: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def hear(change: InstanceChange, view: ServiceView) -> None:
        loop.call_soon_threadsafe(told.put_nowait, change.change_type)

    await client.api.register([instance(service_id)])
    await client.service(service_id)
    events = client.events()
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        client.listen(service_id, hear)
        failed = await first(events, ListenerFailed)
        assert str(failed.error) == WORDS
    async with asyncio.timeout(30):
        assert await told.get() == "new"


async def test_a_cache_is_written_when_there_is_a_thread(
    node_url: str, tmp_path: Path, quick: ClientOptions, service_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it fails as one that cannot be written: by an event."""
    options = replace(quick, cache_interval=0.02, cache_wait=20.0)
    async with ArtemisClient(
        servers=[node_url], region_id="local", zone_id="zone1", options=options, cache_dir=tmp_path
    ) as client:
        events = client.events()
        with monkeypatch.context() as limited:
            limited.setattr(threading.Thread, "start", refuse)
            await client.service(service_id)
            assert (await first(events, DiskFailed)).reason == WORDS
    assert len(await asyncio.to_thread(os.listdir, tmp_path)) == 1


async def test_a_health_function_that_gets_no_thread_does_not_say_that_all_is_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It says why, and is asked again."""
    probe = HealthProbe(lambda: True, 20.0)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        assert await probe.ask() == f"the health check raised RuntimeError: {WORDS}"
    assert await probe.ask() == ""


def test_a_blocking_client_that_gets_no_thread_is_not_open(node_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening raises, and closing it has nothing to wait for."""
    client = BlockingClient(servers=[node_url])
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match=WORDS):
            client.open()
    client.close()
