"""A connection of the port that asks for WebSocket: who gets it, or why nobody does (spec 3, 3.1).

What is a good request, msgtrans judges. Not here: the connection after that (`connection`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from artemis.server.websocket.connection import WebSocketConnection
from msgtrans.adapters.unified_port import hand_over
from msgtrans.adapters.websocket import handshake
from msgtrans.config import WebSocketServerConfig
from msgtrans.config.websocket import SUBPROTOCOL

if TYPE_CHECKING:
    from artemis.server.websocket.door import WebSocketDoor

_ANY_ORIGIN = WebSocketServerConfig()


class Upgrade(asyncio.Protocol):
    """Looks at the request, which `UnifiedPort` hands over with its whole head in the first read."""

    __slots__ = ("_door", "_transport")

    def __init__(self, door: WebSocketDoor) -> None:
        self._door = door
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports only quack like one

    def data_received(self, data: bytes) -> None:
        """Judge the request, and hand the connection over, for good."""
        if self._transport.is_closing():
            return
        head, found, early = data.partition(handshake.HEAD_END)
        if not found or len(head) > handshake.HEAD_LIMIT:
            self._refuse(handshake.refuse(431, f"The request's head is over {handshake.HEAD_LIMIT} bytes."), 431)
            return
        verdict = handshake.judge(head, _ANY_ORIGIN)
        if isinstance(verdict, handshake.Refused):
            self._refuse(verdict, int(verdict.response[9:12]))
            return
        path = head.split(b" ", 2)[1].partition(b"?")[0].decode("ascii")
        if verdict.subprotocol == SUBPROTOCOL or path in self._door.msgtrans_paths:
            self._to_msgtrans(data)
        else:
            self._to_endpoint(path, verdict.response, early)

    def _to_endpoint(self, path: str, response: bytes, early: bytes) -> None:
        door = self._door
        endpoint = door.paths.get(path)
        if endpoint is None:
            paths = ", ".join(sorted(door.paths))
            told = (
                f"There is no WebSocket endpoint here; there are {paths}, and MsgTrans at {min(door.msgtrans_paths)}."
            )
            self._refuse(handshake.refuse(404, told), 404)
            return
        peer = self._transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else "-"
        refusal = door.judge(endpoint, address)
        if refusal is not None:
            self._refuse(handshake.refuse(refusal.status, refusal.why), refusal.status)
            return
        connection = WebSocketConnection(door, endpoint, address)
        self._transport.set_protocol(connection)
        connection.open(self._transport, response, early)

    def _to_msgtrans(self, data: bytes) -> None:
        protocol = self._door.msgtrans()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        hand_over(protocol, data)

    def _refuse(self, refused: handshake.Refused, status: int) -> None:
        self._door.counters[f"status_{status}"] += 1
        self._transport.write(refused.response)
        self._transport.close()
