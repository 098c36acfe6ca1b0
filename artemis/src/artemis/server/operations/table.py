"""What an operation is (design 4): the row type of the table that all doors are generated from.

Not here: the rows, which stand in a module per family, and how a request reaches the node.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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


class Parameter(NamedTuple):
    """A parameter of a query: what it is for, and the name of its values' type in a schema."""

    text: str
    kind: str = "string"


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
    elsewhere. With the answers of one that `shows_data` go the cursor and the age of what they show (design 6), with
    those of one that `offers` how else the node can be reached. One that `adds_up` shows numbers of all workers of a
    machine, which are gathered before; it is not hot.
    The requests of a `recognisable` one come in the same bytes again and again: see `Node.heartbeat_plan`; after
    `Node.renew` the answer is `success_json` or `success_msgpack`, which other operations leave empty. `http_status`,
    where set, gives the HTTP status of an answer; every other answer is a 200 (spec 0.1), except that what is not done
    of our own operations is a status of HTTP with a sentence. Those are they with `parameters`: all that their query
    may have, by name; one that ends with `.` stands for all names that begin so.
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
    parameters: Mapping[str, Parameter] | None = None
    hot: bool = True
    limit: Limit | None = None
    admin: bool = False
    shows_data: bool = False
    offers: bool = False
    adds_up: bool = False
    recognisable: bool = False
    success_json: bytes = b""
    success_msgpack: bytes = b""

    def read_query(self, query: Query) -> msgspec.Struct:
        """Read the query of a GET. Raises BadParameter, for an own operation also for a parameter that it lacks."""
        assert self.from_query is not None  # noqa: S101 - the doors have refused the others
        if self.parameters is not None:
            refuse_unknown(query, self.parameters)
        return self.from_query(query)


def refuse_unknown(query: Query, known: Mapping[str, Parameter]) -> None:
    """Raise BadParameter for a parameter that is not known: what it should have narrowed would come whole."""
    beginnings = tuple(name for name in known if name.endswith("."))
    for name in query:
        if name not in known and not (beginnings and name.startswith(beginnings)):
            names = ", ".join(f"{each}KEY" if each in beginnings else each for each in sorted(known))
            raise BadParameter(name[:100], f"is not known here; {'known are ' + names if known else 'there are none'}")
