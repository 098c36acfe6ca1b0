"""What differs between two surfaces, and whether that breaks code that uses, implements or subclasses them. Pure.

griffe judges parameters; the rest, and what generated constructors and enumerations mean, is judged here.
Changed types and defaults are told and break nothing: no type checker is asked.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import griffe
import msgspec

from api.surface import PROTOCOL, Entry, Surface

if TYPE_CHECKING:
    from collections.abc import Iterator

_SAYS: Final = {
    griffe.BreakageKind.PARAMETER_MOVED: "the parameter {name} has another position",
    griffe.BreakageKind.PARAMETER_REMOVED: "the parameter {name} is gone",
    griffe.BreakageKind.PARAMETER_CHANGED_KIND: "the parameter {name} is {new} now, and was {old}",
    griffe.BreakageKind.PARAMETER_CHANGED_REQUIRED: "the parameter {name} is required now",
    griffe.BreakageKind.PARAMETER_ADDED_REQUIRED: "the new parameter {name} is required",
    griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT: "the default of {name} is {new} now, and was {old}",
}
_PRESENT: Final = (griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT,)
_AWAITABLE: Final = ("Awaitable[", "Coroutine[")
_READABLE: Final = ("attribute", "field", "property", "writable property")
_SETTABLE: Final = ("attribute", "field", "writable property")
_NOWHERE: Final = Path("recorded.py")  # griffe wants to know where code comes from, and does not look there


class Change(msgspec.Struct, frozen=True, order=True):
    """One difference. text: what is different, to follow the path. breaking: for some code that was right before."""

    path: str
    text: str
    breaking: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def compare(old: Surface, new: Surface) -> list[Change]:
    """What is different in `new`, by path. A name that has moved and still works where it was makes no difference."""
    old_whole, new_whole = _expanded(old), _expanded(new)
    found: dict[tuple[str, str, str], Change] = {}
    for path in sorted({*old_whole, *new_whole}, key=lambda path: (path.count("."), path)):
        homes = _home(old, path), _home(new, path)
        for text, breaking in _differences(path, old_whole, new_whole):
            # What happened to a class is told under its first name, not again under each other.
            found.setdefault((*homes, text), Change(path, text, breaking))
    return sorted(found.values())


def _home(surface: Surface, path: str) -> str:
    """`path`, with the name that it begins with replaced by what that stands for."""
    for end in (index for index, letter in enumerate(f"{path}.") if letter == "."):
        entry = surface.get(path[:end])
        if entry is not None and entry.kind == "name":
            return _target(entry) + path[end:]
    return path


def _target(entry: Entry) -> str:
    return entry.shape.removeprefix(" = ")


def _expanded(surface: Surface) -> Surface:
    """The surface with further names replaced by what they stand for."""
    whole: Surface = {}
    for path, entry in surface.items():
        if entry.kind != "name" or _target(entry) not in surface:
            whole[path] = entry
            continue
        target = _target(entry)
        for other, found in surface.items():
            if other == target or other.startswith(f"{target}."):
                whole[path + other[len(target) :]] = Entry(found.kind, path + other[len(target) :], found.shape)
    return whole


def _differences(path: str, old: Surface, new: Surface) -> Iterator[tuple[str, bool]]:
    owner = path.rpartition(".")[0]
    then, now = old.get(path), new.get(path)
    if then is None and now is not None:
        if owner not in old:
            yield from [("is new", False)] * (owner not in new)  # else its class is new, and told
        elif path.endswith(".__init__"):
            yield from _function(Entry("def", path, "() -> None"), now, implemented=False)
        elif _is_protocol(old[owner]) and _is_protocol(new.get(owner)):
            yield "is new, and whoever implements the protocol does not have it", True
        else:
            yield "is new", False
    elif then is not None and now is None:
        if owner not in old or owner in new:
            yield "is gone", True
    elif then is not None and now is not None and (then.kind, then.shape) != (now.kind, now.shape):
        yield from _changed(then, now, old, new)


def _changed(then: Entry, now: Entry, old: Surface, new: Surface) -> Iterator[tuple[str, bool]]:
    owner = then.path.rpartition(".")[0]
    if then.kind != now.kind:
        yield from _kinds(then, now, frozen=owner in old and "frozen" in _words(old[owner]))
    elif then.kind == "class":
        yield from _bases(_words(then), _words(now))
    elif then.kind == "member":
        yield f"is{now.shape} now, and was{then.shape}".replace(" =", ""), True
    elif then.kind == "order":
        if _words(now)[: len(_words(then))] != _words(then):
            yield f"positional patterns match{now.shape} now, and did{then.shape}".replace(" =", ""), True
        else:
            yield "has new fields at its end", False
    elif then.kind == "name":
        yield f"stands for{now.shape} now, and did for{then.shape}".replace(" =", ""), True
    elif then.kind.endswith("def"):
        implemented = owner in new and _is_protocol(new[owner]) and _is_protocol(old.get(owner))
        yield from _function(then, now, implemented=implemented)
    else:
        yield _reshaped(then, now), False


def _reshaped(then: Entry, now: Entry) -> str:
    return f"is `{now.shape.strip(' :') or 'untyped'}` now, and was `{then.shape.strip(' :') or 'untyped'}`"


def _kinds(then: Entry, now: Entry, *, frozen: bool) -> Iterator[tuple[str, bool]]:
    text = f"is now: {now.kind}, and was: {then.kind}"
    if then.kind in _READABLE and now.kind in _READABLE:
        lost = then.kind in _SETTABLE and now.kind not in _SETTABLE and not frozen
        yield (f"{text}; it can no longer be set", True) if lost else (text, False)
    elif then.kind.replace("async ", "") == now.kind.replace("async ", "") and then.kind.endswith("def"):
        # A plain function that returns something to await is called as an async one is.
        plain = now if "async" in then.kind else then
        yield text, not plain.shape.partition(" -> ")[2].startswith(_AWAITABLE)
        yield from (change for change in _function(then, now, implemented=False) if change[1])
    else:
        yield text, True


def _bases(then: list[str], now: list[str]) -> Iterator[tuple[str, bool]]:
    for base in then:
        if base == "frozen" and base not in now:
            yield "can be changed now, and so is no longer hashable", True
        elif base not in now:
            yield f"is no {base} any more", True
    for base in now:
        if base == "frozen" and base not in then:
            yield "can no longer be changed in place", True
        elif base not in then:
            yield f"is a {base} now", False


def _function(then: Entry, now: Entry, *, implemented: bool) -> Iterator[tuple[str, bool]]:
    before, after = _read(then), _read(now)
    told = False
    for breakage in griffe.find_breaking_changes(_alone(before), _alone(after)):
        words = _SAYS.get(breakage.kind)
        if words is not None:
            told = True
            yield _said(words, breakage), breakage.kind not in _PRESENT
    names = {parameter.name for parameter in before.parameters}
    added = [parameter.name for parameter in after.parameters if parameter.name not in names]
    for name in added:
        told = True
        if implemented:
            yield f"the parameter {name} is new, and implementations of the protocol do not take it", True
        elif not after.parameters[name].required:
            yield f"the parameter {name} is new", False
    if before.returns != after.returns:
        told = True
        yield f"returns {after.returns} now, and did {before.returns}", False
    if not told:
        yield f"takes `{now.shape}` now, and did `{then.shape}`", False


def _said(words: str, breakage: griffe.Breakage) -> str:
    old, new = breakage.old_value, breakage.new_value
    name = (old or new).name
    if breakage.kind is griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT:
        return words.format(name=name, old=old.default, new=new.default)
    if breakage.kind is griffe.BreakageKind.PARAMETER_CHANGED_KIND:
        return words.format(name=name, old=old.kind.value, new=new.kind.value)
    return words.format(name=name)


@cache
def _read(entry: Entry) -> griffe.Function:
    """The function of an entry, as griffe holds one."""
    written = f"def found{entry.shape}: ..."
    ast.parse(written)  # else griffe would say less
    module = griffe.visit("recorded", filepath=_NOWHERE, code=written)
    return cast("griffe.Function", module.members["found"])


def _alone(function: griffe.Function) -> griffe.Module:
    module = griffe.Module("recorded")
    module.set_member("found", function)
    return module


def _words(entry: Entry) -> list[str]:
    inside = entry.shape.partition("(")[2].rpartition(")")[0]
    return [word.strip() for word in inside.split(",") if word.strip()]


def _is_protocol(entry: Entry | None) -> bool:
    return entry is not None and PROTOCOL in _words(entry)
