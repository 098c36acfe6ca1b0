"""The client: one connection to a server (specification 4.1).

    async with TransportClient("tcp://127.0.0.1:8001") as client:
        answer = await client.request(b"what time is it?")
        print(answer.payload)

Not here: what a session does, reconnecting, pools; and transports other than TCP.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, Self

from msgtrans.adapters.tcp import TcpConnection
from msgtrans.config import Address, SessionConfig, TcpClientConfig, parse_address
from msgtrans.endpoint import Endpoint
from msgtrans.errors import ConnectError, SessionClosedError, TransportTimeoutError
from msgtrans.session import Session

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from msgtrans.link import Link
    from msgtrans.packet import Packet

FIRST_MESSAGE_ID: Final = 1
SESSION_ID: Final = 1


class TransportClient(Endpoint):
    """A connection to a server. Connects when entered; can connect again after it was closed.

    target: "tcp://host:port", "host:port" or a TcpClientConfig. session: what holds for the session.
    All methods may be called concurrently from tasks of the same loop.
    """

    def __init__(self, target: str | TcpClientConfig, *, session: SessionConfig | None = None) -> None:
        super().__init__(session)
        self._tcp = target if isinstance(target, TcpClientConfig) else TcpClientConfig(target_address=target)
        self._session: Session | None = None

    async def connect(self) -> None:
        """Connect. Handlers and streams set up before the next `await` miss nothing the server says.

        Raises ConnectError (refused, unreachable, unknown name), TransportTimeoutError after `connect_timeout`.
        """
        if self.is_connected:
            return
        config, loop = self._tcp, asyncio.get_running_loop()
        host, port = parse_address(config.target_address)
        local = parse_address(config.local_bind_address) if config.local_bind_address else None
        try:
            async with asyncio.timeout(config.connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: TcpConnection(
                        self._admit, loop, self.codec, nodelay=config.nodelay, keepalive=config.keepalive
                    ),
                    host,
                    port,
                    local_addr=local,
                )
        except socket.gaierror as error:
            raise ConnectError(f"the name {host!r} does not resolve: {error.strerror}") from error
        except UnicodeError as error:
            raise ConnectError(f"the name {host!r} does not resolve: it cannot be one") from error
        except TimeoutError as error:
            raise TransportTimeoutError(f"connecting to {host}:{port}", config.connect_timeout or 0) from error
        except OSError as error:
            reason = "nothing listens there" if isinstance(error, ConnectionRefusedError) else str(error)
            raise ConnectError(
                f"cannot connect to tcp://{Address(host, port)}: {reason}; "
                "check that the server runs and the address is right"
            ) from error
        session = self._session
        if session is None or not session.is_open:
            raise ConnectError(f"tcp://{Address(host, port)} closed the connection at once; it may be full or stopping")
        self.session_opened(session)
        connection.resume_reading()

    async def close(self, *, graceful: bool = True) -> None:
        """Disconnect, as `Session.close` does; nothing happens when not connected."""
        if self._session is not None:
            await self._session.close(graceful=graceful)
        await self._cancel_work()
        self._stop_watching()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether it can send right now."""
        return self._session is not None and self._session.is_open

    @property
    def session(self) -> Session:
        """The session. Raises SessionClosedError before the first connect."""
        if self._session is None:
            raise SessionClosedError("not connected; call connect() first or use `async with`")
        return self._session

    def request(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        timeout: float | None = None,
        message_id: int | None = None,
    ) -> Coroutine[object, object, Packet]:
        """`Session.request` of the session: await it."""
        return (self._session or self.session).request(
            payload,
            biz_type=biz_type,
            ext_header=ext_header,
            flags=flags,
            compression=compression,
            timeout=timeout,
            message_id=message_id,
        )

    def send(
        self,
        payload: bytes,
        *,
        biz_type: int = 0,
        ext_header: bytes = b"",
        flags: int = 0,
        compression: int = 0,
        message_id: int | None = None,
    ) -> Coroutine[object, object, int]:
        """`Session.send` of the session: await it."""
        return (self._session or self.session).send(
            payload,
            biz_type=biz_type,
            ext_header=ext_header,
            flags=flags,
            compression=compression,
            message_id=message_id,
        )

    def send_nowait(
        self, payload: bytes, *, biz_type: int = 0, ext_header: bytes = b"", flags: int = 0, compression: int = 0
    ) -> int:
        """`Session.send_nowait` of the session."""
        return self.session.send_nowait(
            payload, biz_type=biz_type, ext_header=ext_header, flags=flags, compression=compression
        )

    def session_closed(self, session: Session) -> None:
        """Also ends the event streams: Closed is the last event."""
        super().session_closed(session)
        self.hub.end()

    def _admit(self, link: Link) -> Session:
        self._session = Session(SESSION_ID, link, self, asyncio.get_running_loop(), FIRST_MESSAGE_ID)
        link.pause_reading()  # until connect() returns
        return self._session
