"""Reading what a node of another region shows: all services at once, one service, and which region it is of.

Pure: bytes come in, what they say goes out, bit by bit where it may be much. Whatever is no answer of a registry node
is a `BadAnswer` with a sentence for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from artemis.federation.rules import NOTHING, Beside, beside
from artemis.model import (
    Instance,
    LookupResponse,
    MalformedBody,
    NodeStatusResponse,
    ResponseStatus,
    Service,
    decode,
)
from artemis.model.queries import ServicesPageResponse


class BadAnswer(Exception):  # noqa: N818 - what it is; it never leaves this room
    """A node of another region answered something that is of no use; the text says what."""


class _Listing(msgspec.Struct, rename="camel", gc=False):
    response_status: ResponseStatus | None = None
    services: list[msgspec.Raw] | None = None


class _Listed(msgspec.Struct, rename="camel", gc=False):
    service_id: str | None = None
    instances: list[msgspec.Raw] | None = None
    logic_instances: list[msgspec.Raw] | None = None
    route_rules: list[msgspec.Raw] | None = None


class ListedService(msgspec.Struct, gc=False):
    """A service of a listing: its id in lower case, its instances as JSON, and what is beside them."""

    service: str
    instances: list[msgspec.Raw]
    beside: Beside


_LISTING = msgspec.json.Decoder(_Listing)
_LISTED = msgspec.json.Decoder(_Listed | None)


class Place(NamedTuple):
    """Where a node is: its region, and its zone, which lookups name for nodes that serve theirs alone."""

    region: str
    zone: str | None


def place_of(raw: bytes) -> Place:
    """Return where a node says it is."""
    try:
        answer = decode(NodeStatusResponse, raw)
    except MalformedBody as error:
        raise BadAnswer(f"its status is not one of a registry node ({error})") from error
    told = None if answer is None else answer.node_status
    node = None if told is None else told.node
    if node is None:
        raise BadAnswer("its status names no region; is this a registry node?")
    zone = node.zone
    region = node.region_id or (zone.region_id if zone else "") or ""
    if not region.strip():
        raise BadAnswer("its status names no region; is this a registry node?")
    return Place(region, node.zone_id or (zone.zone_id if zone else None))


def listed(raw: bytes) -> list[msgspec.Raw]:
    """Return the services of a listing, unread."""
    try:
        answer = _LISTING.decode(raw)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadAnswer(f"its list of services cannot be read ({error})") from error
    check(answer.response_status)
    if answer.services is None:
        raise BadAnswer("its list of services is missing")
    return answer.services


def read_service(raw: msgspec.Raw) -> ListedService | None:
    """Read one service of a listing; None for one without an id."""
    try:
        read = _LISTED.decode(raw)
        if read is None or not (read.service_id or "").strip():
            return None
        found = NOTHING
        if read.logic_instances or read.route_rules:
            # Without the instances, of which one that cannot be read shall take nobody with it.
            rest = {"logicInstances": read.logic_instances or [], "routeRules": read.route_rules or []}
            whole = decode(Service, msgspec.json.encode(rest))
            found = NOTHING if whole is None else beside(whole)
    except (msgspec.MsgspecError, ValueError, MalformedBody) as error:
        raise BadAnswer(f"its list of services has one that cannot be read ({error})") from error
    return ListedService((read.service_id or "").strip().lower(), read.instances or [], found)


def read_instances(service: ListedService) -> Iterator[Instance | None]:
    """Yield the instances of a service, None for each that cannot be read."""
    for raw in service.instances:
        try:
            yield decode(Instance, bytes(raw))
        except MalformedBody:
            yield None


def looked_up(raw: bytes, service: str) -> Service:
    """Return the one service that a lookup shows; `service` is its id in lower case."""
    try:
        answer = decode(LookupResponse, raw)
    except MalformedBody as error:
        raise BadAnswer(f"its answer to a lookup cannot be read ({error})") from error
    check(None if answer is None else answer.response_status)
    shown = (answer.services if answer is not None else None) or []
    for one in shown:
        if one is not None and (one.service_id or "").strip().lower() == service:
            return one
    raise BadAnswer(f"its answer to a lookup does not show the service {service!r:.100}")


def counted(raw: bytes) -> tuple[int, list[tuple[str, int]]]:
    """Return how many services there are, and of those on a page the ids in lower case with their instances."""
    try:
        answer = decode(ServicesPageResponse, raw)
    except MalformedBody as error:
        raise BadAnswer(f"its page of services cannot be read ({error})") from error
    check(None if answer is None else answer.response_status)
    services = (answer.services if answer is not None else None) or []
    found = [((each.service_id or "").strip().lower(), each.instance_count) for each in services if each is not None]
    return 0 if answer is None else answer.total, found


def check(status: ResponseStatus | None) -> None:
    """Raise `BadAnswer` unless what was asked for was done."""
    if status is None or status.status is None:
        raise BadAnswer("its answer has no responseStatus; is this a registry node?")
    if status.status != "success":
        raise BadAnswer(f"it refuses: {status.error_code or 'unknown'}: {status.message or ''}".rstrip(": "))
