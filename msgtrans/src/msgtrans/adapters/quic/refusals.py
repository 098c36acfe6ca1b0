"""Whether a peer is gone, by what the system says of datagrams to it: that nobody listens there.

Anybody can forge such a word, and what stands between may start anew, so it is a reason to ask and no more. A probe
leaves at once, and others follow while nothing is heard; when several of them were refused, over some round trips, the
peer is gone. Any datagram of the peer ends the doubt. That refusals are missing in between means nothing: systems
send few of them.
Pure: time is an argument. Not here: probes, and what is done with a connection.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

REFUSED: Final = 4
"""Probes that must be refused."""
PROBES: Final = 30
"""Probes of one doubt; then silence has to tell, or the next refusal."""
LEAST: Final = 0.2
"""Seconds at least between two probes."""
LATE: Final = 0.05
"""Seconds that an answer may need beside the time on its way."""


class Doubt(Enum):
    """What is to be done about a peer."""

    NONE = "nothing"
    PROBE = "probe it"
    GONE = "end the connection"


class Refusals:
    """Those of one connection."""

    __slots__ = ("_marked", "_probes", "_refused", "_since")

    def __init__(self) -> None:
        self._since: float | None = None  # from when on there is doubt
        self._refused = 0  # probes
        self._probes = 0
        self._marked = False  # the latest probe was refused

    def refused(self, now: float) -> Doubt:
        """A datagram was: PROBE if a probe is to be sent now, and `due` be called `wait` seconds later."""
        if self._since is not None:
            self._marked = True
            return Doubt.NONE
        self._since, self._refused, self._probes, self._marked = now, 0, 1, False
        return Doubt.PROBE

    def due(self, heard: float) -> Doubt:
        """The latest probe had its time. heard: when the latest datagram of the peer came.

        PROBE: as for `refused`.
        """
        if self._since is None or heard >= self._since:
            return self.forget()
        self._refused += self._marked
        self._marked = False
        if self._refused >= REFUSED:
            return Doubt.GONE
        if self._probes >= PROBES:
            return self.forget()
        self._probes += 1
        return Doubt.PROBE

    def forget(self) -> Doubt:
        """Doubt no more."""
        self._since = None
        return Doubt.NONE


def wait(round_trip: float) -> float:
    """Seconds in which a probe is answered if anybody is there. round_trip: seconds that one takes."""
    return max(LEAST, 2 * round_trip + LATE)
