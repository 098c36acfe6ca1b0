"""Recognising a client's next heartbeat by its bytes, so that it is renewed without being parsed (design 2.4, 4.2).

A client's heartbeat message is the same bytes every time. A door keeps, per session, a keyed digest of the last message
and the plan of leases it meant; the plan itself knows when it is void. No I/O.

The digest is Python's own hash of bytes: SipHash with a key drawn at the start of the process, two gigabytes a second.
A memory belongs to one session, so whoever could make two messages collide would only renew what he had named himself.
"""

from __future__ import annotations

import msgspec

from artemis.model import RegistryRequest
from artemis.server.batches import Call
from artemis.server.handlers import dialect
from artemis.server.node import Node, RenewalPlan


class HeartbeatMemory:
    """What one session's last heartbeat message meant. Owned by the session, dies with it; one digest and one plan."""

    __slots__ = ("_digest", "_plan")

    def __init__(self) -> None:
        self._digest = 0
        self._plan: RenewalPlan | None = None

    def digest(self, message: bytes) -> int:
        """The keyed digest of a message as it came over the wire."""
        return hash((message, len(message)))

    def renew(self, node: Node, digest: int, now: int) -> bool:
        """Renew all leases the message meant.

        False: it is not the message we know, or something it depends on has changed; parse it.
        """
        plan = self._plan
        return plan is not None and digest == self._digest and node.renew(plan, now)

    def caller(self, node: Node, digest: int) -> Call:
        """What to call with the request of a message that was not recognised; when it came last already, it is learnt,
        unless the node recognises none (`heartbeat_recognition`).

        A request in many slices is never learnt: no slice of it is the message.
        """
        again = node.recognises and digest == self._digest
        self._digest, self._plan = digest, None

        def plain(request: msgspec.Struct | None, now: int) -> object:
            assert request is None or isinstance(request, RegistryRequest)  # noqa: S101 - the operation table says so
            return dialect.heartbeat(node, request, now)

        def learning(request: msgspec.Struct | None, now: int) -> object:
            assert request is None or isinstance(request, RegistryRequest)  # noqa: S101 - the operation table says so
            response, plan = dialect.heartbeat_plan(node, request, now)
            if self._digest == digest:
                self._plan = plan
            return response

        return Call(learning if again else plain, plain)
