"""The forgiving reader: what Jackson accepts and a strict decoder does not (spec 1.1).

It reads names in any letter case and with underscores (artemis-rust 1.0), ignores unknown names, turns null into 0 or
false where Java has a primitive, numeric text into numbers and numbers into text, and accepts raw control characters in
text, a byte order mark, UTF-16 and UTF-32. What Jackson refuses too raises `MalformedBody`, and nothing else is ever
raised, whatever the bytes.

Not here: the fast path for well-formed bodies; see `codec`.
"""

import json
import math
import re
from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, NoReturn, TypeVar, Union, cast, get_args, get_origin

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

Reader = Callable[[object], object]


class MalformedBody(ValueError):  # noqa: N818 - the name says what is wrong with the message, like the wire's own words
    """The body is not what the operation takes. The text names the place, as in `$.instances[3].port`."""


class _Number(str):
    """A JSON number as it was written. Only the reader of the field knows what it is to become."""

    __slots__ = ()


class _Object(list[tuple[object, object]]):
    """A JSON object as its pairs in order: names may repeat, also in different letter case; the last one counts."""

    __slots__ = ()


class _MismatchError(Exception):
    """A value of the wrong kind; collects its path while the readers unwind."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value
        self.path: list[str] = []

    def text(self) -> str:
        place = "$" + "".join(reversed(self.path))
        return f"{place}: expected {self.expected}, got {_kind(self.value)}"


def read_json(struct: type[T], body: bytes | bytearray | memoryview, *, ignore_trailing: bool) -> T | None:
    """Read one JSON value as `struct`; literal `null` is None. Raises MalformedBody."""
    raw = bytes(body)
    try:
        text = raw.decode(json.detect_encoding(raw))
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not text: {error.reason} at byte {error.start}") from error
    start = _skip_space(text, 0)
    if start == len(text):
        raise MalformedBody("the body is empty; send a JSON object")
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise MalformedBody(f"not JSON: {error}") from error
    except RecursionError as error:
        raise MalformedBody("not JSON that can be read: nested too deeply") from error
    end = _skip_space(text, end)
    if end != len(text) and not ignore_trailing:
        raise MalformedBody(f"unexpected text after the JSON value at character {end}")
    return _read(struct, value)


def read_msgpack(struct: type[T], body: bytes | bytearray | memoryview) -> T | None:
    """Read one MessagePack value as `struct` with the same tolerance; nil is None. Raises MalformedBody."""
    try:
        value = msgspec.msgpack.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise MalformedBody(f"not MessagePack: {error}") from error
    except RecursionError as error:
        raise MalformedBody("not MessagePack that can be read: nested too deeply") from error
    return _read(struct, value)


def _read(struct: type[T], value: object) -> T | None:
    try:
        return cast("T | None", _struct_reader(struct)(value))
    except _MismatchError as mismatch:
        raise MalformedBody(mismatch.text()) from mismatch


# -- the JSON scanner


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"not JSON: {name} is not a JSON number")


_DECODER = json.JSONDecoder(
    strict=False,
    object_pairs_hook=_Object,
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=_refuse_constant,
)
_SPACE = re.compile(r"[ \t\n\r]*")


def _skip_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return match.end() if match else start


def _kind(value: object) -> str:
    names: dict[type, str] = {
        NoneType: "null",
        bool: "a boolean",
        list: "an array",
        _Object: "an object",
        dict: "an object",
        bytes: "binary data",
    }
    if isinstance(value, (_Number, int, float)) and not isinstance(value, bool):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return names.get(type(value), f"a {type(value).__name__}")


# -- readers, one per type, built once; null never reaches those of numbers, flags, arrays and maps

_INTEGER = re.compile(r"[+-]?[0-9]{1,64}")


def _read_text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        text = str(value)
        if text.isascii():
            return text
        # Half of a surrogate pair cannot be written as UTF-8; it becomes the replacement character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    raise _MismatchError("text", value)


def _parse_integer(value: object) -> int | None:
    """Return the integer that Jackson would read, None for one it refuses. Fractions are cut off, as there."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        text = value.strip()
        if _INTEGER.fullmatch(text):
            return int(text)
        if not isinstance(value, _Number):
            return None
        value = float(text)
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    return None


def _integer_reader(low: int, high: int, absent: int | None) -> Reader:
    def read(value: object) -> int | None:
        if isinstance(value, str) and value.strip() in {"", "null"}:
            return absent
        number = _parse_integer(value)
        if number is None or not low <= number <= high:
            raise _MismatchError(f"an integer from {low} to {high}", value)
        return number

    return read


def _boolean_reader(absent: bool | None) -> Reader:
    words = {"true": True, "false": False, "": absent, "null": absent}

    def read(value: object) -> bool | None:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and not isinstance(value, _Number) and value.strip().lower() in words:
            return words[value.strip().lower()]
        if isinstance(value, (_Number, int)) and (number := _parse_integer(value)) is not None:
            return number != 0
        raise _MismatchError("a boolean", value)

    return read


def _list_reader(element: Reader) -> Reader:
    def read(value: object) -> list[object]:
        if not isinstance(value, list) or isinstance(value, _Object):
            raise _MismatchError("an array", value)
        result: list[object] = []
        try:
            for item in value:
                result.append(element(item))  # noqa: PERF401 - its length is the place of the mismatch
        except _MismatchError as mismatch:
            mismatch.path.append(f"[{len(result)}]")
            raise
        return result

    return read


def _map_reader(element: Reader) -> Reader:
    def read(value: object) -> dict[str, object]:
        result: dict[str, object] = {}
        for name, item in _pairs(value):
            try:
                key = _read_text(name)
                result["" if key is None else key] = None if item is None else element(item)
            except _MismatchError as mismatch:
                mismatch.path.append(f"[{str(name)[:40]!r}]")
                raise
        return result

    return read


def _pairs(value: object) -> list[tuple[object, object]]:
    if isinstance(value, _Object):
        return value
    if isinstance(value, dict):
        return list(value.items())
    raise _MismatchError("an object", value)


@cache
def _struct_reader(struct: type[msgspec.Struct]) -> Reader:
    readers: dict[str, tuple[str, str, Reader]] = {}
    for field in msgspec.structs.fields(struct):
        readers[field.encode_name.lower()] = (field.name, field.encode_name, _reader(field.type))

    def read(value: object) -> msgspec.Struct | None:
        if value is None:
            return None
        values: dict[str, object] = {}
        for name, item in _pairs(value):
            found = readers.get(name.lower().replace("_", "")) if isinstance(name, str) else None
            if found is None:
                continue
            attribute, wire_name, reader = found
            if reader is _read_text and type(item) is str and item.isascii():  # by far the most values
                values[attribute] = item
                continue
            if item is None:  # the default is what Java has for a property that is null: null, 0 or false
                values.pop(attribute, None)
                continue
            try:
                values[attribute] = reader(item)
            except _MismatchError as mismatch:
                mismatch.path.append(f".{wire_name}")
                raise
        return struct(**values)

    return read


def _reader(annotation: object) -> Reader:
    nullable = False
    if get_origin(annotation) in {Union, UnionType}:
        (annotation,) = (part for part in get_args(annotation) if part not in {NoneType, msgspec.UnsetType})
        nullable = True
    meta = None
    if get_origin(annotation) is Annotated:
        annotation, meta = get_args(annotation)
    if annotation is str:
        return _read_text
    if annotation is bool:
        return _boolean_reader(None if nullable else False)
    if annotation is int and isinstance(meta, msgspec.Meta) and meta.ge is not None and meta.le is not None:
        return _integer_reader(int(meta.ge), int(meta.le), None if nullable else 0)
    if get_origin(annotation) is list:
        return _list_reader(_reader(get_args(annotation)[0]))
    if get_origin(annotation) is dict:
        return _map_reader(_reader(get_args(annotation)[1]))
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _struct_reader(annotation)
    raise TypeError(f"the wire has no type {annotation!r}")
