"""Which changes break code that was right before."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from api.changes import compare
from api.public import Distribution

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.surface import Surface

    SurfaceOf = Callable[..., Surface]

STRUCT = "import msgspec\n__all__ = ['C']\nclass C(msgspec.Struct{}):\n"
FUNCTION = "__all__ = ['f']\n"
CLASS = "__all__ = ['C']\nclass C:\n"
ENUM = "from enum import Enum\n__all__ = ['C']\nclass C(Enum):\n"
PROTOCOL = "from typing import Protocol\n__all__ = ['C']\nclass C(Protocol):\n"

BREAKING = [
    ("a name that is gone", "__all__ = ['f', 'g']\ndef f(): ...\ndef g(): ...", "__all__ = ['f']\ndef f(): ...",
     "small.g: is gone"),
    ("a method that is gone", CLASS + "  def a(self): ...\n  def b(self): ...", CLASS + "  def a(self): ...",
     "small.C.b: is gone"),
    ("an attribute that is gone", CLASS + "  a: int = 1\n  b: int = 2", CLASS + "  a: int = 1", "small.C.b: is gone"),
    ("a class that became a function", CLASS + "  a = 1", "__all__ = ['C']\ndef C(): ...",
     "small.C: is now: def, and was: class"),
    ("a method that became a property", CLASS + "  def a(self): ...", CLASS + "  @property\n  def a(self): ...",
     "small.C.a: is now: property, and was: def"),
    ("a method that became async", CLASS + "  def a(self): ...", CLASS + "  async def a(self): ...",
     "small.C.a: is now: async def, and was: def"),
    ("an attribute that can no longer be set", CLASS + "  a: int = 1", CLASS + "  @property\n  def a(self) -> int: ...",
     "small.C.a: is now: property, and was: attribute; it can no longer be set"),
    ("a parameter that is gone", FUNCTION + "def f(a, b=1): ...", FUNCTION + "def f(a): ...",
     "small.f: the parameter b is gone"),
    ("a parameter with another name", FUNCTION + "def f(a, *, b=1): ...", FUNCTION + "def f(a, *, c=1): ...",
     "small.f: the parameter b is gone"),
    ("a parameter that became required", FUNCTION + "def f(a=1): ...", FUNCTION + "def f(a): ...",
     "small.f: the parameter a is required now"),
    ("a new parameter that is required", FUNCTION + "def f(a): ...", FUNCTION + "def f(a, b): ...",
     "small.f: the new parameter b is required"),
    ("a parameter at another position", FUNCTION + "def f(a, b): ...", FUNCTION + "def f(b, a): ...",
     "small.f: the parameter a has another position"),
    ("a parameter that became keyword-only", FUNCTION + "def f(a): ...", FUNCTION + "def f(*, a): ...",
     "small.f: the parameter a is keyword-only now, and was positional or keyword"),
    ("a base that is gone", "__all__ = ['C']\nclass C(ValueError): ...", "__all__ = ['C']\nclass C(Exception): ...",
     "small.C: is no ValueError any more"),
    ("a constructor that asks for more", CLASS + "  a = 1", CLASS + "  def __init__(self, b): ...\n  a = 1",
     "small.C.__init__: the new parameter b is required"),
    ("another value of a member", ENUM + "  A = 1", ENUM + "  A = 2", "small.C.A: is 2 now, and was 1"),
    ("a field that is gone", STRUCT.format("") + "  a: int\n  b: int = 1", STRUCT.format("") + "  a: int",
     "small.C.b: is gone"),
    ("a field that became required", STRUCT.format("") + "  a: int = 1", STRUCT.format("") + "  a: int",
     "small.C.__init__: the parameter a is required now"),
    ("a new field that is required", STRUCT.format(", kw_only=True") + "  a: int",
     STRUCT.format(", kw_only=True") + "  a: int\n  b: int", "small.C.__init__: the new parameter b is required"),
    ("fields in another order", STRUCT.format("") + "  a: int\n  b: int", STRUCT.format("") + "  b: int\n  a: int",
     "small.C.__init__: the parameter a has another position"),
    ("fields that became keyword-only", STRUCT.format("") + "  a: int", STRUCT.format(", kw_only=True") + "  a: int",
     "small.C.__init__: the parameter a is keyword-only now, and was positional or keyword"),
    ("a Struct that became immutable", STRUCT.format("") + "  a: int", STRUCT.format(", frozen=True") + "  a: int",
     "small.C: can no longer be changed in place"),
    ("a Struct that became mutable", STRUCT.format(", frozen=True") + "  a: int", STRUCT.format("") + "  a: int",
     "small.C: can be changed now, and so is no longer hashable"),
    ("a new method of a protocol", PROTOCOL + "  def a(self): ...", PROTOCOL + "  def a(self): ...\n  def b(self): ...",
     "small.C.b: is new, and whoever implements the protocol does not have it"),
    ("a new parameter of a protocol's method", PROTOCOL + "  def a(self): ...", PROTOCOL + "  def a(self, b=1): ...",
     "small.C.a: the parameter b is new, and implementations of the protocol do not take it"),
]  # fmt: skip

HARMLESS = [
    ("a new name", "__all__ = ['f']\ndef f(): ...", "__all__ = ['f', 'g']\ndef f(): ...\ndef g(): ...",
     "small.g: is new"),
    ("a new method", CLASS + "  a = 1", CLASS + "  a = 1\n  def b(self): ...", "small.C.b: is new"),
    ("a new parameter with a default", FUNCTION + "def f(a): ...", FUNCTION + "def f(a, b=1): ...",
     "small.f: the parameter b is new"),
    ("another default", FUNCTION + "def f(a=1): ...", FUNCTION + "def f(a=2): ...",
     "small.f: the default of a is 2 now, and was 1"),
    ("another return type", FUNCTION + "def f() -> int: ...", FUNCTION + "def f() -> bool: ...",
     "small.f: returns bool now, and did int"),
    ("a function to await that became async", FUNCTION + "def f() -> Awaitable[int]: ...",
     FUNCTION + "async def f() -> int: ...", "small.f: is now: async def, and was: def"),
    ("another type of an attribute", CLASS + "  a: int", CLASS + "  a: str",
     "small.C.a: is `str` now, and was `int`"),
    ("another default of a field", STRUCT.format("") + "  a: int = 1", STRUCT.format("") + "  a: int = 2",
     "small.C.a: is `int = 2` now, and was `int = 1`"),
    ("a new base", "__all__ = ['C']\nclass C: ...", "__all__ = ['C']\nclass C(ValueError): ...",
     "small.C: is a ValueError now"),
    ("a new member", ENUM + "  A = 1", ENUM + "  A = 1\n  B = 2", "small.C.B: is new"),
    ("a new field with a default", STRUCT.format("") + "  a: int", STRUCT.format("") + "  a: int\n  b: int = 1",
     "small.C.b: is new"),
    ("a property that became an attribute", CLASS + "  @property\n  def a(self) -> int: ...", CLASS + "  a: int",
     "small.C.a: is now: attribute, and was: property"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), [case[1:] for case in BREAKING], ids=[case[0] for case in BREAKING])
def test_breaking(surface_of: SurfaceOf, old: str, new: str, said: str) -> None:
    """Each of these changes is told as one that breaks something, in words that name it."""
    changes = compare(surface_of(dedent(old)), surface_of(dedent(new)))
    assert said in [str(change) for change in changes if change.breaking]


@pytest.mark.parametrize(("old", "new", "said"), [case[1:] for case in HARMLESS], ids=[case[0] for case in HARMLESS])
def test_harmless(surface_of: SurfaceOf, old: str, new: str, said: str) -> None:
    """Each of these changes is told, and breaks nothing."""
    changes = compare(surface_of(old), surface_of(new))
    assert [] == [str(change) for change in changes if change.breaking]
    assert said in [str(change) for change in changes]


def test_nothing_changes_without_a_difference(surface_of: SurfaceOf) -> None:
    """Comments, docstrings, private names and the order of definitions are no changes."""
    old = surface_of("__all__ = ['f', 'C']\ndef f(a: int) -> int: ...\nclass C:\n  def m(self): ...")
    new = surface_of(
        "__all__ = ['C', 'f']\nclass C:\n  def m(self):\n    '''More.'''\n\n# new\ndef f(a: int)-> int: ..."
    )
    assert [] == compare(old, new)


def test_a_class_that_moves_and_keeps_its_old_name_breaks_nothing(surface_of: SurfaceOf) -> None:
    """A class that gets a second, shorter name is the same class under the first."""
    old = Distribution(name="small", package="small", source="src", modules={"small.inner": ("C",)})
    new = Distribution(name="small", package="small", source="src", modules={"small.inner": ("C",), "small": None})
    inner = "class C:\n  def m(self): ..."
    before = surface_of("", old, inner=inner)
    after = surface_of("from small.inner import C\n__all__ = ['C']", new, inner=inner)
    assert [("small.C", False)] == [(change.path, change.breaking) for change in compare(before, after)]
    assert [("small.C", True)] == [(change.path, change.breaking) for change in compare(after, before)]


def test_a_change_of_a_class_with_two_names_is_told_once(surface_of: SurfaceOf) -> None:
    """What happens to a class is told under its first name only."""
    both = Distribution(name="small", package="small", source="src", modules={"small.inner": ("C",), "small": None})
    package = "from small.inner import C\n__all__ = ['C']"
    before = surface_of(package, both, inner="class C:\n  def m(self): ...\n  def n(self): ...")
    after = surface_of(package, both, inner="class C:\n  def m(self): ...")
    assert ["small.C.n: is gone"] == [str(change) for change in compare(before, after)]


def test_fields_at_the_end_keep_patterns(surface_of: SurfaceOf) -> None:
    """Of what only we make, a new field at the end breaks nothing, and one in front breaks positional patterns."""
    ours = Distribution(name="small", package="small", source="src", modules={"small": None}, made_by_us=("small.C",))
    before = surface_of(STRUCT.format("") + "  a: int\n  b: int", ours)
    after = surface_of(STRUCT.format("") + "  a: int\n  b: int\n  c: int", ours)
    assert [] == [change for change in compare(before, after) if change.breaking]
    other = surface_of(STRUCT.format("") + "  c: int\n  a: int\n  b: int", ours)
    said = "small.C.__match_args__: positional patterns match (c, a, b) now, and did (a, b)"
    assert [said] == [str(change) for change in compare(before, other) if change.breaking]
