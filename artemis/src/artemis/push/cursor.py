"""Cursors: opaque, comparable positions in the history of what callers see (design 4.1 "Changes and cursors").

A cursor says up to which sequence number of every origin its holder knows the data. Whoever hands it in again gets what
he missed, or is told that only a full sync helps.
Not here: what was missed; see `log`.
"""

import base64
from collections.abc import Mapping

import msgspec

from artemis.registry import Origin

MESH = "mesh"
"""The kind of cursors whose positions are sequence numbers of nodes."""

MAX_CURSOR = 4096
"""Characters of the longest cursor that is read."""

_FORMAT = 1


class BadCursor(ValueError):  # noqa: N818 - what it is, in the words of the answer
    """A text is not a cursor of this format. Look the service up again and go on from the new cursor."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """A position: `vector` holds the last sequence number of every origin, 0 for one that has not changed anything yet.

    `name` is the region in lower case, for cursors of the kind `mesh`. Those of other kinds or names say nothing here.
    """

    kind: str
    name: str
    vector: dict[Origin, int]

    def covers(self, origin: Origin, seq: int) -> bool:
        """Tell whether the change `seq` of `origin` is part of what the holder knows."""
        return self.vector.get(origin, 0) >= seq

    def dominates(self, other: "Cursor") -> bool:
        """Tell whether the holder knows everything that the holder of `other` knows."""
        return (self.kind, self.name) == (other.kind, other.name) and all(
            self.covers(origin, seq) for origin, seq in other.vector.items()
        )


NOTHING = Cursor(kind="", name="", vector={})
"""The position of those who know nothing: whoever goes on from it gets a full sync."""


def read_cursor(text: str) -> Cursor:
    """Read a cursor; one that cannot be read is as good as none, so it is `NOTHING`."""
    try:
        return decode_cursor(text)
    except BadCursor:
        return NOTHING


def encode_cursor(cursor: Cursor) -> str:
    """Return a cursor as text for URLs, headers and JSON: letters, digits, `-` and `_` only. Equal ones look equal."""
    parts = [(origin.node, origin.epoch, seq) for origin, seq in sorted(cursor.vector.items())]
    packed = msgspec.msgpack.encode((_FORMAT, cursor.kind, cursor.name, parts))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode("ascii")


def decode_cursor(text: str) -> Cursor:
    """Read a cursor. Raises BadCursor, and nothing else, for whatever `encode_cursor` never wrote."""
    if not text or len(text) > MAX_CURSOR:
        raise BadCursor(f"a cursor has 1 to {MAX_CURSOR} characters, not {len(text)}")
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, kind, name, parts = _DECODER.decode(packed)
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadCursor("this is no cursor; look the service up again") from error
    vector = {Origin(node, epoch): seq for node, epoch, seq in parts}
    cursor = Cursor(kind=kind, name=name, vector=vector)
    # Only the one way of writing is a cursor, so that equal positions are equal texts.
    if version != _FORMAT or encode_cursor(cursor) != text:
        raise BadCursor("this is a cursor of another format; look the service up again")
    return cursor


class Positions:
    """The cursor of a node, as text that is made anew when its vector has changed. Owned by the node."""

    __slots__ = ("_name", "_text", "_vector")

    def __init__(self, region: str) -> None:
        self._name = region.lower()
        self._vector: dict[Origin, int] | None = None
        self._text = ""

    def text(self, vector: Mapping[Origin, int]) -> str:
        """Return the cursor at `vector`; the same object as long as that is the same."""
        if vector != self._vector:
            self._vector = dict(vector)
            self._text = encode_cursor(Cursor(kind=MESH, name=self._name, vector=self._vector))
        return self._text


_DECODER: msgspec.msgpack.Decoder[tuple[int, str, str, list[tuple[str, int, int]]]] = msgspec.msgpack.Decoder(
    tuple[int, str, str, list[tuple[str, int, int]]]
)
