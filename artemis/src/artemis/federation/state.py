"""How it stands with following one region, as operators are shown it. Not here: how old its copy is (`copy`)."""

from __future__ import annotations

from enum import Enum

import msgspec


class Followed(Enum):
    """What a node does about a region now.

    - ``CONNECTING``: it has not been reached yet, or the connection was lost this moment;
    - ``COPYING``: a node of it answers, and everything it shows is being copied;
    - ``FOLLOWING``: its changes come as they happen;
    - ``UNREACHABLE``: no node of it is of use, and the reason says why; it is tried again and again.
    """

    CONNECTING = "connecting"
    COPYING = "copying"
    FOLLOWING = "following"
    UNREACHABLE = "unreachable"


class Standing(msgspec.Struct, gc=False):
    """The state, since when (monotonic ms), why if something is wrong, and the URL of the node that is or was followed.

    `resumed`, `failures`: how often a connection went on from where the last one ended, and how often one could not be
    made or was lost.
    """

    state: Followed
    since: int
    why: str = ""
    node: str = ""
    resumed: int = 0
    failures: int = 0

    def become(self, state: Followed, now: int, why: str = "", node: str = "") -> bool:
        """Take another state; whether it is another one, or has another reason."""
        new = (state, why) != (self.state, self.why)
        if state is not self.state:
            self.since = now
        self.state, self.why, self.node = state, why, node or self.node
        return new
