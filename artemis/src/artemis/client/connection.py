"""The state of the client's connection to the registry, as one observable value with few states.

Pure: outcomes of calls and the time come in, changes of state go out. It sends nothing and starts no timer.
"""

from __future__ import annotations

from enum import Enum

from artemis.client.events import StateChanged


class ConnectionState(Enum):
    """What is known about the registry, and what still holds.

    ============= ================================ ============================= ======================================
    state         meaning                          leases of this client         services looked up
    ============= ================================ ============================= ======================================
    ``CONNECTED`` the last call was answered       live                          current; see their ``age``
    ``SUSPENDED`` the last call was not answered   live until their time is up   of the last answer; see their ``age``
    ``LOST``      nothing for ``lost_after``       presumed expired              of the last answer, presumed outdated
    ============= ================================ ============================= ======================================

    In every state the client goes on trying and comes back by itself: heartbeats that find no lease register again.

    A client that has asked nothing yet is ``SUSPENDED``: a client makes no connection before its first call, so nothing
    is known, nothing is held, and there is nothing to be seen. The first answer makes it ``CONNECTED``. Without one it
    stays, and becomes ``LOST`` when a call has failed and ``lost_after`` seconds have passed since it was made.
    """

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"


class Connection:
    """Derives the state from the outcomes of calls; times are seconds of a clock that goes on while a machine sleeps.

    Once it is, :meth:`watch` has to be called every ``watch_interval`` seconds: when that was not done for
    ``lost_after`` seconds, the process has been suspended, and what was known before is known no longer.
    """

    def __init__(self, *, lost_after: float, now: float) -> None:
        self.state = ConnectionState.SUSPENDED
        """The state as of the last outcome or tick; see :meth:`state_at`."""
        self.watch_interval = lost_after / 4
        self._lost_after = lost_after
        self._heard = now
        self._watched: float | None = None

    @property
    def lost_at(self) -> float | None:
        """When :meth:`tick` has to be called next, or None while nothing is due."""
        return self._heard + self._lost_after if self.state is ConnectionState.SUSPENDED else None

    def state_at(self, now: float) -> ConnectionState:
        """Return the state at this time; changes nothing, so that any thread may ask."""
        slept = self._watched is not None and now - self._watched >= self._lost_after
        return ConnectionState.LOST if slept and self.state is ConnectionState.CONNECTED else self.state

    def answered(self, now: float) -> StateChanged | None:
        """Note that a node answered."""
        self._heard = now
        return self._move(ConnectionState.CONNECTED, "a node answered")

    def failed(self, reason: str) -> StateChanged | None:
        """Note that a call ended without any answer."""
        if self.state is ConnectionState.CONNECTED:
            return self._move(ConnectionState.SUSPENDED, reason)
        return None

    def tick(self, now: float) -> StateChanged | None:
        """Note that time went by."""
        if self.state is ConnectionState.SUSPENDED and now - self._heard >= self._lost_after:
            return self._move(ConnectionState.LOST, f"no answer for {self._lost_after:g} s")
        return None

    def watch(self, now: float) -> StateChanged | None:
        """Note that the process runs."""
        state = self.state_at(now)
        watched, self._watched = self._watched, now
        return self._move(state, f"this process was suspended for {now - (watched or now):.0f} s")

    def _move(self, state: ConnectionState, reason: str) -> StateChanged | None:
        if state is self.state:
            return None
        change = StateChanged(self.state, state, reason)
        self.state = state
        return change
