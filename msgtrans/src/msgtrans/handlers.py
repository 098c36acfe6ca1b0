"""What handlers get and give: the context of a message, and the answer to a request (specification 3.3, 3.4).

Not here: running handlers; the session does that.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from msgtrans.errors import LocalProtocolError

if TYPE_CHECKING:
    from msgtrans.events import CloseReason
    from msgtrans.session import Session


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer with more than a payload. `biz_type` None repeats that of the request."""

    payload: bytes = b""
    ext_header: bytes = b""
    biz_type: int | None = None
    flags: int = 0
    compression: int = 0


class Context(msgspec.Struct, weakref=True):
    """One message on its way to a handler or event stream.

    session: where it came from. The fields of the packet follow; `payload` is inflated.
    unanswered: True for a request until it is answered; False for a one-way message.
    """

    session: Session
    message_id: int
    payload: bytes
    biz_type: int
    ext_header: bytes
    flags: int
    compression: int
    unanswered: bool

    def respond(
        self,
        payload: bytes = b"",
        *,
        ext_header: bytes = b"",
        biz_type: int | None = None,
        flags: int = 0,
        compression: int = 0,
    ) -> None:
        """Answer this request, once, from wherever and whenever it suits; the handler then returns None.

        The answer is queued and leaves with the next write. Raises LocalProtocolError for a one-way message, a second
        answer or one beyond the limits, SessionClosedError when the session has ended.
        """
        if not self.unanswered:
            raise LocalProtocolError(
                f"message {self.message_id} of session {self.session.id} takes no answer: "
                "it is one-way, or answered already"
            )
        self.session.respond(
            self,
            payload,
            ext_header=ext_header,
            biz_type=biz_type,
            flags=flags,
            compression=compression,
        )


def is_coroutine_function(handler: Callable[..., object] | None) -> bool:
    """Whether calling a handler only makes a coroutine, so that all of its work is done by the task that runs that."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


Answer: TypeAlias = bytes | bytearray | memoryview | Reply | None
"""What a request handler may return; None means that it answers later with `Context.respond`, or never."""

RequestHandler: TypeAlias = Callable[[Context], Answer | Awaitable[Answer]]
MessageHandler: TypeAlias = Callable[[Context], object]
ErrorHandler: TypeAlias = Callable[[Context, Exception], Answer]
ConnectHandler: TypeAlias = Callable[["Session"], object]
DisconnectHandler: TypeAlias = Callable[["Session", "CloseReason"], object]
