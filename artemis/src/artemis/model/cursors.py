"""Cursors: opaque, comparable positions in the history of what callers see (design 4.1 "Changes and cursors").

A cursor says up to which change of every node its holder knows the data. Whoever hands it in again, to any node, gets
what he missed, or is told that only a full sync helps. Nodes and our own client read them alike, for everybody else
they are opaque.
Not here: what was missed; see `artemis.push.log`.
"""

import base64
from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec

MESH = "mesh"
"""The kind of cursors whose positions are sequence numbers of nodes."""

FEDERATED = "federated"
"""The kind of cursors of the copy that a node has of another region: each is of use in that copy alone."""

MAX_CURSOR = 4096
"""Characters of the longest cursor that is written and read."""

_FORMAT = 2


class Origin(msgspec.Struct, frozen=True, order=True, gc=False, cache_hash=True):
    """One life of a node: its id and its epoch, which grows at each start.

    A struct, because there are many: it is smaller than a tuple, and the garbage collector need not visit it.
    """

    node: str
    epoch: int


class BadCursor(ValueError):  # noqa: N818 - what it is, in the words of the answer
    """A text is not a cursor of this format. Look the service up again and go on from the new cursor."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """A position. Its holder knows all changes up to the numbers of `vector`, and all of the epochs below `base`.

    `ahead` names by origin what he may know of beyond that: a node that takes in a repair shows some changes before
    others that came earlier. `issuer` is the life of the node that gave the cursor, when what it shows had `version`;
    in its own history a node finds that place again, whatever the rest says.
    `name` is the region in lower case, for cursors of the kinds `mesh` and `federated`. Those of other kinds or names
    say nothing here.
    """

    kind: str
    name: str
    vector: Mapping[Origin, int]
    base: Mapping[str, int] = {}
    ahead: Mapping[Origin, int] = {}
    issuer: Origin | None = None
    version: int = 0

    def covers(self, origin: Origin, seq: int) -> bool:
        """Tell whether the change `seq` of `origin` is part of what the holder knows."""
        return self.vector.get(origin, 0) >= seq or origin.epoch < self.base.get(origin.node, 0)

    def dominates(self, other: "Cursor") -> bool:
        """Tell whether whoever holds this one knows everything that the holder of `other` may know."""
        if (self.kind, self.name) != (other.kind, other.name):
            return False
        if self.issuer is not None and self.issuer == other.issuer and self.version >= other.version:
            return True  # a node never goes back
        if any(self.base.get(node, 0) < epoch for node, epoch in other.base.items()):
            return False
        return all(
            self.covers(origin, seq) for numbers in (other.vector, other.ahead) for origin, seq in numbers.items()
        )


NOTHING = Cursor(kind="", name="", vector={})
"""The position of those who know nothing: whoever goes on from it gets a full sync."""


class _Node(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A node and its lives: for each one how much later its epoch is than that before it (the first one's than the
    base), and its number.
    """

    name: str
    base: int
    lives: list[int]


class _Written(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cursor as it is written. Lives are counted from 1, over all nodes: `issuer` is one of them or 0, `ahead` are
    some of them, each with its number.
    """

    format: int
    kind: str
    name: str
    issuer: int
    version: int
    nodes: list[_Node]
    ahead: list[int] = []


def encode_cursor(cursor: Cursor) -> str:
    """Return a cursor as text for URLs, headers and JSON: letters, digits, `-` and `_` only. Equal ones look equal.

    One that would be longer than `MAX_CURSOR` is of use to its issuer alone: elsewhere it costs a full sync.
    """
    text = _text(cursor)
    if len(text) <= MAX_CURSOR:
        return text
    short = NOTHING
    if cursor.issuer is not None:
        short = Cursor(kind="", name=cursor.name, vector={}, issuer=cursor.issuer, version=cursor.version)
    text = _text(short)
    return text if len(text) <= MAX_CURSOR else _text(NOTHING)


def decode_cursor(text: str) -> Cursor:
    """Read a cursor. Raises BadCursor, and nothing else, for whatever `encode_cursor` never wrote."""
    written = _unpacked(text)
    try:
        cursor = _read(written)
        canonical = _text(cursor)
    except (ValueError, IndexError, OverflowError) as error:
        raise BadCursor("this is no cursor; look the service up again") from error
    # Only the one way of writing is a cursor, so that equal positions are equal texts.
    if canonical != text:
        raise BadCursor("this is a cursor of another format; look the service up again")
    return cursor


@lru_cache(maxsize=1024)
def read_cursor(text: str) -> Cursor:
    """Read a cursor; one that cannot be read is as good as none, so it is `NOTHING`.

    Those who were told the same come back with the same text, and get the same object.
    """
    try:
        return decode_cursor(text)
    except BadCursor:
        return NOTHING


def later_of_same_life(one: str, other: str) -> bool:
    """Tell whether `one` was given by the same life of the same node as `other`, and not earlier: then it dominates.

    It costs a fraction of reading whole cursors, and holds for most pairs that a client compares. False says nothing.
    """
    later, earlier = _given(one), _given(other)
    return later is not None and earlier is not None and later[:3] == earlier[:3] and later[3] >= earlier[3]


@lru_cache(maxsize=1024)
def _given(text: str) -> tuple[str, str, Origin, int] | None:
    """Return kind, name, issuer and version of a cursor; None without an issuer, and for what is no cursor."""
    try:
        written = _unpacked(text)
    except BadCursor:
        return None
    number = 0
    for node in written.nodes:
        epoch = node.base
        for later in node.lives[::2]:
            epoch += later
            number += 1
            if number == written.issuer:
                return written.kind, written.name, Origin(node.name, epoch), written.version
    return None


def _unpacked(text: str) -> _Written:
    if not text or len(text) > MAX_CURSOR:
        raise BadCursor(f"a cursor has 1 to {MAX_CURSOR} characters, not {len(text)}")
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        written = _DECODER.decode(packed)
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadCursor("this is no cursor; look the service up again") from error
    if written.format != _FORMAT:
        raise BadCursor("this is a cursor of another format; look the service up again")
    return written


def _text(cursor: Cursor) -> str:
    packed = b2a_base64(_encode(_written(cursor)), newline=False)
    return packed.translate(_URL_SAFE, b"=").decode("ascii")


def _written(cursor: Cursor) -> tuple[object, ...]:
    """Return what is written of a cursor: the fields of `_Written`, and nodes as those of `_Node`, which costs less."""
    vector, ahead, base, issuer = cursor.vector, cursor.ahead, cursor.base, cursor.issuer
    # Numbers of 0 say nothing, and are not written.
    known = tuple(vector) if all(vector.values()) else tuple([origin for origin, seq in vector.items() if seq])
    closed = tuple([item for item in base.items() if item[1]]) if base else ()
    beyond = tuple(sorted([origin for origin, seq in ahead.items() if seq])) if ahead else ()
    nodes, places = _shape(known, closed, issuer, beyond)
    number = vector.get
    written = [
        (name, epoch, [each for origin, later in lives for each in (later, number(origin, 0))])
        for name, epoch, lives in nodes
    ]
    marks = [each for origin in beyond for each in (places[origin], ahead[origin])]
    place = 0 if issuer is None else places[issuer]
    return _FORMAT, cursor.kind, cursor.name, place, cursor.version, written, marks


class _Shape(NamedTuple):
    """What stays the same while numbers grow: each node with its base and lives, and which life is the how manieth."""

    nodes: list[tuple[str, int, list[tuple[Origin, int]]]]
    places: dict[Origin, int]


@lru_cache(maxsize=256)
def _shape(
    vector: tuple[Origin, ...], base: tuple[tuple[str, int], ...], issuer: Origin | None, ahead: tuple[Origin, ...]
) -> _Shape:
    epochs = dict(base)
    lives: dict[str, list[Origin]] = {node: [] for node in epochs}
    places: dict[Origin, int] = {}
    for origin in sorted({*vector, *ahead} if issuer is None else {*vector, *ahead, issuer}):
        lives.setdefault(origin.node, []).append(origin)
        places[origin] = len(places) + 1
    nodes = []
    for node in sorted(lives):
        before = epochs.get(node, 0)
        later = []
        for origin in lives[node]:
            later.append((origin, origin.epoch - before))
            before = origin.epoch
        nodes.append((node, epochs.get(node, 0), later))
    return _Shape(nodes, places)


def _read(written: _Written) -> Cursor:
    origins: list[Origin] = []
    vector: dict[Origin, int] = {}
    base: dict[str, int] = {}
    for node in written.nodes:
        epoch = node.base
        if epoch:
            base[node.name] = epoch
        for later, seq in _pairs(node.lives):
            epoch += later
            origin = Origin(node.name, epoch)
            origins.append(origin)
            if seq:
                vector[origin] = seq
    return Cursor(
        kind=written.kind,
        name=written.name,
        vector=vector,
        base=base,
        ahead={origins[place - 1]: seq for place, seq in _pairs(written.ahead)},
        issuer=origins[written.issuer - 1] if written.issuer else None,
        version=written.version,
    )


def _pairs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    return zip(numbers[::2], numbers[1::2], strict=True)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_encode = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[_Written] = msgspec.msgpack.Decoder(_Written)
