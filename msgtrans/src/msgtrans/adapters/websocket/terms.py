"""What all WebSocket connections of a listener, or the one of a client, have in common.

Not here: what a connection does with it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from msgtrans.adapters.websocket.frames import MaskingWriter, PlainWriter, ReaderPool
from msgtrans.adapters.websocket.messages import Limits
from msgtrans.adapters.websocket.pulse import Pulse
from msgtrans.transport import Terms

if TYPE_CHECKING:
    from msgtrans.config import WebSocketClientConfig, WebSocketServerConfig
    from msgtrans.transport import Host

SCHEMES: Final = ("ws", "wss")


class WebSocketTerms(Terms):
    """Made by the transport, from the config of a listener or client; everything else follows from that.

    readers, writer: of frames. limits: of messages. pulse: who pings silent peers, None when nobody does.
    nodelay, keepalive, notsent_lowat: as in the config; for sockets that nobody has set up otherwise.
    """

    __slots__ = ("keepalive", "limits", "nodelay", "notsent_lowat", "pulse", "readers", "writer")

    def __init__(
        self,
        host: Host,
        config: WebSocketServerConfig | WebSocketClientConfig,
        *,
        server: bool,
        secure: bool,
        max_connections: int = sys.maxsize,
    ) -> None:
        super().__init__(host, config.session_config(host.config), SCHEMES[secure], max_connections=max_connections)
        self.limits = Limits.of(
            self.session.codec, config.max_message_size, recognition=self.session.optimizations.recognition
        )
        self.readers = ReaderPool(min(config.max_frame_size, self.limits.max_message_size), masked=server)
        self.writer = PlainWriter(config.max_frame_size) if server else MaskingWriter(config.max_frame_size)
        self.nodelay = config.nodelay
        self.keepalive = config.keepalive
        self.notsent_lowat = config.notsent_lowat
        self.pulse: Pulse | None = None
        if config.ping_interval is not None:
            self.pulse = Pulse(self.loop, config.ping_interval, config.pong_timeout)
