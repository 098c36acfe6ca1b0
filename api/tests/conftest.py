"""A repository with one distribution of one module, and what the guard says when that module changes."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from api.public import Distribution
from api.surface import Surface, read

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = Distribution(name="small", package="small", source="src", modules={"small": None})


@pytest.fixture
def surface_of(tmp_path: Path) -> Callable[..., Surface]:
    """Reads the public names of modules: `surface_of(source_of_small, inner=source_of_small_inner)`."""
    folders = iter(range(100))

    def surface(source: str, distribution: Distribution = SMALL, **modules: str) -> Surface:
        root = tmp_path / str(next(folders))
        package = root / distribution.source / distribution.package
        package.mkdir(parents=True)
        for name, text in {"__init__": source, **modules}.items():
            (package / f"{name}.py").write_text(dedent(text))
        return read(distribution, root)

    return surface
