"""Reading large requests bit by bit, so that thousands of instances do not hold up an event loop.

The outline of a request is scanned in one go, which takes under a millisecond for a megabyte; its elements are read in
steps, each by the strict reader first and only on its own by the tolerant one.

Not here: requests that are read in one piece; see `codec`, whose rules are the same.
"""

from collections.abc import Generator
from functools import cache, partial
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from artemis.model.codec import decode, decode_msgpack
from artemis.model.tolerant import MalformedBody

T = TypeVar("T", bound=msgspec.Struct)

_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

MAX_TOLERANT_BYTES = 262_144
"""Above this size a request's outline, or one of its elements, must please the strict reader: names spelt exactly, no
unknown ones. The tolerant reader takes tens of milliseconds for a megabyte and cannot be interrupted."""

MAX_ELEMENTS = 20_000
"""Elements of one list of a request. What is larger is sent in several requests."""

_MAX_COMMAS = 20 * MAX_ELEMENTS
_STEP_BYTES = 256 * 1024
_TOLERANT_COST = 16


def decode_steps(
    struct: type[T],
    body: bytes | bytearray | memoryview,
    *,
    size: int = 200,
    msgpack: bool = False,
    ignore_trailing: bool = False,
) -> Generator[None, None, T | None]:
    """Read a body as `codec.decode` or `decode_msgpack` do, yielding after every `size` elements of its lists.

    The generator returns the struct, None for null. It raises MalformedBody for what `codec` refuses, and for what only
    the tolerant reader could read if that is larger than MAX_TOLERANT_BYTES.
    """
    if not msgpack and bytes(body).count(b",") > _MAX_COMMAS:
        # The scan of an outline cannot be interrupted, so what would make it long is told from a much cheaper one.
        raise _too_many()
    read = decode_msgpack if msgpack else partial(decode, ignore_trailing=ignore_trailing)
    strict: Any = msgspec.msgpack.decode if msgpack else msgspec.json.decode
    outline, elements = _outline(struct)
    try:
        scanned = strict(body, type=outline)
    except _REFUSALS as error:
        if isinstance(error, msgspec.ValidationError) and f"of length <= {MAX_ELEMENTS}" in str(error):
            raise _too_many() from error
        if len(body) > MAX_TOLERANT_BYTES:
            raise _too_large("$", error) from error
        whole = read(struct, body)
        if any(len(getattr(whole, name, None) or ()) > MAX_ELEMENTS for name, _, _ in elements):
            raise _too_many() from error
        return whole
    values = msgspec.structs.asdict(scanned)
    done = spent = 0
    for name, wire_name, element in elements:
        items = values[name]
        if items is None:
            continue
        result = values[name] = []
        for item in items:
            try:
                result.append(strict(item, type=element))
                spent += len(item)
            except _REFUSALS as error:
                place = f"$.{wire_name}[{len(result)}]"
                if len(item) > MAX_TOLERANT_BYTES:
                    raise _too_large(place, error) from error
                spent += _TOLERANT_COST * len(item)
                try:
                    result.append(read(element, item))
                except MalformedBody as reason:
                    raise MalformedBody(place + str(reason).removeprefix("$")) from reason
            done += 1
            if done % size == 0 or spent >= _STEP_BYTES:
                spent = 0
                yield
    return struct(**values)


_Bounded = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_ELEMENTS)]


def _too_many() -> MalformedBody:
    return MalformedBody(f"$: too many values for one request; send {MAX_ELEMENTS} at most")


def _too_large(place: str, error: Exception) -> MalformedBody:
    return MalformedBody(f"{place}: more than {MAX_TOLERANT_BYTES} bytes must be exact in names and types: {error}")


@cache
def _outline(struct: type[msgspec.Struct]) -> tuple[type[msgspec.Struct], list[tuple[str, str, type[msgspec.Struct]]]]:
    """Return a struct of the same fields whose lists of structs stay raw, and those lists with their element types."""
    fields: list[tuple[str, object, object]] = []
    lists: list[tuple[str, str, type[msgspec.Struct]]] = []
    for field in msgspec.structs.fields(struct):
        element = _element(field.type)
        if element is None:
            fields.append((field.name, field.type, field.default))
        else:
            fields.append((field.name, _Bounded | None, None))
            lists.append((field.name, field.encode_name, element))
    return msgspec.defstruct(struct.__name__, fields, rename="camel", forbid_unknown_fields=True), lists


def _element(annotation: object) -> type[msgspec.Struct] | None:
    """Return X of `list[X | None] | None` where X is a struct."""
    lists = [part for part in get_args(annotation) if get_origin(part) is list]
    candidates = [part for found in lists for part in get_args(get_args(found)[0])]
    structs = [part for part in candidates if isinstance(part, type) and issubclass(part, msgspec.Struct)]
    return structs[0] if structs else None
