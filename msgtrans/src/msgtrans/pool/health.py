"""What checks whether a pooled connection is of use: what it may be, and what it may give.

Not here: when it is called, and what becomes of the connection (`pool.upkeep`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from msgtrans.client import TransportClient
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import shown

HealthCheck: TypeAlias = Callable[[TransportClient], Awaitable[object]]


def check_health_check(check: object) -> None:
    """Refuse with ConfigurationError what is certainly no function whose answer can be awaited."""
    inner: Any = check
    while isinstance(inner, functools.partial):
        inner = inner.func
    never = (
        not callable(inner)
        or isinstance(inner, type)
        or inspect.isbuiltin(inner)
        or inspect.isgeneratorfunction(inner)
        or inspect.isasyncgenfunction(inner)
    )
    if never:
        raise ConfigurationError("health_check", f"is {shown('health_check', check)}; use an async function")


def awaitable(answer: Awaitable[object]) -> Awaitable[object]:
    """What a health check gave. Raises ConfigurationError when that cannot be awaited."""
    if not inspect.isawaitable(answer):
        raise ConfigurationError("health_check", f"gave a {type(answer).__name__}; use an async function")
    return answer
