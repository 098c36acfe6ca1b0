"""A link to a node of the Java product: the WebSocket endpoint for changes, of v1 or v2 (spec 3.3, 9.3, 9.5).

It knows no cursors and acknowledges nothing, so whoever subscribes looks the services up again afterwards. Calls go
over HTTP. Not here: what a change means for a view.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from artemis.client.calls.transport import TransportFailure, in_words
from artemis.client.links.link import Confirmation, LinkFailure, LinkKind, OnPush, Subscribed, unheard
from artemis.client.links.pushes import MAX_PUSH, GarbledPush, read_instance_change
from artemis.client.names import service_key
from artemis.model import DiscoveryConfig, encode
from msgtrans import TlsClientConfig
from msgtrans.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import SimpleNamespace

    from artemis.client.calls.transport import Reply
    from artemis.client.links.link import Want
    from artemis.client.options import ClientOptions

PATHS: Final = ("/ws/discovery/instance-change", "/artemis/websocket/discovery/instance-change")
"""Of v1 and our nodes, and of v2 (spec 3)."""

LIFETIME: Final = 300.0
"""Seconds after which a link is made anew; a Java node ends sessions after 6 minutes, whatever they do (spec 3.5)."""

_ORDERLY: Final = frozenset(
    {
        aiohttp.WSCloseCode.OK,
        aiohttp.WSCloseCode.GOING_AWAY,
        aiohttp.WSCloseCode.SERVICE_RESTART,
        aiohttp.WSCloseCode.TRY_AGAIN_LATER,
    }
)


class JavaLink:
    """See `Link`; made by `open_java`."""

    kind = LinkKind.JAVA_WEBSOCKET
    carries_calls = False
    confirms = False

    def __init__(
        self,
        node: str,
        session: aiohttp.ClientSession,
        websocket: aiohttp.ClientWebSocketResponse,
        lifetime: float,
        options: ClientOptions,
        on_push: OnPush,
    ) -> None:
        self.node = node
        self.lifetime: float | None = lifetime
        self._session = session
        self._websocket = websocket
        self._options = options
        self._on_push = on_push
        self._services: set[str] = set()
        self._pings = 0
        self._pongs: dict[bytes, asyncio.Future[None]] = {}
        self._left: LinkFailure | None = None
        self._reading = asyncio.get_running_loop().create_task(self._run(), name="artemis client java link")
        self._reading.add_done_callback(self._forget_pongs)

    async def call(self, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Transport.call`
        """See `Link.call`: never."""
        _ = body, timeout
        raise LinkFailure(f"{path} is not carried by a Java node's link", sent=False)

    async def subscribe(self, wants: Sequence[Want]) -> Subscribed:
        """See `Link.subscribe`; changes from now on, whatever the cursor says.

        A Java node compares ids letter by letter (spec 13.1), so one is asked for as it is written and in lower case.
        It says nothing to a subscription; but it has read them all when it answers a ping that was sent behind them.
        """
        for want in wants:
            key = service_key(want.service_id)
            self._services.add(key)
            for name in dict.fromkeys((want.service_id, key)):
                await self._send(encode(DiscoveryConfig(service_id=name)).decode())
        await self._ping()
        return Subscribed()

    async def unsubscribe(self, service_ids: Sequence[str]) -> None:
        """See `Link.unsubscribe`; the node goes on to tell of them, and nobody listens."""
        self._services.difference_update(service_key(service_id) for service_id in service_ids)

    async def confirm(self) -> Confirmation:
        """See `Link.confirm`: a ping is answered, and nothing is confirmed.

        The link pings by itself too, every ``confirm_interval``, and ends where there is no pong.
        """
        await self._ping()
        return Confirmation(current=False, cursor=None, age=0.0)

    async def ended(self) -> LinkFailure:
        """See `Link.ended`; a session that the node ended in order says nothing against the node."""
        return await asyncio.shield(self._reading)

    async def finish(self) -> None:
        """See `Link.finish`; no calls are under way."""
        self._on_push = unheard

    async def close(self) -> None:
        """See `Link.close`."""
        self._reading.cancel()
        try:
            await asyncio.wait({self._reading})
            await self._websocket.close()
        finally:
            await self._session.close()

    async def _ping(self) -> None:
        if self._reading.done():
            cancelled = self._reading.cancelled()
            raise LinkFailure("the client left the link", sent=False) if cancelled else self._reading.result()
        self._pings += 1
        name = str(self._pings).encode()
        pong = self._pongs[name] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._options.attempt_timeout):
                await self._send(name)
                await pong
        except TimeoutError:
            self._left = LinkFailure(f"no answer to a ping within {self._options.attempt_timeout:g} s")
            await self._websocket.close()
            raise self._left from None
        finally:
            self._pongs.pop(name, None)

    def _forget_pongs(self, reading: asyncio.Task[LinkFailure]) -> None:
        failure = LinkFailure("the client left the link") if reading.cancelled() else reading.result()
        for pong in self._pongs.values():
            if not pong.done():
                pong.set_exception(failure)

    async def _send(self, data: str | bytes) -> None:
        """Send a text, or a ping with these bytes."""
        try:
            if isinstance(data, str):
                await self._websocket.send_str(data)
            else:
                await self._websocket.ping(data)
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise LinkFailure(f"the connection broke ({error})", sent=False) from error

    async def _run(self) -> LinkFailure:
        """Read and ping until the end; return why it is one."""
        pinging = asyncio.get_running_loop().create_task(self._ping_regularly(), name="artemis client java pings")
        try:
            failure = await self._read()
            return self._left or failure
        finally:
            pinging.cancel()
            await asyncio.wait({pinging})

    async def _ping_regularly(self) -> None:
        with contextlib.suppress(LinkFailure):  # whoever reads learns of the end, too
            while True:
                await asyncio.sleep(self._options.confirm_interval)
                await self._ping()

    async def _read(self) -> LinkFailure:
        """Hand on what comes, until the end; return why it is one."""
        websocket = self._websocket
        while True:
            message = await websocket.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    try:
                        push = read_instance_change(message.data)
                    except GarbledPush as error:
                        return LinkFailure(str(error), offered=False)
                    if push.service in self._services or push.service == "*":
                        self._on_push(push)
                case aiohttp.WSMsgType.PING:
                    with contextlib.suppress(aiohttp.ClientError, OSError):  # the next message says why
                        await websocket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    pong = self._pongs.get(bytes(message.data))
                    if pong is not None and not pong.done():
                        pong.set_result(None)
                case aiohttp.WSMsgType.BINARY:
                    return LinkFailure("a binary message; Java nodes send none", offered=False)
                case _:
                    return _end(websocket)


def _end(websocket: aiohttp.ClientWebSocketResponse) -> LinkFailure:
    code = websocket.close_code
    if code in _ORDERLY:
        return LinkFailure(f"the node ended the session (close code {code})", offered=None)
    if code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return LinkFailure(f"a push of more than {MAX_PUSH} bytes", offered=False)
    error = websocket.exception()
    return LinkFailure(f"the connection broke ({error or f'close code {code}'})")


async def open_java(
    node: str, options: ClientOptions, tls: TlsClientConfig | None, lifetime: float, on_push: OnPush
) -> JavaLink:
    """Connect to the endpoint of v1, or of v2 where that is not there. Raises ``LinkFailure``.

    https means TLS (wss), which the Java client never uses (spec 13.25). Each step takes ``link_timeout`` at most.
    """
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_redirect)
    session = aiohttp.ClientSession(trace_configs=[trace], cookie_jar=aiohttp.DummyCookieJar())
    try:
        websocket = await _find(session, node, options, tls or TlsClientConfig())
    except BaseException:
        await session.close()
        raise
    return JavaLink(node, session, websocket, lifetime, options, on_push)


async def _find(
    session: aiohttp.ClientSession, node: str, options: ClientOptions, tls: TlsClientConfig
) -> aiohttp.ClientWebSocketResponse:
    first, second = PATHS
    try:
        return await _shake_hands(session, node, first, options, tls)
    except LinkFailure as failure:
        if failure.offered is not False:
            raise
    return await _shake_hands(session, node, second, options, tls)


async def _shake_hands(
    session: aiohttp.ClientSession, node: str, path: str, options: ClientOptions, tls: TlsClientConfig
) -> aiohttp.ClientWebSocketResponse:
    url = urlsplit(node)
    secure = url.scheme == "https"
    target = urlunsplit(url._replace(scheme="wss" if secure else "ws", path=url.path + path))
    try:
        async with asyncio.timeout(options.link_timeout):
            return await session.ws_connect(
                target,
                autoping=False,
                max_msg_size=MAX_PUSH,
                timeout=aiohttp.ClientWSTimeout(ws_close=0.1),
                ssl=client_context(tls) if secure else True,
                server_hostname=tls.server_name if secure else None,
            )
    except TimeoutError:
        raise LinkFailure(f"no answer within {options.link_timeout:g} s", offered=None) from None
    except aiohttp.WSServerHandshakeError as error:
        raise LinkFailure(f"HTTP {error.status} instead of a WebSocket", offered=False) from error
    except aiohttp.ClientConnectorError as error:
        raise LinkFailure(in_words(error)) from error
    except TransportFailure as error:
        raise LinkFailure(str(error), offered=False) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise LinkFailure(in_words(error), offered=None) from error


async def _refuse_redirect(
    session: aiohttp.ClientSession, context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    """A subscription is for the configured node, as every call is."""
    _ = session, context
    location = redirect.response.headers.get("Location", "")
    raise TransportFailure(f"HTTP {redirect.response.status}, a redirect to {location[:200]!r}")
