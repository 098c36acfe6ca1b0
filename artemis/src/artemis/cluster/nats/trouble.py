"""Why there is no working with the engine right now, in a word for machines and a sentence for operators.

Pure. Not here: for how long it is waited until the next attempt (`carrier`).
"""

from __future__ import annotations

from enum import StrEnum

MAJORITY = "most of the servers that keep it have to run, and reach each other"
"""What to do about a bucket that does not answer."""


class EngineState(StrEnum):
    """How a node stands with the engine.

    `connecting`: no server answers. `no-quorum`: servers do, and the bucket does not, or takes nothing. `refused`: they
    do not let this node in, or not put, or not talk to other nodes, or have no room for a bucket, and an operator must
    see to it; after a put that was denied it stays so until one is answered. `foreign`: the bucket is somebody else's,
    was changed, or is used by nodes that this one does not understand. `full`: no new keys fit, and all else works.
    `behind`: it takes puts, and not all that is put comes here. `ready`: all works.
    """

    CONNECTING = "connecting"
    NO_QUORUM = "no-quorum"
    REFUSED = "refused"
    FOREIGN = "foreign"
    FULL = "full"
    BEHIND = "behind"
    READY = "ready"

    @property
    def open(self) -> bool:
        """Whether the bucket is read and takes puts."""
        return self in (EngineState.FULL, EngineState.BEHIND, EngineState.READY)


class TroubleError(Exception):
    """There is no working with the engine: `state` and `why`, a sentence without a full stop."""

    def __init__(self, state: EngineState, why: str) -> None:
        super().__init__(why)
        self.state = state
        self.why = why

    @property
    def lasting(self) -> bool:
        """Whether trying again soon is of no use."""
        return self.state in (EngineState.REFUSED, EngineState.FOREIGN)
