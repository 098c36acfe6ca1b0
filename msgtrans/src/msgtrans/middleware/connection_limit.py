"""How many sessions one peer may have open at once.

Only open sessions are counted: what an outer middleware delivers after the end of a session must not count it again,
because nobody would take it back.
Not here: how many all may have (`max_connections`), how long one may be silent (`idle_timeout`), and how much may come
(`RateLimit`): these are options of servers and sessions.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakSet

from msgtrans.errors import ConfigurationError, ResourceError
from msgtrans.info import SessionState
from msgtrans.middleware.base import Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Hashable

    from msgtrans.events import CloseReason
    from msgtrans.handlers import Answer, Context, MessageHandler, RequestHandler
    from msgtrans.session import Session

K = TypeVar("K")
WHAT: Final = "sessions of one identity"


class ConnectionLimit(Middleware):
    """Refuses sessions beyond a number for the same peer, with a ResourceError.

    per_address: from one host; sessions whose transport knows no addresses are not limited. per_identity: of one
    `session.identity`, which must be hashable; use the authentication first, so that it is further out. Who proves it
    only after connecting is refused with the first request or message after that. Each None, the default, for no limit.
    """

    def __init__(self, *, per_address: int | None = None, per_identity: int | None = None) -> None:
        for field, value in (("per_address", per_address), ("per_identity", per_identity)):
            if value is not None and value < 1:
                raise ConfigurationError(field, f"is {value}; use a positive number")
        if per_address is None and per_identity is None:
            raise ConfigurationError("per_address", "is missing, and so is per_identity; set one of them")
        self._per_address = per_address
        self._per_identity = per_identity
        self._addresses: dict[str, int] = {}
        self._identities: dict[Hashable, int] = {}
        self._identified: dict[Session, Hashable] = {}  # as which identity a session counts
        self._turned_away: WeakSet[Session] = WeakSet()  # after they were open, until they are forgotten

    def connected(self, session: Session) -> None:
        """Count it, or refuse it."""
        host = session.peer_address.host if session.peer_address is not None else None
        if self._per_address is not None and host is not None:
            count = self._addresses.get(host, 0)
            if count >= self._per_address:
                raise ResourceError(f"sessions from {host}", count, self._per_address)
        if self._per_identity is not None and session.identity is not None:
            self._identify(session, self._per_identity)
        if self._per_address is not None and host is not None:
            self._addresses[host] = self._addresses.get(host, 0) + 1

    def request(self, context: Context, call: RequestHandler) -> Answer | Awaitable[Answer]:
        """Count an identity that is new."""
        self._look_again(context.session)
        return call(context)

    def message(self, context: Context, call: MessageHandler) -> object:
        """Count an identity that is new."""
        self._look_again(context.session)
        return call(context)

    def disconnected(self, session: Session, reason: CloseReason) -> None:  # noqa: ARG002 - whyever
        """Count it no more."""
        if self._per_address is not None and session.peer_address is not None:
            _less(self._addresses, session.peer_address.host)
        identity = self._identified.pop(session, None)
        if identity is not None:
            _less(self._identities, identity)

    def _look_again(self, session: Session) -> None:
        if self._per_identity is None or session.identity is None:
            return
        if self._identified.get(session) == session.identity:
            return
        if session in self._turned_away:
            raise ResourceError(WHAT, self._per_identity, self._per_identity)
        if session.state is SessionState.CLOSED:
            return
        try:
            self._identify(session, self._per_identity)
        except ResourceError:
            self._turned_away.add(session)
            session.endpoint.counters.connections_refused += 1
            error = ResourceError(WHAT, self._per_identity, self._per_identity)
            asyncio.get_running_loop().call_soon(session.dismiss, error)  # after on_error had its say
            raise

    def _identify(self, session: Session, limit: int) -> None:
        identity: Hashable = session.identity
        count = self._identities.get(identity, 0)
        if count >= limit:
            raise ResourceError(WHAT, count, limit)
        before = self._identified.pop(session, None)
        if before is not None:
            _less(self._identities, before)
        self._identities[identity] = count + 1
        self._identified[session] = identity


def _less(counts: dict[K, int], key: K) -> None:
    """One less of `key`; nothing is kept of those that have none."""
    left = counts.get(key, 0) - 1
    if left > 0:
        counts[key] = left
    else:
        counts.pop(key, None)
