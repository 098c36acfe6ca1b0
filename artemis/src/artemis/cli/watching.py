"""Follows the changes of a service, or of all, without a gap: pushed over `/ws`, else by long poll, else by looking.

A connection that ends is made again and resumes with its cursor, so that what was missed is told then. Not here: what
is printed, and the SDK's own `watch`, which looks at intervals and needs nothing but lookups.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

import aiohttp

from artemis.cli.reach import spelt
from artemis.cli.shown import Shown
from artemis.client import UnreachableError
from artemis.model import decode
from artemis.model.changes import RELOAD
from artemis.model.changes import InstanceChange as WireChange
from artemis.model.tolerant import MalformedBody
from artemis.model.wire import Int64, WireStruct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from artemis.client import InstanceChange
    from artemis.model import Instance

EVERYTHING = "*"
"""In place of a service: all of them."""

_PING = 15.0
_LONGEST_MESSAGE = 64 * 1024 * 1024
_WAIT = 30
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_NOT_FOUND = 404


class _Way(Enum):
    """How changes reach us, the better ways first."""

    PUSH = "push"
    WAIT = "wait"
    LOOK = "look"


class _Push(WireStruct, kw_only=True):
    """A message of `/ws`, or the answer of a long poll."""

    age_ms: Int64 = 0
    changes: list[WireChange | None] | None = None
    cursor: str | None = None
    full_sync: bool = False
    message: str | None = None
    service_id: str | None = None
    type: str | None = None


class _NotThere(Exception):  # noqa: N818 - a fact about the node, handled here
    """The node does not offer this way; the text says what it answered."""


class Watcher:
    """Follows one service, or all with `EVERYTHING`, until it is cancelled.

    `look` looks up everything that is live of it now. `tell` gets each change once; `trouble` sentences for people.
    `interval` is the seconds between two looks at a node that neither pushes nor waits. `region` is another one
    of which the node has a copy: changes of that are waited for.
    """

    def __init__(
        self,
        server: str,
        service: str,
        look: Callable[[], Awaitable[Iterable[Instance]]],
        tell: Callable[[InstanceChange], None],
        trouble: Callable[[str], None],
        interval: float,
        region: str = "",
    ) -> None:
        self._about = {"regionId": region} if region else {}
        self._server = server.rstrip("/")
        self._service = service
        self._look = look
        self._tell = tell
        self._trouble = trouble
        self._interval = interval
        self._shown = Shown()
        self._cursor: str | None = None
        self._synced = False
        self._troubled = False
        self._pause = _SHORTEST_PAUSE

    async def run(self) -> NoReturn:
        """Follow for ever. Raises ``RefusedError`` when the node refuses the caller, and what the first look raises."""
        ways = {_Way.PUSH: self._pushed, _Way.WAIT: self._waited, _Way.LOOK: self._looked}
        way = _Way.WAIT if self._about else _Way.PUSH
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=5)) as session:
            while True:
                try:
                    await ways[way](session)
                except _NotThere as fact:
                    way = _Way.WAIT if way is _Way.PUSH and self._service != EVERYTHING else _Way.LOOK
                    how = "waits for changes by long poll" if way is _Way.WAIT else f"looks every {self._interval:g} s"
                    self._trouble(f"{self._server} does not push here ({fact}); {how}")
                except (aiohttp.ClientError, OSError, MalformedBody) as error:
                    await self._suspended(str(error) or type(error).__name__)
                except UnreachableError as error:
                    if not self._synced:
                        raise
                    await self._suspended(str(error))

    async def _suspended(self, reason: str) -> None:
        if not self._troubled:
            self._trouble(f"suspended: {spelt(reason)}")
        self._troubled = True
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _well(self) -> None:
        if self._troubled:
            self._trouble("connected again")
        self._troubled = False
        self._pause = _SHORTEST_PAUSE

    # -- pushed

    async def _pushed(self, session: aiohttp.ClientSession) -> None:
        """Be told over one connection, until it ends."""
        try:
            async with session.ws_connect(
                f"{self._server}/ws", heartbeat=_PING, max_msg_size=_LONGEST_MESSAGE
            ) as socket:
                await self._subscribe(socket)
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        break
                    await self._heard(socket, decode(_Push, message.data.encode(), ignore_trailing=True))
        except aiohttp.WSServerHandshakeError as error:
            raise _NotThere(f"HTTP {error.status} for its WebSocket") from error

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_json({"type": "subscribe", "service_id": self._service, "cursor": self._cursor})

    async def _heard(self, socket: aiohttp.ClientWebSocketResponse, push: _Push | None) -> None:
        match push:
            case _Push(type="subscribed"):
                if not self._synced:
                    await self._sync()
                self._well()
            case _Push(type="service_change"):
                await self._take(push, (push.service_id or "").lower())
            case _Push(type="error") if self._cursor is not None:
                # Our cursor is of no use there: look at everything, and go on from now.
                self._cursor, self._synced = None, False
                await self._subscribe(socket)
                return
            case _Push(type="error"):
                raise _NotThere(push.message or "it refuses the subscription")
            case _:
                return
        self._cursor = push.cursor or self._cursor

    # -- waited for

    async def _waited(self, session: aiohttp.ClientSession) -> None:
        """Ask once for what has changed since the last answer, waiting for it."""
        query = {"wait": f"{_WAIT}s", **self._about} | ({"cursor": self._cursor} if self._cursor else {})
        url = f"{self._server}/api/v1/services/{quote(self._service, safe='')}"
        timeout = aiohttp.ClientTimeout(total=_WAIT + 30, sock_connect=5)
        try:
            async with session.get(url, params=query, timeout=timeout) as response:
                status, raw = response.status, await response.read()
        except TimeoutError:
            raise OSError("no answer to a long poll") from None
        if status == _NOT_FOUND:
            raise _NotThere("HTTP 404 for long polls")
        push = decode(_Push, raw) if status == 200 else None
        if push is None:
            raise OSError(f"HTTP {status} for a long poll")
        await self._take(push, self._service.lower())
        self._synced = True
        self._cursor = push.cursor
        self._well()

    # -- looked for

    async def _looked(self, session: aiohttp.ClientSession) -> None:  # noqa: ARG002 - looks have connections of their own
        """Look at everything once."""
        await self._sync()
        self._well()
        await asyncio.sleep(self._interval)

    # -- taking in

    async def _sync(self) -> None:
        for change in self._shown.sync(await self._look(), _now()):
            self._tell(change)
        self._synced = True

    async def _take(self, push: _Push, service: str) -> None:
        """Show what a message says; a reload, which stands for changes that are not in it, by looking."""
        changes = [change for change in push.changes or () if change is not None and change.instance is not None]
        if any(change.change_type == RELOAD for change in changes):
            await self._sync()
        elif push.full_sync:
            instances = [change.instance for change in changes if change.instance is not None]
            for seen in self._shown.sync(instances, _now(), service):
                self._tell(seen)
        else:
            for change in changes:
                if change.instance is not None:
                    told = self._shown.apply(change.change_type or "", change.instance, change.change_time)
                    if told is not None:
                        self._tell(told)


def _now() -> int:
    return time.time_ns() // 1_000_000
