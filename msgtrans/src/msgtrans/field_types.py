"""Whether the values of options are of the types that they are declared with.

One check for all: it reads the annotations of a struct once, so a new option is covered by being declared.
Not here: ranges and what options mean together (each config's `__post_init__`); it runs when a config is made, never
for a packet.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

from msgtrans.errors import ConfigurationError

LARGEST = sys.float_info.max  # beyond it whole numbers are no times any more


class Kind(NamedTuple):
    """What a value may be. types: of the value. wanted: the same in words. literals: the only values, if not empty.

    item: of what is in a tuple or mapping, None for other types.
    """

    types: tuple[type, ...]
    wanted: str
    literals: tuple[str, ...] = ()
    item: Kind | None = None

    def fits(self, value: object) -> bool:
        """Whether `value` is one of these."""
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            return False
        if self.literals:
            return value in self.literals
        if self.item is None:
            return True
        if isinstance(value, Mapping):
            return all(self.item.fits(part) for pair in value.items() for part in pair)
        return not isinstance(value, tuple) or all(map(self.item.fits, value))


def check_types(config: msgspec.Struct) -> None:
    """Refuse with ConfigurationError the first field of `config` whose value is not of its declared type."""
    for name, kinds in _kinds(type(config)):
        value = getattr(config, name)
        if not any(kind.fits(value) for kind in kinds):
            raise ConfigurationError(name, f"is {shown(name, value)}; use {_wanted(kinds)}")


def check_type(field: str, value: object, wanted: type[msgspec.Struct], *, none: bool = False) -> None:
    """Refuse with ConfigurationError an argument that is no `wanted`; with `none`, None may stand for it."""
    if not (isinstance(value, wanted) or (none and value is None)):
        raise ConfigurationError(field, f"is {shown(field, value)}; use {_struct(wanted)}")


def check_number(field: str, value: object, *, whole: bool = False) -> None:
    """Refuse with ConfigurationError an argument that is no number; with `whole`, no whole one."""
    kind = _SIMPLE[int if whole else float]
    if not kind.fits(value):
        raise ConfigurationError(field, f"is {shown(field, value)}; use {kind.wanted}")


def check_count(field: str, value: object, least: int = 1) -> None:
    """Refuse with ConfigurationError an argument that is no whole number from `least` up."""
    if type(value) is not int or value < least:
        raise ConfigurationError(field, f"is {shown(field, value)}; use a whole number from {least} up")


def check_seconds(field: str, value: object, *, zero: bool = False) -> None:
    """Refuse with ConfigurationError an argument that is no finite time above 0; with `zero`, 0 will do."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not (0 < value <= LARGEST or (zero and value == 0))
    ):
        least = "0 or a positive" if zero else "a positive"
        raise ConfigurationError(field, f"is {shown(field, value)}; use {least}, finite number of seconds")


def check_flag(field: str, value: object) -> None:
    """Refuse with ConfigurationError what is neither True nor False."""
    if not isinstance(value, bool):
        raise ConfigurationError(field, f"is {shown(field, value)}; use True or False")


def check_callable(field: str, value: object) -> None:
    """Refuse with ConfigurationError what cannot be called."""
    if not callable(value):
        raise ConfigurationError(field, f"is {shown(field, value)}; use a function or another callable")


@cache
def _kinds(config: type[msgspec.Struct]) -> tuple[tuple[str, tuple[Kind, ...]], ...]:
    return tuple((field.name, tuple(map(_kind, _alternatives(field.type)))) for field in msgspec.structs.fields(config))


def _alternatives(declared: Any) -> tuple[Any, ...]:
    return get_args(declared) if get_origin(declared) in {Union, UnionType} else (declared,)


_SIMPLE = {
    NoneType: Kind((NoneType,), "None"),
    bool: Kind((bool,), "True or False"),
    int: Kind((int,), "a whole number"),
    float: Kind((int, float), "a number"),
    str: Kind((str,), "text"),
    msgspec.UnsetType: Kind((msgspec.UnsetType,), ""),  # nobody is told to write what means "left out"
}


def _kind(declared: Any) -> Kind:
    origin, arguments = get_origin(declared), get_args(declared)
    if declared in _SIMPLE:
        return _SIMPLE[declared]
    if origin is Literal:
        return Kind((str,), " or ".join(map(repr, arguments)), literals=arguments)
    if origin is tuple:
        item = _kind(arguments[0])
        example = {str: '("a", "b")', int: "(1, 2)"}.get(arguments[0], "(x, y)")
        return Kind((tuple,), f"a tuple, as {example}", item=item)
    if origin is Mapping:
        return Kind((Mapping,), 'a mapping of text to text, as {"name": "value"}', item=_kind(arguments[1]))
    if issubclass(declared, Enum):
        return Kind((declared,), f"a member of {declared.__name__}")
    return Kind((declared,), _struct(declared))


def _struct(declared: type) -> str:
    required = [f"{field.name}=..." for field in msgspec.structs.fields(declared) if field.required]
    return f"{declared.__name__}({', '.join(required)})"


def _wanted(kinds: tuple[Kind, ...]) -> str:
    return " or ".join(kind.wanted for kind in kinds if kind.wanted)


def shown(field: str, value: object) -> str:
    """`value` of `field` for messages: where it is plain and no secret, else only what it is."""
    if "password" not in field and isinstance(value, str | int | float | NoneType):
        return repr(value)
    if isinstance(value, type):  # where an instance is meant
        return f"the class {value.__name__}"
    return f"of type {type(value).__name__}"
