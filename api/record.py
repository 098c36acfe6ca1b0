"""The recorded API: what the last release promises, and how the source differs from it. Reading and writing the text.

A line without a mark is promised and still so; one with `-` is promised and not so any more; one with `+` is new since.
Not here: whether a difference breaks anything (`changes`), or is allowed (`versions`).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from api.surface import Entry, Surface

_HEAD: Final = """\
# The public API of {name}. Written by `make api`, compared by `make lint`; see CONTRIBUTING.md, "Versions".
# Promised are the lines without a mark and those with -; there are those without a mark and those with +.
version {version} {state}
"""
_VERSION: Final = re.compile(r"^version (\S+) (released|unreleased)$")
_LINE: Final = re.compile(r"^([ +-]) ([a-z ]+) ([\w.]+)(.*)$")


class Record(msgspec.Struct, frozen=True):
    """What is promised as of `version`, which has been released or is the first to be; and what there was last time."""

    version: str
    released: bool
    promised: Surface
    present: Surface


class RecordError(Exception):
    """The text is no record; the message says in which line."""


def parse(text: str) -> Record:
    """The record that `text` is. Raises RecordError, naming the line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line and not line.startswith("#")]
    head = _VERSION.match(lines[0][1]) if lines else None
    if head is None:
        raise RecordError("the first line that is no comment must be `version X released` or `version X unreleased`")
    promised: Surface = {}
    present: Surface = {}
    for number, line in lines[1:]:
        found = _LINE.match(line)
        if found is None:
            raise RecordError(f"line {number} cannot be read: {line!r}")
        mark, kind, path, shape = found.groups()
        entry = Entry(kind, path, shape)
        if mark != "+":
            promised[path] = entry
        if mark != "-":
            present[path] = entry
    return Record(head[1], head[2] == "released", promised, present)


def render(name: str, record: Record) -> str:
    """The text of a record, one line for each name and a second one for what has changed."""
    lines: list[str] = []
    for path in sorted({*record.promised, *record.present}):
        then, now = record.promised.get(path), record.present.get(path)
        if then == now:
            lines.append(f"  {then}")
            continue
        lines += [f"- {then}"] * (then is not None)
        lines += [f"+ {now}"] * (now is not None)
    state = "released" if record.released else "unreleased"
    return "\n".join([_HEAD.format(name=name, version=record.version, state=state), *lines, ""])
