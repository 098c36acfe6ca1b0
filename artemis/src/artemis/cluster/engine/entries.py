"""The values of a bucket: records with all their changes, decisions, and what nodes say of themselves (design 4.1).

Whatever else somebody has put there is a BadEntry, which nobody follows. Not here: keys (`keys`), and how records merge
(`artemis.registry.merging`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from artemis.cluster.engine.keys import instance_key, member_key, operation_key
from artemis.cluster.messages import MAX_DOTS, MAX_ORIGINS, InstanceRow, Name, Number, OperationRow, Parts, Text
from artemis.registry import Origin, Reach

MAX_VALUE = 1_000_000
"""Bytes of a value at most: an engine takes a mebibyte, unless it is told otherwise, with a few hundred of its own."""

Epochs = Annotated[list[tuple[Name, Number]], msgspec.Meta(max_length=MAX_ORIGINS)]
"""Nodes, and the epochs below which something holds."""


class BadEntry(ValueError):  # noqa: N818 - what it is, in the words of the log
    """An entry cannot be used; the text says why."""


class MemberRow(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="m", tag_field="kind"):
    """What a node says of itself for as long as the bucket is there: the life that it is in, and where it is.

    `stored` gives, for each of its lives, the number up to which all its changes are in the bucket. `base`, `unnamed`
    and `floor` are those of its registry; entries that it put before this one name no change below them. `left` says
    that it has left the cluster for good. `others` are lives of other nodes that are over, which nobody else may speak
    for any more: up to which number it has read all their changes in the bucket. `stored` and `others` are of the
    bucket with this identity; a put that was under way may end up in another one.
    """

    node: Name
    epoch: Number
    url: Text
    zone: Text
    stored: Annotated[list[tuple[Number, Number]], msgspec.Meta(max_length=MAX_ORIGINS)]
    base: Epochs = []
    unnamed: Epochs = []
    floor: Parts = []
    left: bool = False
    others: Parts = []
    bucket: Text = ""

    @property
    def reach(self) -> Reach:
        """Return what of its changes the bucket has, and what its records do not name any more."""
        vector = {Origin(self.node, epoch): seq for epoch, seq in self.stored}
        return Reach(vector, dict(self.base), dict(self.unnamed))


Value = InstanceRow | OperationRow | MemberRow

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[Value] = msgspec.msgpack.Decoder(Value)


def encode_entry(value: Value) -> bytes:
    """Return the bytes of a value; they may be more than MAX_VALUE, and are then not to be put."""
    return _ENCODE(value)


def decode_entry(key: str, data: bytes) -> Value:
    """Read the value of a key. Raises BadEntry, and nothing else: also when it is the value of another key."""
    if len(data) > MAX_VALUE:
        raise BadEntry(f"a value has {MAX_VALUE} bytes at most, not {len(data)}")
    try:
        value = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadEntry(f"a value cannot be read: {error}") from error
    if isinstance(value, InstanceRow | OperationRow) and len(value.dots) > MAX_DOTS:
        raise BadEntry(f"a row names {MAX_DOTS} changes at most, not {len(value.dots)}")
    if key_of(value) != key:
        raise BadEntry("a value is that of another key")
    return value


def key_of(value: Value) -> str:
    """Return the key that a value belongs to."""
    if isinstance(value, InstanceRow):
        return instance_key(value.service, value.instance)
    if isinstance(value, OperationRow):
        return operation_key(value.region, value.service, value.target, value.operation)
    return member_key(value.node)
