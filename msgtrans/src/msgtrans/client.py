"""The client: one connection to a server (specification 4.1).

    async with TransportClient("tcp://127.0.0.1:8001") as client:
        answer = await client.request(b"what time is it?")
        print(answer.payload)

Not here: what a session does, what its bytes travel on, reconnecting (`reconnecting`).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, Self

from msgtrans.adapters.registry import TransportRegistry, transports
from msgtrans.careful import new_session
from msgtrans.endpoint import Endpoint
from msgtrans.errors import ConnectError, SessionClosedError, TransportError
from msgtrans.flow.retry import Pauses

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from msgtrans.config import ConnectionConfig, ExpertConfig, SessionConfig
    from msgtrans.link import Link
    from msgtrans.middleware import Middleware
    from msgtrans.packet import Packet
    from msgtrans.session import Session
    from msgtrans.transport import ClientConfig

FIRST_MESSAGE_ID: Final = 1
SESSION_ID: Final = 1


class TransportClient(Endpoint):
    """A connection to a server. Connects when entered; can connect again after it was closed.

    target: a URI, as "tcp://host:port" or "wss://host/path", "host:port" for TCP, or a config, as TcpClientConfig.
    session: what holds for the session. middleware: what `use` takes into use, the outermost first.
    registry: the transports to choose from; default all, plug-ins included.
    connection: settings as a whole; its buffer_size takes the place of `SessionConfig.event_queue_size`. expert: of its
    performance, a `Monitor` is made. Default neither.
    All methods may be called concurrently from tasks of the same loop.
    """

    def __init__(
        self,
        target: str | ClientConfig,
        *,
        session: SessionConfig | None = None,
        middleware: Iterable[Middleware] = (),
        registry: TransportRegistry = transports,
        connection: ConnectionConfig | None = None,
        expert: ExpertConfig | None = None,
    ) -> None:
        super().__init__(session, middleware, connection=connection, expert=expert)
        self._target = registry.client_config(target, field="target")
        self._transport = registry.get(self._target.transport)
        self._session: Session | None = None
        self._connecting = asyncio.Lock()

    @property
    def uri(self) -> str:
        """Where it connects to."""
        return self._target.uri

    async def connect(self) -> None:
        """Connect. Handlers and streams set up before the next `await` miss nothing the server says.

        Tries again as the config's `retry_config` says, if that can help.
        Raises ConnectError (refused, unreachable, unknown name), TransportTimeoutError after `connect_timeout`: the
        error of the last attempt, whose `attempts` says how many there were. Concurrent calls share one connection.
        """
        async with self._connecting:
            if self.is_connected:
                return
            pauses = Pauses(self._target.retry_config)
            while True:
                try:
                    await self._connect()
                except TransportError as error:
                    error.attempts = pauses.done + 1
                    pause = pauses.next(random.random()) if error.retriable else None  # noqa: S311 - no secret
                    if pause is None:
                        raise
                else:
                    return
                await asyncio.sleep(pause)

    async def _connect(self) -> None:
        before = self._session
        try:
            link = await self._transport.connect(self._target, self)
        except BaseException:
            self._session = before  # what was admitted is gone; uvloop, when cancelled, tells it nothing
            raise
        session = self._session
        if session is None or not session.is_open:
            reason = session.close_error if session is not None else None
            raise ConnectError(
                f"{self.uri} closed the connection at once: {reason or 'it may be full or stopping'}"
            ) from reason
        if not self.session_opened(session):
            raise session.close_error or ConnectError("a middleware refused the connection")
        self._begin_looking()
        link.resume_reading()

    async def close(
        self,
        *,
        graceful: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - as `Session.close`
    ) -> None:
        """Disconnect, as `Session.close` does; nothing happens when not connected."""
        if self._session is not None:
            await self._session.close(graceful=graceful, timeout=timeout)
        await self._cancel_work()
        self._stop_watching()
        self._end_looking()

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
        was_open = self._open.get(session.id) is session
        super().session_closed(session)
        if was_open:  # else it ended before it was opened, and another attempt may follow
            self._end_looking()
            self.hub.end()

    def admit(self, link: Link) -> Session:
        """For transports: the session of the connection that was made."""
        self._session = new_session(SESSION_ID, link, self, asyncio.get_running_loop(), FIRST_MESSAGE_ID)
        link.pause_reading()  # until connect() returns
        return self._session
