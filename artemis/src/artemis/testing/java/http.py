"""The SDK's HTTP client (spec 9.2): POSTs with gzip, chunked and doubled headers, pooled keep-alive connections.

One attempt per call. Not here: which node is asked and what is tried again; see `addresses` and `calls`.
"""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from typing import cast
from urllib.parse import urlsplit

from artemis.testing.java.beans import Bean, jackson, parse
from artemis.testing.java.deadlines import Deadlines, Kind, Wait
from artemis.testing.java.settings import JavaSettings

_CHUNK = 2048
_MAX_HEAD = 64 * 1024
#: Idle connections are looked through this often (`client.clean-check-interval`).
_CLEAN_INTERVAL = 5.0


class HttpFailedError(Exception):
    """No usable answer: a time-out, a refused or lost connection, a status of 400 or more, an empty body."""


class CallFailedError(Exception):
    """No attempt of a call brought an answer that the SDK returns."""


def post_head(path: str, host: str, *, generation: int) -> bytes:
    """The head of a POST as the SDK writes it; v1 repeats two headers (spec 0.3)."""
    repeat = 2 if generation == 1 else 1
    lines = [f"POST {path} HTTP/1.1"]
    lines += ["Accept: application/json"] * repeat
    lines += ["Content-Type: application/json"] * repeat
    lines += [
        "Content-Encoding: gzip",
        "Transfer-Encoding: chunked",
        f"Host: {host}",
        "Connection: Keep-Alive",
        "User-Agent: Apache-HttpClient/4.5.2 (Java/1.7.0_80)",
        "Accept-Encoding: gzip,deflate",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def chunked(body: bytes) -> bytes:
    """A body in chunks of at most 2 KiB, as Apache HttpClient cuts it."""
    parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in _pieces(body)]
    return b"".join([*parts, b"0\r\n\r\n"])


def _pieces(body: bytes) -> list[bytes]:
    return [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]


class HttpClient:
    """A pool of connections to any node. Use it on one loop; `close` it at the end.

    At most ``connections_per_route`` connections to a node; one more call waits 20 ms for one and then fails.
    """

    def __init__(
        self, settings: JavaSettings, deadlines: Deadlines, *, connect_timeout: float, socket_timeout: float
    ) -> None:
        self._settings = settings
        self._deadlines = deadlines
        self._connect_timeout = connect_timeout
        self._socket_timeout = socket_timeout
        self._idle: dict[str, list[_Connection]] = {}
        self._open: dict[str, int] = {}
        self._freed = asyncio.Event()
        self._cleaner: asyncio.TimerHandle | None = None

    async def post(self, url: str, value: Bean, kind: Kind) -> Bean:
        """POST `value` to `url` and return the answer's object. Raises `HttpFailedError`."""
        parts = urlsplit(url)
        head = post_head(parts.path or "/", parts.netloc, generation=self._settings.generation)
        request = head + chunked(gzip.compress(jackson(value), 6, mtime=0))
        connection, reused = await self._take(parts.netloc)
        try:
            status, body = await connection.exchange(request, kind, self._socket_timeout)
        except ConnectionResetError as error:
            self._drop(connection)
            if not reused or connection.answered_partly:
                raise HttpFailedError(f"{url}: {error}") from error
            # The server closed an idle connection meanwhile; Apache HttpClient repeats such a request once.
            self._deadlines.events["repeated on a new connection"] += 1
            connection = await self._connect(parts.netloc)
            try:
                status, body = await connection.exchange(request, kind, self._socket_timeout)
            except (ConnectionError, TimeoutError) as again:
                self._drop(connection)
                raise HttpFailedError(f"{url}: {again}") from again
        except (ConnectionError, TimeoutError) as error:
            self._drop(connection)
            raise HttpFailedError(f"{url}: {error}") from error
        except asyncio.CancelledError:
            self._drop(connection)
            raise
        self._give_back(connection)
        if status >= (400 if self._settings.generation == 1 else 300):
            raise HttpFailedError(f"{url}: HTTP {status}")
        answer = parse(body)
        if not answer:
            raise HttpFailedError(f"{url}: no object in the answer")
        return answer

    def close(self) -> None:
        """Close all idle connections; calls under way must have ended."""
        if self._cleaner is not None:
            self._cleaner.cancel()
            self._cleaner = None
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _take(self, netloc: str) -> tuple[_Connection, bool]:
        deadline = time.monotonic() + self._settings.connection_request_timeout
        while True:
            idle = self._idle.get(netloc, [])
            while idle:
                connection = idle.pop()
                if connection.usable(self._settings, time.monotonic()):
                    return connection, True
                self._drop(connection)
            if self._open.get(netloc, 0) < self._settings.connections_per_route:
                return await self._connect(netloc), False
            self._freed.clear()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._freed.wait()
            except TimeoutError as error:
                self._deadlines.events["no connection free in the pool"] += 1
                raise HttpFailedError(f"{netloc}: all connections are in use") from error

    async def _connect(self, netloc: str) -> _Connection:
        host, _, port = netloc.rpartition(":") if ":" in netloc.rpartition("]")[2] else (netloc, "", "80")
        self._open[netloc] = self._open.get(netloc, 0) + 1
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(netloc, self._deadlines), host.strip("[]"), int(port)
                )
        except (OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                # The timer cannot be given more time; so a loop that slept through most of it takes the blame.
                blame = self._deadlines.own_lateness(began) >= self._connect_timeout / 2
                (self._deadlines.extended if blame else self._deadlines.missed)[Kind.CONNECT] += 1
            self._count_closed(netloc)
            raise HttpFailedError(f"{netloc}: {error or 'connect timed out'}") from error
        except asyncio.CancelledError:
            self._count_closed(netloc)
            raise
        self._deadlines.times[Kind.CONNECT].add(time.monotonic() - began)
        return connection

    def _give_back(self, connection: _Connection) -> None:
        if connection.closed:
            self._drop(connection)
            return
        connection.idle_since = time.monotonic()
        self._idle.setdefault(connection.netloc, []).append(connection)
        self._freed.set()
        if self._cleaner is None:
            self._cleaner = asyncio.get_running_loop().call_later(_CLEAN_INTERVAL, self._clean)

    def _clean(self) -> None:
        now = time.monotonic()
        for netloc, connections in self._idle.items():
            kept = [connection for connection in connections if connection.usable(self._settings, now)]
            for connection in connections:
                if connection not in kept:
                    self._drop(connection)
            self._idle[netloc] = kept
        busy = any(self._idle.values())
        self._cleaner = asyncio.get_running_loop().call_later(_CLEAN_INTERVAL, self._clean) if busy else None

    def _drop(self, connection: _Connection) -> None:
        connection.close()
        self._count_closed(connection.netloc)

    def _count_closed(self, netloc: str) -> None:
        self._open[netloc] -= 1
        self._freed.set()


class _Connection(asyncio.Protocol):
    """One keep-alive connection with one exchange at a time."""

    def __init__(self, netloc: str, deadlines: Deadlines) -> None:
        self.netloc = netloc
        self.made = self.idle_since = time.monotonic()
        self.closed = False
        self._deadlines = deadlines
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._wait: Wait | None = None
        self._transport: asyncio.Transport

    @property
    def answered_partly(self) -> bool:
        """Whether something of an answer came."""
        return bool(self._buffer)

    def usable(self, settings: JavaSettings, now: float) -> bool:
        """Whether a call may take it from the pool."""
        young = now - self.made < settings.connection_ttl
        return young and not self.closed and now - self.idle_since < settings.connection_idle

    async def exchange(self, request: bytes, kind: Kind, timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109 - a socket's, anew with each packet
        """Send a request, return status and unpacked body of its answer."""
        if self.closed:
            raise ConnectionResetError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._wait = Wait(self._deadlines, kind, timeout, self._late)
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._wait.cancel()

    def close(self) -> None:
        """Close without a word."""
        self.closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport, but not its type.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None or self._answer.done() or self._wait is None:
            self.close()
            return
        self._wait.heard()
        try:
            found = read_answer(self._buffer)
        except (ValueError, zlib.error) as error:
            self._answer.set_exception(ConnectionError(f"unreadable answer: {error}"))
            return
        if found is None:
            return
        status, body, used, keep = found
        del self._buffer[:used]
        self._wait.end()
        self._answer.set_result((status, body))
        if not keep:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(str(exc or "the server closed the connection")))

    def _late(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TimeoutError("Read timed out"))


def read_answer(buffer: bytes | bytearray) -> tuple[int, bytes, int, bool] | None:
    """The answer at the start of `buffer`: status, unpacked body, bytes used, whether the connection stays open.

    None while it is not whole. Raises ValueError or zlib.error for what is no answer.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > _MAX_HEAD:
            raise ValueError("the head does not end")
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body, used = b"", end + 4
    if fields.get("transfer-encoding", "").lower() == "chunked":
        found = _read_chunks(buffer, used)
        if found is None:
            return None
        body, used = found
    else:
        size = int(fields["content-length"])
        if len(buffer) < used + size:
            return None
        body, used = bytes(buffer[used : used + size]), used + size
    if fields.get("content-encoding", "").lower() == "gzip":
        body = gzip.decompress(body)
    return int(first.split(" ")[1]), body, used, fields.get("connection", "").lower() != "close"


def _read_chunks(buffer: bytes | bytearray, at: int) -> tuple[bytes, int] | None:
    parts: list[bytes] = []
    while (end := buffer.find(b"\r\n", at)) >= 0:
        size = int(buffer[at:end].split(b";")[0], 16)
        at = end + 2 + size + 2
        if len(buffer) < at:
            return None
        if not size:
            return b"".join(parts), at
        parts.append(bytes(buffer[end + 2 : at - 2]))
    return None
