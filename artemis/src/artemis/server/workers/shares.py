"""Each worker's part of the limits that hold for a machine: connections, sessions, and requests in a time.

Not here: the limits that need no parts, as every worker has all instances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.server.rate_limit import LIMITERS

if TYPE_CHECKING:
    from artemis.server.config import ServeConfig
    from artemis.server.workers.place import Place

_SHARED = (
    "max_connections",
    "max_ws_sessions",
    "rate_limit_per_caller",
    *(f"rate_limit_{each.name}" for each in LIMITERS),
)


def shared_out(config: ServeConfig, place: Place) -> ServeConfig:
    """Return the options with the parts of one worker in the place of what the machine may have."""
    parts: dict[str, object] = {name: place.share(getattr(config, name)) for name in _SHARED}
    parts["rate_limit_map"] = {name: place.share(limit) for name, limit in config.rate_limit_map.items()}
    return config.model_copy(update=parts)
