"""How a connection is set up for the machine it runs on (specification 4.3, 5.7).

In the original a connection's buffer size is that of its event channel, and that is what it is here: the messages that
an event stream holds, `SessionConfig.event_queue_size`.
Not here: finding out about the machine, and tuning while it runs (`msgtrans.autotune`, `msgtrans.tuning`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import whole
from msgtrans.config.performance import PerformanceConfig
from msgtrans.config.pool import SmartPoolConfig
from msgtrans.config.session import SessionConfig
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types

if TYPE_CHECKING:
    from collections.abc import Mapping

BUFFER_SIZE: Final = "MSGTRANS_BUFFER_SIZE"
CONNECTION_TYPE: Final = "MSGTRANS_CONNECTION_TYPE"
LEAST: Final = ((2, 1000), (4, 1500), (8, 2000))
"""Up to so many cores, a buffer has at least so many places."""
LEAST_BEYOND: Final = 2500
logger = logging.getLogger("msgtrans.config")


def optimize_buffer_size(base: int, cores: int | None) -> int:
    """`base`, or what so many cores ask for if that is more; None, unknown, counts as one core (specification 5.7)."""
    for most, least in LEAST:
        if (cores or 1) <= most:
            return max(base, least)
    return max(base, LEAST_BEYOND)


class ConnectionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of connections that come as a whole (specification 4.3). For `TransportServer` and `TransportClient`.

    buffer_size: messages that an event stream holds, from 1 up; default 1500. metrics: a `Monitor` watches, as
    `endpoint.monitor`; default on. auto_optimize: buffer_size is made what the processors ask for, if that is more, and
    batches and buffers are tuned while it runs, as `endpoint.tuning` tells; default on.
    """

    buffer_size: int = 1500
    metrics: bool = True
    auto_optimize: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        whole(self, "buffer_size")

    @classmethod
    def high_performance(cls) -> Self:
        """Large, and as it is."""
        return cls(buffer_size=2500, auto_optimize=False)

    @classmethod
    def auto_optimized(cls) -> Self:
        """Small, and tuned."""
        return cls(buffer_size=1000)

    @classmethod
    def silent(cls) -> Self:
        """Small, as it is, and watched by nobody."""
        return cls(buffer_size=1000, metrics=False, auto_optimize=False)

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        """What `environment`, as `os.environ`, says; the default without a word of it.

        MSGTRANS_BUFFER_SIZE: a number, as `with_buffer_size`; it wins. MSGTRANS_CONNECTION_TYPE: "auto" or
        "traditional" for auto_optimized, "high_performance"; anything else is the default, with a warning in the log.
        Raises ConfigurationError for a number that is none.
        """
        size = environment.get(BUFFER_SIZE, "").strip()
        if size:
            if not (size.isascii() and size.isdigit() and int(size[:20])):
                raise ConfigurationError(BUFFER_SIZE, f"is {size[:50]!r}; use a whole number from 1 up, or unset it")
            return cls().with_buffer_size(int(size[:20]))
        kind = environment.get(CONNECTION_TYPE, "").strip()
        if kind in {"auto", "traditional"}:
            return cls.auto_optimized()
        if kind == "high_performance":
            return cls.high_performance()
        if kind:
            logger.warning("%s is %r, which is unknown; use auto or high_performance", CONNECTION_TYPE, kind[:50])
        return cls()

    def with_buffer_size(self, buffer_size: int) -> Self:
        """A copy with exactly that size, which nothing optimises any more."""
        return self.replace(buffer_size=buffer_size, auto_optimize=False)

    def session_config(self, base: SessionConfig, cores: int | None) -> SessionConfig:
        """`base` with the buffer that this asks for on so many cores."""
        size = optimize_buffer_size(self.buffer_size, cores) if self.auto_optimize else self.buffer_size
        return base.replace(event_queue_size=size)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


class ExpertConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What experts set, for all of a program (specification 4.3): each takes the part that concerns it.

    smart_pool: of a `ConnectionPool`. performance: of a `TransportServer` or `TransportClient`, which a `Monitor`
    watches then. Both default to None: nothing is set.
    """

    smart_pool: SmartPoolConfig | None = None
    performance: PerformanceConfig | None = None

    def __post_init__(self) -> None:
        """Refuse parts of another type with ConfigurationError."""
        check_types(self)

    def validate(self) -> None:
        """Check both parts again; they were when they were made. Raises ConfigurationError."""
        for part in (self.smart_pool, self.performance):
            if part is not None:
                part.__post_init__()

    def has_expert_config(self) -> bool:
        """Whether anything is set."""
        return self.smart_pool is not None or self.performance is not None

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
