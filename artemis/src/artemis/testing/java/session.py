"""The SDK's WebSocket session (spec 9.3): a connection that is pinged every second and replaced when it fails or ages.

Not here: what goes over it; see `registry` and `discovery`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from artemis.testing.java.addresses import Address, Addresses
from artemis.testing.java.deadlines import Deadlines
from artemis.testing.java.settings import JavaSettings
from artemis.testing.java.websocket import WebSocket, WebSocketFailedError, open_websocket


class Session:
    """Keeps one connection to an endpoint of a node that `addresses` choose. `on_open` follows each new one."""

    def __init__(
        self,
        addresses: Addresses,
        path: str,
        settings: JavaSettings,
        deadlines: Deadlines,
        on_text: Callable[[bytes], None],
        on_open: Callable[[], None],
    ) -> None:
        self._addresses = addresses
        self._path = settings.websockets + path
        self._settings = settings
        self._deadlines = deadlines
        self._on_text = on_text
        self._on_open = on_open
        self._websocket: WebSocket | None = None
        self._address: Address | None = None
        self._opened: deque[float] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def connected(self) -> bool:
        """Whether there is an open connection."""
        return self._websocket is not None and self._websocket.open

    async def start(self) -> None:
        """Connect, and check the connection's health every second from now on."""
        self._check()
        if self._connecting is not None:
            await asyncio.gather(self._connecting, return_exceptions=True)

    async def stop(self) -> None:
        """Close the connection for good."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._websocket is not None:
            self._websocket.close()

    def send_text(self, message: bytes) -> bool:
        """Send a message; False when there is no connection."""
        if self._websocket is None or not self._websocket.open:
            return False
        self._websocket.send_text(message)
        return True

    def mark_down(self) -> None:
        """The node does not do its work: take another and connect anew."""
        if self._address is not None:
            self._address.mark_unavailable()
        self._reconnect()

    def _check(self) -> None:
        """The health check, every second and at once when a connection ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._stopped:
            return
        self._timer = asyncio.get_running_loop().call_later(self._settings.health_check, self._check)
        websocket = self._websocket
        if websocket is None or not websocket.open or self._address is None or not self._address.available:
            self._reconnect()
        elif time.monotonic() - websocket.made >= self._settings.session_ttl:
            self._deadlines.events["session renewed"] += 1
            self._reconnect()
        elif not websocket.pinging:
            websocket.ping(self._pong_missed)

    def _pong_missed(self) -> None:
        if not self._stopped:
            self._reconnect()

    def _reconnect(self) -> None:
        if self._stopped or (self._connecting is not None and not self._connecting.done()):
            return
        now = time.monotonic()
        while self._opened and self._opened[0] <= now - self._settings.reconnect_window:
            self._opened.popleft()
        if len(self._opened) >= self._settings.reconnects:
            self._deadlines.events["reconnect put off by the limit"] += 1
            return
        self._opened.append(now)
        self._deadlines.events["connections opened"] += 1
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        address = self._addresses.current()
        try:
            websocket = await open_websocket(
                address.websocket(self._path), self._settings, self._deadlines, self._on_text
            )
        except WebSocketFailedError:
            self._deadlines.events["connection failed"] += 1
            address.mark_unavailable()
            return
        replaced, self._websocket, self._address = self._websocket, websocket, address
        if replaced is not None:
            replaced.on_lost = _expected
            replaced.close()
        websocket.on_lost = self._lost
        if not websocket.open:
            self._lost()
            return
        self._on_open()

    def _lost(self) -> None:
        if not self._stopped:
            self._deadlines.events["connections lost"] += 1
            asyncio.get_running_loop().call_soon(self._check)


def _expected() -> None:
    """A connection that was replaced may end."""
