"""The door by which others are linked with one worker: siblings on loopback, and, where its machine is one of several,
nodes of the others at a port of the worker's own. For messages of the mesh alone; no client knows it.

Its sockets are the machine's, not the worker's: who dials one that is about to be started again waits there for it.
Not here: who may come in, which the handshake decides by the secret (`artemis.cluster.mesh`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.cluster.mesh.wire import IN_NO_CLUSTER, MESH_CODES
from artemis.cluster.messages import MAX_MESSAGE
from artemis.server.certificates import HANDSHAKE
from msgtrans import CloseReason, CodecOptions, Context, Session, SessionConfig, TransportServer

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from artemis.cluster.mesh.accepting import Reception
    from msgtrans import ServerTls

_IDLE = 300.0
"""Seconds of silence after which a connection ends."""

_MOST = 1_000
"""Connections at once; more than one of each other process are of others, and get no further than the handshake."""


_SHAKEN = 10.0
"""Seconds within which a connection is a link: else strangers could take the place of those that may become some."""


class LinkDoor:
    """Owned by the assembly, on its event loop: `start`, then `stop`, each once. Siblings come to the socket `near`.

    `patience`: seconds that a handshake may take.
    """

    def __init__(self, reception: Reception, near: socket.socket, patience: float = _SHAKEN) -> None:
        self._reception = reception
        self._near = near
        self._patience = patience
        codec = CodecOptions(max_payload_size=MAX_MESSAGE, max_inflated_size=MAX_MESSAGE)
        self._server = TransportServer(session=SessionConfig(codec=codec, idle_timeout=_IDLE), max_connections=_MOST)
        self._server.on_connect(self._came)
        self._server.on_request(self._answer)
        self._server.on_message(reception.take)
        self._server.on_disconnect(self._ended)
        self._listeners: list[asyncio.Server] = []

    async def start(self, far: Sequence[socket.socket] = (), tls: ServerTls | None = None) -> None:
        """Let siblings in, and nodes of other machines at the sockets `far`, which may speak TLS."""
        await self._listen(self._near, None)
        for bound in far:
            await self._listen(bound, tls)

    async def stop(self) -> None:
        """Let nobody in any more, and end what is there."""
        for listener in self._listeners:
            listener.close()
        await self._server.stop(timeout=1.0)

    async def _listen(self, bound: socket.socket, tls: ServerTls | None) -> None:
        self._listeners.append(
            await asyncio.get_running_loop().create_server(
                self._server.protocol_factory(),
                sock=bound.dup(),
                ssl=None if tls is None else tls.context,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE,
            )
        )

    def _came(self, session: Session) -> None:
        asyncio.get_running_loop().call_later(self._patience, self._look_at, session)

    def _look_at(self, session: Session) -> None:
        if not self._reception.linked(session):
            session.abort()

    def _answer(self, context: Context) -> bytes:
        return self._reception.answer(context) if context.biz_type in MESH_CODES else IN_NO_CLUSTER

    def _ended(self, session: Session, reason: CloseReason) -> None:  # noqa: ARG002
        self._reception.ended(session)
