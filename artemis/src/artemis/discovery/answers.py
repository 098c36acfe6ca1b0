"""Answers of the discovery operations, put together from encoded views instead of structs (design 2.4).

Each writes exactly what the response struct of the same name in `artemis.model` would.
Not here: how a request is judged; see `artemis.server.node`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from artemis.discovery.catalog import Catalog
from artemis.discovery.views import ServiceView
from artemis.model import (
    LookupResponse,
    ResponseStatus,
    Service,
    ServiceResponse,
    ServicesResponse,
    encode,
    encode_msgpack,
)
from artemis.model.responses import SUCCESS

_HEAD = b'{"responseStatus":' + encode(SUCCESS)
_LOOKUP_HEAD = _HEAD + b',"services":['
_SERVICE_HEAD = _HEAD + b',"service":'


class _Spliced(msgspec.Struct, gc=False, rename="camel"):
    response_status: ResponseStatus


class _SplicedLookup(_Spliced):
    services: list[msgspec.Raw]


class _SplicedService(_Spliced):
    service: msgspec.Raw


class _SplicedServices(_Spliced):
    services: list[msgspec.Raw]
    version: int


class Elsewhere(NamedTuple):
    """Of what an answer about another region shows: the region, the cursor and age (ms) of the copy, how many nodes of
    the region that leaves out, and how many instances found no room in the copy."""

    region: str
    cursor: str
    age: int
    missing: int
    left_out: int


class LookupAnswer:
    """Answer of lookup (spec 2.2): the views in the order of the request, or a failure without any.

    `elsewhere` says what it shows if that is another region.
    """

    __slots__ = ("elsewhere", "response_status", "views")

    def __init__(
        self,
        response_status: ResponseStatus,
        views: list[ServiceView] | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.response_status = response_status
        self.views = views
        self.elsewhere = elsewhere

    def json(self) -> bytes:
        """Return the answer as JSON."""
        views = self.views
        if views is None:
            return encode(self.response())
        return b"%b%b]}" % (
            _LOOKUP_HEAD,
            views[0].json if len(views) == 1 else b",".join([view.json for view in views]),
        )

    def msgpack(self) -> bytes:
        """Return the answer as MessagePack."""
        if self.views is None:
            return encode_msgpack(self.response())
        return encode_msgpack(_SplicedLookup(self.response_status, [msgspec.Raw(view.msgpack) for view in self.views]))

    def response(self) -> LookupResponse:
        """Return the answer as structs."""
        services: list[Service | None] | None
        services = None if self.views is None else [view.service() for view in self.views]
        return LookupResponse(response_status=self.response_status, services=services)


class ServiceAnswer:
    """Answer of service (spec 2.2): one view, or a failure without; `elsewhere` as in `LookupAnswer`."""

    __slots__ = ("elsewhere", "response_status", "view")

    def __init__(
        self, response_status: ResponseStatus, view: ServiceView | None = None, elsewhere: Elsewhere | None = None
    ) -> None:
        self.response_status = response_status
        self.view = view
        self.elsewhere = elsewhere

    def json(self) -> bytes:
        """Return the answer as JSON."""
        if self.view is None:
            return encode(self.response())
        return b"%b%b}" % (_SERVICE_HEAD, self.view.json)

    def msgpack(self) -> bytes:
        """Return the answer as MessagePack."""
        if self.view is None:
            return encode_msgpack(self.response())
        return encode_msgpack(_SplicedService(self.response_status, msgspec.Raw(self.view.msgpack)))

    def response(self) -> ServiceResponse:
        """Return the answer as structs."""
        service = None if self.view is None else self.view.service()
        return ServiceResponse(response_status=self.response_status, service=service)


class ServicesAnswer:
    """Answer of services (spec 2.2, 5.2): everything at `version` or later, or a failure.

    It may be large. `json_pieces` makes it bit by bit, so that the owner of the event loop can do other things between;
    what changes meanwhile is shown in its old or new state and belongs to a version above this answer's.
    """

    __slots__ = ("catalog", "response_status", "version")

    def __init__(self, response_status: ResponseStatus, catalog: Catalog | None = None) -> None:
        self.response_status = response_status
        self.catalog = catalog
        self.version = 0 if catalog is None else catalog.version

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces of at least `size` bytes, the last one aside."""
        if self.catalog is None:
            yield encode(self.response())
            return
        parts = [_LOOKUP_HEAD]
        length, first = 0, True
        for view in self.catalog.views():
            parts.append(view.json if first else b"," + view.json)
            first = False
            length += len(view.json)
            if length >= size:
                yield b"".join(parts)
                parts, length = [], 0
        parts.append(b'],"version":%d}' % self.version)
        yield b"".join(parts)

    def json(self) -> bytes:
        """Return the answer as JSON in one piece."""
        return b"".join(self.json_pieces(1 << 20))

    def msgpack(self) -> bytes:
        """Return the answer as MessagePack in one piece."""
        if self.catalog is None:
            return encode_msgpack(self.response())
        services = [msgspec.Raw(view.msgpack) for view in self.catalog.views()]
        return encode_msgpack(_SplicedServices(self.response_status, services, self.version))

    def response(self) -> ServicesResponse:
        """Return the answer as structs."""
        if self.catalog is None:
            return ServicesResponse(response_status=self.response_status)
        return ServicesResponse(
            response_status=self.response_status,
            services=[view.service() for view in self.catalog.views()],
            version=self.version,
        )
