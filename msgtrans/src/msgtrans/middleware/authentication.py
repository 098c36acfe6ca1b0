"""Who the peer is: by a token or by its TLS certificate (specification 4.1, `AuthMiddleware`).

A token comes with the upgrade request of WebSocket, or on any transport in a message of its own, which must be the
first; `TokenMiddleware` is the client's side of that. Whoever shows neither in time, or anything else before it, is
closed: a peer that guesses must connect anew for each guess. Tokens are never logged.
Tables keyed by sessions hold open ones only: what an outer middleware delivers after the end of a session must not
enter one, because nobody would take it out again.
Not here: what an identity may do; handlers see it at `session.identity`. How messages wait for a verdict: `gate`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import inspect
import logging
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qs

from msgtrans.errors import AuthenticationError, ConfigurationError, TransportError, TransportTimeoutError
from msgtrans.info import SessionState
from msgtrans.middleware.base import Middleware
from msgtrans.middleware.gate import Gate

if TYPE_CHECKING:
    from msgtrans.events import CloseReason
    from msgtrans.handlers import Answer, Context, MessageHandler, RequestHandler
    from msgtrans.session import Session

Identity: TypeAlias = "object | None"
VerifyToken: TypeAlias = Callable[[str], "Identity | Awaitable[Identity]"]
VerifyCertificate: TypeAlias = Callable[[Mapping[str, object]], "Identity"]

BIZ_TYPE: Final = 255
EXT_HEADER: Final = b"msgtrans.token"
LONGEST: Final = 8192  # bytes of a token
FIELDS: Final = 100  # of a query in which a token is looked for
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


class AuthenticationMiddleware(Middleware):
    """Lets sessions in whose peer proves who it is, and sets `session.identity`.

    token: says whom a token belongs to, None for nobody; may be a coroutine function, which is cancelled when the
        session ends or the deadline passes. `fixed_tokens` makes one.
    certificate: likewise for the peer's verified TLS certificate, as `Session.peer_certificate` gives it; for listeners
        that ask for certificates. Needs at least one of the two; of a session either will do.
    optional: lets sessions in that show neither, with identity None; a wrong token is still refused.
    deadline: seconds until the token must have come and be verified, a later one only verified; default 10. One timer
        serves all sessions.
    query_parameter: name of the one in a WebSocket URL that may carry the token; default None, because URLs end up in
        logs. The header `Authorization: Bearer TOKEN` always may. A query of more than 100 fields is a wrong token.
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
        self._gates: dict[Session, Gate] = {}  # of open sessions; the first is due first
        self._outcasts: set[weakref.ref[Session]] = set()  # closed before they were let in; nothing of theirs may pass
        self._timer: asyncio.TimerHandle | None = None

    # What endpoints call

    def connected(self, session: Session) -> None:
        """Look at the certificate and the upgrade request."""
        if self._known_by_certificate(session):
            return
        token = self._token_of(session)
        if token is not None and self._token is not None:
            verdict = self._token(token)
            if not inspect.isawaitable(verdict):
                if verdict is None:
                    raise self._failure(session)
                session.identity = verdict
                return
            gate = self._set_up(session, stranger=True)
            gate.ask(verdict)
            session.endpoint.spawn(self._let_in_later(session, gate))
        elif self._optional:
            return
        else:
            self._set_up(session, stranger=True)
        session.in_broadcasts = False

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        """Pass those that are let in."""
        if self._carries_token(context):
            return self._introduce(context)
        if self._gates or self._outcasts:
            gate = self._gate_before(context.session)
            if gate is not None:
                return self._go_through(gate, context, call)  # type: ignore[return-value]  # it gives what call does
        return call(context)

    def message(self, context: Context, call: MessageHandler) -> object:
        """Pass those that are let in."""
        if self._carries_token(context):
            return self._introduce(context)
        if self._gates or self._outcasts:
            gate = self._gate_before(context.session)
            if gate is not None:
                return self._go_through(gate, context, call)
        return call(context)

    def disconnected(self, session: Session, reason: CloseReason) -> None:  # noqa: ARG002 - whyever
        """Forget the session; nothing of it that still comes may pass, unless it was let in."""
        gate = self._gates.pop(session, None)
        if gate is not None:
            self._rest()
            if not gate.passed:
                gate.shut()
                self._cast_out(session)

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

    def _token_of(self, session: Session) -> str | None:
        request = session.http_request
        if request is None or self._token is None:
            return None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        if self._query_parameter is not None:
            try:
                values = parse_qs(request.query, max_num_fields=FIELDS).get(self._query_parameter)
            except ValueError:
                raise self._failure(session) from None
            return values[0] if values else None
        return None

    def _carries_token(self, context: Context) -> bool:
        return context.biz_type == self._biz_type and context.ext_header == self._ext_header and self._token is not None

    def _introduce(self, context: Context) -> bytes | Awaitable[bytes]:
        """Verify the token that a message carries; the answer when it is good."""
        session, token = context.session, _text(context.payload)
        if session.state is SessionState.CLOSED:
            self._cast_out(session)
            raise AuthenticationError
        gate = self._gates.get(session)
        if gate is not None and gate.failed:
            raise AuthenticationError
        if self._token is None or token is None or (gate is not None and gate.tried):
            raise self._barred(session)
        try:
            verdict = self._token(token)
        except Exception:
            self._bar(session)
            raise
        if inspect.isawaitable(verdict):
            gate = gate or self._set_up(session, stranger=False)
            gate.ask(verdict)
            return self._let_in(session, gate)
        if verdict is None:
            raise self._barred(session)
        self._welcome(session, verdict, gate)
        return b""

    async def _let_in(self, session: Session, gate: Gate) -> bytes:
        try:
            identity = await gate.verdict()
        except BaseException:
            self._shut(session, gate)
            raise
        if identity is None:
            raise self._barred(session)
        self._welcome(session, identity, gate)
        return b""

    async def _let_in_later(self, session: Session, gate: Gate) -> None:
        try:
            await self._let_in(session, gate)
        except TransportError as error:
            logger.debug("session %d from %s refused: %s", session.id, session.peer_address, error)
        except Exception:
            logger.exception("verifying the token of session %d failed", session.id)
            session.endpoint.counters.handler_errors += 1

    def _welcome(self, session: Session, identity: object, gate: Gate | None) -> None:
        session.identity = identity
        if gate is not None:
            if gate.stranger:
                session.in_broadcasts = True
            gate.open()
            self._take_down(session, gate)

    # Those that are not let in

    def _set_up(self, session: Session, *, stranger: bool) -> Gate:
        """A gate before an open session."""
        loop = asyncio.get_running_loop()
        gate = self._gates[session] = Gate(loop.time() + self._deadline, stranger=stranger)
        if self._timer is None:
            self._timer = loop.call_at(gate.due, self._expire, loop)
        return gate

    def _take_down(self, session: Session, gate: Gate) -> None:
        """Remove a gate that is open and that nobody is waiting at."""
        if gate.passed and not gate.waiting and self._gates.get(session) is gate:
            del self._gates[session]
            self._rest()

    def _gate_before(self, session: Session) -> Gate | None:
        """What a message must go through; None when it may pass. Raises for those that should have shown a token."""
        gate = self._gates.get(session)
        if gate is None:
            if self._outcasts and weakref.ref(session) in self._outcasts:
                raise AuthenticationError
            return None
        if gate.failed:
            raise AuthenticationError
        if not gate.tried:
            raise self._barred(session)
        return gate

    def _go_through(self, gate: Gate, context: Context, call: Callable[[Context], object]) -> Awaitable[object]:
        return gate.go_through(context, call, lambda: self._take_down(context.session, gate))

    def _failure(self, session: Session) -> AuthenticationError:
        session.endpoint.counters.authentication_failures += 1
        return AuthenticationError()

    def _barred(self, session: Session) -> AuthenticationError:
        error = self._failure(session)
        self._bar(session)
        return error

    def _bar(self, session: Session) -> None:
        """Let nothing more of an open session pass, and close it."""
        self._shut(session, self._gates.get(session) or self._set_up(session, stranger=False))

    def _shut(self, session: Session, gate: Gate) -> None:
        """Close the session after `on_error` had its say in this turn of the loop; once."""
        if not gate.failed:
            gate.shut()
            asyncio.get_running_loop().call_soon(session.dismiss, AuthenticationError())

    def _cast_out(self, session: Session) -> None:
        """Remember a closed session for as long as anybody else does."""
        self._outcasts.add(weakref.ref(session, self._outcasts.discard))

    def _rest(self) -> None:
        if not self._gates and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now, late = loop.time(), []
        for session, gate in self._gates.items():
            if gate.due > now:
                self._timer = loop.call_at(gate.due, self._expire, loop)
                break
            if not gate.passed and not gate.failed:
                late.append((session, gate))
        for session, gate in late:
            gate.shut()
            session.endpoint.counters.authentication_failures += 1
            session.time_out(TransportTimeoutError("authentication", self._deadline))


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode() if len(payload) <= LONGEST else None
    except UnicodeDecodeError:
        return None
