"""What an operation is (design 4): the row type of the table that all doors are generated from.

Not here: the rows, which stand in a module per family, and how a request reaches the node.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from artemis.server.node import Node


class MissingParameter(ValueError):  # noqa: N818 - what happened, in the words of the answer
    """A query lacks a parameter that the operation needs; answered with HTTP 400 (spec 1.1)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"required parameter {name!r} is missing")
        self.name = name


class Limit(NamedTuple):
    """What an operation is counted as by the rate limiter (spec 11): the limiter's id and the identity within it."""

    limiter: str
    identity: str


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation (spec 2).

    `code` is the biz_type on the binary door, `path` is relative to the API prefix, `aliases` are further paths of the
    same operation. `call` never raises for bad content. `encode_json` and `encode_msgpack` take its result or a struct
    of `response_type`; decoded, both are a `response_type`. `json_pieces`, where set, yields the same JSON in pieces of
    at least the given size, for answers that may be large. GET is allowed where `from_query` is set; it raises
    MissingParameter. `hot` operations belong to the fast path of a door. `limit` says what the rate limiter counts it
    as, None for not at all (spec 11). `admin` operations need the admin token once the node is reachable from
    elsewhere. With the answers of one that `shows_data` go the cursor and the age of what they show (design 6).
    The requests of a `recognisable` one come in the same bytes again and again: see `Node.heartbeat_plan`; after
    `Node.renew` the answer is `success_json` or `success_msgpack`, which other operations leave empty.
    """

    code: int
    name: str
    path: str
    aliases: tuple[str, ...] = ()
    request_type: type[msgspec.Struct]
    response_type: type[msgspec.Struct]
    call: Callable[[Node, msgspec.Struct | None, int], object]
    encode_json: Callable[[object], bytes]
    encode_msgpack: Callable[[object], bytes]
    json_pieces: Callable[[object, int], Iterator[bytes]] | None = None
    from_query: Callable[[Mapping[str, str]], msgspec.Struct] | None = None
    hot: bool = True
    limit: Limit | None = None
    admin: bool = False
    shows_data: bool = False
    recognisable: bool = False
    success_json: bytes = b""
    success_msgpack: bytes = b""
