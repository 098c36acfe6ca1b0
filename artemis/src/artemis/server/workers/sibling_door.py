"""The door by which siblings come in: a listener on loopback that no client knows, for messages of the mesh alone.

Its socket is the machine's, not the worker's: who dials a worker that is about to be started again waits there for it.
Not here: who may come in, which the handshake decides by the siblings' secret (`artemis.cluster.mesh`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.cluster.mesh.wire import IN_NO_CLUSTER, MESH_CODES
from artemis.cluster.messages import MAX_MESSAGE
from msgtrans import CloseReason, CodecOptions, Context, Session, SessionConfig, TransportServer

if TYPE_CHECKING:
    import socket

    from artemis.cluster.mesh.accepting import Reception

_IDLE = 300.0
"""Seconds of silence after which a connection ends."""

_MOST = 1_000
"""Connections at once; more than one of each sibling come from elsewhere, and get no further than the handshake."""


class SiblingDoor:
    """Owned by the assembly, on its event loop: `start`, then `stop`, each once."""

    def __init__(self, reception: Reception, listening: socket.socket) -> None:
        self._reception = reception
        self._listening = listening
        codec = CodecOptions(max_payload_size=MAX_MESSAGE, max_inflated_size=MAX_MESSAGE)
        self._server = TransportServer(session=SessionConfig(codec=codec, idle_timeout=_IDLE), max_connections=_MOST)
        self._server.on_request(self._answer)
        self._server.on_message(reception.take)
        self._server.on_disconnect(self._ended)
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Let siblings in."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._server.protocol_factory(), sock=self._listening.dup())

    async def stop(self) -> None:
        """Let nobody in any more, and end what is there."""
        if self._listener is not None:
            self._listener.close()
        await self._server.stop(timeout=1.0)

    def _answer(self, context: Context) -> bytes:
        return self._reception.answer(context) if context.biz_type in MESH_CODES else IN_NO_CLUSTER

    def _ended(self, session: Session, reason: CloseReason) -> None:  # noqa: ARG002
        self._reception.ended(session)
