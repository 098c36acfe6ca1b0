"""What a node says of QUIC: the port of UDP where it serves the same as on its own port (docs/protocol.md).

Over HTTP it is an `Alt-Svc` field (RFC 7838), over a link an option of the ext header. Anything else than a port of the
node's own host is no offer.
Pure. Not here: whether and when it is taken up (`ladder`, `live`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

OFFERING: Final = frozenset(
    {"status/node.json", "cluster/up-registry-nodes.json", "cluster/up-discovery-nodes.json"},
)
"""The operations whose answers say it; one of them that does not takes an earlier word back."""

MOST_SERVICES: Final = 1024
"""Characters of an ``Alt-Svc``; of a longer one nothing is believed."""

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"[^"\\]*"'
_SERVICE = re.compile(rf"[ \t]*({_WORD})=({_QUOTED})((?:[ \t]*;[ \t]*{_WORD}=(?:{_WORD}|{_QUOTED}))*)[ \t]*(?:,|\Z)")
_PROTOCOL = "msgtrans%2F1"
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_MOST_PORT = 65535


def port_of(text: bytes) -> int | None:
    """Return the port that the text is, without spaces, signs and leading zeros; None if it is none."""
    if _PORT.fullmatch(text) is None:
        return None
    port = int(text)
    return port if port <= _MOST_PORT else None


def offered_port(fields: Iterable[str]) -> int | None:
    """Return the port that the ``Alt-Svc`` fields of an answer name for `msgtrans/1`; None if they name none.

    The first without a host counts: none but that of the node is followed.
    """
    whole = ",".join(fields)
    if len(whole) > MOST_SERVICES or not whole.isascii():
        return None
    at, found = 0, None
    while at < len(whole):
        service = _SERVICE.match(whole, at)
        if service is None:
            return None  # `clear`, or nothing that the grammar has
        at = service.end()
        if service[1] == _PROTOCOL and found is None:
            authority = service[2][1:-1]
            found = port_of(authority[1:].encode("ascii")) if authority.startswith(":") else None
    return found
