"""What a supervisor keeps for each worker process.

Not here: what it does with them (`supervisor`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgtrans.workers.messages import Frames

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from msgtrans.workers.processes import Process


class Child:
    """One worker process and the channel to it."""

    def __init__(self, life: int, place: int, channel: socket.socket, now: float) -> None:
        self.life = life
        self.place = place
        self.channel = channel
        self.process: Process | None = None
        self.started = self.reported = now
        self.counters: Mapping[str, int] = {}
        self.sums: Mapping[str, float] = {}
        self.states: dict[str, float] = {}
        self.frames = Frames()
        self.uris: list[str] = []
        self.asked_at: float | None = None  # for a report

    @property
    def pid(self) -> int:
        """Of its process, 0 without one."""
        return self.process.pid if self.process is not None else 0
