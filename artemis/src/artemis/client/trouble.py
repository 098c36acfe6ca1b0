"""Logs when trouble begins and when it is over, instead of every failure in between; the events carry each of those.

Knows no network and decides nothing about what is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.client.errors import ArtemisError, RefusedError
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from logging import Logger


class Trouble:
    """What one background loop has met and not yet overcome; ``what`` names its messages, as ``heartbeat``."""

    def __init__(self, what: str, logger: Logger) -> None:
        self._what = what
        self._action = what.replace(" ", "-")
        self._logger = logger
        self._kind: tuple[str, str] | None = None
        self._times = 0

    def met(self, error: ArtemisError) -> None:
        """Note a failure; it is logged if there was none before, or one of another kind."""
        kind = (type(error).__name__, error.error_code if isinstance(error, RefusedError) else "")
        self._times += 1
        if kind != self._kind:
            self._kind = kind
            extra = fields(f"{self._action}-failed", error=error)
            self._logger.warning("%s failed, and is tried again until it works: %s", self._what, error, extra=extra)

    def over(self) -> None:
        """Note a success; it is logged if there was trouble before."""
        if self._kind is not None:
            # As loud as the beginning: whoever was told of one has to be told of the other.
            extra = fields(f"{self._action}-works", count=self._times)
            failures = "failure" if self._times == 1 else "failures"
            self._logger.warning("%s works again after %d %s", self._what, self._times, failures, extra=extra)
        self._kind = None
        self._times = 0
