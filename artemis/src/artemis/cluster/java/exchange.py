"""Requests to one Java peer over HTTP, within the time limits of spec 7.4 and 6.2.

Not here: what is asked, and what the answers mean.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

if TYPE_CHECKING:
    from artemis.cluster.addresses import PeerUrl

PREFIXES = ("/api", "/artemis/api")
"""Where the operations are below the URL of a node: v1, v2 (spec 14)."""

_NOT_FOUND = 404
_OK = 200
_MEBIBYTE = 1 << 20


class Unanswered(Exception):  # noqa: N818 - an outcome that its callers judge
    """There was no answer that could be used; the text says why."""


class Limits(NamedTuple):
    """Seconds until a connection is made, between two packets of the answer, and for all of it; bytes of the answer."""

    connect: float
    read: float
    total: float
    size: int


STATUS = Limits(0.1, 0.1, 0.3, _MEBIBYTE)
REPLICATION = Limits(0.05, 0.2, 2.0, 64 * _MEBIBYTE)
COPY = Limits(0.5, 10.0, 60.0, 1024 * _MEBIBYTE)
"""A copy begins after a node of Java has put the answer together, for which it may need seconds (there: 2 s)."""


def make_session() -> aiohttp.ClientSession:
    """Return what requests to all peers share; to be closed by whoever made it. Needs a running loop."""
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=10)
    return aiohttp.ClientSession(headers=headers, connector=connector)


class JavaExchange:
    """Requests to one peer. Which of the prefixes it has is found out, and found out again when it has it no more."""

    def __init__(self, url: PeerUrl, session: aiohttp.ClientSession) -> None:
        self._url = str(url)
        self._session = session
        self._prefix = ""

    async def post(self, path: str, body: bytes, limits: Limits) -> bytes:
        """Send `body` to the operation at `path`, return the answer. Raises Unanswered."""
        prefixes = (self._prefix,) if self._prefix else PREFIXES
        for prefix in prefixes:
            status, answer = await self._ask(f"{self._url}{prefix}/{path}", body, limits)
            if status == _OK:
                self._prefix = prefix
                return answer
            if status != _NOT_FOUND:
                raise Unanswered(f"HTTP {status}")
        self._prefix = ""
        raise Unanswered(f"HTTP 404 below {' and '.join(prefixes)}; give its URL as Java nodes have it in their list")

    async def _ask(self, url: str, body: bytes, limits: Limits) -> tuple[int, bytes]:
        try:
            return await self._once(url, body, limits)
        except aiohttp.ServerDisconnectedError:  # it closed an idle connection just now; all operations can be repeated
            try:
                return await self._once(url, body, limits)
            except (aiohttp.ClientError, OSError) as error:
                raise Unanswered(_why(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(_why(error)) from error

    async def _once(self, url: str, body: bytes, limits: Limits) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=limits.total, sock_connect=limits.connect, sock_read=limits.read)
        async with self._session.post(url, data=body, timeout=timeout, allow_redirects=False) as response:
            if response.status != _OK:
                response.close()
                return response.status, b""
            parts: list[bytes] = []
            left = limits.size
            async for part in response.content.iter_any():
                left -= len(part)
                if left < 0:
                    response.close()
                    raise Unanswered(f"its answer has more than {limits.size} bytes")
                parts.append(part)
            return response.status, b"".join(parts)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"no connection: {os.strerror(number) if number else error.os_error}"
    return f"no answer: {error}"[:200]
