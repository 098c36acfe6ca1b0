"""The commands that a pool of connections serves (specification 5.1), for programs that pass them on as values.

Each has a method that does the same. Not here: doing it (`pool.connections`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from msgtrans.errors import ConfigurationError

if TYPE_CHECKING:
    from msgtrans.client import TransportClient
    from msgtrans.pool.connections import ConnectionPool
    from msgtrans.pool.stats import PoolStats


class GetConnection(msgspec.Struct, frozen=True):
    """`get`. timeout: seconds, None for the default. The answer is a connection: give it back."""

    timeout: float | None = None


class ReturnConnection(msgspec.Struct, frozen=True):
    """`release`. The answer is None."""

    client: TransportClient


class CreateConnection(msgspec.Struct, frozen=True):
    """`create`. The answer is how many connections there are then."""

    count: int = 1


class RemoveConnection(msgspec.Struct, frozen=True):
    """`remove`. The answer is None."""

    id: int


class ForceExpand(msgspec.Struct, frozen=True):
    """`force_expand`. The answer is how many connections there are then."""


class GetStats(msgspec.Struct, frozen=True):
    """`stats`. The answer are `PoolStats`."""


PoolCommand: TypeAlias = GetConnection | ReturnConnection | CreateConnection | RemoveConnection | ForceExpand | GetStats


async def carry_out(pool: ConnectionPool, command: object) -> TransportClient | PoolStats | int | None:
    """For the pool: the answer to `command`. Raises what the method raises."""
    match command:
        case GetConnection(timeout):
            return await pool.get(timeout)
        case ReturnConnection(client):
            pool.release(client)
        case CreateConnection(count):
            return await pool.create(count)
        case RemoveConnection(connection_id):
            pool.remove(connection_id)
        case ForceExpand():
            return await pool.force_expand()
        case GetStats():
            return pool.stats()
        case _:
            given = type(command).__name__
            raise ConfigurationError("command", f"is of type {given}; use one of msgtrans.pool.control")
    return None
