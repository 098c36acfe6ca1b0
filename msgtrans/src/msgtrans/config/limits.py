"""What happens beyond a bound, and how much may come (specification 4.1). Not here: the bounds of a session."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import positive, whole
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types


class Backpressure(StrEnum):
    """What to do with what there is no room for. Where it is set says what it acts on.

    BLOCK: whoever sends waits, here or, because reading pauses, at the peer; nothing is lost. DROP_OLDEST,
    DROP_NEWEST: one-way messages are lost, and counted. REJECT: an error.
    """

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    REJECT = "reject"


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests and one-way messages may come in. Responses do not count.

    requests_per_second: how fast they may keep coming, default 1000; also how many may come in each `window_size`
        seconds, default 1, times that.
    burst_size: how many may come at once, default 100.
    strategy: what happens with more of them. BLOCK, the default: they wait, and reading pauses. REJECT: requests are
        refused (`on_error` may answer; the protocol has no error packet), messages dropped. DROP_NEWEST: messages are
        dropped, requests wait. DROP_OLDEST: both wait while reading goes on, and the oldest waiting messages make way,
        beyond `event_queue_size` packets or `max_inbound` bytes. What is lost or refused is counted.
    """

    requests_per_second: float = 1000.0
    burst_size: int = 100
    window_size: float = 1.0
    strategy: Backpressure = Backpressure.BLOCK

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        positive(self, "requests_per_second", "window_size")
        whole(self, "burst_size")
        if self.requests_per_second * self.window_size < 1:
            raise ConfigurationError(
                "window_size",
                f"lets less than one through at {self.requests_per_second:g} per second; use a longer one",
            )

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
