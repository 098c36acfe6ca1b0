"""Reads what is public out of the source, as one line for each name: what it is, its path, its shape.

The source is read by griffe and never imported. Members that a public class has from our own bases stand with the
class itself, so that it makes no difference where they are defined.
Not here: what is public (`public`), the file (`record`), what breaks (`changes`).
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import griffe
import msgspec

from api.constructors import base_path, derives_from, generated, is_field, is_true, lineage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from api.public import Distribution

ENUMS: Final = ("enum.Enum", "enum.IntEnum", "enum.StrEnum", "enum.Flag", "enum.IntFlag")
PROTOCOL: Final = "typing.Protocol"

_UNTOLD: Final = frozenset(
    (
        "__all__", "__copy__", "__deepcopy__", "__del__", "__delattr__", "__dir__", "__eq__", "__getattr__",
        "__getstate__", "__hash__", "__init_subclass__", "__match_args__", "__new__", "__post_init__",
        "__reduce__", "__repr__", "__rich_repr__", "__setattr__", "__setstate__", "__slots__", "__str__",
    )
)  # fmt: skip
"""Methods of Python's own that say nothing about how a class is used."""
_CALLABLES: Final = {"classmethod": "classmethod", "staticmethod": "staticmethod"}
_WRAPPERS: Final = {
    "contextlib.contextmanager": "contextmanager",
    "contextlib.asynccontextmanager": "asynccontextmanager",
    "pytest.fixture": "fixture",
}


class Entry(msgspec.Struct, frozen=True):
    """One public name. kind: a word or more, as "class" or "async def". shape: what follows the path in its line."""

    kind: str
    path: str
    shape: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.path}{self.shape}"


Surface = dict[str, Entry]
"""Public names by path."""


class SurfaceError(Exception):
    """The list of what is public and the source do not fit; the text says where."""


def read(distribution: Distribution, root: Path) -> Surface:
    """The public names of `distribution`. Raises SurfaceError when one that is listed does not exist."""
    loader = griffe.GriffeLoader(search_paths=[root / distribution.source], allow_inspection=False, store_source=False)
    loader.finder = _Finder(loader.finder.search_paths, distribution.unread)
    loader.load(distribution.package)
    return _Reading(loader, distribution).surface


class _Finder(griffe.ModuleFinder):
    """Passes over what need not be read: most of the time goes into parsing."""

    def __init__(self, search_paths: Sequence[Path], unread: Collection[str]) -> None:
        super().__init__(search_paths)
        self._unread = unread

    def submodules(self, module: griffe.Module) -> list[tuple[tuple[str, ...], Path]]:
        return [(parts, path) for parts, path in super().submodules(module) if parts[0] not in self._unread]


class _Reading:
    """One pass over one distribution."""

    def __init__(self, loader: griffe.GriffeLoader, distribution: Distribution) -> None:
        self.surface: Surface = {}
        self._loader = loader
        self._hidden = distribution.hidden
        self._homes: dict[str, str] = {}  # public path, by the path where it is defined
        self._made_by_us = distribution.made_by_us
        self._hiding: set[tuple[str, str]] = set()
        # The shortest path is the one to use; further ones are told as names of it.
        listed = [
            (module, name)
            for module in sorted(distribution.modules, key=lambda path: (path.count("."), path))
            for name in self._names(module, distribution.modules[module])
        ]
        found = [(f"{module}.{name}", self._target(module, name)) for module, name in listed]
        for path, target in found:
            if not isinstance(target, str):
                self._homes.setdefault(target.path, path)
        for path, target in found:
            self._enter(path, target)
        idle = {(owner, name) for owner, names in self._hidden.items() for name in names} - self._hiding
        if idle:
            raise SurfaceError(f"api/public.py hides what does not exist: {', '.join(map('.'.join, sorted(idle)))}")

    def _names(self, path: str, names: tuple[str, ...] | None) -> list[str]:
        try:
            module = self._loader.modules_collection[path]
        except KeyError:
            raise SurfaceError(f"api/public.py: there is no module {path}") from None
        if names is None and module.exports is None:
            raise SurfaceError(f"api/public.py: {path} has no __all__; give it one, or list its public names")
        found = [str(name) for name in module.exports or ()] if names is None else list(names)
        missing = [name for name in found if name not in module.members]
        if missing:
            raise SurfaceError(f"{path} is said to have {', '.join(missing)}, and has not; see api/public.py")
        return found

    def _target(self, module: str, name: str) -> griffe.Object | str:
        """What the name stands for, or the path of what is not ours."""
        member = self._loader.modules_collection[f"{module}.{name}"]
        try:
            return member.final_target if isinstance(member, griffe.Alias) else member
        except griffe.AliasResolutionError as error:
            return self._foreign(error.alias.target_path, f"{module}.{name}")

    def _foreign(self, path: str, where: str) -> str:
        """`path`, if it is not ours. Raises SurfaceError when it is, and was not found."""
        if self._is_ours(path):
            raise SurfaceError(f"{where} needs {path}, which was not read; see `unread` in api/public.py")
        return path

    def _enter(self, path: str, target: griffe.Object | str) -> None:
        home = target if isinstance(target, str) else self._homes[target.path]
        if home != path:
            self._add("name", path, f" = {home}")
        elif isinstance(target, griffe.Class):
            self._class(path, target)
        elif isinstance(target, griffe.Function):
            self._function(path, target)
        elif isinstance(target, griffe.Attribute):
            self._attribute(path, target, value=target.name != "__version__")
        else:
            raise SurfaceError(f"{path} is a module or a type statement, which cannot be recorded; see api/public.py")

    def _add(self, kind: str, path: str, shape: str = "") -> None:
        self.surface[path] = Entry(kind, path, re.sub(r"\s+", " ", shape))

    def _class(self, path: str, class_: griffe.Class) -> None:
        words = [*self._bases(class_), *(["frozen"] if _is_frozen(class_) else [])]
        self._add("class", path, f"({', '.join(words)})" if words else "")
        made = generated(class_)
        ours = any(fnmatchcase(class_.path, pattern) for pattern in self._made_by_us)
        if made is not None and ours:
            names = [field.name for field in made if field.kind is not griffe.ParameterKind.keyword_only]
            self._add("order", f"{path}.__match_args__", f" = ({', '.join(names)})")
        elif made is not None:  # types and defaults stand with the fields
            bare = [griffe.Parameter(one.name, kind=one.kind, default=None if one.required else "...") for one in made]
            self._add("def", f"{path}.__init__", signature(bare, "None"))
        for name, member in sorted(class_.all_members.items()):
            target = member.final_target if isinstance(member, griffe.Alias) else member
            if (
                not self._is_told(path, name, target)
                or f"{path}.{name}" in self.surface
                or (ours and name == "__init__")
            ):
                continue
            if isinstance(target, griffe.Class):
                self._class(f"{path}.{name}", target)
            elif isinstance(target, griffe.Function):
                self._function(f"{path}.{name}", target, owner=class_)
            elif isinstance(target, griffe.Attribute):
                self._member(f"{path}.{name}", target, class_)

    def _bases(self, class_: griffe.Class) -> Iterator[str]:
        """Its bases, with those that are ours and not public replaced by theirs."""
        seen: list[str] = []
        for parent in lineage(class_):
            public = self._homes.get(parent.path)
            if parent is not class_ and public is not None and public not in seen:
                seen.append(public)
            for base in parent.bases:
                name = base_path(base)
                if not self._was_read(name) and name not in (*seen, "typing.Generic"):
                    seen.append(self._foreign(name, class_.path))
        yield from seen

    def _was_read(self, path: str) -> bool:
        try:
            self._loader.modules_collection[path]
        except KeyError:
            return False
        return True

    def _is_ours(self, path: str) -> bool:
        return path.partition(".")[0] in self._loader.modules_collection.members

    def _is_told(self, path: str, name: str, member: griffe.Object) -> bool:
        for owner in (path, member.parent.path if member.parent is not None else ""):
            if name in self._hidden.get(owner, ()):
                self._hiding.add((owner, name))
                return False
        if name.startswith("__") and name.endswith("__"):
            return isinstance(member, griffe.Function) and name not in _UNTOLD
        return not name.startswith("_")

    def _function(self, path: str, function: griffe.Function, owner: griffe.Class | None = None) -> None:
        wrapped = [_WRAPPERS[found.callable_path] for found in function.decorators if found.callable_path in _WRAPPERS]
        kinds = [word for label, word in _CALLABLES.items() if label in function.labels]
        if "fixture" in wrapped:  # pytest gives it what it asks for
            self._add("fixture", path, _returns(function.returns))
            return
        words = [*wrapped, *kinds, *(["async"] if "async" in function.labels else []), "def"]
        bound = owner is not None and "staticmethod" not in function.labels
        parameters = list(function.parameters)[1 if bound else 0 :]
        self._add(" ".join(words), path, signature(parameters, function.returns))

    def _member(self, path: str, member: griffe.Attribute, owner: griffe.Class) -> None:
        if "property" in member.labels:
            kind = "writable property" if "writable" in member.labels else "property"
            self._add(kind, path, _typed(member))
        elif any(derives_from(owner, enum) for enum in ENUMS) and member.annotation is None:
            self._add("member", path, f" = {self._constant(member)}")
        elif is_field(member) and _has_fields(owner):
            defaults = {field.name: field.default for field in generated(owner) or () if not field.required}
            shown = f" = {defaults[member.name]}" if member.name in defaults else ""
            self._add("field", path, _typed(member) + shown)
        else:
            self._attribute(path, member, value="class-attribute" in member.labels)

    def _constant(self, member: griffe.Attribute) -> object:
        """The value of a member of an enumeration; that of a constant of its module where it is named after one."""
        name = str(member.value).rpartition(".")[2]  # griffe takes it for the member's own name
        behind = member.module.members.get(name)
        return behind.value if isinstance(behind, griffe.Attribute) else member.value

    def _attribute(self, path: str, attribute: griffe.Attribute, *, value: bool) -> None:
        shown = f" = {attribute.value}" if value and attribute.value is not None else ""
        self._add("attribute", path, _typed(attribute) + shown)


def signature(parameters: list[griffe.Parameter], returns: object) -> str:
    """Parameters and return type, as Python writes them."""
    words: list[str] = []
    kinds = griffe.ParameterKind
    before: griffe.ParameterKind | None = None
    for parameter in parameters:
        if before is kinds.positional_only and parameter.kind is not kinds.positional_only:
            words.append("/")
        if parameter.kind is kinds.keyword_only and before not in (kinds.keyword_only, kinds.var_positional):
            words.append("*")
        words.append(_parameter(parameter))
        before = parameter.kind
    if before is kinds.positional_only:
        words.append("/")
    return f"({', '.join(words)}){_returns(returns)}"


def _parameter(parameter: griffe.Parameter) -> str:
    kinds = griffe.ParameterKind
    stars = "*" if parameter.kind is kinds.var_positional else "**" if parameter.kind is kinds.var_keyword else ""
    typed = "" if parameter.annotation is None else f": {parameter.annotation}"
    if stars or parameter.default is None:
        return f"{stars}{parameter.name}{typed}"
    return f"{parameter.name}{typed} = {parameter.default}" if typed else f"{parameter.name}={parameter.default}"


def _returns(returns: object) -> str:
    return "" if returns is None else f" -> {returns}"


def _typed(attribute: griffe.Attribute) -> str:
    return "" if attribute.annotation is None else f": {attribute.annotation}"


def _has_fields(class_: griffe.Class) -> bool:
    return generated(class_) is not None or "dataclass" in class_.labels or derives_from(class_, "typing.TypedDict")


def _is_frozen(class_: griffe.Class) -> bool:
    decorated = any("frozen=True" in str(found.value) for found in class_.decorators)
    return decorated or is_true(class_, "frozen")
