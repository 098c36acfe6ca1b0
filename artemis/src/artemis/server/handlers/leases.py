"""The lease pages, put together bit by bit: a node may have a hundred thousand leases (spec 1.6, 2.4).

Not here: the leases themselves (`artemis.registry`).
"""

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from artemis.model import Instance, decode, encode
from artemis.model.instances import instance_text
from artemis.model.leases import LeasesRequest, LeasesResponse, LeaseStatus
from artemis.model.responses import SUCCESS
from artemis.registry import Lease, ServiceLeases
from artemis.server.handlers.pieces import joined
from artemis.server.node import Node

_LAST = 253_370_764_800_000
"""The first millisecond of the year 9999; stamps of clients may be beyond what a calendar has."""

_PIECE = 24 * 1024
"""Bytes of a piece: an entry takes longer to make than other JSON, about a millisecond for as much as this."""

_Entry = Callable[[Instance, Lease], LeaseStatus]


def leases(node: Node, request: LeasesRequest | None, now: int) -> "LeasesAnswer":
    """Show the normal leases, all or those of some services (spec 2.4)."""
    return LeasesAnswer(node, request, now, legacy=False)


def legacy_leases(node: Node, request: LeasesRequest | None, now: int) -> "LeasesAnswer":
    """Show the leases of instances whose metadata has `java_registry` (spec 4.4)."""
    return LeasesAnswer(node, request, now, legacy=True)


class LeasesAnswer:
    """Answer of leases and legacy-leases: the numbers of the moment it was made, the leases as they are when written.

    Expired and removed leases are left out, and so are services without a lease of the class.
    """

    __slots__ = ("_ids", "_legacy", "_node", "_now", "_offset", "_ttl", "_unset")

    def __init__(self, node: Node, request: LeasesRequest | None, now: int, *, legacy: bool) -> None:
        self._node = node
        self._now = now
        self._legacy = legacy
        self._unset = _date(0)
        self._offset = node.registry.wall(now) - now
        timings = node.registry.timings
        self._ttl = timings.legacy_ttl if legacy else timings.ttl
        asked = [] if request is None else request.service_ids or []
        self._ids = list(dict.fromkeys(name.strip().lower() for name in asked if name and name.strip()))

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces."""
        return joined(self._parts(), min(size, _PIECE))

    def response(self) -> LeasesResponse:
        """Return the answer as structs."""
        whole = decode(LeasesResponse, b"".join(self.json_pieces(1 << 20)))
        assert whole is not None  # noqa: S101 - the JSON is ours and an object
        return whole

    def _parts(self) -> Iterator[bytes]:
        numbers, member, _ = encode(self._numbers()).partition(b',"leases":')
        yield numbers + member + b"{"
        yield from self._map(self._dated)
        yield b'},"leasesStatus":{'
        yield from self._map(self._told)
        yield b'},"responseStatus":%b}' % encode(SUCCESS)

    def _numbers(self) -> LeasesResponse:
        """Return the answer without its leases."""
        registry, which = self._node.registry, int(self._legacy)
        state = registry.self_preservation()[which]
        rate = registry.renewals(self._now)[which]
        return LeasesResponse(
            is_safe=not state.active,
            is_safe_check_enabled=state.enabled,
            lease_count=state.live,
            lease_update_count_last_time_window=rate.count,
            lease_update_max_count=rate.most,
            lease_update_max_count_last_update_time=rate.most_at + self._offset,
            response_status=SUCCESS,
        )

    def _map(self, entry: _Entry) -> Iterator[bytes]:
        """Yield the members of a map from service id to leases; an empty part for each lease that is not shown."""
        opened = False
        for service in self._services():
            named = False
            for lease in list(service.leases.values()):
                if not lease.live or lease.legacy != self._legacy:
                    yield b""
                    continue
                instance = _INSTANCE.decode(lease.record.content)
                shown = encode(entry(instance, lease))
                if named:
                    yield b"," + shown
                else:
                    yield b"%b%b:[%b" % (b"," if opened else b"", encode(instance.service_id), shown)
                    opened = named = True
            yield b"]" if named else b""

    def _services(self) -> Iterator[ServiceLeases]:
        services = self._node.registry.services
        for key in self._ids or list(services):
            service = services.get(key)
            if service is not None:
                yield service

    def _dated(self, instance: Instance, lease: Lease) -> LeaseStatus:
        return LeaseStatus(
            creation_time=_date(lease.record.version[0] // 1000),
            evition_time=self._unset,
            instance=instance_text(instance),
            renewal_time=_date(lease.heard + self._offset),
            ttl=self._ttl,
        )

    def _told(self, instance: Instance, lease: Lease) -> LeaseStatus:
        left = lease.heard + self._ttl - self._now
        return LeaseStatus(
            creation_time=_ago(self._now + self._offset - lease.record.version[0] // 1000),
            evition_time="expired" if left <= 0 else f"in {left // 1000} seconds",
            instance=instance.instance_id,
            renewal_time=_ago(self._now - lease.heard),
            ttl=self._ttl // 1000,
        )


def _date(wall: int) -> str:
    """Return a time in the node's own zone, as in `2026-01-31 12:00:00.000`."""
    moment = datetime.fromtimestamp(min(wall, _LAST) / 1000)  # noqa: DTZ006 - what the wire has: local, without zone
    return moment.isoformat(sep=" ", timespec="milliseconds")


def _ago(milliseconds: int) -> str:
    return f"{max(milliseconds, 0) // 1000} seconds ago"


_INSTANCE = msgspec.json.Decoder(Instance)
