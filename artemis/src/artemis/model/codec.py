"""Bytes to wire structs and back, JSON and MessagePack (spec 1.1, design 4.2).

Reading takes two steps: a strict, compiled decoder first, and only when that refuses the forgiving reader of
`tolerant`, so that well-behaved peers pay nothing for the others.

Not here: content types, compression and limits, which are the doors' business.
"""

from functools import cache
from typing import TypeVar, cast

import msgspec

from artemis.model.tolerant import MalformedBody, read_json, read_msgpack

__all__ = ["MalformedBody", "decode", "decode_msgpack", "encode", "encode_canonical", "encode_msgpack"]

T = TypeVar("T", bound=msgspec.Struct)

Body = bytes | bytearray | memoryview

_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode(struct: type[T], body: Body, *, ignore_trailing: bool = False) -> T | None:
    """Read a JSON body as `struct`; the literal `null` is None (spec 1.1).

    `ignore_trailing` accepts anything after the value, as the original does on WebSocket. Raises MalformedBody, and
    nothing else, for what Jackson refuses too.
    """
    try:
        return cast("T", _json_decoder(struct).decode(body))
    except _REFUSALS:
        return read_json(struct, body, ignore_trailing=ignore_trailing)


def decode_msgpack(struct: type[T], body: Body) -> T | None:
    """Read a MessagePack body as `struct` with the same names and tolerance as JSON; nil is None.

    Raises MalformedBody, and nothing else.
    """
    try:
        return cast("T", _msgpack_decoder(struct).decode(body))
    except _REFUSALS:
        return read_msgpack(struct, body)


encode = msgspec.json.Encoder().encode
"""Write a wire struct as JSON: alphabetical names, nulls written (spec 1.1)."""

encode_canonical = msgspec.json.Encoder(order="deterministic").encode
"""Write a wire struct as JSON in the one form that equal content always has: maps sorted too."""

encode_msgpack = msgspec.msgpack.Encoder().encode
"""Write a wire struct as MessagePack with the JSON names."""


@cache
def _json_decoder(struct: type[msgspec.Struct]) -> msgspec.json.Decoder[msgspec.Struct]:
    return msgspec.json.Decoder(struct)


@cache
def _msgpack_decoder(struct: type[msgspec.Struct]) -> msgspec.msgpack.Decoder[msgspec.Struct]:
    return msgspec.msgpack.Decoder(struct)
