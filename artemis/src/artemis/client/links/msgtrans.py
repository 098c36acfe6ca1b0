"""A link over MsgTrans, on TCP, WebSocket or QUIC: a session for calls, subscriptions and pushes (docs/protocol.md).

Not here: when it is opened and left (`live`), and what is called or pushed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from artemis.client.calls.passage import PASSAGE, ext_options
from artemis.client.calls.transport import Reply
from artemis.client.links.link import Confirmation, LinkFailure, LinkKind, OnPush, Subscribed, unheard
from artemis.client.links.operations import CODES, CONFIRM, PUSH, SUBSCRIBE, UNSUBSCRIBE, position
from artemis.client.links.pushes import GarbledPush, read_push
from artemis.model import (
    ConfirmRequest,
    ConfirmResponse,
    MalformedBody,
    SubscribeRequest,
    SubscribeResponse,
    decode,
    encode,
)
from msgtrans import (
    ConnectError,
    QuicClientConfig,
    RemoteProtocolError,
    RetryConfig,
    SessionClosedError,
    SessionConfig,
    TcpClientConfig,
    TransportClient,
    TransportError,
    TransportTimeoutError,
    WebSocketClientConfig,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from artemis.client.links.link import Want
    from artemis.client.options import ClientOptions
    from artemis.model import ResponseStatus
    from msgtrans import Context, TlsClientConfig

MAX_SERVICES: Final = 1000
MAX_REQUEST: Final = 60 * 1024
"""Services and bytes of ids of one request for subscriptions; a node takes 1 000 and 64 KiB."""

MAX_REFUSED: Final = 16
"""Services that are found out one by one when a node refuses some; if there are more, it refuses all that follow."""

CLOSE_TIMEOUT: Final = 0.1
"""Seconds that a peer has to close its side too; a connection that is open longer is dropped."""


_ONCE = RetryConfig(max_retries=0)
_CONFIRM_BODY = b"{}"

AnswerT = TypeVar("AnswerT", SubscribeResponse, ConfirmResponse)


class MsgTransLink:
    """See `Link`; made by `open_msgtrans`. `kind` is ``QUIC``, ``MSGTRANS`` or ``WEBSOCKET``.

    With a `region` what is subscribed to and confirmed is the node's copy of that one.
    """

    def __init__(
        self,
        kind: LinkKind,
        node: str,
        client: TransportClient,
        options: ClientOptions,
        on_push: OnPush,
        region: str | None = None,
    ) -> None:
        self.kind = kind
        self.node = node
        self.lifetime: float | None = None
        self._client = client
        self._options = options
        self._on_push = on_push
        self._region = region
        self._question = encode(ConfirmRequest(region_id=region)) if region else _CONFIRM_BODY
        self._confirms = False
        self._known = False  # that the peer speaks this: what ends the link later is no sign that it does not
        self._left: LinkFailure | None = None
        self._calls = 0
        self._idle = asyncio.Event()
        client.on_message(self._take)

    @property
    def carries_calls(self) -> bool:
        """Always: see `Link.carries_calls`."""
        return True

    @property
    def confirms(self) -> bool:
        """Whether the node has the operation; those before it have not."""
        return self._confirms

    async def greet(self) -> None:
        """Ask a first question, because a port that takes connections need not speak this protocol.

        Raises ``LinkFailure``, with ``offered`` None if there is no answer in time.
        """
        answer = await self._ask(CONFIRM, self._question, ConfirmResponse, self._options.link_timeout)
        status = answer.response_status
        self._confirms = status.status == "success"
        if not self._confirms and status.error_code != "bad-request":
            raise LinkFailure(f"the node refuses: {_words(status)}")
        # A node that knows nothing of other regions would push those of its own.
        if self._region and str(answer.region_id or "").lower() != self._region.lower():
            raise LinkFailure("the node shows no other region; its version is too old", offered=False)
        self._known = True

    async def call(self, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as `Transport.call`
        """See `Link.call`. An answer that takes too long ends the link: it may be as dead as it looks."""
        self._calls += 1
        try:
            header, answer = await self._send(CODES[path], body, timeout)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        if len(answer) > self._options.max_answer_bytes:
            raise LinkFailure(f"an answer of more than {self._options.max_answer_bytes} bytes")
        return Reply(answer, *position(header))

    async def subscribe(self, wants: Sequence[Want]) -> Subscribed:
        """See `Link.subscribe`; one request for all that share a cursor, as far as they fit into one."""
        groups: dict[str | None, list[str]] = {}
        for want in wants:
            groups.setdefault(want.cursor, []).append(want.service_id)
        refused: dict[str, str] = {}
        cursors = [
            await self._subscribe(batch, cursor, refused)
            for cursor, services in groups.items()
            for batch in _batches(services)
        ]
        return Subscribed(cursors[0] if len(cursors) == 1 else None, refused)

    async def subscribe_all(self, cursor: str) -> None:
        """Be told of all services from a position on, also if that was so before; raises ``LinkFailure``."""
        request = SubscribeRequest(all=True, cursor=cursor, region_id=self._region)
        status = (
            await self._ask(SUBSCRIBE, encode(request), SubscribeResponse, self._options.attempt_timeout)
        ).response_status
        if status.status != "success":
            raise self._leave(f"the node refuses subscriptions: {_words(status)}")

    async def unsubscribe(self, service_ids: Sequence[str]) -> None:
        """See `Link.unsubscribe`; what the node refuses is not subscribed anyway."""
        for batch in _batches(service_ids):
            request = SubscribeRequest(region_id=self._region, service_ids=[*batch])
            await self._ask(UNSUBSCRIBE, encode(request), SubscribeResponse, self._options.attempt_timeout)

    async def confirm(self) -> Confirmation:
        """See `Link.confirm`; of a node without the operation the answer is a sign of life, and not ``current``."""
        answer = await self._ask(CONFIRM, self._question, ConfirmResponse, self._options.attempt_timeout)
        status = answer.response_status
        if status.status == "success":
            age, missing = max(0, answer.age_ms) / 1000, max(0, answer.missing_nodes)
            return Confirmation(answer.current, answer.cursor, age, missing=missing)
        if status.error_code != "bad-request":
            raise self._leave(f"the node refuses: {_words(status)}")
        return Confirmation(current=False, cursor=None, age=0.0)

    async def ended(self) -> LinkFailure:
        """See `Link.ended`. A node that closes the connection is lost: it stops, or has died."""
        session = self._client.session
        await session.wait_closed()
        if self._left is not None:
            return self._left
        why = session.close_error
        silent = self._silent(why)
        return LinkFailure(str(why or "the node closed the connection"), silent=silent)

    async def finish(self) -> None:
        """See `Link.finish`; each of those calls has a time-out of its own."""
        self._on_push = unheard
        while self._calls:
            self._idle.clear()
            await self._idle.wait()

    async def close(self) -> None:
        """See `Link.close`; takes up to ``CLOSE_TIMEOUT``."""
        self._left = self._left or LinkFailure("the client left the link", sent=False)
        await self._client.close(timeout=CLOSE_TIMEOUT)

    async def _subscribe(self, services: list[str], cursor: str | None, refused: dict[str, str]) -> str | None:
        """Subscribe to services; where that is refused, to each half of them, until it is known which are."""
        request = SubscribeRequest(cursor=cursor, region_id=self._region, service_ids=[*services])
        answer = await self._ask(SUBSCRIBE, encode(request), SubscribeResponse, self._options.attempt_timeout)
        status = answer.response_status
        if status.status == "success":
            return answer.cursor
        if status.error_code not in {"bad-request", "rate-limited", "no-permission"}:
            raise self._leave(f"the node refuses subscriptions: {_words(status)}")
        if len(services) == 1 or len(refused) >= MAX_REFUSED:
            refused.update(dict.fromkeys(services, _words(status)))
            return None
        middle = len(services) // 2
        parts = [await self._subscribe(part, cursor, refused) for part in (services[:middle], services[middle:])]
        return parts[0] or parts[1]

    async def _ask(self, code: int, body: bytes, answer: type[AnswerT], timeout: float) -> AnswerT:  # noqa: ASYNC109
        _, raw = await self._send(code, body, timeout)
        try:
            read = decode(answer, raw)
        except MalformedBody as error:
            raise self._leave(f"the answer is not one of a registry node ({error})", offered=False) from error
        if read is None or read.response_status.status is None:
            raise self._leave("the answer has no responseStatus; is this a registry node?", offered=False)
        return read

    async def _send(self, code: int, body: bytes, timeout: float) -> tuple[bytes, bytes]:  # noqa: ASYNC109
        try:
            answer = await self._client.request(
                body, biz_type=code, ext_header=ext_options(PASSAGE.get()), timeout=timeout
            )
        except TransportTimeoutError:
            reason = f"no answer within {timeout:g} s"
            raise self._leave(reason, offered=self._known or None, silent=True) from None
        except SessionClosedError as error:
            # Not sent at all: the same call may be made in another way at once.
            why = self._client.session.close_error or error
            offered = self._known or _offered(why)
            silent = self._left.silent if self._left is not None else self._silent(why)
            raise LinkFailure(str(self._left or why), offered=offered, sent=error.written, silent=silent) from error
        except TransportError as error:
            raise LinkFailure(str(error), sent=False) from error
        return answer.ext_header, answer.payload

    def _silent(self, why: BaseException | None) -> bool:
        """Say whether the path may be dead and the node not: UDP that is refused, as that which nobody answers."""
        if isinstance(why, TransportTimeoutError):
            return True
        refused = why is not None and any(isinstance(cause, ConnectionRefusedError) for cause in _causes(why))
        return refused and self.kind is LinkKind.QUIC

    def _take(self, context: Context) -> None:
        if context.biz_type != PUSH:
            self._leave(f"a message of the unknown kind {context.biz_type}", offered=False)
            return
        if self._left is not None:
            return
        try:
            push = read_push(context.payload)
        except GarbledPush as error:
            self._leave(str(error), offered=False)
        else:
            self._on_push(push)

    def _leave(self, reason: str, *, offered: bool | None = True, silent: bool = False) -> LinkFailure:
        """End the session, and return what to raise."""
        failure = LinkFailure(reason, offered=offered, silent=silent)
        self._left = self._left or failure
        self._client.session.abort()
        return failure


async def open_msgtrans(
    kind: LinkKind,
    node: str,
    options: ClientOptions,
    tls: TlsClientConfig | None,
    on_push: OnPush,
    port: int | None = None,
    region: str | None = None,
) -> MsgTransLink:
    """Connect to ``node`` and hear it answer once. Raises ``LinkFailure``; cancelled, it leaves nothing open.

    On TCP it is the node's port itself, so below a path there is nothing (``offered`` False); on WebSocket it is
    ``/msgtrans`` below the node's URL. https means TLS. On QUIC it is the ``port`` of UDP that the node offers, at its
    host, and always TLS. Tried once, within ``link_timeout`` for each of the two steps.
    """
    target = _target(kind, node, options, tls) if kind is not LinkKind.QUIC else _quic(node, port, options, tls)
    client = TransportClient(target, session=_session(options))
    link = MsgTransLink(kind, node, client, options, on_push, region)
    try:
        await client.connect()
        await link.greet()
    except TransportError as error:
        raise LinkFailure(str(error), offered=_offered(error)) from error
    except BaseException:
        await client.close(graceful=False)
        raise
    return link


def _target(
    kind: LinkKind, node: str, options: ClientOptions, tls: TlsClientConfig | None
) -> TcpClientConfig | WebSocketClientConfig:
    url = urlsplit(node)
    secure = url.scheme == "https"
    tls = tls if secure else None
    if kind is LinkKind.WEBSOCKET:
        target = f"{'wss' if secure else 'ws'}://{url.netloc.rpartition('@')[2]}{url.path}/msgtrans"
        return WebSocketClientConfig(
            target_url=target, tls=tls, connect_timeout=options.link_timeout, retry_config=_ONCE
        )
    if url.path:
        raise LinkFailure("the node is below a path, so its port speaks HTTP alone", offered=False)
    target = f"{'tls' if secure else 'tcp'}://{_host(node)}:{url.port or (443 if secure else 80)}"
    return TcpClientConfig(target_address=target, tls=tls, connect_timeout=options.link_timeout, retry_config=_ONCE)


def _quic(node: str, port: int | None, options: ClientOptions, tls: TlsClientConfig | None) -> QuicClientConfig:
    """Return where QUIC goes.

    That the path is dead is noticed as on TCP: every ``confirm_interval`` something is asked. Where that is long, QUIC
    pings, and ends after its own time-out.
    """
    if port is None:
        raise LinkFailure("the node does not offer QUIC", offered=False)
    return QuicClientConfig(
        target_address=f"{_host(node)}:{port}",
        tls=tls,
        connect_timeout=options.link_timeout,
        retry_config=_ONCE,
    )


def _host(node: str) -> str:
    """Return the host of a URL as it stands before a port."""
    host = urlsplit(node).hostname or ""
    return f"[{host}]" if ":" in host else host


def _session(options: ClientOptions) -> SessionConfig:
    return SessionConfig(request_timeout=options.attempt_timeout, graceful_timeout=CLOSE_TIMEOUT)


def _offered(error: TransportError) -> bool | None:
    """Say what an error tells about whether the node speaks this at all; None: nothing for certain."""
    if isinstance(error, RemoteProtocolError):
        return False
    causes = list(_causes(error))
    if any(isinstance(cause, RemoteProtocolError) for cause in causes):
        return False
    if any(isinstance(cause, ConnectionRefusedError | socket.gaierror | ssl.SSLError) for cause in causes):
        return True
    return False if isinstance(error, ConnectError) and not error.retriable else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _batches(services: Iterable[str]) -> Iterator[list[str]]:
    """Cut services into requests that a node takes; an id that is too long for any comes alone, to be refused."""
    batch: list[str] = []
    size = 0
    for service in services:
        length = len(encode(service)) + 1
        if batch and (len(batch) >= MAX_SERVICES or size + length > MAX_REQUEST):
            yield batch
            batch, size = [], 0
        batch.append(service)
        size += length
    if batch:
        yield batch


def _words(status: ResponseStatus) -> str:
    return f"{status.error_code or 'unknown'}: {status.message or ''}".rstrip(": ")
