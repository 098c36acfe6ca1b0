"""Checks that options share. Not here: any option."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from msgtrans.errors import ConfigurationError

if TYPE_CHECKING:
    import msgspec

LARGEST: Final = sys.float_info.max  # beyond it whole numbers are no times any more


def positive(config: msgspec.Struct, *fields: str, none: bool = False) -> None:
    """Refuse with ConfigurationError a field that is no finite positive number; with `none`, None may stand for it."""
    for field in fields:
        value = getattr(config, field)
        if none and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
            raise ConfigurationError(field, f"is {value!r}; use a positive number")


def whole(config: msgspec.Struct, *fields: str, least: int = 1, most: int | None = None, none: bool = False) -> None:
    """Refuse with ConfigurationError a field that is no whole number from `least` to `most`."""
    for field in fields:
        value = getattr(config, field)
        if none and value is None:
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or value < least
            or (most is not None and value > most)
        ):
            upward = f"from {least} up" if most is None else f"from {least} to {most}"
            raise ConfigurationError(field, f"is {value!r}; use a whole number {upward}")
