"""The middleware of one endpoint in order: composed once into the handlers that sessions call.

A refusal is a TransportError that a middleware raised; one that the handler raised is a failure, as without
middleware. Both may come at once or from an awaitable, so the innermost link marks what comes from the handler, and the
outermost what does not.
Not here: what any middleware does.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, TypeVar

from msgtrans.errors import TransportError
from msgtrans.events import CloseReason
from msgtrans.handlers import is_coroutine_function
from msgtrans.middleware.base import Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgtrans.handlers import Answer, Context, MessageHandler, RequestHandler
    from msgtrans.session import Session

T = TypeVar("T")
logger = logging.getLogger("msgtrans.middleware")


class Chain:
    """Owned by an endpoint. `failed` is called when a hook fails that has nobody else to tell."""

    def __init__(self, failed: Callable[[], None]) -> None:
        self._links: list[Middleware] = []
        self._failed = failed

    def __bool__(self) -> bool:
        return bool(self._links)

    def add(self, middleware: Middleware) -> None:
        """Append one, the new innermost."""
        self._links.append(middleware)

    @property
    def defers_requests(self) -> bool:
        """Whether one of them has a coroutine around requests, so that what is inside of it begins in a task."""
        return any(is_coroutine_function(link.request) for link in self._links)

    @property
    def defers_messages(self) -> bool:
        """The same for messages."""
        return any(is_coroutine_function(link.message) for link in self._links)

    def connected(self, session: Session) -> None:
        """Ask all, the outermost first. Raises what one of them raises; those before it are told of the end."""
        for number, middleware in enumerate(self._links):
            try:
                middleware.connected(session)
            except Exception:
                self._tell(self._links[:number], session, CloseReason.ERROR)
                raise

    def disconnected(self, session: Session, reason: CloseReason) -> None:
        """Tell all, the innermost first."""
        self._tell(self._links, session, reason)

    def request(self, handler: RequestHandler) -> RequestHandler:
        """`handler` with the middleware around it."""
        links = [link for link in self._links if type(link).request is not Middleware.request]
        if not links:
            return handler
        call = _innermost(handler)
        for link in reversed(links):
            call = _request_link(link, call)
        return _outermost(call)

    def message(self, handler: MessageHandler) -> MessageHandler:
        """`handler` with the middleware around it."""
        links = [link for link in self._links if type(link).message is not Middleware.message]
        if not links:
            return handler
        call = _innermost(handler)
        for link in reversed(links):
            call = _message_link(link, call)
        return _outermost(call)

    def _tell(self, links: list[Middleware], session: Session, reason: CloseReason) -> None:
        for middleware in reversed(links):
            try:
                middleware.disconnected(session, reason)
            except Exception:
                logger.exception("middleware %s failed at the end of session %d", middleware.name, session.id)
                self._failed()


def _request_link(link: Middleware, call: RequestHandler) -> RequestHandler:
    def through(context: Context) -> Answer | Awaitable[Answer]:
        return link.request(context, call)

    return through


def _message_link(link: Middleware, call: MessageHandler) -> MessageHandler:
    def through(context: Context) -> object:
        return link.message(context, call)

    return through


def _innermost(handler: Callable[[Context], T]) -> Callable[[Context], T]:
    """Mark errors as those of the handler."""
    return _marking(handler, lambda _: False)


def _outermost(call: Callable[[Context], T]) -> Callable[[Context], T]:
    """Mark errors as refusals, unless they are the handler's."""
    return _marking(call, lambda error: error.refusal is not False)


def _marking(call: Callable[[Context], T], refusal: Callable[[TransportError], bool]) -> Callable[[Context], T]:
    async def later(work: Awaitable[object]) -> object:
        try:
            return await work
        except TransportError as error:
            error.refusal = refusal(error)
            raise

    def now(context: Context) -> T:
        try:
            answer = call(context)
        except TransportError as error:
            error.refusal = refusal(error)
            raise
        if answer is None or type(answer) is bytes or not inspect.isawaitable(answer):
            return answer
        return later(answer)  # type: ignore[return-value]  # an awaitable of the same, as mypy cannot see

    return now
