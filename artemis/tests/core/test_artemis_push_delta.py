"""Deltas between versions of the catalog (spec 5.2)."""

import json

import pytest

from artemis.model import Instance, RegistryRequest, ServicesDeltaRequest, decode, decode_msgpack
from artemis.model.changes import ServicesDeltaResponse


def instance(name: str, service: str = "Orders", **fields: object) -> Instance:
    """An instance that can be registered."""
    return Instance(region_id="r1", zone_id="z1", service_id=service, instance_id=name, url="http://x", **fields)


def delta(node, version: int) -> dict[str, object]:
    """The answer for a version."""
    answer: dict[str, object] = json.loads(node.services_delta(ServicesDeltaRequest(version=version), 0).json())
    return answer


def told(answer: dict[str, object]) -> dict[str, list[tuple[str, str]]]:
    """Kinds and instances by service."""
    return {
        service: [(change["changeType"], change["instance"]["instanceId"]) for change in changes]
        for service, changes in answer["delta"].items()
    }


@pytest.fixture
def node(make_node):
    """A node with two instances."""
    node = make_node(max_changes=10)
    node.register(RegistryRequest(instances=[instance("i1"), instance("i2")]), 0)
    return node


def test_the_current_version_has_an_empty_delta(node):
    """Up to date is not the same as unknown (defect 8)."""
    answer = delta(node, node.catalog.version)
    assert ({}, node.catalog.version, "success") == (
        answer["delta"],
        answer["version"],
        answer["responseStatus"]["status"],
    )


def test_a_delta_has_new_changed_and_deleted_instances(node):
    """By the service's id as it is spelt, other content as `new`; what looks as before is left out."""
    version = node.catalog.version
    node.register(RegistryRequest(instances=[instance("i1", status="down"), instance("a", "x"), instance("b", "Y")]), 0)
    node.unregister(RegistryRequest(instances=[instance("i2"), instance("a", "x")]), 0)
    answer = delta(node, version)
    assert {"Orders": [("new", "i1"), ("delete", "i2")], "Y": [("new", "b")]} == told(answer)
    assert node.catalog.version == answer["version"]
    changes = [change for each in answer["delta"].values() for change in each]
    assert {"orders", "y"} == {change["instance"]["serviceId"] for change in changes}


@pytest.mark.parametrize("offset", [1, -100, -10_000_000_000_000])
def test_unknown_versions_have_no_delta(node, offset):
    """Future versions, and those before the log begins, are answered as by the original."""
    answer = delta(node, node.catalog.version + offset)
    assert (None, 0, "data-not-found", "Delta is not found.") == (
        answer["delta"],
        answer["version"],
        answer["responseStatus"]["errorCode"],
        answer["responseStatus"]["message"],
    )


def test_versions_that_were_evicted_have_no_delta(node):
    """The history is as long as the log."""
    version = node.catalog.version
    for number in range(10):
        node.register(RegistryRequest(instances=[instance("i1", status=str(number))]), 0)
    assert {"Orders": [("new", "i1")]} == told(delta(node, version))
    node.register(RegistryRequest(instances=[instance("i1", status="more")]), 0)
    assert "data-not-found" == delta(node, version)["responseStatus"]["errorCode"]


def test_a_long_delta_is_made_in_pieces(make_node, monkeypatch):
    """A slice of work at a time; the pieces join to the answer, in MessagePack it says the same."""
    monkeypatch.setattr("artemis.push.delta.SLICE", 10)
    node = make_node()
    version = node.catalog.version
    node.register(RegistryRequest(instances=[instance(f"i{n}", f"s{n % 7}") for n in range(100)]), 0)
    answer = node.services_delta(ServicesDeltaRequest(version=version), 0)
    pieces = list(answer.json_pieces(500))
    assert (answer.json(), True) == (b"".join(pieces), len(pieces) > 15)
    assert 100 == sum(map(len, told(json.loads(b"".join(pieces))).values()))
    assert decode(ServicesDeltaResponse, answer.json()) == decode_msgpack(ServicesDeltaResponse, answer.msgpack())


def test_no_request_and_no_service(make_node):
    """A literal null asks for version 0; a node that does not serve says so."""
    assert "data-not-found" == make_node().services_delta(None, 0).response_status.error_code
    assert "service-unavailable" == make_node(started=False).services_delta(None, 0).response_status.error_code
