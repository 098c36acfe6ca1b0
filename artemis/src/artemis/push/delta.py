"""The answer of services-delta: what changed in all services since a version of the catalog (spec 5.2).

The original keeps three versions and forgets changed content; here the change log is the history. Large answers are
made in pieces.
Not here: whether the request is allowed; see `artemis.server.node`.
"""

from collections.abc import Iterator, Sequence

from artemis.discovery import Catalog
from artemis.model import ResponseStatus, decode, encode, encode_msgpack
from artemis.model.changes import ServicesDeltaResponse
from artemis.model.responses import DATA_NOT_FOUND, SUCCESS, failure
from artemis.push.changes import java_change
from artemis.push.entries import Entry
from artemis.push.log import ChangeLog

SLICE = 4_000
"""Entries looked at between two pieces, about 2 ms."""

NOT_FOUND = failure(DATA_NOT_FOUND, "Delta is not found.")
"""The original's text."""

_TAIL = b'},"responseStatus":' + encode(SUCCESS) + b',"version":%d}'


class ServicesDeltaAnswer:
    """Answer of services-delta: changes by service since `version`, or a failure (spec 5.2).

    For the current version the delta is empty; for a future one, and for one that the log does not reach back to, it is
    not found. `json_pieces` may be taken bit by bit: what changes meanwhile is shown in its old or new state and
    belongs to a version above this answer's. Other content is told as `new`, as on the Java wire.
    """

    __slots__ = ("_catalog", "_entries", "_log", "response_status", "version")

    def __init__(
        self,
        response_status: ResponseStatus,
        log: ChangeLog | None = None,
        catalog: Catalog | None = None,
        since: int = 0,
    ) -> None:
        self.response_status = response_status
        self.version = 0
        self._entries: Sequence[Entry] = ()
        self._log, self._catalog = log, catalog
        if log is None or catalog is None:
            return
        entries = log.entries_after("", since)
        if entries is None:
            self._log, self.response_status = None, NOT_FOUND
        else:
            self._entries, self.version = entries, catalog.version

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces, each about `size` bytes and one service; empty ones stand for work."""
        if self._log is None or self._catalog is None:
            yield encode(ServicesDeltaResponse(response_status=self.response_status))
            return
        parts = [b'{"delta":{']
        services: dict[str, list[Entry]] = {}
        for number, entry in enumerate(self._entries, 1):
            services.setdefault(entry.service, []).append(entry)
            if number % SLICE == 0:
                yield b""
        length, looked_at, first = 0, 0, True
        for service in sorted(services):
            entries = services[service]
            item = self._service(self._log, self._catalog, service, entries)
            if item:
                parts.append(item if first else b"," + item)
                first = False
            length += len(item)
            looked_at += len(entries)
            if length >= size or looked_at >= SLICE:
                yield b"".join(parts)
                parts, length, looked_at = [], 0, 0
        parts.append(_TAIL % self.version)
        yield b"".join(parts)

    def json(self) -> bytes:
        """Return the answer as JSON in one piece."""
        return b"".join(self.json_pieces(1 << 20))

    def msgpack(self) -> bytes:
        """Return the answer as MessagePack in one piece."""
        return encode_msgpack(self.response())

    def response(self) -> ServicesDeltaResponse:
        """Return the answer as structs."""
        response = decode(ServicesDeltaResponse, self.json())
        assert response is not None  # noqa: S101 - the JSON is ours and an object
        return response

    @staticmethod
    def _service(log: ChangeLog, catalog: Catalog, service: str, entries: Sequence[Entry]) -> bytes:
        """Return the member of one service in the delta, nothing when it looks as before."""
        changes = log.changes([entry for entry in entries if entry.instance])
        if not changes:
            return b""
        name = encode(catalog.spelling(service))
        return b"%b:[%b]" % (name, b",".join([java_change(service, change, None) for change in changes]))


__all__ = ["NOT_FOUND", "ServicesDeltaAnswer"]
