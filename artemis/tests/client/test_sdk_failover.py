"""Clients whose registry starts late, dies, returns, hangs or moves: real nodes in processes of their own."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from awaited import PATIENCE, first

from artemis import ArtemisClient, ClientOptions, ConnectionState, Instance, UnreachableError
from artemis.client import NodeSwitched, Registered, StateChanged
from artemis.testing import RunningNode, running_node

ORDERS = Instance(service_id="orders", ip="127.0.0.1", port=9000)
WELL = {"lease": "held", "state": "connected", "old": False}
"""What `sdk_process` says when nothing is wrong."""
OPTIONS = ClientOptions(
    heartbeat_interval=0.3,
    poll_interval=0.1,
    confirm_interval=0.2,
    refresh_interval=0.5,
    attempt_timeout=0.5,
    attempts=3,
    backoff=0.02,
    backoff_limit=0.1,
    link_backoff=0.05,
    link_backoff_limit=0.2,
    node_rest=0.2,
    address_interval=0.2,
)


def client_of(*nodes: RunningNode | str, options: ClientOptions = OPTIONS, seed: int = 0) -> ArtemisClient:
    """Make a client of nodes."""
    return ArtemisClient(
        servers=[node if isinstance(node, str) else node.url for node in nodes],
        region_id="local",
        zone_id="zone1",
        options=options,
        random=Random(seed),  # noqa: S311 - it spreads load, it keeps no secret
    )


@asynccontextmanager
async def asking(caller: ArtemisClient, service_id: str) -> AsyncIterator[None]:
    """Look the service up in a tight loop for the length of the block; one lookup without an instance fails it."""

    async def ask() -> None:
        while True:
            view = await caller.service(service_id)
            assert len(view.instances) == 1
            await asyncio.sleep(0.001)

    await caller.service(service_id)
    task = asyncio.create_task(ask())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError), outcome


async def until_shown(caller: ArtemisClient, service_id: str) -> None:
    """Wait until a watch of the caller shows the one instance of the service."""
    async with asyncio.timeout(PATIENCE):
        assert (await anext(caller.watch(service_id))).change_type == "new"


@asynccontextmanager
async def service(
    node: RunningNode, *words: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Callable[[], Awaitable[dict[str, object]]]]]:
    """Run `sdk_process` for the length of the block; give the process, and what reads the next thing that it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("sdk_process.py")),
        node.url,
        *words,
        stdout=asyncio.subprocess.PIPE,
    )

    async def says() -> dict[str, object]:
        assert process.stdout is not None
        said: dict[str, object] = json.loads(await process.stdout.readline())
        return said

    try:
        yield process, says
    finally:
        process.kill()
        await process.communicate()


async def test_a_client_that_starts_before_its_registry_says_so_and_works_once_it_is_there() -> None:
    """No answer is an error that names the node; nothing has to be started again for the next call to work."""
    async with running_node(self_preservation=False) as node:
        await asyncio.to_thread(node.kill)
        async with client_of(node) as client:
            with pytest.raises(UnreachableError, match=node.url):
                await client.service("orders")
            with pytest.raises(UnreachableError, match=node.url):
                await client.registered(ORDERS).__aenter__()
            assert client.state is ConnectionState.SUSPENDED
            await asyncio.to_thread(node.restart)
            async with client.registered(ORDERS):
                await until_shown(client, "orders")
            assert client.state is ConnectionState.CONNECTED


async def test_a_killed_and_restarted_registry_costs_no_lookup_and_has_the_lease_back_in_one_heartbeat() -> None:
    """With the heartbeats and repeats of the defaults; the empty node that returns empties no view."""
    defaults = ClientOptions()
    async with (
        running_node(self_preservation=False) as node,
        client_of(node, options=defaults) as provider,
        client_of(node) as caller,
        provider.registered(ORDERS),
    ):
        await until_shown(caller, "orders")
        changes, told = provider.events(), caller.events()
        async with asking(caller, "orders"):
            await asyncio.to_thread(node.kill)
            await first(told, StateChanged, lambda event: event.new is ConnectionState.SUSPENDED)
            await asyncio.to_thread(node.restart)
            async with asyncio.timeout(defaults.heartbeat_interval):
                assert (await first(changes, Registered)).again
            await first(told, StateChanged, lambda event: event.new is ConnectionState.CONNECTED)
            [service] = await caller.api.lookup(["orders"])
            assert len(service.instances or ()) == 1


async def test_clients_of_a_killed_node_go_to_another_and_take_their_instances_along() -> None:
    """Two nodes that know nothing of each other, and clients that start at the same one."""
    async with running_node(self_preservation=False) as one, running_node(self_preservation=False) as other:
        provider = client_of(one, other)
        [doomed] = [node for node in (one, other) if node.url == provider.server]
        async with provider, client_of(one, other) as caller, provider.registered(ORDERS):
            assert caller.server == doomed.url
            await until_shown(caller, "orders")
            changes, told = provider.events(), caller.events()
            async with asking(caller, "orders"):
                await asyncio.to_thread(doomed.kill)
                assert (await first(changes, NodeSwitched)).old == doomed.url
                assert (await first(changes, Registered)).again
                assert (await first(told, NodeSwitched)).new == provider.server != doomed.url
            await until_shown(caller, "orders")


async def test_half_of_the_servers_dead_at_the_start_is_no_error(node_url: str) -> None:
    """Whichever a client begins with, its first call works, and it stays with a node that lives."""
    live = {node_url, node_url.replace("127.0.0.1", "localhost")}
    with ExitStack() as stack:
        # Bound but not listening: nobody else gets the port, and whoever connects is refused.
        reserved = [stack.enter_context(socket.socket()) for _ in live]
        for one in reserved:
            one.bind(("127.0.0.1", 0))
        dead = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in reserved]
        for seed in range(12):
            async with client_of(*dead, *live, seed=seed) as client:
                await client.service("orders")
                assert client.server in live


async def test_a_node_that_hangs_is_left() -> None:
    """A suspended process takes connections and answers nothing: the call goes on at another node."""
    async with running_node(self_preservation=False) as one, running_node(self_preservation=False) as other:
        client = client_of(one, other)
        [hung] = [node for node in (one, other) if node.url == client.server]
        async with client, client.registered(ORDERS):
            await until_shown(client, "orders")
            events = client.events()
            async with asking(client, "orders"):
                hung.process.send_signal(signal.SIGSTOP)
                try:
                    assert (await first(events, NodeSwitched)).old == hung.url
                    assert (await first(events, Registered)).again
                finally:
                    hung.process.send_signal(signal.SIGCONT)


async def test_an_only_node_that_hangs_is_waited_for() -> None:
    """The state tells of it, lookups show what was seen last, and everything goes on when the node does."""
    async with (
        running_node(self_preservation=False, lease_ttl=60) as node,
        client_of(node) as client,
        client.registered(ORDERS) as registration,
    ):
        await until_shown(client, "orders")
        events = client.events()
        async with asking(client, "orders"):
            node.process.send_signal(signal.SIGSTOP)
            try:
                await first(events, StateChanged, lambda event: event.new is ConnectionState.SUSPENDED)
            finally:
                node.process.send_signal(signal.SIGCONT)
            await first(events, StateChanged, lambda event: event.new is ConnectionState.CONNECTED)
        await registration.unregister()
        [service] = await client.api.lookup(["orders"])
        assert not service.instances


async def test_a_suspended_service_loses_its_lease_and_has_it_back_when_it_goes_on() -> None:
    """It shows the age that its view has by then, and registers again by itself."""
    async with running_node(self_preservation=False, lease_ttl=1.5) as node, client_of(node) as caller:
        changes = caller.watch("suspended")
        async with service(node, "suspended") as (process, says), asyncio.timeout(PATIENCE):
            assert (await says())["lease"] == "held"
            assert (await anext(changes)).change_type == "new"
            process.send_signal(signal.SIGSTOP)
            assert (await anext(changes)).change_type == "delete"
            process.send_signal(signal.SIGCONT)
            assert (await anext(changes)).change_type == "new"
            while not (await says())["old"]:
                pass
            while await says() != WELL:
                pass


async def test_the_first_look_after_a_suspension_shows_that_the_registry_is_lost() -> None:
    """Before anything was sent or received: what it held is presumed expired, and its view is as old as it is."""
    async with running_node(self_preservation=False, lease_ttl=1.5) as node, client_of(node) as caller:
        changes = caller.watch("suspended")
        async with service(node, "suspended", "suspends") as (process, says), asyncio.timeout(PATIENCE):
            while await says() != WELL:
                pass
            assert (await anext(changes)).change_type == "new"
            # Its lease has ended by now, after more than the second that makes a client lost.
            assert (await anext(changes)).change_type == "delete"
            process.send_signal(signal.SIGCONT)
            look = await says()
            assert (look["state"], look["old"]) == ("lost", True)
            while await says() != WELL:
                pass
            assert (await anext(changes)).change_type == "new"
