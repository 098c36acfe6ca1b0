"""Who the peer is: by a token or by its TLS certificate (specification 4.1, `AuthMiddleware`).

A token comes with the upgrade request of WebSocket, or on any transport in a message of its own, which must be the
first; `TokenMiddleware` is the client's side of that. Whoever shows neither in time, or anything else before it, is
closed: a peer that guesses must connect anew for each guess. Tokens are never logged.
Not here: what an identity may do; handlers see it at `session.identity`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qs

from msgtrans.errors import AuthenticationError, ConfigurationError, TransportTimeoutError
from msgtrans.middleware.base import Middleware

if TYPE_CHECKING:
    from msgtrans.events import CloseReason
    from msgtrans.handlers import Answer, Context, MessageHandler, RequestHandler
    from msgtrans.link import HttpRequest
    from msgtrans.session import Session

Identity: TypeAlias = "object | None"
VerifyToken: TypeAlias = Callable[[str], "Identity | Awaitable[Identity]"]
VerifyCertificate: TypeAlias = Callable[[Mapping[str, object]], "Identity"]

BIZ_TYPE: Final = 255
EXT_HEADER: Final = b"msgtrans.token"
LONGEST: Final = 8192  # bytes of a token
logger = logging.getLogger("msgtrans.middleware")


def fixed_tokens(tokens: Mapping[str, object]) -> VerifyToken:
    """Verify against a fixed set, token to identity. Takes the same time whichever token comes, known or not."""
    known = [(_digest(token), identity) for token, identity in tokens.items()]

    def verify(token: str) -> Identity:
        digest, found = _digest(token), None
        for other, identity in known:
            if hmac.compare_digest(digest, other):
                found = identity
        return found

    return verify


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class TokenMiddleware(Middleware):
    """For clients: sends a token as the first message of each session, ahead of everything else.

    token: text, or a function that gives the one to use now. biz_type, ext_header: as the server expects them.
    """

    def __init__(
        self, token: str | Callable[[], str], *, biz_type: int = BIZ_TYPE, ext_header: bytes = EXT_HEADER
    ) -> None:
        self._token = token
        self._biz_type = biz_type
        self._ext_header = ext_header

    def connected(self, session: Session) -> None:
        """Send it."""
        token = self._token if isinstance(self._token, str) else self._token()
        session.send_nowait(token.encode(), biz_type=self._biz_type, ext_header=self._ext_header)


class _Verification:
    """One that takes its time: what the session sends meanwhile waits for it, in order. Or one that has failed: of what
    the same read still brings, nothing passes, and no other token is tried.
    """

    __slots__ = ("done", "failed", "waiting")

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.failed = False
        self.waiting = 0


class AuthenticationMiddleware(Middleware):
    """Lets sessions in whose peer proves who it is, and sets `session.identity`.

    token: says whom a token belongs to, None for nobody; may be a coroutine function. `fixed_tokens` makes one.
    certificate: likewise for the peer's verified TLS certificate, as `Session.peer_certificate` gives it; for listeners
        that ask for certificates. Needs at least one of the two; of a session either will do.
    optional: lets sessions in that show neither, with identity None; a wrong token is still refused.
    deadline: seconds until the token must have come and be verified; default 10. One timer serves all sessions.
    query_parameter: name of the one in a WebSocket URL that may carry the token; default None, because URLs end up in
        logs. The header `Authorization: Bearer TOKEN` always may.
    biz_type, ext_header: of the message that carries the token as its payload, in UTF-8, at most 8192 bytes; default
        255 and "msgtrans.token". Sent as a request it is answered with nothing. It never reaches a handler; a later one
        replaces the identity.
    Until a session is let in nothing of it passes, and broadcasts leave it out; but `Established` and `on_connect` have
    it already, unless it showed its proof while connecting and that was verified at once.
    """

    def __init__(
        self,
        token: VerifyToken | None = None,
        *,
        certificate: VerifyCertificate | None = None,
        optional: bool = False,
        deadline: float = 10.0,
        query_parameter: str | None = None,
        biz_type: int = BIZ_TYPE,
        ext_header: bytes = EXT_HEADER,
    ) -> None:
        if token is None and certificate is None:
            raise ConfigurationError("token", "is missing, and so is certificate; say how to verify one of them")
        if not deadline > 0:
            raise ConfigurationError("deadline", f"is {deadline}; use a positive number of seconds")
        self._token = token
        self._certificate = certificate
        self._optional = optional
        self._deadline = deadline
        self._query_parameter = query_parameter
        self._biz_type = biz_type
        self._ext_header = ext_header
        self._strangers: dict[Session, float] = {}  # who must still prove it, and until when; the first is due first
        self._verifying: dict[Session, _Verification] = {}
        self._timer: asyncio.TimerHandle | None = None

    # What endpoints call

    def connected(self, session: Session) -> None:
        """Look at the certificate and the upgrade request."""
        if self._known_by_certificate(session):
            return
        token = self._token_of(session.http_request)
        if token is not None and self._token is not None:
            verdict = self._token(token)
            if not inspect.isawaitable(verdict):
                if verdict is None:
                    raise self._failure(session)
                session.identity = verdict
                return
            self._verifying[session] = _Verification()
            session.endpoint.spawn(self._let_in_later(session, verdict))
        elif self._optional:
            return
        session.in_broadcasts = False
        loop = asyncio.get_running_loop()
        self._strangers[session] = loop.time() + self._deadline
        if self._timer is None:
            self._timer = loop.call_later(self._deadline, self._expire, loop)

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        """Pass those that are let in."""
        if self._carries_token(context):
            return self._introduce(context)
        if self._verifying or self._strangers:
            later = self._hold_up(context)
            if later is not None:
                return self._pass_later(later, context, call)  # type: ignore[return-value]  # it gives what call does
        return call(context)

    def message(self, context: Context, call: MessageHandler) -> object:
        """Pass those that are let in."""
        if self._carries_token(context):
            return self._introduce(context)
        if self._verifying or self._strangers:
            later = self._hold_up(context)
            if later is not None:
                return self._pass_later(later, context, call)
        return call(context)

    def disconnected(self, session: Session, reason: CloseReason) -> None:  # noqa: ARG002 - whyever
        """Forget the session."""
        self._forget(session)
        verification = self._verifying.pop(session, None)
        if verification is not None:
            verification.failed = True
            verification.done.set()

    # Proofs

    def _known_by_certificate(self, session: Session) -> bool:
        if self._certificate is None:
            return False
        shown = session.peer_certificate
        identity = None if shown is None else self._certificate(shown)
        if identity is not None:
            session.identity = identity
            return True
        if self._token is None and (shown is not None or not self._optional):
            raise self._failure(session)
        return False

    def _token_of(self, request: HttpRequest | None) -> str | None:
        if request is None:
            return None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        if self._query_parameter is not None:
            values = parse_qs(request.query, max_num_fields=100).get(self._query_parameter)
            return values[0] if values else None
        return None

    def _carries_token(self, context: Context) -> bool:
        return context.biz_type == self._biz_type and context.ext_header == self._ext_header and self._token is not None

    def _introduce(self, context: Context) -> bytes | Awaitable[bytes]:
        """Verify the token that a message carries; the answer when it is good."""
        session, token = context.session, _text(context.payload)
        before = self._verifying.get(session)
        if before is not None and before.failed:
            raise AuthenticationError
        if self._token is None or token is None or before is not None:
            raise self._barred(session)
        try:
            verdict = self._token(token)
        except Exception:
            self._bar(session)
            raise
        if inspect.isawaitable(verdict):
            self._verifying[session] = _Verification()
            return self._let_in(session, verdict)
        if verdict is None:
            raise self._barred(session)
        self._welcome(session, verdict)
        return b""

    def _welcome(self, session: Session, identity: object) -> None:
        session.identity = identity
        if self._forget(session):
            session.in_broadcasts = True

    async def _let_in(self, session: Session, verdict: Awaitable[Identity]) -> bytes:
        verification = self._verifying[session]
        try:
            identity = await verdict
        except BaseException:
            self._bar(session)
            verification.done.set()
            raise
        error = None
        if identity is None:
            error = self._barred(session)
        elif not verification.failed:
            self._welcome(session, identity)
        verification.done.set()
        if error is not None:
            raise error
        if not verification.waiting and not verification.failed:
            self._verifying.pop(session, None)
        return b""

    async def _let_in_later(self, session: Session, verdict: Awaitable[Identity]) -> None:
        try:
            await self._let_in(session, verdict)
        except AuthenticationError as error:
            logger.debug("session %d from %s refused: %s", session.id, session.peer_address, error)
        except Exception:
            logger.exception("verifying the token of session %d failed", session.id)
            session.endpoint.counters.handler_errors += 1

    # Those that are not let in

    def _hold_up(self, context: Context) -> _Verification | None:
        """What a message must wait for; None when it may pass. Raises for those that should have shown a token."""
        verification = self._verifying.get(context.session)
        if verification is not None and verification.failed:
            raise AuthenticationError
        if verification is None and context.session in self._strangers:
            raise self._barred(context.session)
        return verification

    async def _pass_later(
        self, verification: _Verification, context: Context, call: Callable[[Context], object]
    ) -> object:
        verification.waiting += 1
        try:
            await verification.done.wait()
            if verification.failed:
                raise AuthenticationError
            answer = call(context)
        finally:
            verification.waiting -= 1
            if not verification.waiting and verification.done.is_set() and not verification.failed:
                self._verifying.pop(context.session, None)
        return await answer if inspect.isawaitable(answer) else answer

    def _failure(self, session: Session) -> AuthenticationError:
        session.endpoint.counters.authentication_failures += 1
        return AuthenticationError()

    def _barred(self, session: Session) -> AuthenticationError:
        error = self._failure(session)
        self._bar(session)
        return error

    def _bar(self, session: Session) -> None:
        """Let nothing more of it pass, and close it after `on_error` had its say in this turn of the loop."""
        verification = self._verifying.setdefault(session, _Verification())
        if not verification.failed:
            verification.failed = True
            asyncio.get_running_loop().call_soon(session.dismiss, AuthenticationError())

    def _forget(self, session: Session) -> bool:
        """It is no stranger any more; whether it was."""
        was = self._strangers.pop(session, None) is not None
        if not self._strangers and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return was

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for session, due in list(self._strangers.items()):
            if due > now:
                self._timer = loop.call_at(due, self._expire, loop)
                return
            session.endpoint.counters.authentication_failures += 1
            session.time_out(TransportTimeoutError("authentication", self._deadline))


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode() if len(payload) <= LONGEST else None
    except UnicodeDecodeError:
        return None
