"""Comparing an answer with the part of it that a case states.

A dict states some members, a list all elements in order; `Exactly` states a value as a whole, a callable is asked, and
anything else must be equal.
"""

from collections.abc import Callable
from typing import NamedTuple


class Exactly(NamedTuple):
    """The value must be equal, with no member more."""

    value: object


def difference(expected: object, actual: object, path: str = "answer") -> str:
    """Where `actual` is not what is expected; empty when it is."""
    if isinstance(expected, Exactly):
        expected = expected.value
    elif isinstance(expected, dict):
        if not isinstance(actual, dict):
            return f"{path} is {actual!r}, no object"
        found = (
            difference(value, actual[name], f"{path}.{name}") if name in actual else f"{path} has no {name}: {actual!r}"
            for name, value in expected.items()
        )
        return next(filter(None, found), "")
    elif isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            return f"{path} is {actual!r}, expected {len(expected)} elements"
        pairs = enumerate(zip(expected, actual, strict=True))
        return next(filter(None, (difference(one, two, f"{path}[{n}]") for n, (one, two) in pairs)), "")
    elif isinstance(expected, Callable):  # type: ignore[arg-type]
        return "" if expected(actual) else f"{path} is {actual!r}"
    return "" if expected == actual and type(expected) is type(actual) else f"{path} is {actual!r}, not {expected!r}"


def text(value: object) -> bool:
    """Any text that is not empty."""
    return isinstance(value, str) and value != ""


def whole(value: object) -> bool:
    """Any whole number that is not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def digits(value: object) -> bool:
    """A whole number, as text."""
    return isinstance(value, str) and value.isdecimal()


def anything(value: object) -> bool:
    """The member must be there."""
    return True


def starting(prefix: str) -> Callable[[object], bool]:
    """A text that begins so."""
    return lambda value: isinstance(value, str) and value.startswith(prefix)


def containing(part: str) -> Callable[[object], bool]:
    """A text that has this in it."""
    return lambda value: isinstance(value, str) and part in value
