"""The constructors that nobody writes: of msgspec Structs, named tuples and dataclasses, derived from their fields.

griffe knows those of dataclasses. Not here: constructors in the source.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

STRUCT: Final = "msgspec.Struct"
NAMED_TUPLE: Final = "typing.NamedTuple"
_FIELDS: Final = ("msgspec.field", "dataclasses.field")


@cache
def lineage(class_: griffe.Class) -> list[griffe.Class]:
    """The class and all its bases that were read, nearest first."""
    return [class_, *class_.mro()]


@cache
def derives_from(class_: griffe.Class, path: str) -> bool:
    """Whether `path`, a class that was not read, is among the bases of the class or of its bases."""
    return any(base_path(base) == path for parent in lineage(class_) for base in parent.bases)


def base_path(base: str | griffe.Expr) -> str:
    """The full name of a base class, without type parameters."""
    if isinstance(base, griffe.ExprSubscript):
        base = base.left
    return base.canonical_path if isinstance(base, griffe.Expr) else base


def is_true(class_: griffe.Class, keyword: str) -> bool:
    """Whether the class statement, or that of a base, says `keyword=True`."""
    said = (str(parent.keywords[keyword]) for parent in lineage(class_) if keyword in parent.keywords)
    return next(said, "False") == "True"


@cache
def generated(class_: griffe.Class) -> list[griffe.Parameter] | None:
    """The parameters of the generated constructor, without `self`; None for a class that has none."""
    written = class_.members.get("__init__")
    if isinstance(written, griffe.Function):
        return list(written.parameters)[1:] if "dataclass" in class_.labels and not written.lineno else None
    if derives_from(class_, NAMED_TUPLE):
        return list(_fields(class_, keyword_only=False))
    if not derives_from(class_, STRUCT):
        return None
    # As msgspec: bases first, a field that a subclass declares again goes to its end, keyword-only ones come last.
    found: dict[str, griffe.Parameter] = {}
    for parent in reversed(lineage(class_)):
        for parameter in _fields(parent, keyword_only=str(parent.keywords.get("kw_only")) == "True"):
            found.pop(parameter.name, None)
            found[parameter.name] = parameter
    return sorted(found.values(), key=lambda parameter: parameter.kind is griffe.ParameterKind.keyword_only)


def is_field(member: griffe.Object | griffe.Alias) -> bool:
    """Whether the member of a Struct, named tuple or dataclass is one of its fields."""
    return member.is_attribute and "instance-attribute" in member.labels and "property" not in member.labels


def _fields(class_: griffe.Class, *, keyword_only: bool) -> Iterator[griffe.Parameter]:
    kind = griffe.ParameterKind.keyword_only if keyword_only else griffe.ParameterKind.positional_or_keyword
    for name, member in class_.members.items():
        if isinstance(member, griffe.Attribute) and member.annotation is not None and is_field(member):
            yield griffe.Parameter(name, kind=kind, annotation=member.annotation, default=_default(member.value))


def _default(value: str | griffe.Expr | None) -> str | griffe.Expr | None:
    if not isinstance(value, griffe.ExprCall) or value.canonical_path not in _FIELDS:
        return value
    given = {argument.name: argument.value for argument in value.arguments if isinstance(argument, griffe.ExprKeyword)}
    if "default_factory" in given:
        return f"{given['default_factory']}()"
    return given.get("default")
