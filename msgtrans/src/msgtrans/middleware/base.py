"""What a middleware is: the base class to derive from (specification 4.1, `ServerMiddleware`).

Not here: running them in order (`chain`), and any middleware that does something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from msgtrans.events import CloseReason
    from msgtrans.handlers import Answer, Context, MessageHandler, RequestHandler
    from msgtrans.session import Session


class Middleware:
    """Sees sessions, requests and messages on their way in. Override what you need; the rest costs nothing.

    All methods are called from the loop of the endpoint and must not block. One object may be used by several
    endpoints of one loop. A TransportError that a middleware raises is a refusal: counted as `refused`, logged at
    debug level, and given to `on_error`, which may answer. Any other exception is counted and logged as that of a
    handler.
    """

    @property
    def name(self) -> str:
        """What log lines call it: its class, unless overridden."""
        return type(self).__name__

    def connected(self, session: Session) -> None:
        """A session is ready. Nothing of it was delivered, `Established` was not emitted, and what is sent here is
        the first that the peer gets.

        Raise a TransportError to refuse it: it is closed without any event or handler, and counted as
        connections_refused. Other exceptions refuse it too, as errors of a handler.
        """

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        """A request on its way to its handler or event stream: `call(context)` goes on, and gives what the next
        middleware or the handler returns: bytes, a Reply, None, or an awaitable of these.

        Return that, something else, or without calling an answer of your own; raise to refuse. A coroutine function
        makes a task of each request.
        """
        return call(context)

    def message(self, context: Context, call: MessageHandler) -> object:
        """A one-way message, likewise; of what is returned only an awaitable matters, as work that goes on."""
        return call(context)

    def disconnected(self, session: Session, reason: CloseReason) -> None:
        """A session is closed that this middleware had let in; called once, innermost first, before `Closed`.

        Also for one that a middleware further in refused; then no event follows.
        """
