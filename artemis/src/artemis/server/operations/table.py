"""What an operation is (design 4): the row type of the table that all doors are generated from.

Not here: the rows, which stand in a module per family, and how a request reaches the node.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from artemis.server.node import Node


class BadParameter(ValueError):  # noqa: N818 - what happened, in the words of the answer
    """A query has a parameter that cannot be read; answered with HTTP 400 (spec 1.1)."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"parameter {name!r} {why}")
        self.name = name


class MissingParameter(BadParameter):
    """A query lacks a parameter that the operation needs; answered with HTTP 400 (spec 1.1)."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "is missing")
        self.args = (f"required parameter {name!r} is missing",)


class Query(dict[str, str]):
    """The parameters of a query by name; of a repeated one the first value stands, `all` has the others too."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple(pairs)
        super().__init__(reversed(self._pairs))

    def all(self, name: str) -> list[str]:
        """Return every value of a parameter in order; commas separate values too (spec 2.4)."""
        return [value for other, text in self._pairs if other == name for value in text.split(",")]


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
    `Node.renew` the answer is `success_json` or `success_msgpack`, which other operations leave empty. `http_status`,
    where set, gives the HTTP status of an answer; every other answer is a 200 (spec 0.1).
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
    from_query: Callable[[Query], msgspec.Struct] | None = None
    http_status: Callable[[object], int] | None = None
    hot: bool = True
    limit: Limit | None = None
    admin: bool = False
    shows_data: bool = False
    recognisable: bool = False
    success_json: bytes = b""
    success_msgpack: bytes = b""
