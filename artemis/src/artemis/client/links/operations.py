"""The operations that travel over a link by number (docs/protocol.md), and what the ext header of an answer says.

Pure. Not here: what an operation means. What is not in the table goes over HTTP.
"""

from __future__ import annotations

from typing import Final

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


def position(header: bytes) -> tuple[str | None, float]:
    """Return the cursor and the age in seconds that the ext header of an answer names; what is no such is none."""
    cursor, age = None, 0.0
    for pair in header.split(b";"):
        name, _, value = pair.partition(b"=")
        match name.strip():
            case b"cursor" if value and len(value) <= MOST_CURSOR and value.isascii():
                cursor = value.strip().decode("ascii")
            case b"age" if value.isdigit() and len(value) <= 18:
                age = int(value) / 1000
    return cursor, age
