"""Options and arguments of commands that take a number or one of some words, and what is said of one that they do not
take.

Not here: the options of a node (`artemis.server.option_words`), which say it in the same words.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import Enum


def whole_number(flag: str, *, least: int, most: int | None = None, metavar: str, about: str) -> Any:
    """Return the option `flag` that takes a whole number from `least` to `most`, as Typer's `Annotated` has it."""
    return typer.Option(flag, parser=_reader(int, least, most), min=least, max=most, metavar=metavar, help=about)


def number(flag: str, *, least: float, most: float | None = None, metavar: str, about: str) -> Any:
    """The same for a number that may have a fraction; infinite it is not."""
    return typer.Option(flag, parser=_reader(float, least, most), min=least, max=most, metavar=metavar, help=about)


def word(flag: str, kind: type[Enum], *, about: str) -> Any:
    """Return the option `flag` that takes the value of one of these; with an empty flag the argument that does."""
    words = [str(each.value) for each in kind]

    def read(text: str | Enum) -> Enum:
        if isinstance(text, kind):  # the default
            return text
        if text not in words:
            raise typer.BadParameter(f"must be one of {', '.join(words)}, not {text!r}")
        return kind(text)

    def complete(begun: str) -> list[str]:
        return [each for each in words if each.startswith(begun)]

    read.__name__ = f"<{'|'.join(words)}>"  # what the help shows beside the name, as for those that Typer reads itself
    how: dict[str, Any] = {"parser": read, "help": about, "autocompletion": complete}
    return typer.Option(flag, **how) if flag else typer.Argument(**how)


def _reader(kind: Callable[[str], float], least: float, most: float | None) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value) and value >= least and (most is None or value <= most):
            return value
        what = "a whole number" if kind is int else "a number"
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise typer.BadParameter(f"must be {what} {bounds}, not {text!r}")

    return read
