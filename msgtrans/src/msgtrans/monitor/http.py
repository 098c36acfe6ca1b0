"""A small HTTP server for scrapes: GET of one path, nothing else. It runs in the endpoint's loop, so it may read all.

    async with server, MetricsServer(monitor.prometheus, "127.0.0.1:9464"):
        ...

A program that serves HTTP anyway needs none: it answers with `monitor.prometheus()`, or uses `monitor.collector`.
Not here: what the text says, TLS and authentication; let it listen where only the scraper comes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Self

from msgtrans.adapters.sockets import bind_advice
from msgtrans.config.address import Address, parse_address
from msgtrans.errors import ConnectError
from msgtrans.field_types import check_callable, check_flag
from msgtrans.monitor.families import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATH: Final = "/metrics"
HEAD: Final = 8 * 1024  # bytes of a request
PATIENCE: Final = 5.0  # seconds for a request, and for its answer
MOST: Final = 16  # connections at once; more are closed
logger = logging.getLogger("msgtrans.monitor")


class MetricsServer:
    """Answers GET /metrics with what `text` gives, which may be a coroutine function. Connections are closed after one.

    address: "host:port"; port 0 picks one. reuse_port: share the port with other processes, as workers do.
    At most 16 connections at once, 8 KiB for a request, 5 seconds for each.
    """

    def __init__(
        self, text: Callable[[], str | Awaitable[str]], address: str = "127.0.0.1:9464", *, reuse_port: bool = False
    ) -> None:
        check_callable("text", text)
        check_flag("reuse_port", reuse_port)
        self._text = text
        self._wanted = parse_address(address, schemes=("http",))
        self._reuse_port = reuse_port
        self._starting = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; nothing happens when it does already. Raises ConnectError when that is not possible."""
        async with self._starting:
            if self._server is None:
                await self._listen()

    async def _listen(self) -> None:
        host, port = self._wanted
        try:
            self._server = await asyncio.start_server(
                self._accept, host, port, limit=HEAD, reuse_port=self._reuse_port or None
            )
        except OSError as error:
            raise ConnectError(f"cannot listen on {self._wanted} for metrics: {bind_advice(error)}") from error

    async def stop(self) -> None:
        """Stop, and drop what is open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def address(self) -> Address:
        """Where it listens. Raises ConnectError when it does not."""
        if self._server is None or not self._server.sockets:
            raise ConnectError("the metrics server does not listen; start it first")
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    @property
    def uri(self) -> str:
        """What to scrape: where it listens, or is to."""
        return f"http://{self.address if self._server is not None else self._wanted}{PATH}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug("a scrape came to nothing: %r", error)
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path[:7].lower() == b"http://":  # the absolute form, as proxies use it
            path = b"/" + path[7:].partition(b"/")[2]
        if path != PATH.encode():
            return _response("404 Not Found", f"There is only {PATH} here.\n".encode())
        if method not in {b"GET", b"HEAD"}:
            return _response("405 Method Not Allowed", b"Use GET.\n", "Allow: GET, HEAD\r\n")
        try:
            text = self._text()
            body = (text if isinstance(text, str) else await text).encode()
        except Exception:
            logger.exception("the metrics could not be told")
            return _response("500 Internal Server Error", b"The metrics could not be told; see the log.\n")
        return _response("200 OK", body, kind=CONTENT_TYPE, bare=method == b"HEAD")


def _response(
    status: str, body: bytes, more: str = "", *, kind: str = "text/plain; charset=utf-8", bare: bool = False
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if bare else body)
