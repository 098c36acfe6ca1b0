"""Log lines about sessions and requests (specification 4.1, `LoggingMiddleware`).

Not here: how logs are written, and the counters.
"""

from __future__ import annotations

import inspect
import logging
import time
from typing import TYPE_CHECKING, Final

from msgtrans.errors import TransportError
from msgtrans.middleware.base import Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from msgtrans.events import CloseReason
    from msgtrans.handlers import Answer, Context, MessageHandler, RequestHandler
    from msgtrans.session import Session

LOGGER: Final = logging.getLogger("msgtrans.sessions")


class LoggingMiddleware(Middleware):
    """Logs each session at `level`, default INFO, and each request and message at DEBUG. Payloads are never logged.

    Every record has its figures as attributes too: action ("connected", "disconnected", "request", "message"), session,
    protocol, peer; at the end of a session reason, seconds, packets_received, packets_sent; of a request or message
    biz_type, size (bytes of payload), seconds, outcome: "answered" or "done", "deferred" (to be answered later),
    "refused" by a middleware, "failed" or "cancelled".
    """

    def __init__(self, level: int = logging.INFO, *, logger: logging.Logger = LOGGER) -> None:
        self._level = level
        self._logger = logger

    def connected(self, session: Session) -> None:
        """Log that it is there."""
        if self._logger.isEnabledFor(self._level):
            extra = {"action": "connected", **_who(session)}
            self._logger.log(
                self._level, "session %d: %s from %s", session.id, session.protocol, extra["peer"], extra=extra
            )

    def disconnected(self, session: Session, reason: CloseReason) -> None:
        """Log why it ended, and what it was worth."""
        if not self._logger.isEnabledFor(self._level):
            return
        info = session.info()
        seconds = max(0.0, (info.closed_at or time.time()) - info.established_at)
        extra = {
            "action": "disconnected",
            **_who(session),
            "reason": str(reason),
            "seconds": seconds,
            "packets_received": info.packets_received,
            "packets_sent": info.packets_sent,
        }
        because = f" ({session.close_error})" if session.close_error is not None else ""
        self._logger.log(
            self._level, "session %d: closed after %.1f s, %s%s", session.id, seconds, reason, because, extra=extra
        )

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        """Log how it ended."""
        if not self._logger.isEnabledFor(logging.DEBUG):
            return call(context)
        begun = time.perf_counter()
        try:
            answer = call(context)
        except Exception as error:
            self._log("request", context, begun, _failure(error))
            raise
        if inspect.isawaitable(answer):
            return self._later("request", context, begun, answer)
        self._log("request", context, begun, _outcome(context, answer))
        return answer

    def message(self, context: Context, call: MessageHandler) -> object:
        """Log how it ended."""
        if not self._logger.isEnabledFor(logging.DEBUG):
            return call(context)
        begun = time.perf_counter()
        try:
            answer = call(context)
        except Exception as error:
            self._log("message", context, begun, _failure(error))
            raise
        if inspect.isawaitable(answer):
            return self._later("message", context, begun, answer)
        self._log("message", context, begun, "done")
        return answer

    async def _later(self, action: str, context: Context, begun: float, work: Awaitable[Answer]) -> Answer:
        outcome = "cancelled"
        try:
            answer = await work
            outcome = _outcome(context, answer) if action == "request" else "done"
        except Exception as error:
            outcome = _failure(error)
            raise
        finally:
            self._log(action, context, begun, outcome)
        return answer

    def _log(self, action: str, context: Context, begun: float, outcome: str) -> None:
        seconds, size = time.perf_counter() - begun, len(context.payload)
        extra = {
            "action": action,
            **_who(context.session),
            "biz_type": context.biz_type,
            "size": size,
            "seconds": seconds,
            "outcome": outcome,
        }
        words = "session %d: %s of biz_type %d, %d bytes, %s in %.3f ms"
        figures = (context.session.id, action, context.biz_type, size, outcome, seconds * 1000)
        self._logger.debug(words, *figures, extra=extra)


def _who(session: Session) -> dict[str, object]:
    return {"session": session.id, "protocol": session.protocol, "peer": str(session.peer_address or "unknown")}


def _outcome(context: Context, answer: object) -> str:
    return "deferred" if answer is None and context.unanswered else "answered"


def _failure(error: Exception) -> str:
    """Errors of the handler are marked as none of a middleware's."""
    return "refused" if isinstance(error, TransportError) and error.refusal is not False else "failed"
