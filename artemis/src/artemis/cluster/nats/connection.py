"""One connection to one server of the engine, from its beginning to its end: it is never mended, but made anew.

So nothing that waited in it is sent later, when it may be wrong, and who this node is is read again each time. Public
parts of nats-py do the work but for two (`_Client`). Not here: which server, and when again (`carrier`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from artemis.cluster.nats.ending import end
from artemis.cluster.nats.login import Login, LoginError, Proof
from artemis.cluster.nats.trouble import MAJORITY, EngineState, TroubleError

Received = Callable[[Msg], Awaitable[None]]

QUEUED = 8 * 1024 * 1024
"""Bytes that may wait to be written; what comes then is dropped and counted."""
_BUFFER = 1024 * 1024
"""Bytes that nats-py keeps before it makes whoever writes wait."""
_MESSAGES = 262_144
_BYTES = 64 * 1024 * 1024
"""What may wait of one subscription to be handled: more than the engine sends to a consumer that does not confirm."""

_DENIED = 256
"""Denied subjects that are remembered; the oldest is forgotten first."""
_SUBJECT = re.compile(r'"([^"]+)"')
_NUMBER = re.compile(r"\[Errno -?\d+\] ")


class ConnectionTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. Connecting takes `connect` at most, each answer `answer`; a server that is silent is noticed after
    about three times `ping`; closing takes `close`."""

    connect: float = 2.0
    answer: float = 3.0
    ping: float = 1.0
    close: float = 1.0


class _Packet(NamedTuple):
    subject: str
    data: bytes
    reply: str
    headers: dict[str, str] | None


class _Context(ssl.SSLContext):
    """Knows whether a handshake was done in it. Made anew for each connection."""

    proven = False


class _Handshake(ssl.SSLObject):
    def do_handshake(self) -> None:
        super().do_handshake()
        context = self.context
        if isinstance(context, _Context):
            context.proven = True


class _Client(Client):
    """The client, which can be ended at once, as `close` waits for a server that takes nothing any more, and whose
    tasks end without an error where the last bytes are not taken: `Connection.check` sees that it is closed."""

    async def _process_op_err(self, e: Exception) -> None:
        with contextlib.suppress(OSError):
            await super()._process_op_err(e)

    def abort(self) -> None:
        """Drop the connection and whatever waits in it."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


class Connection:
    """Owned by the carrier: `open`, then `close`, each once. `lost` is done, with a sentence, when it has ended by
    itself; `check` makes sure of that and is called some times a second. `counters`: `dropped` messages for which there
    was no room, `slow` messages that this node was too slow for, `errors` of any other kind."""

    def __init__(self, url: str, login: Login, *, name: str, ca_file: str | None, timings: ConnectionTimings) -> None:
        self.url = url
        self.timings = timings
        self.counters: Counter[str] = Counter({"dropped": 0, "slow": 0, "errors": 0})
        #: Called with the subscription of which messages were dropped.
        self.slow: Callable[[Subscription], None] = lambda _: None
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._login, self._name, self._ca_file = login, name, ca_file
        self._client = _Client()
        self._context: _Context | None = None
        self._queue: deque[_Packet] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()
        self._writing: asyncio.Task[None] | None = None
        #: Called with the words of the server whenever a subject is denied.
        self.denies: Callable[[str], None] = lambda _: None
        self._denied: dict[str, str] = {}
        self._reason = ""

    # -- begin and end

    async def open(self) -> None:
        """Connect. Raises TroubleError."""
        try:
            proof = self._login.read()
        except LoginError as error:
            raise TroubleError(EngineState.REFUSED, str(error)) from error
        if self.url.startswith("tls:"):
            self._context = _context(self._ca_file)
        try:
            await asyncio.wait_for(self._connect(proof), self.timings.connect + self.timings.answer)
        except (nats.errors.Error, OSError, TimeoutError, ssl.SSLError) as error:
            self._client.abort()
            raise self._unconnected(error) from error
        except BaseException:
            self._client.abort()
            raise
        try:
            self._make_sure_of_tls()
        except _ClearTextError as error:
            self._client.abort()
            raise self._unconnected(error) from error
        self._writing = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        """Send what waits, and end; takes twice `close` at most."""
        if self._writing is not None:
            if not self.lost.done():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._written.wait(), self.timings.close)
            await end([self._writing])
        try:
            await asyncio.wait_for(self._client.close(), self.timings.close)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            self._end(f"closing did not work: {error!r}")
        finally:
            self._client.abort()
            self._end("closed")

    def check(self) -> None:
        """Notice an end that nats-py does not tell of, as it waits for a server that takes nothing any more."""
        if self._client.is_closed:
            self._end(self._reason or "the server has ended the connection")

    # -- messages

    def send(self, subject: str, data: bytes, reply: str = "", headers: dict[str, str] | None = None) -> bool:
        """Send a message as soon as there is room for it; False when it was dropped."""
        if self.lost.done() or self._queued + len(data) > QUEUED:
            self.counters["dropped"] += 1
            return False
        self._queue.append(_Packet(subject, data, reply, headers))
        self._queued += len(data)
        self._written.clear()
        self._wake.set()
        return True

    async def subscribe(self, subject: str, received: Received) -> Subscription:
        """Have a callable get every message to a subject, one after the other. Raises TroubleError."""
        try:
            return await self._client.subscribe(
                subject, cb=received, pending_msgs_limit=_MESSAGES, pending_bytes_limit=_BYTES
            )
        except (nats.errors.Error, OSError) as error:
            raise TroubleError(EngineState.CONNECTING, f"{self.url}: the connection is lost: {error!r}") from error

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Have no more messages of a subscription."""
        try:
            await subscription.unsubscribe()
        except (nats.errors.Error, OSError):
            self.check()

    def inbox(self) -> str:
        """Return a subject that nobody else has."""
        return self._client.new_inbox()

    async def request(self, subject: str, data: bytes = b"") -> Msg:
        """Ask for something. Raises TroubleError when no answer comes; one of nobody is a message with status 503."""
        try:
            return await self._client.request(subject, data, timeout=self.timings.answer)
        except nats.errors.NoRespondersError:
            return Msg(self._client, headers={"Status": "503"})
        except TimeoutError as error:
            denied = self.denial(subject)
            if denied:
                raise TroubleError(
                    EngineState.REFUSED, f"{self.url}: this node may not use {subject}; permit it: {denied}"
                ) from error
            raise TroubleError(EngineState.NO_QUORUM, f"{self.url}: no answer from {subject}; {MAJORITY}") from error
        except (nats.errors.Error, OSError) as error:
            raise TroubleError(EngineState.CONNECTING, f"{self.url}: the connection is lost: {error!r}") from error

    def denial(self, subject: str, *, below: bool = False) -> str:
        """Return what the server said when it denied a subject, or one that begins with it, empty if it did not."""
        asked = subject.lower()
        if not below:
            return self._denied.get(asked, "")
        return next((text for name, text in self._denied.items() if name.startswith(asked)), "")

    def permitted(self, subject: str) -> None:
        """Forget what was denied that begins with a subject: it is permitted now."""
        begin = subject.lower()
        self._denied = {name: text for name, text in self._denied.items() if not name.startswith(begin)}

    @property
    def received(self) -> int:
        """Return how many messages have come."""
        return self._client.stats["in_msgs"]

    @property
    def max_payload(self) -> int:
        """Return the bytes that a message may have."""
        return self._client.max_payload

    # -- its own

    async def _connect(self, proof: Proof) -> None:
        client, timings = self._client, self.timings

        def said(text: str) -> Callable[[], str] | None:
            return (lambda: self._in_confidence(text)) if text else None

        await client.connect(
            servers=[self.url],
            name=self._name,
            error_cb=self._failed,
            closed_cb=self._closed,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.01,  # type: ignore[arg-type]  # it is slept for
            connect_timeout=timings.connect,  # type: ignore[arg-type]  # as above
            ping_interval=timings.ping,  # type: ignore[arg-type]  # as above
            max_outstanding_pings=2,
            pending_size=_BUFFER,
            no_echo=True,
            tls=self._context,
            user=said(proof.user),
            password=said(proof.password),
            token=said(proof.token),
            user_jwt_cb=None if not proof.jwt else lambda: bytearray(self._in_confidence(proof.jwt).encode()),
            signature_cb=proof.sign if proof.seed else None,
        )

    def _in_confidence(self, text: str) -> str:
        self._make_sure_of_tls()
        return text

    def _make_sure_of_tls(self) -> None:
        """A server, or who stands before it, may say that it speaks no TLS; nats-py then speaks without."""
        if self._context is not None and not self._context.proven:
            raise _ClearTextError("it speaks no TLS")

    def _unconnected(self, error: BaseException) -> TroubleError:
        told = str(error)
        if isinstance(error, nats.errors.NoServersError):
            told = self._reason
        elif isinstance(error, TimeoutError) or not told:
            told = "no answer in time"
        if "authorization" in told.lower():
            return TroubleError(EngineState.REFUSED, f"{self.url} does not know this user, password or token: {told}")
        if isinstance(error, _ClearTextError | ssl.SSLError):
            return TroubleError(EngineState.REFUSED, f"{self.url}: TLS does not work: {told}")
        told = _NUMBER.sub("", told)
        return TroubleError(
            EngineState.CONNECTING, f"{self.url} cannot be reached: {told}; does nats-server run there?"
        )

    async def _write(self) -> None:
        queue = self._queue
        try:
            while True:
                while queue:
                    subject, data, reply, headers = queue.popleft()
                    self._queued -= len(data)
                    await self._client.publish(subject, data, reply, headers)
                self._written.set()
                self._wake.clear()
                await self._wake.wait()
        except (nats.errors.Error, OSError) as error:
            self._end(f"{self.url}: nothing can be sent: {error!r}")

    async def _failed(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            self.counters["slow"] += 1
            self.slow(error.sub)
            return
        self.counters["errors"] += 1
        text = str(error) or type(error).__name__
        if "permissions violation" in text.lower():
            self._deny(text[:4_000])
        else:
            self._reason = text[:1_000]

    def _deny(self, text: str) -> None:
        """Remember it: beats that are denied again and again must not hide what else is. nats-py has lowered it."""
        found = _SUBJECT.search(text)
        name = (text if found is None else found[1]).lower()
        self._denied.pop(name, None)
        self._denied[name] = text
        if len(self._denied) > _DENIED:
            del self._denied[next(iter(self._denied))]
        self.denies(text)

    async def _closed(self) -> None:
        self._end(f"{self.url}: {self._reason or 'the connection was closed'}")

    def _end(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
            self._client.abort()


class _ClearTextError(nats.errors.Error):
    """TLS was to be spoken and is not."""


def _context(ca_file: str | None) -> _Context:
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = _Handshake
    try:
        if ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise TroubleError(EngineState.REFUSED, f"{ca_file} has no authorities in PEM form: {error}") from error
    return context
