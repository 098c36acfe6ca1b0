"""How long to wait before the next attempt (specification 4.2): exponential growth with full jitter.

Not here: waiting, and the decision that an error is worth another attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

if TYPE_CHECKING:
    from msgtrans.config import RetryConfig


RETRIES: Final = 3
"""Attempts after the first, where neither a config nor whoever uses it says how many."""


class Pauses:
    """The pauses of one series of attempts. Make a new one when an attempt has succeeded, or call `reset`.

    retries: how many, where `config` leaves that open; None for no end.
    """

    __slots__ = ("_config", "_done", "_most")

    def __init__(self, config: RetryConfig, retries: int | None = RETRIES) -> None:
        self._config = config
        self._most = retries if config.max_retries is UNSET else config.max_retries
        self._done = 0

    @property
    def done(self) -> int:
        """Pauses given so far."""
        return self._done

    def reset(self) -> None:
        """Begin again."""
        self._done = 0

    def next(self, chance: float) -> float | None:
        """Seconds to wait now, None when there are no more attempts. chance: evenly drawn from 0 up to 1."""
        config = self._config
        if self._most is not None and self._done >= self._most:
            return None
        growth = min(self._done, 1024)  # beyond that, any multiplier has long reached the longest interval or is 1
        try:
            longest = min(config.retry_interval * config.backoff_multiplier**growth, config.max_retry_interval)
        except OverflowError:
            longest = config.max_retry_interval
        self._done += 1
        return longest * chance if config.jitter else longest
