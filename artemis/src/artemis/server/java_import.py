"""Turns a Java node's configuration into options of ours, by the value rules of the original, and says what became of
every line (spec 10.1).

Not here: the table of keys (`java_config`), the format of the files (`java_properties`). Pure.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from artemis.server.java_config import (
    COUNTERPARTS,
    SHADOWED,
    Addresses,
    Counterpart,
    LimiterSwitch,
    Limits,
    NoCounterpart,
    Number,
    Switch,
    Text,
    row_of,
    split_host,
)
from artemis.server.rate_limit import limiter

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")

Outcome = Literal["converted", "clamped", "unset", "default", "other host", "no counterpart", "unknown"]
OptionValue = str | int | float | bool | list[str] | dict[str, int]


class Note(msgspec.Struct, frozen=True):
    """What became of one line: its key and value, the option it went to if any, and a sentence where one is needed.

    converted: the option has the value. clamped: the same, after moving it into its range. unset: blank, or a 0, which
    the original takes for no value. default: unreadable, so the default holds. other host: for another address than the
    one that was named. no counterpart: nothing here does that. unknown: no key of the original either.
    """

    outcome: Outcome
    key: str
    value: str
    option: str = ""
    why: str = ""


class Difference(msgspec.Struct, frozen=True):
    """An option that the file leaves to its default, where ours is not the original's.

    `written`: ours is more open, so the original's is among the converted options.
    """

    option: str
    ours: str
    theirs: str
    key: str
    written: bool = False


class Conversion(msgspec.Struct, frozen=True):
    """Options of `artemis serve` in their own units, and what became of each line of the file."""

    options: dict[str, OptionValue]
    notes: list[Note]
    differences: list[Difference]


def convert(
    entries: Mapping[str, str],
    defaults: Mapping[str, object],
    ip: str = "",
    deployment: Mapping[str, str] | None = None,
) -> Conversion:
    """Convert the entries of a Java file, and those of a deployment file, which have other keys.

    `ip` is the host's address: `key.<ip>` beats `key` there. `defaults` are those of our options.
    With a deployment the node listens on all addresses, as a servlet container does, and with `ip` also announces it.
    """
    work = _Work(ip)
    chosen = work.choose({**entries, **(deployment or {})})
    for key, (written, value) in chosen.items():
        work.take(key, written, value, chosen)
    options = work.options
    if deployment is not None:
        options = {"host": "0.0.0.0", **options}  # noqa: S104 - what the original does
        if ip:
            port, path = options.get("port", 8080), options.get("path_prefix", "")
            options["self_url"] = f"http://{_in_url(ip)}:{port}{path}"
    differences = list(_differences(options, defaults))
    options |= {found.option: found.theirs == "true" for found in differences if found.written}
    return Conversion(options, work.notes, differences)


def toml(options: Mapping[str, OptionValue], notes: Iterable[Note] = (), differences: Iterable[Difference] = ()) -> str:
    """The options as a file for `artemis serve --config`, each with the key it comes from."""
    origins = {found.option: f"the original's without {found.key}" for found in differences if found.written}
    origins |= {note.option: note.key for note in notes if note.outcome in {"converted", "clamped"}}
    lines = [
        f"{name.replace('_', '-')} = {_toml_value(value)}" + (f"  # {origins[name]}" if name in origins else "")
        for name, value in options.items()
    ]
    return "".join(f"{line}\n" for line in lines)


class _Work:
    """One conversion under way."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._off: set[str] = set()
        self._limits_of: dict[str, int] = {}
        self.options: dict[str, OptionValue] = {}
        self.notes: list[Note] = []

    def choose(self, entries: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """Return key -> key as written and value, the lines for this host having replaced the general ones."""
        chosen: dict[str, tuple[str, str]] = {}
        for key, value in entries.items():
            host = split_host(key)
            if host is None or row_of(key) is not None:
                chosen.setdefault(key, (key, value))
            elif _same(host[1], self._ip) and value.strip():
                chosen[host[0]] = (key, value)
            elif row_of(host[0]) is None:
                self.notes.append(Note("unknown", key, value, why="no key of the original"))
            elif not _same(host[1], self._ip):
                why = f"holds on {host[1]} alone; convert with --ip {host[1]} for that host"
                self.notes.append(Note("other host", key, value, why=why))
            else:
                self.notes.append(Note("unset", key, value, why="blank"))
        for row in COUNTERPARTS:
            if isinstance(row.kind, LimiterSwitch) and _is_false(chosen.get(row.key, ("", ""))[1]):
                self._off.add(row.kind.limiter)
        return chosen

    def take(self, key: str, written: str, value: str, chosen: Mapping[str, tuple[str, str]]) -> None:
        """Convert one line and note what became of it."""
        if key in SHADOWED and value.strip():
            why = f"false leaves {SHADOWED[key]} out" if _is_false(value) else ""
            self.notes.append(Note("converted", written, value, _option(SHADOWED[key]), why))
            return
        row = row_of(SHADOWED.get(key, key))
        if row is None:
            self.notes.append(Note("unknown", written, value, why="no key of the original"))
        elif isinstance(row, NoCounterpart):
            self.notes.append(Note("no counterpart", written, value, why=row.why))
        elif not value.strip():
            self.notes.append(Note("unset", written, value, row.option, "blank"))
        else:
            self._convert(row, written, value.strip(), chosen)

    def _convert(self, row: Counterpart, key: str, value: str, chosen: Mapping[str, tuple[str, str]]) -> None:
        match row.kind:
            case Number() as number:
                self._number(row, number, key, value)
            case Switch():
                self._set(row, key, value, value.lower() == "true")
            case Text(change):
                self._set(row, key, value, change(value))
            case Addresses(enabled):
                self._addresses(row, key, value, off=_is_false(chosen.get(enabled, ("", ""))[1]))
            case LimiterSwitch(name):
                if name in self._off:
                    self._set(row, key, value, 0, "0 is no limit")
                else:
                    self.notes.append(Note("converted", key, value, row.option, "limits hold unless they are 0"))
            case Limits(name):
                self._limits(row, name, key, value)

    def _number(self, row: Counterpart, number: Number, key: str, value: str) -> None:
        found = _whole(value)
        if found is None:
            why = f"not a whole number, which the original takes for its default {number.default}"
            self.notes.append(Note("default", key, value, row.option, why))
            return
        if found == 0:
            self.notes.append(Note("unset", key, value, row.option, "0 is no value in the original"))
            return
        if row.option.removeprefix("rate_limit_") in self._off:
            self.notes.append(Note("unset", key, value, row.option, "the limiter is switched off"))
            return
        kept = min(max(found, number.low), number.high)
        ours: OptionValue = kept if number.divisor == 1 else kept / number.divisor
        self.options[row.option] = ours
        if kept == found:
            self.notes.append(Note("converted", key, value, row.option))
        else:
            why = f"the range is {number.low}..{number.high}, so it is {kept}"
            self.notes.append(Note("clamped", key, value, row.option, why))

    def _addresses(self, row: Counterpart, key: str, value: str, *, off: bool) -> None:
        words = [word.strip() for word in value.split(",") if word.strip()]
        good = [word for word in words if _is_address(word)]
        bad = [word for word in words if word not in good]
        if off:
            self.notes.append(Note("unset", key, value, row.option, "the list is switched off"))
            return
        why = f"left out, being no addresses: {', '.join(bad)}" if bad else ""
        self._set(row, key, value, good, why)

    def _limits(self, row: Counterpart, name: str, key: str, value: str) -> None:
        found = limiter(name)
        limits: dict[str, int] = {}
        remarks: list[str] = []
        for entry in filter(None, (part.strip() for part in value.split(","))):
            identity, _, text = (part.strip() for part in entry.partition(":"))
            number = _whole(text)
            if identity not in found.identities or not number:
                remarks.append(f"{entry} is left out")
                continue
            limits[f"{name}.{identity}"] = kept = min(max(number, found.lowest), found.highest)
            if kept != number:
                remarks.append(f"{identity} is {kept}, its range being {found.lowest}..{found.highest}")
        if name in self._off:
            self.notes.append(Note("unset", key, value, row.option, "the limiter is switched off"))
            return
        self._limits_of.update(limits)
        self._set(row, key, value, self._limits_of, "; ".join(remarks))

    def _set(self, row: Counterpart, key: str, value: str, ours: OptionValue, why: str = "") -> None:
        self.options[row.option] = ours
        self.notes.append(Note("converted", key, value, row.option, why))


def _differences(options: Mapping[str, OptionValue], defaults: Mapping[str, object]) -> Iterable[Difference]:
    """Yield the options that are left to defaults which are not the original's."""
    for row in COUNTERPARTS:
        if not isinstance(row.kind, Number | Switch) or row.option in options:
            continue
        theirs: float | bool = row.kind.default
        if isinstance(row.kind, Number) and row.kind.divisor != 1:
            theirs = row.kind.default / row.kind.divisor
        if defaults[row.option] != theirs:
            written = isinstance(row.kind, Switch)  # what was shut there does not open by itself
            yield Difference(row.option, _toml_value(defaults[row.option]), _toml_value(theirs), row.key, written)


def _option(key: str) -> str:
    return next(row.option for row in COUNTERPARTS if row.key == key)


def _whole(text: str) -> int | None:
    """Return a whole number as Java reads it; None for anything else, also for what no number there has room for."""
    return int(text) if _WHOLE.fullmatch(text) else None


def _is_false(value: str) -> bool:
    return bool(value.strip()) and value.strip().lower() != "true"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _same(address: str, ip: str) -> bool:
    return bool(ip) and address.lower() == ip.lower()


def _in_url(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _toml_value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value) if value != int(value) else str(int(value))
        case dict():
            return "{ " + ", ".join(f"{json.dumps(name)} = {number}" for name, number in value.items()) + " }"
        case _:
            # TOML refuses this one control character, which JSON does not escape.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
