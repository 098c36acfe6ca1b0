"""`async with pool.acquire() as client:`. Not here: who gets which connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgtrans.errors import ConfigurationError

if TYPE_CHECKING:
    from msgtrans.client import TransportClient
    from msgtrans.pool.connections import ConnectionPool


class Borrowing:
    """A connection while it is borrowed, from `ConnectionPool.acquire`. Enter it once at a time."""

    __slots__ = ("_client", "_pool", "_timeout")

    def __init__(self, pool: ConnectionPool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._client: TransportClient | None = None

    async def __aenter__(self) -> TransportClient:
        if self._client is not None:
            raise ConfigurationError("acquire", "is entered already; call acquire() again for another connection")
        self._client = await self._pool.get(self._timeout)
        return self._client

    async def __aexit__(self, *exc: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._pool.release(client)
