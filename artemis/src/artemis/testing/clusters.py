"""A real cluster for tests: nodes in processes of their own that are each other's peers, and what can befall them.

::

    async with running_cluster(3, lease_ttl=2, linked=True) as cluster:
        cluster.split({0}, {1, 2})
        cluster.nodes[1].kill()
        ...
        cluster.heal()

With ``linked`` every node is reached by its peers, and by whoever takes its URL from the registry, through a
`artemis.testing.links.LinkProxy`, so that the network between any two nodes can be made bad; ``nodes[0].url`` always
leads to the node itself. Needs ``artemis-registry[server]``; for tests, as nothing restarts a node that ends.
Network namespaces are in `artemis.testing.namespaces`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from artemis.testing.links import BACK, CUT, FINE, FORTH, Line, LinkProxy, Weather, caller_of_mesh
from artemis.testing.node import NodeFailedError, OptionValue, RunningNode, arguments_of, unverified

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from artemis.testing.namespaces import Machine

_PORT = 8080

LINK_TIMEOUT = 60.0
"""Seconds that nodes may take until each counts on all others."""


class RunningCluster:
    """Nodes that are each other's peers; made by `running_cluster` and `running_cluster_sync`. Blocking, thread-safe.

    ``nodes`` are in order; each can be killed, stopped, started again, paused and resumed by itself. ``urls`` are those
    that nodes announce; the same as ``nodes[n].url`` unless they are linked through proxies.
    """

    def __init__(self, nodes: Collection[RunningNode], urls: Collection[str], proxies: Collection[LinkProxy]) -> None:
        self.nodes = tuple(nodes)
        self.urls = tuple(urls)
        self._proxies = tuple(proxies)

    def line(self, a: int, b: int) -> Line:
        """Return what lies between node ``a`` and node ``b`` where ``a`` connected."""
        if not self._proxies:
            raise RuntimeError("the nodes are linked directly; start the cluster with linked=True")
        return self._proxies[b].line_of(self.urls[a])

    def door(self, node: int) -> Line:
        """Return what lies between a node and those who are no peers and connect to its announced URL."""
        return self._proxies[node].line

    def worsen(self, weather: Weather, a: int, b: int, *, one_way: bool = False) -> None:
        """Let this befall what goes from node ``a`` to node ``b``, and, unless ``one_way``, the other way too."""
        self.line(a, b).worsen(weather, FORTH)
        self.line(b, a).worsen(weather, BACK)
        if not one_way:
            self.worsen(weather, b, a, one_way=True)

    def cut(self, a: int, b: int, *, one_way: bool = False) -> None:
        """Let nothing pass between two nodes, or ``one_way`` only nothing from ``a`` to ``b``."""
        self.worsen(CUT, a, b, one_way=one_way)

    def split(self, *sides: Collection[int], weather: Weather = CUT) -> None:
        """Cut nodes of different sides apart; those of no side keep all links."""
        for a, b in _pairs(sides):
            self.worsen(weather, a, b)

    def flap(self, *sides: Collection[int], weather: Weather = CUT, bad: float, fine: float) -> None:
        """Cut nodes of different sides apart for ``bad`` seconds, join them for ``fine``, and so on until `heal`."""
        for a, b in _pairs(sides):
            self.line(a, b).flap(weather, bad=bad, fine=fine)
            self.line(b, a).flap(weather, bad=bad, fine=fine)

    def heal(self) -> None:
        """Let all lines between nodes be fine."""
        for a, _ in enumerate(self.nodes):
            for b, _ in enumerate(self.nodes):
                if a != b and self._proxies:
                    self.line(a, b).worsen(FINE)

    def wait_linked(self, timeout: float = LINK_TIMEOUT) -> None:
        """Wait until every running node offers all running ones to clients; ``NodeFailedError`` after the timeout."""
        deadline = time.monotonic() + timeout
        seen: list[set[str]] = []
        while time.monotonic() < deadline:
            running = [n for n, node in enumerate(self.nodes) if node.process.poll() is None]
            everybody = {self.urls[n] for n in running}
            seen = [nodes_known_to(self.nodes[n].url) for n in running]
            if all(known == everybody for known in seen):
                return
            time.sleep(0.05)
        raise NodeFailedError(f"the nodes did not find each other in {timeout:g} s, they know: {seen}")


def nodes_known_to(url: str) -> set[str]:
    """Return the URLs of the nodes that this one offers clients; none if it does not answer."""
    found = _post(f"{url}/api/cluster/up-registry-nodes.json")
    nodes = found.get("nodes")
    if not isinstance(nodes, list):
        return set()
    return {str(node["url"]).rstrip("/") for node in nodes}


def _post(url: str) -> Mapping[str, object]:
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})  # noqa: S310 - http(s)
    try:
        with urllib.request.urlopen(request, timeout=5.0, context=unverified()) as response:  # noqa: S310 - http(s)
            found: Mapping[str, object] = json.load(response)
            return found
    except (urllib.error.URLError, OSError, ValueError):
        return {}


def _pairs(sides: Collection[Collection[int]]) -> Iterator[tuple[int, int]]:
    """Yield every two nodes of different sides."""
    ordered = [list(side) for side in sides]
    for n, one in enumerate(ordered):
        for other in ordered[n + 1 :]:
            for a in one:
                for b in other:
                    yield a, b


@contextmanager
def running_cluster_sync(
    count: int = 3,
    *,
    linked: bool = False,
    machines: Sequence[Machine] = (),
    data_dir: Path | None = None,
    each: Mapping[int, Mapping[str, OptionValue]] | None = None,
    environments: Mapping[int, Mapping[str, str]] | None = None,
    engine: str = "",
    **options: OptionValue,
) -> Iterator[RunningCluster]:
    """Run nodes that are each other's peers for the length of the block; all serve and are linked when it starts.

    ``options`` are those of ``artemis serve`` for all nodes, as with `artemis.testing.running_node`; ``each`` has more
    for single ones, ``environments`` variables. ``linked``: through proxies. ``machines``: one namespace for each node,
    which then needs a ``cluster_secret_file``, as it is beyond loopback. ``data_dir``: node ``n`` keeps its data in
    ``node<n>`` of this directory; without it nodes that return are new ones. ``engine``: the servers of an engine, as
    ``nats://HOST:PORT``, that the nodes stand around instead of being each other's peers; what is between them cannot
    be made bad then. Raises ``NodeFailedError`` if one does not
    become ready.
    """
    if count < 1 or (machines and (linked or len(machines) != count)):
        raise ValueError(f"a cluster has one node at least, and a machine for each or none; {count}, {len(machines)}")
    if engine and linked:
        raise ValueError("nodes around an engine do not connect to each other, so there is nothing between them")
    secure = "tls_certificate_file" in options
    if secure and linked:
        raise ValueError("proxies tell peers apart by what they say, which TLS hides; use machines, or no TLS")
    with ExitStack() as stack:
        proxies = [stack.enter_context(LinkProxy(who=caller_of_mesh)) for _ in range(count if linked else 0)]
        places = [("127.0.0.1", stack.enter_context(_held_port())) for _ in range(0 if machines else count)]
        places += [(machine.address, _PORT) for machine in machines]
        scheme = "https" if secure else "http"
        urls = [proxy.url for proxy in proxies] or [f"{scheme}://{host}:{port}" for host, port in places]
        nodes: list[RunningNode] = []
        for n, (host, port) in enumerate(places):
            own: dict[str, OptionValue] = {**options, "host": host, "port": port}
            own |= {"cluster": engine} if engine else {"peers": ",".join(urls)}
            own |= (each or {}).get(n, {})
            if linked:
                proxies[n].target = port
                own["self_url"] = urls[n]
            if data_dir is not None:
                own.setdefault("data_dir", str(data_dir / f"node{n}"))
            within = machines[n].within if machines else ()
            nodes.append(RunningNode(arguments_of(own), within=within, environment=(environments or {}).get(n)))
            stack.callback(nodes[n].stop)
        ended = stack.pop_all()
        with _all_at_once(nodes, ended):
            for node in nodes:
                node.wait_ready()
            cluster = RunningCluster(nodes, urls, proxies)
            cluster.wait_linked()
            yield cluster


@asynccontextmanager
async def running_cluster(
    count: int = 3,
    *,
    linked: bool = False,
    machines: Sequence[Machine] = (),
    data_dir: Path | None = None,
    each: Mapping[int, Mapping[str, OptionValue]] | None = None,
    environments: Mapping[int, Mapping[str, str]] | None = None,
    engine: str = "",
    **options: OptionValue,
) -> AsyncIterator[RunningCluster]:
    """Run a cluster like `running_cluster_sync`, without holding up the event loop while it starts and stops."""
    running = running_cluster_sync(
        count,
        linked=linked,
        machines=machines,
        data_dir=data_dir,
        each=each,
        environments=environments,
        engine=engine,
        **options,
    )
    cluster = await asyncio.to_thread(running.__enter__)
    try:
        yield cluster
    finally:
        await asyncio.shield(asyncio.to_thread(running.__exit__, None, None, None))


@contextmanager
def _all_at_once(nodes: Collection[RunningNode], rest: ExitStack) -> Iterator[None]:
    """Stop all nodes together at the end, then do the rest; one after the other they might wait for each other."""
    try:
        yield
    finally:
        with rest, ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(RunningNode.stop, nodes))


@contextmanager
def _held_port() -> Iterator[int]:
    """Hold a free port for as long as a test takes: nobody else is given it, and the node, which reuses it, can."""
    with closing(socket.socket()) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        yield int(one.getsockname()[1])
