"""The operations that travel over a link by number (docs/protocol.md), and what the ext header of an answer says.

Pure. Not here: what an operation means. What is not in the table goes over HTTP.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from artemis.client.links.offers import port_of

SUBSCRIBE: Final = 24
UNSUBSCRIBE: Final = 25
PUSH: Final = 26
CONFIRM: Final = 27

CODES: Final = {
    "registry/register.json": 1,
    "registry/heartbeat.json": 2,
    "registry/unregister.json": 3,
    "discovery/lookup.json": 16,
    "discovery/service.json": 17,
    "discovery/services.json": 18,
    "discovery/services-delta.json": 19,
    "status/node.json": 32,
    "status/cluster.json": 33,
    "cluster/up-registry-nodes.json": 48,
    "cluster/up-discovery-nodes.json": 49,
    "v1/told": 83,
}
"""The ``biz_type`` of the operations that a client has, by their path below ``/api/``."""


MOST_CURSOR: Final = 4096
"""Bytes of a cursor, which are letters, digits, ``-`` and ``_``."""


MOST_DIGITS: Final = 9
"""Digits of a count of nodes."""


class Position(NamedTuple):
    """What the ext header of an answer names: cursor, age in seconds, how many nodes that leaves out, and the port of
    UDP where the node serves QUIC.
    """

    cursor: str | None = None
    age: float = 0.0
    missing: int = 0
    quic: int | None = None


def position(header: bytes) -> Position:
    """Return what the ext header of an answer names; what is no such is none."""
    cursor, age, missing, quic = Position()
    for pair in header.split(b";"):
        name, _, value = pair.partition(b"=")
        match name.strip():
            case b"cursor" if value and len(value) <= MOST_CURSOR and value.isascii():
                cursor = value.strip().decode("ascii")
            case b"age" if value.isdigit() and len(value) <= 18:
                age = int(value) / 1000
            case b"missing" if value.isdigit() and len(value) <= MOST_DIGITS:
                missing = int(value)
            case b"quic":
                quic = port_of(value)
    return Position(cursor, age, missing, quic)
