"""What a version number allows, by semantic versioning. Pure."""

from __future__ import annotations

import re
from typing import Final

_FIRST: Final = re.compile(r"^(\d+)\.(\d+)\.(\d+)")
_WRITTEN: Final = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


def numbers(version: str) -> tuple[int, int, int]:
    """Major, minor and patch. Raises ValueError for what does not begin with them."""
    found = _FIRST.match(version)
    if found is None:
        raise ValueError(f"{version!r} is no version; write MAJOR.MINOR.PATCH")
    return int(found[1]), int(found[2]), int(found[3])


def written(source: str) -> str:
    """The version that a `_version.py` tells. Raises ValueError when it tells none."""
    found = _WRITTEN.search(source)
    if found is None:
        raise ValueError('there is no line `__version__ = "MAJOR.MINOR.PATCH"`')
    return found[1]


def next_breaking(promised: str) -> str:
    """The first version that may break what `promised` promises: the next minor one before 1.0, then the next major."""
    major, minor, _ = numbers(promised)
    return f"{major + 1}.0.0" if major else f"0.{minor + 1}.0"


def next_adding(promised: str) -> str:
    """The first version that may add to what `promised` promises: the next patch before 1.0, then the next minor."""
    major, minor, patch = numbers(promised)
    return f"{major}.{minor + 1}.0" if major else f"0.{minor}.{patch + 1}"


def reaches(version: str, least: str) -> bool:
    """Whether `version` is `least` or later."""
    return numbers(version) >= numbers(least)


def is_released(version: str, changelog: str) -> bool:
    """Whether the changelog has a section of that version."""
    return re.search(rf"^## \[?{re.escape(version)}\]?(\s|$)", changelog, re.MULTILINE) is not None
