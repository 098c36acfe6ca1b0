"""Calls over the link while there is one to their node, over HTTP otherwise.

It decides nothing about repeats: a call that fails here is a failed attempt, as over HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artemis.client.calls.passage import PASSAGE
from artemis.client.calls.transport import TransportFailure
from artemis.client.links.link import LinkFailure, LinkKind
from artemis.client.links.offers import OFFERING
from artemis.client.links.operations import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.client.calls.transport import Reply, Transport
    from artemis.client.links.link import Link

BAD_REQUEST: Final = b'"bad-request"'
MAX_REFUSAL: Final = 2048
"""Bytes of an answer that may be such a refusal; a longer one shows something."""


class Carrier:
    """A `Transport` over another one, HTTP, and over the link that `link` returns, if any.

    ``offered`` is told what nodes say of QUIC: the node, and the port or None.
    """

    def __init__(
        self, http: Transport, link: Callable[[], Link | None], offered: Callable[[str, int | None], None]
    ) -> None:
        self._http = http
        self._link = link
        self._offered = offered

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - see Transport
        """See `Transport.call`."""
        reply = await self._call(node, path, body, timeout)
        if path in OFFERING:
            self._offered(node, reply.quic)
        return reply

    async def close(self) -> None:
        """Close the connections of HTTP; the link has an owner."""
        await self._http.close()

    async def _call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - as above
        """Send it over the link if that carries it, over HTTP otherwise.

        What certainly did not reach the node over the link goes over HTTP at once. So does what the node refuses as
        ``bad-request``: a packet is bounded, and HTTP has the last word on what is a good request. And so does what
        nobody answers over QUIC: UDP may be lost and the node be well; whoever calls repeats anyway, so it may come
        twice.
        """
        link = self._link()
        if link is not None and link.node == node and link.carries_calls and path in CODES:
            passage = PASSAGE.get()
            if passage is not None:
                passage.via = link.kind.value
            try:
                reply = await link.call(path, body, timeout)
            except LinkFailure as failure:
                if failure.sent and not (failure.silent and link.kind is LinkKind.QUIC):
                    raise TransportFailure(str(failure)) from failure
            else:
                if len(reply.body) > MAX_REFUSAL or BAD_REQUEST not in reply.body:
                    return reply
            if passage is not None:
                passage.via = "http"
        return await self._http.call(node, path, body, timeout)
