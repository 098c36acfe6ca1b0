"""How a client keeps the best link there is: with real nodes that die, hang, move and offer more or less."""

import asyncio
import os
import signal

import pytest
from awaited import first
from link_peers import V1, shaped, until, wired

from artemis import (
    ArtemisClient,
    ClientOptions,
    ConnectionState,
    Instance,
    LinkChanged,
    LinkKind,
    LoopFailed,
    NodeSwitched,
    StateChanged,
)
from artemis.client.links.link import Link, Push, Want
from artemis.testing import running_node, running_node_sync

QUICK = ClientOptions(
    link_backoff=0.02,
    link_backoff_limit=0.1,
    link_timeout=1.0,
    attempt_timeout=0.5,
    confirm_interval=0.1,
    heartbeat_interval=0.3,
    offer_rest=0.3,
)


def client_of(*servers: str, options: ClientOptions = QUICK) -> ArtemisClient:
    """Make a client of the nodes that learns of no others."""
    return ArtemisClient(servers=servers, region_id="local", zone_id="zone1", options=options)


def instance(service_id: str) -> Instance:
    """Build an instance."""
    return Instance(service_id=service_id, instance_id="i1", ip="127.0.0.1", port=9000)


async def test_a_client_that_makes_one_plain_call_opens_no_link(node_url: str) -> None:
    """The first service in use or the first lease does."""
    async with client_of(node_url) as client:
        await client.api.node_status()
        assert (LinkKind.POLL, "nothing has needed one yet") == (client.link, client.status.reason)
        assert client._live.link is None


async def test_calls_go_over_the_link_once_there_is_one(node_url: str, service_id: str) -> None:
    """And it is made with the first lease."""
    async with wired(int(node_url.rpartition(":")[2])) as wire, client_of(wire.url) as client:
        events = client.events()
        async with client.registered(instance(service_id)):
            change = await first(events, LinkChanged)
            assert (LinkKind.POLL, LinkKind.MSGTRANS, wire.url) == (change.old, change.new, change.node)
            status = client.status
            assert (ConnectionState.CONNECTED, wire.url, LinkKind.MSGTRANS) == (status.state, status.node, status.link)
            assert (1, 0) == (status.leases, status.services)
            accepted = wire.accepted
            for _ in range(5):
                await client.api.node_status()
            assert accepted == wire.accepted


async def test_a_link_that_is_cut_is_made_again_and_the_calls_meanwhile_go_over_http(
    node_url: str, service_id: str
) -> None:
    """The client says so, and a heartbeat follows soon, as the node may have been another."""
    async with wired(int(node_url.rpartition(":")[2])) as wire, client_of(wire.url) as client:
        events = client.events()
        async with client.registered(instance(service_id)):
            await first(events, LinkChanged)
            wire.cut()
            lost, again = await first(events, LinkChanged), await first(events, LinkChanged)
            assert (LinkKind.MSGTRANS, LinkKind.POLL) == (lost.old, lost.new)
            assert lost.reason
            assert (LinkKind.POLL, LinkKind.MSGTRANS) == (again.old, again.new)
            assert "up" == (await client.api.node_status()).status


async def test_a_kind_that_is_cut_again_and_again_makes_way_for_the_next(node_url: str, service_id: str) -> None:
    """After three of it in a row; by and by down to long polls, where nothing takes part that is cut by its kind."""
    # With an interval for addresses the client would learn the node's own one, and go past the wire.
    options = ClientOptions(
        link_backoff=0.001,
        confirm_interval=60.0,
        heartbeat_interval=60.0,
        refresh_interval=60.0,
        address_interval=0.0,
    )
    kinds = [LinkKind.MSGTRANS, LinkKind.WEBSOCKET, LinkKind.JAVA_WEBSOCKET]
    async with (
        wired(int(node_url.rpartition(":")[2])) as wire,
        client_of(wire.url, options=options) as client,
        client.registered(instance(service_id)),
    ):
        events = client.events()
        made = [client.link] if client.link is not LinkKind.POLL else []
        while len(made) < 10:
            if made:
                wire.cut()
            change = await first(events, LinkChanged, lambda event: event.new is not LinkKind.POLL)
            made.append(change.new)
        assert [kind for kind in kinds for _ in range(3)] + [LinkKind.LONG_POLL] == made


async def test_a_node_that_is_killed_is_left_for_another_and_the_link_goes_with_it(service_id: str) -> None:
    """One that comes back is a node like any other."""
    async with running_node() as one, running_node() as two, client_of(one.url, two.url) as client:
        events = client.events()
        async with client.registered(instance(service_id)):
            made = await first(events, LinkChanged)
            gone, left = (one, two) if made.node == one.url else (two, one)
            gone.kill()
            switched = await first(events, NodeSwitched)
            assert (gone.url, left.url) == (switched.old, switched.new)
            made = await first(events, LinkChanged, lambda event: event.new is not LinkKind.POLL)
            assert (LinkKind.MSGTRANS, left.url) == (made.new, made.node)
            left.kill()
            suspended = await first(events, StateChanged, lambda event: event.new is ConnectionState.SUSPENDED)
            assert suspended.reason
            gone.restart()
            made = await first(events, LinkChanged, lambda event: event.new is not LinkKind.POLL)
            assert (LinkKind.MSGTRANS, gone.url) == (made.new, made.node)


async def test_a_node_that_is_suspended_is_left(service_id: str) -> None:
    """Its connection is open, but the confirmation does not come."""
    async with running_node() as one, running_node() as two, client_of(one.url, two.url) as client:
        events = client.events()
        async with client.registered(instance(service_id)):
            made = await first(events, LinkChanged)
            node, other = (one, two) if made.node == one.url else (two, one)
            os.kill(node.process.pid, signal.SIGSTOP)
            try:
                switched = await first(events, NodeSwitched)
                made = await first(events, LinkChanged, lambda event: event.new is LinkKind.MSGTRANS)
                assert (other.url, other.url) == (switched.new, made.node)
            finally:
                os.kill(node.process.pid, signal.SIGCONT)


async def test_a_better_kind_is_taken_without_leaving_the_one_there_is(node_url: str, service_id: str) -> None:
    """What a node did not offer is tried again after a rest, and nothing is polled in between."""
    async with shaped(node_url, V1) as node, client_of(node.url) as client:
        events = client.events()
        async with client.registered(instance(service_id)):
            assert LinkKind.JAVA_WEBSOCKET is (await first(events, LinkChanged)).new
            asked = len(node.asked)
            await until(lambda: "/msgtrans" in node.asked[asked:])
            node.paths = (*V1, "/api/", "/msgtrans")
            change = await first(events, LinkChanged, lambda event: event.new is not LinkKind.JAVA_WEBSOCKET)
            assert (LinkKind.JAVA_WEBSOCKET, LinkKind.WEBSOCKET) == (change.old, change.new), change.reason


async def test_a_link_is_followed_from_its_beginning_to_its_end(node_url: str, service_id: str) -> None:
    """By one at a time, who is told of what it subscribed to, and is cancelled when the link has ended."""
    followed: list[str] = []
    pushes: asyncio.Queue[Push] = asyncio.Queue()

    async def follow(link: Link) -> None:
        followed.append("begin")
        await link.subscribe([Want(service_id)])
        followed.append("subscribed")
        try:
            await asyncio.Event().wait()
        finally:
            followed.append("end")

    async with wired(int(node_url.rpartition(":")[2])) as wire, client_of(wire.url) as client:
        live = client._live
        live.serve(follow, pushes.put_nowait)
        live.want()
        await until(lambda: followed == ["begin", "subscribed"])
        async with client.registered(instance(service_id)), asyncio.timeout(30):
            assert service_id == (await pushes.get()).service
        wire.cut()
        await until(lambda: len(followed) == 5)
        assert ["begin", "subscribed", "end", "begin", "subscribed"] == followed
    assert "end" == followed[-1]


async def test_a_follower_that_breaks_is_told_of_and_the_link_comes_back(node_url: str, service_id: str) -> None:
    """A bug there is not hidden, and takes nothing else with it."""

    async def follow(link: Link) -> None:
        raise ZeroDivisionError(link.node)

    async with client_of(node_url) as client:
        live = client._live
        live.serve(follow, lambda _: None)
        events = client.events()
        live.want()
        for _ in range(2):
            failed = await first(events, LoopFailed)
            assert ("link", ZeroDivisionError) == (failed.name, type(failed.error))
            assert client.link is LinkKind.POLL
        async with client.registered(instance(service_id)):
            assert "up" == (await client.api.node_status()).status


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_closing_at_any_moment_leaves_nothing_open(node_url: str, turns: int) -> None:
    """No task, and no connection."""
    before = asyncio.all_tasks()
    async with wired(int(node_url.rpartition(":")[2])) as wire:
        async with client_of(wire.url) as client:
            client._live.want()
            for _ in range(turns):
                await asyncio.sleep(0)
        await until(lambda: wire.connections == 0)
        assert before | {task for task in asyncio.all_tasks() if "run" in repr(task)} >= asyncio.all_tasks()
    await until(lambda: before == asyncio.all_tasks())


async def test_a_node_below_a_path_is_linked_over_websocket(service_id: str) -> None:
    """A proxy's path says nothing about what else its port speaks."""
    with running_node_sync(path_prefix="/registry") as node:
        async with client_of(f"{node.url}/registry") as client:
            events = client.events()
            async with client.registered(instance(service_id)):
                change = await first(events, LinkChanged)
                assert (LinkKind.WEBSOCKET, f"{node.url}/registry") == (change.new, change.node)
                assert "up" == (await client.api.node_status()).status
