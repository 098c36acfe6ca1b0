"""A fleet of Java-shaped clients moves from Java-like nodes to ours, node by node, as docs/java.md says it is done."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp

from artemis.server.app import NodeServer
from artemis.testing.java import JavaClient, JavaNode, JavaNodeSettings, JavaSettings
from artemis.testing.java.beans import Bean, instance

FLEET = 8
SERVICE = "orders"
EVERYBODY = {f"10.0.0.{number}" for number in range(FLEET)}

# As in Java but for the intervals; limits of time are longer, as all nodes and clients share the test's loop.
NODE = JavaNodeSettings(
    status_interval=0.1, init_interval=0.1, batch_delay=0.2, connect_timeout=2.0, socket_timeout=2.0, status_timeout=2.0
)
CLIENT = JavaSettings(
    first_heartbeat=0.05,
    heartbeat_check=0.05,
    heartbeat_interval=0.3,
    health_check=0.1,
    address_interval=0.2,
    connect_timeout=5.0,
    socket_timeout=5.0,
    ping_timeout=5.0,
    reconnects=50,
)


def bean(number: int) -> Bean:
    """Return the instance of one client."""
    address = f"10.0.0.{number}"
    values = {"regionId": "r1", "zoneId": "z1", "serviceId": SERVICE, "instanceId": address, "ip": address}
    return instance({**values, "url": f"http://{address}/", "port": 80})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nodes and clients bring about."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for is plain data
            await asyncio.sleep(0.01)


class Watch:
    """Looks the service up at every node that is in service, all the time. `wrong` has each answer that lacked one."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.wrong: list[str] = []
        self.asked = 0

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """Look no more; raises what went wrong."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _look(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                for node in list(self.nodes):
                    found = await self._instances(session, node)
                    self.asked += 1
                    if found != EVERYBODY:
                        self.wrong.append(f"{node} shows {len(found)}, lacks {EVERYBODY - found}")
                await asyncio.sleep(0.02)

    async def _instances(self, session: aiohttp.ClientSession, node: str) -> set[str]:
        body = {"discoveryConfigs": [{"serviceId": SERVICE}], "regionId": "r1", "zoneId": "z1"}
        async with session.post(f"{node}/api/discovery/lookup.json", json=body) as response:
            services = (await response.json())["services"]
        return {each["instanceId"] for service in services for each in service["instances"]}


class Fleet:
    """Java-shaped clients, each with one instance, and each following the service."""

    def __init__(self, name: str) -> None:
        self.clients = [JavaClient(name, region_id="r1", zone_id="z1", settings=CLIENT) for _ in range(FLEET)]
        self.lost: list[tuple[str, int]] = []

    async def begin(self) -> None:
        """Register all, and follow."""
        for number, client in enumerate(self.clients):
            await client.start()
            await client.registry.register(bean(number))
        for client in self.clients:
            copy = await client.discovery.service(SERVICE)
            await until(lambda copy=copy: set(copy.instance_ids) == EVERYBODY)
            await client.discovery.service(SERVICE, self._heard)

    def _heard(self, kind: str, copy: object) -> None:
        if set(copy.instance_ids) != EVERYBODY:
            self.lost.append((kind, len(copy.instance_ids)))

    def point(self, url: str) -> None:
        """Let the name by which clients find nodes lead elsewhere."""
        for client in self.clients:
            for part in (client.registry, client.discovery):
                part._addresses._bootstrap = url

    def know(self, *urls: str) -> bool:
        """Whether all clients know exactly these nodes."""
        parts = [part for client in self.clients for part in (client.registry, client.discovery)]
        return all(set(part._addresses.nodes) == set(urls) for part in parts)

    def beat(self, count: int) -> Callable[[], bool]:
        """Return whether each client has been answered so many more heartbeats."""
        goals = [(client, client.registry.replies + count) for client in self.clients]
        return lambda: all(client.registry.replies >= goal for client, goal in goals)

    def failed(self) -> int:
        """Return how many calls of clients failed, each after all its attempts."""
        return sum(client.deadlines.events["call failed"] for client in self.clients)

    async def end(self) -> None:
        """Stop all."""
        await asyncio.gather(*(client.stop() for client in self.clients))


def tell(server: NodeServer, *java: JavaNode) -> None:
    """Give a running node other Java peers, as its file would."""
    server.reconfigure(server.config.model_copy(update={"java_peers": tuple(node.url for node in java)}))


def served(server: NodeServer) -> bool:
    """Whether a node serves, and knows of all its Java peers that they do."""
    return server.node.status == "up" and all(view.standing.registry for view in server.node.java.views())


async def test_a_fleet_moves_from_java_nodes_to_ours_and_misses_nothing(start, tmp_path: Path) -> None:
    """First node of ours in, last Java node out: no lookup fails, and no instance is missing at any node, ever."""
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef")
    secret.chmod(0o600)
    options = {"cluster_secret_file": secret, "join_timeout": 2.0}
    watch = Watch()
    async with AsyncExitStack() as stack:
        java = [JavaNode(region_id="r1", zone_id="z1", force_up=True, settings=NODE) for _ in range(2)]
        for node in java:
            await stack.enter_async_context(node)
        for node in java:
            node.urls = [other.url for other in java]
        await until(lambda: all(node.targets() for node in java))
        fleet = Fleet(java[0].url)
        stack.push_async_callback(fleet.end)
        await fleet.begin()
        await until(lambda: all(len(node.leases.of(SERVICE)) == FLEET for node in java))
        watch.nodes = [node.url for node in java]
        watch.start()
        stack.push_async_callback(watch.stop)

        # The first of ours in: it copies, then both kinds name each other.
        first = await stack.enter_async_context(start(java_peers=tuple(node.url for node in java), **options))
        await until(lambda: served(first))
        for node in java:
            node.urls = [*node.urls, first.url]
        await until(lambda: all(first.url in node.targets() for node in java))
        watch.nodes.append(first.url)
        await until(lambda: fleet.know(java[0].url, java[1].url, first.url))

        # The second one: a member beside the first, and a peer of all Java nodes like it.
        second = await stack.enter_async_context(
            start(java_peers=tuple(node.url for node in java), peers=(first.url,), **options)
        )
        await until(lambda: served(second))
        for node in java:
            node.urls = [*node.urls, second.url]
        await until(lambda: all(second.url in node.targets() for node in java))
        watch.nodes.append(second.url)
        await until(lambda: fleet.know(*watch.nodes))
        # Clients over: those who ask for nodes are told of ours alone, while Java nodes go on being told everything.
        fleet.point(first.url)
        for server in (first, second):
            server.reconfigure(server.config.model_copy(update={"offer_java_peers": False}))
        await until(lambda: fleet.know(first.url, second.url))
        await until(fleet.beat(2))
        assert all(len(node.leases.of(SERVICE)) == FLEET for node in java)

        # Java nodes out, one after the other: stopped first, then taken out of the lists.
        for number, node in enumerate(java):
            watch.nodes.remove(node.url)
            await node.stop()
            await until(fleet.beat(3))
            left = java[number + 1 :]
            for other in left:
                other.urls = [url for url in other.urls if url != node.url]
            tell(first, *left)
            tell(second, *left)
        assert {first.url, second.url} == set(watch.nodes)
        assert [None, None] == [first.node.asked, second.node.asked]

        asked = watch.asked
        await until(lambda: watch.asked >= asked + 10)
        await watch.stop()
        assert [] == watch.wrong
        assert [] == fleet.lost
        assert 0 == fleet.failed()
        assert [FLEET, FLEET] == [len(first.node.registry), len(second.node.registry)]
        assert [0, 0] == [first.node.registry.counters.expired, second.node.registry.counters.expired]
