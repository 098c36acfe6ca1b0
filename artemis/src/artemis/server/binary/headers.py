"""Ext headers of the binary door: `name=value` pairs in ASCII, joined by `;` (docs/protocol.md). No I/O.

Not here: what an option means to a request; see `door`.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from artemis.discovery import Elsewhere
from artemis.server.node import Node

MSGPACK_HEADER = b"format=msgpack"
"""Of an answer in MessagePack; one in JSON says nothing of its format."""


def named_format(header: bytes) -> str:
    """The value of `format` in an ext header; json when it is not there."""
    value = option(header, b"format")
    return "json" if value is None else value.decode("ascii", "replace")


def option(header: bytes, wanted: bytes) -> bytes | None:
    """The value of an option in an ext header, the first one; None when it is not there."""
    for pair in header.split(b";"):
        name, _, value = pair.partition(b"=")
        if name.strip() == wanted:
            return value.strip()
    return None


def offer_headers(port: int | None) -> tuple[bytes, bytes]:
    """The ext headers of answers that tell where QUIC is spoken, None for nowhere: in JSON, and in MessagePack."""
    if port is None:
        return b"", MSGPACK_HEADER
    offer = b"quic=%d" % port
    return offer, MSGPACK_HEADER + b";" + offer


def elsewhere_header(place: Elsewhere, *, packed: bool) -> bytes:
    """The ext header of an answer that shows a copy of another region."""
    told = b"cursor=%b;age=%d;region=%b" % (
        place.cursor.encode(),
        place.age,
        quote(place.region, safe="").encode("ascii"),
    )
    for name, number in ((b"missing", place.missing), (b"left-out", place.left_out)):
        if number:
            told += b";%b=%d" % (name, number)
    return MSGPACK_HEADER + b";" + told if packed else told


class PositionHeaders:
    """Ext headers of answers that show data: which data, how old it is, and how many nodes that leaves
    out because they are missing (design 6). Made anew when that changes."""

    __slots__ = ("_age", "_cursor", "_headers", "_missing", "_node")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._cursor = ""
        self._age = -1
        self._missing = 0
        self._headers = (b"", b"")

    def at(self, now: Callable[[], int], *, packed: bool) -> bytes:
        """The ext header of an answer made now, `packed` in MessagePack."""
        cursor = self._node.cursor()
        age = 0 if self._node.as_of is None else self._node.age(now())
        missing = self._node.missing_nodes
        if cursor is not self._cursor or age != self._age or missing != self._missing:
            self._cursor, self._age, self._missing = cursor, age, missing
            position = b"cursor=%b;age=%d" % (cursor.encode(), age)
            if missing:
                position += b";missing=%d" % missing
            self._headers = (position, MSGPACK_HEADER + b";" + position)
        return self._headers[packed]
