"""What a plan tells its supervisor to do.

Not here: when (`plan`), and how (`supervisor`).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Start(msgspec.Struct, frozen=True):
    """Start a process for a place."""

    life: int
    place: int


class Rest(msgspec.Struct, frozen=True):
    """Ask a process to accept no more, and to go on with the sessions it has."""

    life: int


class Stop(msgspec.Struct, frozen=True):
    """Tell a process to end gracefully."""

    life: int


class Kill(msgspec.Struct, frozen=True):
    """End a process at once. hung: why it should first say what it hangs on; empty when it is just to end."""

    life: int
    hung: str = ""


class Tell(msgspec.Struct, frozen=True):
    """Something an operator wants to know. bad: whether to worry."""

    text: str
    bad: bool = False


class Settled(msgspec.Struct, frozen=True):
    """A reload is over, well or not: what only workers used that have ended can go."""


class Closing(msgspec.Struct, frozen=True):
    """All workers are about to be stopped: accept nothing more."""


class End(msgspec.Struct, frozen=True):
    """No worker is left, and none will be started. failure: why this was not asked for, empty when it was."""

    failure: str = ""


Action: TypeAlias = Start | Rest | Stop | Kill | Tell | Settled | Closing | End
