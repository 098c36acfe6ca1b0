"""When the next heartbeat is due. Pure: times are monotonic seconds, randomness comes in.

Not here: what a heartbeat says, see `artemis.client.registration.leases`, and the waiting itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from artemis.client.options import ClientOptions


class Beats:
    """The times of one client's heartbeats, a little early at random, so that clients do not beat in step."""

    def __init__(self, options: ClientOptions, random: Random, now: float) -> None:
        self._interval = options.heartbeat_interval
        self._retry = min(options.heartbeat_interval, options.backoff_limit)
        self._soon = min(1.0, options.heartbeat_interval / 4)
        self._random = random
        self._heard = True
        self._hurried = False
        self._beating = False
        self.due = now
        """When the next heartbeat is to begin."""
        self._schedule(now)

    def begin(self) -> None:
        """Note that a heartbeat begins."""
        self._beating = True
        self._hurried = False

    def ended(self, now: float, *, heard: bool) -> None:
        """Note that the heartbeat is over, and whether a node answered it.

        After a failure the next one comes early, so that nobody is late once the registry is back; the full jitter
        keeps the clients of a dead registry apart.
        """
        self._beating = False
        self._heard = heard
        self._schedule(now)
        if self._hurried:
            self.hurry(now)

    def hurry(self, now: float) -> bool:
        """Have the next heartbeat come within a quarter of the interval, and within a second: a node may not know us.

        Return whether that is earlier than before. While heartbeats fail they come early anyway, and whoever tells us
        to hurry, as a move from one dead node to the next, must not make them come all the time.
        """
        if self._beating:
            self._hurried = True
            return False
        due = now + self._random.uniform(0.0, self._soon)
        if not self._heard or due >= self.due:
            return False
        self.due = due
        return True

    def retry(self) -> float:
        """Return how many seconds to wait before something is tried again that is not in the heartbeats yet."""
        return self._random.uniform(0.0, self._retry)

    def _schedule(self, now: float) -> None:
        if self._heard:
            self.due = now + self._interval * self._random.uniform(0.8, 1.0)
        else:
            self.due = now + self.retry()
