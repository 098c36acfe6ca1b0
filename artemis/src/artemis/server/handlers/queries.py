"""Pages of instances and of services (an addition to the originals), over what callers see.

Not here: how they are found; see `artemis.discovery.queries`.
"""

from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TypeVar

from msgspec import UNSET

from artemis.discovery import Elsewhere
from artemis.discovery.queries import FoundInstances, FoundServices, Page, find_instances, find_services
from artemis.discovery.selections import METADATA, selection
from artemis.model import ResponseStatus, encode
from artemis.model.queries import (
    InstancesRequest,
    InstancesResponse,
    ServiceCount,
    ServicesPageRequest,
    ServicesPageResponse,
)
from artemis.model.responses import BAD_REQUEST, NO_PERMISSION, SUCCESS, failure
from artemis.server.node import Node
from artemis.server.regions import Showing
from artemis.server.regions import elsewhere as elsewhere_of

T = TypeVar("T")

PAGE_SIZE = 100
"""Results on a page when the request does not say."""

MAX_PAGE_SIZE = 1_000
"""Results on the largest page."""


class InstancesAnswer:
    """A page of instances, found while the answer is made."""

    __slots__ = ("_cursor", "_page", "_search", "elsewhere", "response_status")

    def __init__(
        self,
        search: Callable[[], Generator[None, None, FoundInstances]],
        page: Page,
        cursor: str,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.response_status = SUCCESS
        self.elsewhere = elsewhere
        self._search = search
        self._page = page
        self._cursor = cursor

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces of about `size` bytes; empty ones stand for work between."""
        found = yield from _working(self._search())
        place = self.elsewhere
        aged = b"" if place is None else b'"ageMs":%d,' % place.age
        parts = [b'{%b"cursor":%b,"instances":[' % (aged, encode(self._cursor))]
        length = 0
        for index, content in enumerate(found.instances):
            parts.append(b"," + content if index else content)
            length += len(content)
            if length >= size:
                yield b"".join(parts)
                parts, length = [], 0
        named = b"" if place is None else b'"regionId":%b,' % encode(place.region)
        facts = (self._page.number, self._page.size, named, encode(SUCCESS), found.total)
        parts.append(b'],"page":%d,"pageSize":%d,%b"responseStatus":%b,"total":%d}' % facts)
        yield b"".join(parts)


class ServicesPageAnswer:
    """A page of services, found while the answer is made."""

    __slots__ = ("_cursor", "_page", "_search", "elsewhere", "response_status")

    def __init__(
        self,
        search: Callable[[], Generator[None, None, FoundServices]],
        page: Page,
        cursor: str,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.response_status = SUCCESS
        self.elsewhere = elsewhere
        self._search = search
        self._page = page
        self._cursor = cursor

    def json_pieces(self, size: int) -> Iterator[bytes]:  # noqa: ARG002 - a page of services is small
        """Yield the answer as JSON, in one piece after empty ones that stand for work."""
        found = yield from _working(self._search())
        place = self.elsewhere
        yield encode(
            ServicesPageResponse(
                age_ms=UNSET if place is None else place.age,
                cursor=self._cursor,
                page=self._page.number,
                page_size=self._page.size,
                region_id=UNSET if place is None else place.region,
                response_status=SUCCESS,
                services=[ServiceCount(instance_count=count, service_id=service) for service, count in found.services],
                total=found.total,
            )
        )


def instances(node: Node, request: InstancesRequest | None, now: int) -> InstancesAnswer | InstancesResponse:
    """Show a page of the instances that callers see and that meet the request's conditions."""
    if request is None:
        return InstancesResponse(response_status=failure(BAD_REQUEST, "request is null"))
    place = _place(node, request.region_id, now)
    if isinstance(place, ResponseStatus):
        return InstancesResponse(response_status=place)
    page = _page(request)
    if isinstance(page, ResponseStatus):
        return InstancesResponse(response_status=page)
    showing, elsewhere = place
    conditions: dict[str, str | None] = {
        "zoneId": request.zone_id,
        "groupId": request.group_id,
        "status": request.status,
        "ip": request.ip,
    }
    conditions |= {METADATA + key: value for key, value in (request.metadata or {}).items()}
    service = (request.service_id or "").strip().lower()
    search = partial(
        find_instances, showing.registry, showing.catalog, [service] if service else None, selection(conditions), page
    )
    return InstancesAnswer(search, page, showing.cursor(), elsewhere)


def services(
    node: Node,
    request: ServicesPageRequest | None,
    now: int,
) -> ServicesPageAnswer | ServicesPageResponse:
    """Show a page of the services with live instances, each with the number of those that callers see."""
    if request is None:
        return ServicesPageResponse(response_status=failure(BAD_REQUEST, "request is null"))
    place = _place(node, request.region_id, now)
    if isinstance(place, ResponseStatus):
        return ServicesPageResponse(response_status=place)
    page = _page(request)
    if isinstance(page, ResponseStatus):
        return ServicesPageResponse(response_status=page)
    showing, elsewhere = place
    search = partial(find_services, showing.registry, showing.catalog, (request.prefix or "").strip(), page)
    return ServicesPageAnswer(search, page, showing.cursor(), elsewhere)


def _place(node: Node, region: str | None, now: int) -> tuple[Showing, Elsewhere | None] | ResponseStatus:
    """Return what is to be looked through, or why nothing is shown."""
    if not node.serves_discovery:
        return node.unavailable("discovery")
    copy = node.regions.named(region)
    if isinstance(copy, ResponseStatus):
        return copy
    if copy is not None:
        return copy, elsewhere_of(copy, now)
    if region and region.lower() != node.identity.region.lower():
        return failure(NO_PERMISSION, node.regions.refused(region, node.identity.region))
    return node, None


def _page(request: InstancesRequest | ServicesPageRequest) -> Page | ResponseStatus:
    """Return which page is asked for, or what is wrong with it."""
    number = 1 if request.page is None else request.page
    size = PAGE_SIZE if request.page_size is None else request.page_size
    if number < 1:
        return failure(BAD_REQUEST, f"page must be at least 1, not {number}")
    if not 1 <= size <= MAX_PAGE_SIZE:
        return failure(BAD_REQUEST, f"pageSize must be 1 to {MAX_PAGE_SIZE}, not {size}")
    return Page(number, size)


def _working(search: Generator[None, None, T]) -> Generator[bytes, None, T]:
    """Make a search, with an empty piece after each of its steps."""
    while True:
        try:
            next(search)
        except StopIteration as stop:
            found: T = stop.value
            return found
        yield b""
