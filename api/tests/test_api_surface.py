"""What is read out of sources, and that it is what Python makes of them."""

from __future__ import annotations

import ast
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec
import pytest

from api.__main__ import ROOT
from api.constructors import STRUCT
from api.public import DISTRIBUTIONS, Distribution
from api.surface import SurfaceError, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.surface import Surface

    SurfaceOf = Callable[..., Surface]


def lines(surface: Surface) -> list[str]:
    return [str(surface[path]) for path in sorted(surface)]


def test_functions_stand_with_their_signature(surface_of: SurfaceOf) -> None:
    """A function is one line with parameters, defaults and return type, and says whether it is async."""
    surface = surface_of("""
        __all__ = ["ask", "tell"]
        async def ask(payload: bytes, /, biz_type: int = 0, *, timeout: float | None = None) -> bytes: ...
        def tell(*payloads: bytes, **options: object) -> None: ...
        def hidden() -> None: ...
    """)
    assert [
        "async def small.ask(payload: bytes, /, biz_type: int = 0, *, timeout: float | None = None) -> bytes",
        "def small.tell(*payloads: bytes, **options: object) -> None",
    ] == lines(surface)


def test_members_of_private_bases_are_the_class_s_own(surface_of: SurfaceOf) -> None:
    """What a public class has from a base that is not public stands with it, and names with an underscore do not."""
    surface = surface_of("""
        __all__ = ["Server"]
        class Endpoint:
            def __init__(self, name: str) -> None:
                self.name = name
                self._open = 0
            @property
            def sessions(self) -> list[str]: ...
            @classmethod
            def made(cls) -> "Server": ...
            @staticmethod
            def count() -> int: ...
            def _tick(self) -> None: ...
        class Server(Endpoint, dict): ...
    """)
    assert [
        "class small.Server(dict)",
        "def small.Server.__init__(name: str) -> None",
        "staticmethod def small.Server.count() -> int",
        "classmethod def small.Server.made() -> Server",
        "attribute small.Server.name",
        "property small.Server.sessions: list[str]",
    ] == lines(surface)


def test_structs_have_constructors(surface_of: SurfaceOf) -> None:
    """The fields of a Struct, those of its bases first and keyword-only ones last, are attributes and parameters."""
    surface = surface_of("""
        import msgspec
        from typing import ClassVar
        __all__ = ["Config"]
        class Base(msgspec.Struct, kw_only=True, frozen=True):
            name: str
            kind: ClassVar[str] = "base"
        class Config(Base, frozen=True):
            port: int
            hosts: list[str] = msgspec.field(default_factory=list)
            ttl: float = msgspec.field(default=2.5, name="TTL")
    """)
    assert [
        "class small.Config(msgspec.Struct, frozen)",
        "def small.Config.__init__(port, hosts=..., ttl=..., *, name) -> None",
        "field small.Config.hosts: list[str] = list()",
        "attribute small.Config.kind: str = 'base'",
        "field small.Config.name: str",
        "field small.Config.port: int",
        "field small.Config.ttl: float = 2.5",
    ] == lines(surface)


def test_dataclasses_and_named_tuples_have_constructors(surface_of: SurfaceOf) -> None:
    """Their fields are recorded as those of Structs are."""
    surface = surface_of("""
        from dataclasses import dataclass
        from typing import NamedTuple
        __all__ = ["Address", "Status"]
        class Address(NamedTuple):
            host: str
            port: int = 80
        @dataclass(frozen=True)
        class Status:
            node: str
            leases: int = 0
    """)
    assert [
        "class small.Address(typing.NamedTuple)",
        "def small.Address.__init__(host, port=...) -> None",
        "field small.Address.host: str",
        "field small.Address.port: int = 80",
        "class small.Status(frozen)",
        "def small.Status.__init__(node, leases=...) -> None",
        "field small.Status.leases: int = 0",
        "field small.Status.node: str",
    ] == lines(surface)


def test_what_we_make_tells_the_order_of_its_fields(surface_of: SurfaceOf) -> None:
    """Of a class that users never make, the order that patterns rely on is public, and not how it is made."""
    distribution = Distribution(
        name="small", package="small", source="src", modules={"small": None}, made_by_us=("small.Closed",)
    )
    surface = surface_of(
        """
        import msgspec
        __all__ = ["Closed"]
        class Closed(msgspec.Struct):
            session: int
            reason: str
        """,
        distribution,
    )
    assert [
        "class small.Closed(msgspec.Struct)",
        "order small.Closed.__match_args__ = (session, reason)",
        "field small.Closed.reason: str",
        "field small.Closed.session: int",
    ] == lines(surface)


def test_hidden_members_are_left_out(surface_of: SurfaceOf) -> None:
    """Members that are for our own parts are no promise, wherever they are inherited."""
    distribution = Distribution(
        name="small", package="small", source="src", modules={"small": None}, hidden={"small.Base": ("spawn",)}
    )
    surface = surface_of(
        """
        __all__ = ["Server"]
        class Base:
            def spawn(self) -> None: ...
        class Server(Base):
            def stop(self) -> None: ...
        """,
        distribution,
    )
    assert ["class small.Server", "def small.Server.stop() -> None"] == lines(surface)


def test_what_is_hidden_has_to_exist(surface_of: SurfaceOf) -> None:
    """A member that is listed as hidden and does not exist any more is told."""
    distribution = Distribution(
        name="small", package="small", source="src", modules={"small": None}, hidden={"small.C": ("gone",)}
    )
    with pytest.raises(SurfaceError, match=r"hides what does not exist: small\.C\.gone"):
        surface_of("__all__ = ['C']\nclass C: ...", distribution)


def test_enumerations_and_constants(surface_of: SurfaceOf) -> None:
    """Members of enumerations stand with the values behind them, constants with theirs."""
    surface = surface_of("""
        from enum import IntEnum
        __all__ = ["Kind", "LIMIT"]
        ONE_WAY = 0
        class Kind(IntEnum):
            ONE_WAY = ONE_WAY
            REQUEST = 1
        LIMIT: int = 8192
    """)
    assert [
        "class small.Kind(enum.IntEnum)",
        "member small.Kind.ONE_WAY = 0",
        "member small.Kind.REQUEST = 1",
        "attribute small.LIMIT: int = 8192",
    ] == lines(surface)


def test_further_names_point_to_the_shortest(surface_of: SurfaceOf) -> None:
    """A thing that several modules export is told once, under its shortest path; the others are names of it."""
    distribution = Distribution(
        name="small", package="small", source="src", modules={"small.inner": ("Config",), "small": None}
    )
    surface = surface_of(
        "from small.inner import Config\nfrom json import loads\n__all__ = ['Config', 'loads']",
        distribution,
        inner="class Config: ...",
    )
    assert [
        "class small.Config",
        "name small.inner.Config = small.Config",
        "name small.loads = json.loads",
    ] == lines(surface)


def test_names_under_type_checking_are_read(surface_of: SurfaceOf) -> None:
    """A package that loads its words lazily has them nevertheless."""
    surface = surface_of(
        """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from small.inner import Client
        __all__ = ["Client"]
        """,
        inner="class Client: ...",
    )
    assert ["class small.Client"] == lines(surface)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("X = 1", "small has no __all__"),
        ("__all__ = ['Gone']", "small is said to have Gone, and has not"),
    ],
)
def test_what_is_listed_has_to_exist(surface_of: SurfaceOf, source: str, sentence: str) -> None:
    """A public module without `__all__`, or with a name in it that does not exist, is told."""
    with pytest.raises(SurfaceError, match=sentence):
        surface_of(source)


def constructors() -> list[tuple[str, str]]:
    """Paths of public classes whose constructors are recorded, and of what made_by_us leaves out."""
    found = []
    for distribution in DISTRIBUTIONS:
        surface = read(distribution, ROOT)
        for path, entry in surface.items():
            if entry.kind == "class" and STRUCT in entry.shape:
                generated = surface.get(f"{path}.__init__") or surface[f"{path}.__match_args__"]
                found.append((path, generated.shape))
    return found


def test_recorded_constructors_are_those_that_python_has() -> None:
    """Names, kinds, order and presence of a default of each Struct's parameters are those that msgspec made."""
    for path, shape in constructors():
        module, _, name = path.rpartition(".")
        made = getattr(import_module(module), name)
        assert issubclass(made, msgspec.Struct)
        if shape.startswith(" = "):
            assert f" = ({', '.join(made.__match_args__)})" == shape, path
            continue
        defaults = made.__struct_defaults__
        given = dict(zip(reversed(made.__struct_fields__), reversed(defaults), strict=False))
        expected = [
            (field, field not in made.__match_args__, given.get(field, msgspec.NODEFAULT) is msgspec.NODEFAULT)
            for field in made.__struct_fields__
        ]
        assert expected == parameters(shape), path


def parameters(shape: str) -> list[tuple[str, bool, bool]]:
    """Name, whether keyword-only, and whether required, of each parameter of a recorded signature."""
    function = ast.parse(f"def found{shape}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    required = len(function.args.args) - len(function.args.defaults)
    positional = [(each.arg, False, place < required) for place, each in enumerate(function.args.args)]
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return [*positional, *((each.arg, True, default is None) for each, default in keywords)]
