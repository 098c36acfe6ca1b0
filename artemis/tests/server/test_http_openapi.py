"""The API as a document and as a page to browse, offline."""

import gzip
import json
import re
from collections.abc import Callable

import pytest
from doors import Wire, get

from artemis._version import __version__
from artemis.model import NodeStatusRequest, NodeStatusResponse, encode, encode_msgpack
from artemis.server.openapi import openapi_document
from artemis.server.operations import OPERATIONS, Operation, Query


def operation(**changes: object) -> Operation:
    """An operation of the table."""
    return Operation(
        **{
            "code": 4000,
            "name": "test.do-it",
            "path": "test/do-it.json",
            "request_type": NodeStatusRequest,
            "response_type": NodeStatusResponse,
            "call": lambda node, request, now: NodeStatusResponse(),  # noqa: ARG005
            "encode_json": encode,
            "encode_msgpack": encode_msgpack,
            **changes,
        }
    )


async def fetch(wire: Wire, target: str, *fields: str) -> tuple[dict[str, str], bytes]:
    """GET, expect 200, give header fields and body."""
    await wire.send(get(target, *fields))
    status, found, body = await wire.answer()
    assert status == 200, body
    return found, body


async def test_the_document_describes_every_operation(wire: Wire) -> None:
    """Each row of the table has its path, with GET where it has a query; health, metrics and the long poll too."""
    fields, body = await fetch(wire, "/openapi.json")
    document = json.loads(body)
    assert fields["content-type"] == "application/json"
    assert (document["openapi"], document["info"]["version"]) == ("3.1.0", __version__)
    for row in OPERATIONS:
        methods = {"get", "post"} if row.from_query else {"post"}
        assert set(document["paths"]["/api/" + row.path]) == methods
    assert {"/health/ready", "/metrics", "/docs", "/api/v1/services/{serviceId}"} <= set(document["paths"])
    assert "/ws/discovery/instance-change" in json.dumps(document["tags"])


def test_every_reference_leads_somewhere() -> None:
    """Whatever the document refers to is part of it."""
    document = openapi_document(OPERATIONS)
    text = json.dumps(document)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        place: object = document
        for step in reference.split("/"):
            assert isinstance(place, dict)
            place = place[step]
    assert "(spec" not in text
    names = re.findall(r'"operationId": "([^"]+)"', text)
    assert len(names) == len(set(names))


def test_query_parameters_are_those_that_are_read() -> None:
    """The document has the parameters an operation asks a query for, and knows which it cannot do without."""
    parameters = openapi_document(OPERATIONS)["paths"]["/api/discovery/service.json"]["get"]["parameters"]  # type: ignore[index, call-overload]
    found = {parameter["name"]: parameter["required"] for parameter in parameters}  # type: ignore[union-attr, call-overload, index]
    assert found == {"serviceId": True, "regionId": False, "zoneId": False}


def test_a_query_is_not_read_by_index() -> None:
    """`in`, `get` and `all` tell which parameters there are; an index fails for callers, so it fails here first."""

    def read(query: Query) -> NodeStatusRequest:
        assert query["a"]
        assert "b" in query
        assert query.get("c", "x")
        assert query.all("d")
        return NodeStatusRequest()

    row = operation(from_query=read)
    with pytest.raises(KeyError):
        openapi_document([row])


def test_operations_for_operators_say_so() -> None:
    """They name the token, and what is answered without it."""
    described = openapi_document([operation(admin=True)])["paths"]["/api/test/do-it.json"]["post"]  # type: ignore[index, call-overload]
    assert described["security"] == [{"adminToken": []}, {}]  # type: ignore[index, call-overload]
    assert {"401", "403"} <= set(described["responses"])  # type: ignore[index, call-overload, arg-type]
    assert described["summary"] == "Do it"  # type: ignore[index, call-overload]


def test_servers_are_the_path_families() -> None:
    """The document is for one family; the others, and the configured prefix, are servers."""
    servers = openapi_document(OPERATIONS, "/artemis-service")["servers"]
    assert [server["url"] for server in servers] == [  # type: ignore[union-attr, call-overload, index]
        "/",
        "/artemis",
        "/artemis-service",
        "/artemis-service/artemis",
    ]


@pytest.mark.parametrize("start_of_path", ["", "/artemis-service"])
@pytest.mark.parametrize("path", ["/docs", "/swagger-ui.html"])
async def test_the_page_loads_nothing_from_elsewhere(
    start: Callable, connect: Callable, path: str, start_of_path: str
) -> None:
    """All it needs is on this node, at addresses relative to it, and the policy forbids anything else."""
    async with start(path_prefix="/artemis-service") as server:
        wire = await connect(server)
        fields, body = await fetch(wire, start_of_path + path)
        assert "default-src 'none'" in fields["content-security-policy"]
        assert not re.search(rb"https?://|//cdn", body)
        addresses = re.findall(rb'(?:src|href)="([^"]+)"', body)
        assert len(addresses) == 4
        for address in addresses:
            if address != b"data:,":
                assert (await fetch(wire, f"{start_of_path}/{address.decode()}"))[1]


async def test_large_files_come_packed(wire: Wire) -> None:
    """A browser takes gzip, which makes a third of it; both are the same file, and may be kept for a day."""
    fields, packed = await fetch(wire, "/docs/swagger-ui.js", "Accept-Encoding: gzip")
    assert (fields["content-encoding"], fields["cache-control"]) == ("gzip", "max-age=86400")
    plain = (await fetch(wire, "/docs/swagger-ui.js"))[1]
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/start.js"])
async def test_other_methods_of_pages(wire: Wire, path: str) -> None:
    """HEAD has no body, POST is refused with what is possible."""
    await wire.send(get(path, method="HEAD"))
    assert (await wire.answer(head_only=True))[0] == 200
    await wire.send(get(path, method="POST"))
    status, fields, _ = await wire.answer()
    assert (status, fields["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_the_front_page_lists_everything(wire: Wire) -> None:
    """Operations, the long poll, pages and WebSocket endpoints."""
    page = json.loads((await fetch(wire, "/"))[1])
    assert {"/api/" + row.path for row in OPERATIONS} <= set(page["operations"])
    assert "/api/v1/services/{serviceId}" in page["operations"]
    assert {"/docs", "/openapi.json", "/metrics"} <= set(page["pages"])
    assert "/ws" in page["websocket"]


def test_our_parameters_say_what_they_are_for() -> None:
    """Each of them has a description; those by metadata stand for all entries; other paths describe theirs as well."""
    paths = json.loads(json.dumps(openapi_document(OPERATIONS)))["paths"]
    found = {
        (path, each["name"]): each
        for path, item in paths.items()
        for described in item.values()
        if isinstance(described, dict)
        for each in described.get("parameters", [])
    }
    assert all(len(each["description"]) > 10 for each in found.values())
    assert found["/api/v1/instances", "pageSize"]["schema"] == {"type": "integer"}
    assert "entry KEY" in found["/api/v1/instances", "metadata.KEY"]["description"]
    assert found["/api/v1/explain", "serviceId"]["required"]
    assert not found["/api/v1/explain", "zoneId"]["required"]
    assert {"400", "403", "429", "503"} <= set(paths["/api/v1/instances"]["get"]["responses"])


def test_the_document_speaks_as_the_wire_does() -> None:
    """No field is named as in the code, every tag says what it is for, keys that failed are among the answers."""
    document = json.loads(json.dumps(openapi_document(OPERATIONS)))
    assert set(re.findall(r"`[a-z]+_[a-z_]+`", json.dumps(document))) == {"`partial_fail`", "`java_registry`"}
    assert all(tag["description"] for tag in document["tags"])
    schemas = document["components"]["schemas"]
    assert "`instanceKeys`" in schemas["RegistryResponse"]["properties"]["failedInstanceKeys"]["description"]
    assert "failedInstanceKeys" not in schemas["RegistryResponse"]["required"]
    assert "KeysResponse" not in schemas


def test_the_document_names_no_other_site() -> None:
    """The page makes links of a licence or a contact, which lead outside."""
    assert not {"license", "contact", "termsOfService"} & set(openapi_document(OPERATIONS)["info"])  # type: ignore[arg-type, call-overload]
