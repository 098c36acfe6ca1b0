"""Figures in words, for people, and words of others made harmless. Not here: what the figures are of."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

STRANGE: Final = "\N{REPLACEMENT CHARACTER}"
LONGEST: Final = 200  # characters of one text of somebody else's
S = TypeVar("S", bound=msgspec.Struct)


def harmless(text: str) -> str:
    """`text` of somebody else for a terminal: nothing that moves its cursor or hides in it, and not too long."""
    cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(each if each.isprintable() else STRANGE for each in cut)


def all_harmless(told: S) -> S:
    """A struct with all its texts, however deep, made harmless."""
    return msgspec.convert(_each_harmless(msgspec.to_builtins(told)), type(told))


def _each_harmless(value: object) -> object:
    match value:
        case str():
            return harmless(value)
        case list() | tuple():
            return [_each_harmless(part) for part in value]
        case dict():
            return {key: _each_harmless(part) for key, part in value.items()}
    return value


def plural(count: int, what: str) -> str:
    """`count` of what `what` names, as "1 answer" or "2,000 answers"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def duration(seconds: float) -> str:
    """`seconds` in at most two units, as "3 h 20 min"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if count]
    return " ".join(parts[:2]) or "0 s"


def volume(size: int) -> str:
    """`size` bytes in the unit that suits, as "1.5 MB"."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
