"""How often and how soon to try again (specification 4.2).

Not here: trying; `flow.retry` turns these numbers into pauses.
"""

from __future__ import annotations

from typing import Self

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from msgtrans.config.checks import positive, whole
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types


class RetryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts after the first, and the pauses before them.

    max_retries: attempts after the first, 0 to 100, None for no end. Left out, it is what its user has by default: 3 as
    the `retry_config` of an address, no end for a ReconnectingClient and a ConnectionPool.
    retry_interval: seconds, the longest pause before the first retry; default 0.5. It grows by backoff_multiplier
    (default 2, at least 1) with each further one, up to max_retry_interval seconds; default 30.
    jitter: full jitter, the pause is drawn evenly between 0 and that; default on. Off, it is exactly that.
    """

    max_retries: int | UnsetType | None = UNSET
    retry_interval: float = 0.5
    backoff_multiplier: float = 2.0
    max_retry_interval: float = 30.0
    jitter: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        if self.max_retries is not UNSET:
            whole(self, "max_retries", least=0, most=100, none=True)
        positive(self, "retry_interval", "backoff_multiplier", "max_retry_interval")
        if self.backoff_multiplier < 1:
            raise ConfigurationError("backoff_multiplier", f"is {self.backoff_multiplier!r}; use 1 or more")
        if self.max_retry_interval < self.retry_interval:
            raise ConfigurationError("max_retry_interval", f"must be at least retry_interval, {self.retry_interval} s")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


NO_RETRY = RetryConfig(max_retries=0)
"""Try once."""
