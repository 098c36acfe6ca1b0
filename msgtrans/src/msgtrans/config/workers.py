"""Options of worker processes and of who supervises them.

Not here: what the workers do, and every decision made with these numbers (`workers.plan`).
"""

from __future__ import annotations

from typing import Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import positive, whole
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types


class WorkersConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How many processes serve, and what happens when one of them fails. Seconds everywhere.

    count: worker processes, required, 1 to 512; SIGTTIN and SIGTTOU add and remove one later. One is supervised, too.
    reuse_port: a listening socket for each worker, among which Linux spreads connections by their addresses; off, or on
    systems that do not spread, all workers accept from one. Default on.
    ready_timeout: until a new worker must listen; default 30. graceful_timeout: for closing the sessions of a worker
    that is to end, after which it is killed; in a reload, before that, also for accepting no more; default 10.
    report_interval: between two reports of a worker: its counters, and that its loop still turns; default 1.
    hang_timeout: without any report after which a worker is killed and replaced; default 30, None for never.
    restart_delay: before a worker that failed is started again, doubled with each failure in a row up to
    max_restart_delay; defaults 0.1 and 5. A worker that has lived for failure_window begins anew.
    max_failures: of all workers within failure_window; one more and all of them are stopped; defaults 10 within 60.
    overlap: in a reload, start a new worker beside each old one, so that clients move once; off: each new one after the
    old one of its place has ended, for workers that hold something alone, as a directory. Default on.
    """

    count: int
    reuse_port: bool = True
    ready_timeout: float = 30.0
    graceful_timeout: float = 10.0
    report_interval: float = 1.0
    hang_timeout: float | None = 30.0
    restart_delay: float = 0.1
    max_restart_delay: float = 5.0
    max_failures: int = 10
    failure_window: float = 60.0
    overlap: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        whole(self, "count", most=512)
        whole(self, "max_failures", least=0)
        positive(self, "ready_timeout", "graceful_timeout", "report_interval", "restart_delay", "max_restart_delay")
        positive(self, "failure_window")
        positive(self, "hang_timeout", none=True)
        if self.hang_timeout is not None and self.hang_timeout < 3 * self.report_interval:
            raise ConfigurationError(
                "hang_timeout", f"is {self.hang_timeout:g}; use three times report_interval or more, or none"
            )
        if self.max_restart_delay < self.restart_delay:
            raise ConfigurationError(
                "max_restart_delay",
                f"is {self.max_restart_delay:g}; use at least restart_delay, {self.restart_delay:g}",
            )

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
