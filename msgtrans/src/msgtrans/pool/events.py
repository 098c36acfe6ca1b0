"""What happens in a pool of connections, and the bounded streams that tell it (specification 5.1).

A stream holds at most `REMEMBERED` events; whoever reads too late misses the oldest, and `missed` says how many.
Not here: what happens to the sessions of the connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from msgtrans.pool.streams import PoolHub, PoolStream

if TYPE_CHECKING:
    from msgtrans.errors import TransportError

REMEMBERED: Final = 1024  # events


class ConnectionCreated(msgspec.Struct, frozen=True):
    """A connection is open. id: from 0 up, never again. uri: where it leads."""

    id: int
    uri: str


class ConnectionAcquired(msgspec.Struct, frozen=True):
    """Somebody has a connection."""

    id: int


class ConnectionReleased(msgspec.Struct, frozen=True):
    """A connection was given back."""

    id: int


class ConnectionRemoved(msgspec.Struct, frozen=True):
    """A connection left the pool.

    reason: "broken" (it was found closed), "unhealthy" (the health check raised), "idle" (also when another one takes
    its place), "old" (max_lifetime), "shrink", "removed" (on command) or "closed" (with the pool).
    """

    id: int
    reason: str


class PoolExpanded(msgspec.Struct, frozen=True):
    """The pool has decided to grow; a ConnectionCreated for each new connection follows."""

    from_size: int
    to_size: int


class PoolShrunk(msgspec.Struct, frozen=True):
    """The pool has shrunk; a ConnectionRemoved for each connection came before."""

    from_size: int
    to_size: int


class PoolError(msgspec.Struct, frozen=True):
    """A connection could not be made, or a health check raised. uri: where. error: why."""

    uri: str
    error: TransportError


PoolEvent: TypeAlias = (
    ConnectionCreated
    | ConnectionAcquired
    | ConnectionReleased
    | ConnectionRemoved
    | PoolExpanded
    | PoolShrunk
    | PoolError
)


class PoolEventStream(PoolStream[PoolEvent]):
    """An asynchronous iterator over the events of a pool, for one consumer. Ends when the pool is closed and the last
    connection is given back.

    missed: events that made way for newer ones before they were read. A stream that nobody refers to any more is
    forgotten by its pool.
    """

    __slots__ = ()


class PoolEventHub(PoolHub[PoolEvent]):
    """Hands each event to every stream; false while there is none, so that events need not be made."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(REMEMBERED)

    def open(self) -> PoolEventStream:
        """A new stream of everything from now on."""
        stream = PoolEventStream(REMEMBERED)
        self._add(stream)
        return stream
