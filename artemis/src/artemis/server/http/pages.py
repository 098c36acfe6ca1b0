"""What GET answers beside the operations: health, metrics, and a front page that says what is here. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from artemis._version import __version__
from artemis.model.nodes import UP
from artemis.server.http.answer import Answer, problem
from artemis.server.http.docs import Docs
from artemis.server.http.polls import NAME as POLL
from artemis.server.http.routes import PREFIXES
from artemis.server.metrics import Metrics
from artemis.server.node import Node
from artemis.server.openapi_pages import WEBSOCKET_PATHS
from artemis.server.operations import OPERATIONS


class Pages:
    """Pages about one node and its metrics."""

    def __init__(self, node: Node, metrics: Metrics, now: Callable[[], int], prefix: str = "") -> None:
        self._node = node
        self._now = now
        self._metrics = metrics
        self._prefix = prefix
        self._docs = Docs(prefix)

    def table(self) -> dict[str, Callable[[], Answer]]:
        """Path -> page."""
        return {**self._signposts(), **self._pages()}

    def _signposts(self) -> dict[str, Callable[[], Answer]]:
        """Paths that people try, and what leads on from there."""
        v2 = ["/artemis/websocket" + path.removeprefix("/ws") for path in WEBSOCKET_PATHS if path != "/ws"]
        return {
            **dict.fromkeys([*WEBSOCKET_PATHS, *v2], _upgrade_required),
            "/docs/": partial(_moved, b"../docs"),
            "/artemis/docs": partial(_moved, b"../docs"),
            "/artemis/docs/": partial(_moved, b"../../docs"),
            "/artemis/openapi.json": partial(_moved, b"../openapi.json"),
        }

    def _pages(self) -> dict[str, Callable[[], Answer]]:
        return {
            "/": self.front,
            "/health": self.health,
            "/health/live": self.live,
            "/health/ready": self.ready,
            "/metrics": self.metrics,
            **self._docs.table(),
        }

    def front(self) -> Answer:
        """The list of what can be asked for."""
        prefix = self._prefix + PREFIXES[0].decode()
        operations = {
            prefix + op.path: {"methods": ["GET", "POST"] if op.from_query else ["POST"], "operation": op.name}
            for op in OPERATIONS
        }
        operations[prefix + "v1/services/{serviceId}"] = {"methods": ["GET"], "operation": POLL}
        page = {
            "artemis": __version__,
            "operations": operations,
            "pages": sorted(self._prefix + path for path in self._pages()),
            "protocols": ["http/1.1", "websocket", "msgtrans/1"],
            "websocket": [self._prefix + path for path in WEBSOCKET_PATHS],
        }
        return Answer(200, msgspec.json.format(msgspec.json.encode(page), indent=2) + b"\n")

    def health(self) -> Answer:
        """200 as long as the event loop turns, in the word that Rust nodes wait for (artemis-rust 1.0)."""
        return Answer(200, b"OK", content_type=b"text/plain; charset=utf-8")

    def live(self) -> Answer:
        """200 as long as the event loop turns."""
        return Answer(200, b'{"status":"live"}')

    def ready(self) -> Answer:
        """200 when the node serves clients, else 503 with its status and why it is so (spec 6.3).

        `alone` says without which other nodes it serves: what clients see is then maybe not all there is.
        """
        standing = self._node.standing
        unready = self._node.unready
        notes = {"why": standing.why or unready, "alone": self._node.alone(self._now())}
        page = {"status": standing.status, **{name: text for name, text in notes.items() if text}}
        return Answer(200 if standing.status == UP and not unready else 503, msgspec.json.encode(page))

    def metrics(self) -> Answer:
        """All counters and gauges in the Prometheus text format."""
        return Answer(200, self._metrics.render(), content_type=CONTENT_TYPE_LATEST.encode())


def _upgrade_required() -> Answer:
    text = "this is a WebSocket endpoint: open it with a WebSocket client, which sends Upgrade: websocket; see /docs"
    return problem(426, text, (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))


def _moved(where: bytes) -> Answer:
    """Lead on to another page, named relative to this one, so that it works below a path prefix and behind a proxy."""
    return Answer(308, b"", ((b"Location", where),))
