"""What a long poll asks for: its path and its query, read.

Not here: how it is answered (`polls`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from artemis.push import NOTHING, Cursor, read_cursor
from artemis.server.operations.table import Parameter

if TYPE_CHECKING:
    from artemis.server.http.head import RequestHead
    from artemis.server.operations import Query

#: What its query may have.
PARAMETERS = {
    "cursor": Parameter("That of the last answer, from this or another node."),
    "wait": Parameter("How long to wait for a change: `30s`, `500ms` or seconds; more than 60 s counts as 60 s."),
    "regionId": Parameter("That of the node, as when it is left out, or another one of which it has a copy."),
    "zoneId": Parameter("The zone that asks, for nodes that serve their own zone only."),
}

#: Seconds that a request waits at most, whatever it asks for.
MAX_WAIT = 60.0

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s)?", re.ASCII)


class BadQuery(ValueError):  # noqa: N818 - what it is, in the words of the answer
    """A query parameter cannot be read; the text says which and how it must look."""


class Asked(NamedTuple):
    """A service id in lower case, the cursor to go on from, seconds to wait, and whether gzip is taken."""

    service: str
    cursor: Cursor | None
    cursor_text: str
    wait: float
    packed: bool


def read_poll(name: bytes, query: Query, head: RequestHead) -> Asked:
    """Read the path and the query. Raises BadQuery."""
    try:
        service = unquote(name, encoding="utf-8", errors="strict").strip().lower()
    except UnicodeDecodeError as error:
        raise BadQuery("the service id in the path is not UTF-8; percent-encode its bytes") from error
    if not service:
        raise BadQuery("the service id in the path is blank")
    text = query.get("cursor", "")
    cursor = read_cursor(text) if text else None
    if cursor is NOTHING:
        cursor, text = None, ""  # as good as none: the answer is everything
    packed = head.accepts_gzip
    return Asked(service, cursor, text, 0.0 if head.method == b"HEAD" else _seconds(query.get("wait", "")), packed)


def _seconds(text: str) -> float:
    """Read how long to wait: `30s`, `500ms`, seconds; empty is not at all. Raises BadQuery."""
    if not text:
        return 0.0
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadQuery("wait must look like 30s, 500ms or 30 (seconds)")
    return min(float(match[1]) / (1000 if match[2] == "ms" else 1), MAX_WAIT)
