"""The API in the words of OpenAPI 3.1, made from the operation table and the wire structs.

What is no operation - health, metrics, the long poll - is described in `pages_described`. Synchronous and pure.
Not here: how the document is served and shown; see `http.docs`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import msgspec

from artemis._version import __version__
from artemis.model import RegistryResponse
from artemis.model.changes import InstanceChange
from artemis.model.rust import KeysResponse
from artemis.model.wire import WireStruct, in_camel_case
from artemis.server.openapi_pages import DESCRIPTION, TAGS, Json, Object, pages_described, query_parameter
from artemis.server.operations import MissingParameter, Operation, Parameter, Query
from artemis.server.operators import has_token

_SCHEMAS = "#/components/schemas/"
_RESPONSES = "#/components/responses/"

#: What may be answered instead of the response of an operation (spec 1.1), by what makes it so.
_ALWAYS = {"405": "Method", "408": "Slow", "431": "Head"}
_WITH_QUERY = {"400": "Malformed"}
_WITH_BODY = {"400": "Malformed", "413": "TooLarge", "415": "NotJson"}
_OF_ITS_OWN = {"404": "NotThere"}
#: Beside these, for what the originals lack.
_OURS = {"400": "Malformed", "403": "NotOurs", "429": "TooMany", "503": "Busy"}
_FOR_OPERATORS = {"401": "NoToken", "403": "NotAllowed"}

_SAID = {
    "Malformed": "The query or the body cannot be read; the message says what is wrong and where.",
    "Method": "The path does not know this method; `Allow` names those it knows.",
    "Slow": "The request took too long to arrive.",
    "TooLarge": "The body is larger than the node allows, packed or unpacked.",
    "NotJson": "The body is said not to be JSON, or to be packed with something other than gzip.",
    "Head": "The head of the request is larger than the node allows.",
    "NoToken": "The admin token is missing or another one.",
    "NotAllowed": "The node listens beyond loopback without an admin token, or the page of another site asks.",
    "TooMany": "The caller asks more often than the rate limits allow; `Retry-After` says when to come again.",
    "Busy": "The node does not serve, or as many requests wait as may; `Retry-After` says when to come again.",
    "NotOurs": "The region or the zone is not this node's.",
}

_OUTCOME = "Every logical outcome; `responseStatus` tells whether it is a success (200 also for failures)."
_DONE = "What was asked for."

#: What the parameters of the originals' queries mean.
_MEANINGS = {
    "appIds": Parameter("Services, separated by commas or repeated; all when it is left out."),
    "regionId": Parameter("The caller's region."),
    "serviceId": Parameter("The service, in any letter case."),
    "zoneId": Parameter("The caller's zone."),
}

_NOT_THERE: Object = {
    "description": "What was asked for is not there; only requests in the shapes of the Rust edition are told so.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"success": {"const": False}, "message": {"type": "string"}},
                "required": ["success", "message"],
            }
        }
    },
}

#: Names of fields in docstrings, which are others on the wire, and what only looks like one.
_NAME = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")
_AS_IT_IS = {"partial_fail", "java_registry"}

#: References to the specification mean nothing to those who read the document.
_REFERENCE = re.compile(r"\s*\((?:spec|design|artemis-rust)\b[^)]*\)")


def openapi_document(operations: Iterable[Operation], prefix: str = "") -> Object:
    """Return the document. `prefix` is the configured path that everything is also reachable below, empty for none."""
    rows = tuple(operations)
    paths: Object = {}
    for operation in rows:
        paths["/api/" + operation.path] = _path(operation)
    paths.update(pages_described())
    families = {row.name.partition(".")[0] for row in rows}
    tags = {**TAGS, **dict.fromkeys(sorted(families - set(TAGS)), "")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Artemis",
            "version": __version__,
            "summary": "A service registry: register, heartbeat, look up, get changes.",
            "description": DESCRIPTION,
        },
        "servers": list(_servers(prefix)),
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(rows),
            "responses": {**{name: _problem(text) for name, text in _SAID.items()}, "NotThere": _NOT_THERE},
            "headers": {
                "Cursor": {
                    "description": "The position of the data in the history of changes, to go on from.",
                    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
                },
                "Age": {
                    "description": "Milliseconds since the data was known to be current.",
                    "schema": {"type": "integer", "minimum": 0},
                },
                "Missing": {
                    "description": "How many other nodes that age leaves out, as they are down or were never met; "
                    "not there when none is.",
                    "schema": {"type": "integer", "minimum": 1},
                },
                "Region": {
                    "description": "The other region that is shown, with what a header cannot hold percent-encoded; "
                    "not there for that of the node.",
                    "schema": {"type": "string"},
                },
                "LeftOut": {
                    "description": "How many instances of another region found no room in the copy of it; not there "
                    "when all did.",
                    "schema": {"type": "integer", "minimum": 1},
                },
            },
            "securitySchemes": {
                "adminToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of --admin-token-file; not needed by a node on loopback without one.",
                }
            },
        },
    }


def _servers(prefix: str) -> Iterator[Json]:
    yield {"url": "/", "description": "As v1 clients ask."}
    yield {"url": "/artemis", "description": "As v2 clients ask; /api only."}
    if prefix:
        yield {"url": prefix, "description": "Below the path prefix of this node."}
        yield {"url": prefix + "/artemis", "description": "Below the path prefix, as v2 clients ask; /api only."}


def _path(operation: Operation) -> Object:
    item: Object = {"post": _method(operation, "post", _body(operation), _WITH_BODY)}
    if operation.from_query is not None:
        item["get"] = _method(operation, "get", {"parameters": _parameters(operation)}, _WITH_QUERY)
    return item


def _method(operation: Operation, method: str, asked: Object, problems: Mapping[str, str]) -> Object:
    family, _, verb = operation.name.partition(".")
    responses: Object = {"200": _response(operation)}
    ours = operation.parameters is not None
    named = {**problems, **_ALWAYS, **(_OURS if ours else {}), **(_FOR_OPERATORS if operation.admin else {})}
    if has_token(operation):
        del named["401"]
    if operation.http_status is not None:
        named.update(_OF_ITS_OWN)
    responses.update({status: {"$ref": _RESPONSES + name} for status, name in sorted(named.items())})
    described: Object = {
        "operationId": operation.name if method == "post" else f"{operation.name}.{method}",
        "tags": [family],
        "summary": verb.replace("-", " ").replace(".", " ").capitalize(),
        "description": _description(operation),
        **asked,
        "responses": responses,
    }
    if operation.admin:
        described["security"] = [{"adminToken": []}, {}]
    return described


def _description(operation: Operation) -> str:
    parts = [_text(operation.request_type), _text(operation.response_type)]
    if operation.aliases:
        parts.append("Also at " + ", ".join(f"`/api/{alias}`" for alias in operation.aliases) + ".")
    parts.append(f"Over MsgTrans this is biz_type {operation.code}.")
    return "\n\n".join(part for part in parts if part)


def _body(operation: Operation) -> Object:
    schema: Object = {"$ref": _SCHEMAS + operation.request_type.__name__}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _response(operation: Operation) -> Object:
    ours = operation.parameters is not None
    response: Object = {
        "description": _DONE if ours else _OUTCOME,
        "content": {"application/json": {"schema": {"$ref": _SCHEMAS + operation.response_type.__name__}}},
    }
    if operation.shows_data:
        response["headers"] = {
            "Artemis-Cursor": {"$ref": "#/components/headers/Cursor"},
            "Artemis-Age-Ms": {"$ref": "#/components/headers/Age"},
            "Artemis-Missing-Nodes": {"$ref": "#/components/headers/Missing"},
            "Artemis-Region": {"$ref": "#/components/headers/Region"},
            "Artemis-Left-Out": {"$ref": "#/components/headers/LeftOut"},
        }
    return response


class _Asked(Query):
    """A query that has every parameter but one, and remembers which ones it was asked for."""

    def __init__(self, missing: str = "") -> None:
        super().__init__()
        self.names: dict[str, None] = {}
        self._missing = missing

    def __getitem__(self, name: str) -> str:
        self.names[name] = None
        if name == self._missing:
            raise KeyError(name)
        return "1"

    def __contains__(self, name: object) -> bool:
        self.names[str(name)] = None
        return name != self._missing

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """As of a dict; the parameters are not known before somebody asks."""
        value = "1" if name in self else default
        return value  # noqa: RET504 - as a condition it looks like a call of itself

    def all(self, name: str) -> list[str]:
        """As of a query."""
        return [self[name]] if name in self else []


def _parameters(operation: Operation) -> list[Json]:
    """The query parameters of an operation: what it asks a query for, and what it cannot do without."""
    read = operation.from_query
    assert read is not None  # noqa: S101 - the caller has looked
    asked = _Asked()
    read(asked)
    parameters: list[Json] = []
    known = _MEANINGS if operation.parameters is None else operation.parameters
    for name in asked.names if operation.parameters is None else known:
        required = False
        try:
            read(_Asked(name))
        except MissingParameter:
            required = True
        parameters.append(query_parameter(name, known[name], required=required))
    return parameters


def _problem(text: str) -> Object:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}}


class Problem(msgspec.Struct):
    """What is wrong with the transport itself: the words for the status, and a sentence that says what to do."""

    error: str
    message: str
    status: int


class ServiceChanges(WireStruct, kw_only=True):
    """What changed of a service since the caller's cursor; with `fullSync` everything that is shown of it now.

    `regionId` is there of another region than that of the node.
    """

    age_ms: int
    changes: list[InstanceChange]
    cursor: str
    full_sync: bool
    region_id: str | msgspec.UnsetType = msgspec.UNSET


def _schemas(operations: Iterable[Operation]) -> Object:
    """The schemas of all structs, as they look on the wire.

    Unknown members are ignored in requests, and answers may get more of them, so none are forbidden. An answer has all
    of its members.
    """
    rows = list(operations)
    structs: set[type[msgspec.Struct]] = {kind for row in rows for kind in (row.request_type, row.response_type)}
    structs.add(RegistryResponse)
    described = [*sorted(structs, key=lambda kind: kind.__name__), ServiceChanges, Problem, KeysResponse]
    _, components = msgspec.json.schema_components(described, ref_template=_SCHEMAS + "{name}")
    answers = {row.response_type.__name__: row.response_type for row in rows}
    for name, schema in components.items():
        schema.pop("additionalProperties", None)
        schema["description"] = _clean(schema.get("description", ""))
        if name in answers:
            fields = msgspec.structs.fields(answers[name])
            schema["required"] = sorted(field.encode_name for field in fields if field.default is not msgspec.UNSET)
    _add_keys(components)
    return dict(components)


def _add_keys(components: dict[str, dict[str, object]]) -> None:
    """Say what requests by key are answered: one schema has the members of both dialects, as it is with requests."""
    for name, member in _members(components.pop(KeysResponse.__name__)).items():
        _members(components[RegistryResponse.__name__]).setdefault(name, member)
    keys = _members(components[RegistryResponse.__name__])["failedInstanceKeys"]
    keys["description"] = "Only for requests with `instanceKeys`: those that were not served, null when there are none."


def _members(schema: dict[str, object]) -> dict[str, dict[str, object]]:
    return cast("dict[str, dict[str, object]]", schema["properties"])


def _text(struct: type[msgspec.Struct]) -> str:
    return _clean(struct.__doc__ or "")


def _clean(text: str) -> str:
    """A docstring in the words of the wire."""
    return _NAME.sub(_on_the_wire, _REFERENCE.sub("", inspect.cleandoc(text)))


def _on_the_wire(name: re.Match[str]) -> str:
    text = name[1]
    return f"`{text if text in _AS_IT_IS else in_camel_case(text)}`"
