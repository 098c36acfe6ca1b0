"""Closing a client that is cancelled, that a listener closes, or that was suspended."""

import asyncio

import pytest
from link_peers import until

from artemis import ArtemisClient, ClientOptions, ConnectionState, Instance, LeaseState, LinkKind, StateChanged
from artemis.client import InstanceChange, ServiceView

PATIENCE = 60.0


@pytest.mark.parametrize("times", [1, 3])
async def test_closing_that_is_cancelled_at_any_moment_ends_everything(
    node_url: str, quick: ClientOptions, service_id: str, times: int
) -> None:
    """Only the word to the registry may be missing; watches, events, tasks and connections have ended."""
    me = Instance(service_id=service_id, ip="127.0.0.1", port=1)
    cut = 0
    for turns in [*range(1, 12), *range(12, 120, 18)]:
        before = asyncio.all_tasks()
        client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick)
        await client.__aenter__()
        registration = await client.registered(me).__aenter__()
        watch, events = client.watch(service_id), client.events()
        await anext(watch)
        client.listen(service_id, print)
        closing = asyncio.create_task(client.__aexit__(None, None, None))
        for turn in range(turns):
            await asyncio.sleep(0)
            if turn % 10 == 9:
                await asyncio.sleep(0.001)
        for _ in range(times):
            closing.cancel()
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([closing])
            cut += closing.cancelled()
            assert [] == [change async for change in watch if change.change_type == "new"]
            _ = [event async for event in events]
        assert (LeaseState.ENDED, LinkKind.POLL) == (registration.state, client.link)
        await until(lambda before=before: before >= asyncio.all_tasks())  # type: ignore[misc]
    assert cut > 5


async def test_a_time_limit_on_closing_is_kept_by_those_who_wait_for_the_registry() -> None:
    """And `TimeoutError` comes of it, as of everything else."""
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    options = ClientOptions(close_timeout=300.0, attempt_timeout=0.05, attempts=1)
    client = ArtemisClient(servers=[url], region_id="local", zone_id="zone1", options=options)
    await client.__aenter__()
    me = Instance(service_id="orders", ip="127.0.0.1", port=1)
    registration = await client.registered(me, required=False).__aenter__()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await client.__aexit__(None, None, None)
    assert registration.state is LeaseState.ENDED
    silent.close()
    for writer in held:
        writer.close()
    await silent.wait_closed()


async def test_a_listener_may_close_the_client_that_calls_it(
    node_url: str, quick: ClientOptions, service_id: str
) -> None:
    """It goes on to its end, and nobody waits for anybody; closing once more waits for the same end."""
    said: list[str] = []
    ended = asyncio.Event()
    me = Instance(service_id=service_id, ip="127.0.0.1", port=1)
    client = ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick)

    async def close(change: InstanceChange, view: ServiceView) -> None:
        try:
            await client.__aexit__(None, None, None)
            said.append("closed")
            await asyncio.sleep(0)
            said.append("went on")
        except BaseException as error:
            said.append(repr(error))
            raise
        finally:
            ended.set()

    async with asyncio.timeout(PATIENCE), client:
        registration = await client.registered(me).__aenter__()
        client.listen(service_id, close)
        await ended.wait()
    assert (["closed", "went on"], LeaseState.ENDED) == (said, registration.state)


async def test_a_client_that_was_suspended_does_not_say_that_it_is_connected(
    node_url: str, quick: ClientOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first look on, until a node has answered; both are told."""
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as client:
        await client.api.node_status()
        assert client.state is ConnectionState.CONNECTED
        events = client.events()
        later = client._contact.clock() + quick.lost_after
        monkeypatch.setattr(client._contact, "clock", lambda: later)
        assert (ConnectionState.LOST, ConnectionState.LOST) == (client.state, client.status.state)
        await client.api.node_status()
        assert client.state is ConnectionState.CONNECTED
        told = [await anext(events), await anext(events)]
        assert [ConnectionState.LOST, ConnectionState.CONNECTED] == [
            event.new for event in told if isinstance(event, StateChanged)
        ]


async def test_a_closed_client_does_not_say_that_it_is_connected(node_url: str, quick: ClientOptions) -> None:
    """Its state is that of one who hears nothing, and it is shown as closed."""
    async with ArtemisClient(servers=[node_url], region_id="local", zone_id="zone1", options=quick) as client:
        await client.api.node_status()
        assert client.state is ConnectionState.CONNECTED
    assert client.state is ConnectionState.LOST
    assert f"<ArtemisClient of {node_url}: closed>" == repr(client)
