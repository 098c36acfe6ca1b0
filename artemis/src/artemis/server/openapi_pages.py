"""What the OpenAPI document says about all that is no operation: the introduction, pages, the long poll, WebSockets.

Text and shapes only. Not here: the operations, which `openapi` reads from their table.
"""

from __future__ import annotations

from typing import TypeAlias

from artemis.server.http.poll_query import PARAMETERS
from artemis.server.operations import Parameter

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Object: TypeAlias = "dict[str, Json]"

DESCRIPTION = """\
Services register their instances and keep them alive by heartbeats; callers look services up and are told of changes.

**Outcomes.** Whatever an operation decides is answered with HTTP 200; `responseStatus.status` is `success`, `fail` or
`partial_fail`, and `responseStatus.errorCode` says why. Other statuses speak of the transport: a body that is no JSON,
a method that the path does not have. They carry a sentence that says what to do.

**Bodies** may be packed with gzip and may be chunked. Unknown members are ignored, names are read in any letter case.

**Cursors.** Answers that show data carry `Artemis-Cursor` and `Artemis-Age-Ms`. Whoever hands the cursor in again gets
exactly what changed since, or everything, marked `fullSync`.

**MsgTrans.** The same operations are reached over the binary protocol on the same port.
"""

#: What WEBSOCKET tells of, and the front page lists.
WEBSOCKET_PATHS = (
    "/ws/registry/heartbeat",
    "/ws/discovery/instance-change",
    "/ws/discovery/all-instance-change",
    "/ws",
)

WEBSOCKET = """\
Text messages over RFC 6455, on the same port. Each path is also there below `/artemis/websocket` instead of `/ws`.

- `/ws/registry/heartbeat`: each message is the body of a heartbeat and has one answer, in order; long lists of failed
  instances come in several answers of less than 8 KiB.
- `/ws/discovery/instance-change`: each message is a `DiscoveryConfig` and subscribes to its `serviceId`; every change
  is pushed as one `InstanceChange`.
- `/ws/discovery/all-instance-change`: every change of every service is pushed.
- `/ws`: JSON with a `type`. `{"type":"subscribe","serviceId":"demo.orders","cursor":null}` is answered by `subscribed`
  with a cursor, `unsubscribe` by `unsubscribed`, `ping` by `pong`; `confirm` by whatever is still to be pushed and then
  `{"type":"confirmed","cursor":"...","current":true,"ageMs":0}`; changes come as
  `{"type":"service_change","serviceId":"demo.orders","cursor":"...","fullSync":false,"changes":[InstanceChange, ...]}`.
  `*` as the service means all, in what you send and in what is pushed then.
"""

TAGS: dict[str, str] = {
    "registry": "Register, heartbeat, unregister.",
    "discovery": "Look up services, and wait for changes of one.",
    "status": "How the node is.",
    "cluster": "The nodes that clients may ask, and what operators see and do of the cluster.",
    "query": "Pages of instances and of services.",
    "explain": "Why a caller sees an instance, or does not.",
    "management": "What operators do: pull instances and servers out, and see what is out.",
    "replication": "What nodes of the originals tell each other.",
    "websocket": WEBSOCKET,
    "pages": "Health, metrics, and what people read.",
}

#: These paths are not there below /artemis.
_HERE: list[Json] = [{"url": "/"}]

_TEXT: Object = {"schema": {"type": "string"}}


def pages_described() -> Object:
    """Return path items of the OpenAPI document."""
    return {
        "/": _page("front", "Front page", "The list of what can be asked for.", {"application/json": _object({})}),
        "/health": _page("health", "Health", "`OK`, as nodes of the Rust edition ask.", {"text/plain": _TEXT}),
        "/health/live": _page("live", "Liveness", "200 as long as the event loop turns.", _health("live")),
        "/health/ready": _page(
            "ready",
            "Readiness",
            "200 when the node serves clients.",
            _health("up"),
            {"503": _answer("The node does not serve clients (yet, or any more).", _health("starting", "down"))},
        ),
        "/metrics": _page("metrics", "Metrics", "All numbers in the Prometheus text format.", {"text/plain": _TEXT}),
        "/openapi.json": _page("openapi", "This document", "OpenAPI 3.1.", {"application/json": _object({})}),
        "/docs": _page("docs", "The API to browse", "This document as a page.", {"text/html": _TEXT}),
        "/api/v1/services/{serviceId}": {"get": _long_poll()},
    }


def _health(*statuses: str) -> Object:
    return {"application/json": _object({"status": {"type": "string", "enum": list(statuses)}})}


def _object(properties: Object) -> Object:
    return {"schema": {"type": "object", "properties": properties, "required": list(properties)}}


def _answer(description: str, content: Object) -> Object:
    return {"description": description, "content": content}


def _problem(name: str) -> Object:
    return {"$ref": f"#/components/responses/{name}"}


def _page(name: str, summary: str, text: str, content: Object, others: Object | None = None) -> Object:
    responses: Object = {"200": _answer(text, content), **(others or {}), "405": _problem("Method")}
    operation: Object = {"operationId": f"pages.{name}", "tags": ["pages"], "summary": summary, "responses": responses}
    return {"servers": _HERE, "get": operation}


def query_parameter(name: str, meaning: Parameter, schema: Object | None = None, *, required: bool = False) -> Object:
    """Return a parameter of a query; a name that ends with `.` stands for all that begin so."""
    return {
        "name": f"{name}KEY" if name.endswith(".") else name,
        "in": "query",
        "required": required,
        "description": meaning.text,
        "schema": {"type": meaning.kind, **(schema or {})},
    }


def _long_poll() -> Object:
    wait: Object = {"pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s)?$", "default": "0"}
    return {
        "operationId": "discovery.changes",
        "tags": ["discovery"],
        "summary": "Changes of a service",
        "description": (
            "What changed of a service since `cursor`, as soon as something has, or nothing when `wait` has passed. "
            "Without a cursor, and with one that the node cannot serve, everything that is shown now, at once, with "
            "`fullSync`. Ask again with the cursor of the answer."
        ),
        "parameters": [
            {
                "name": "serviceId",
                "in": "path",
                "required": True,
                "description": "Any text, percent-encoded.",
                "schema": {"type": "string", "minLength": 1},
            },
            *(query_parameter(name, meaning, wait if name == "wait" else None) for name, meaning in PARAMETERS.items()),
        ],
        "responses": {
            "200": {
                "description": "What changed, or everything.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceChanges"}}},
                "headers": {
                    "Artemis-Cursor": {"$ref": "#/components/headers/Cursor"},
                    "Artemis-Age-Ms": {"$ref": "#/components/headers/Age"},
                    "Artemis-Missing-Nodes": {"$ref": "#/components/headers/Missing"},
                    "Artemis-Region": {"$ref": "#/components/headers/Region"},
                    "Artemis-Left-Out": {"$ref": "#/components/headers/LeftOut"},
                },
            },
            "400": _problem("Malformed"),
            "403": _problem("NotOurs"),
            "405": _problem("Method"),
            "408": _problem("Slow"),
            "429": _problem("TooMany"),
            "431": _problem("Head"),
            "503": _problem("Busy"),
        },
    }
