r"""The text format of Java's `.properties` files: comments, continuation lines, escapes, and either encoding.

Not here: what a key means (`java_config`). Pure.
"""

from __future__ import annotations

import re

_BLANK = " \t\f"
_SEPARATOR = "=:"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_UNICODE_DIGITS = 4


class PropertiesError(ValueError):
    """The text is not a properties file; it names the line and what is wrong there."""


def read_properties(data: bytes) -> dict[str, str]:
    r"""Return the entries of a file in their order; of a repeated key the last value, in its first place.

    Bytes are UTF-8 where they can be, else ISO-8859-1, which is what the original readers take. Raises
    `PropertiesError` for a `\u` without four hexadecimal digits.
    """
    entries: dict[str, str] = {}
    for number, line in _logical_lines(_decoded(data)):
        key, value = _split(line)
        entries[_unescaped(key, number)] = _unescaped(value, number)
    return entries


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("iso-8859-1")


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that hold entries, continuations joined, with the number of the line each begins at."""
    found: list[tuple[int, str]] = []
    joined: str | None = None
    begin = 0
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        line = raw.lstrip(_BLANK)
        if joined is None:
            if not line or line[0] in "#!":
                continue
            joined, begin = "", number
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            joined += line[:-1]
            continue
        found.append((begin, joined + line))
        joined = None
    if joined is not None:
        found.append((begin, joined))
    return found


def _split(line: str) -> tuple[str, str]:
    """Return key and value as they are written: the key ends at the first separator or blank that is not escaped."""
    at = 0
    while at < len(line) and line[at] not in _SEPARATOR + _BLANK:
        at += 2 if line[at] == "\\" else 1
    key, rest = line[:at], line[at:].lstrip(_BLANK)
    if rest and rest[0] in _SEPARATOR:
        rest = rest[1:].lstrip(_BLANK)
    return key, rest


def _unescaped(text: str, number: int) -> str:
    parts: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "\\":
            parts.append(text[at])
            at += 1
        elif text[at + 1 : at + 2] == "u":
            digits = text[at + 2 : at + 2 + _UNICODE_DIGITS]
            if not re.fullmatch(r"[0-9a-fA-F]{4}", digits):
                raise PropertiesError(f"line {number}: \\u must be followed by four hexadecimal digits, not {digits!r}")
            parts.append(chr(int(digits, 16)))
            at += 2 + _UNICODE_DIGITS
        else:
            escaped = text[at + 1 : at + 2]
            parts.append(_ESCAPES.get(escaped, escaped))
            at += 2
    # Two escapes may make one character; half of one is none.
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
