"""Makes a link of a given kind to a given node. Which and when is decided by `ladder` and `live`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from artemis.client.calls.answers import UnusableAnswer
from artemis.client.calls.api import NODE_STATUS
from artemis.client.calls.transport import TransportFailure
from artemis.client.links.java import LIFETIME, open_java
from artemis.client.links.link import LinkFailure, LinkKind
from artemis.client.links.long_poll import open_long_poll
from artemis.client.links.msgtrans import open_msgtrans
from artemis.model import NodeStatusRequest, encode

if TYPE_CHECKING:
    from random import Random

    from artemis.client.calls.transport import HttpTransport
    from artemis.client.links.link import Link, OnPush
    from artemis.client.options import ClientOptions
    from msgtrans import TlsClientConfig


class Opener(Protocol):
    """Opens links, and finds out whether a node that does not speak of one kind is alive at all."""

    async def open(self, kind: LinkKind, node: str, on_push: OnPush) -> Link:
        """Open a link; raises ``LinkFailure``, and leaves nothing open then, or when cancelled."""
        ...

    async def answers(self, node: str) -> bool:
        """Whether the node answers calls over HTTP within ``attempt_timeout``."""
        ...


class NodeOpener:
    """The `Opener` of a client."""

    def __init__(
        self, *, http: HttpTransport, options: ClientOptions, tls: TlsClientConfig | None, random: Random
    ) -> None:
        self._http = http
        self._options = options
        self._tls = tls
        self._random = random

    async def open(self, kind: LinkKind, node: str, on_push: OnPush) -> Link:
        """See `Opener.open`."""
        try:
            await self._http.find(node, self._options.link_timeout)
        except TransportFailure as failure:
            raise LinkFailure(str(failure)) from failure
        match kind:
            case LinkKind.MSGTRANS | LinkKind.WEBSOCKET:
                return await open_msgtrans(kind, node, self._options, self._tls, on_push)
            case LinkKind.JAVA_WEBSOCKET:
                lifetime = LIFETIME * self._random.uniform(0.8, 1.0)
                return await open_java(node, self._options, self._tls, lifetime, on_push)
            case LinkKind.LONG_POLL:
                return await open_long_poll(node, self._http, self._options, self._random, on_push)
            case LinkKind.POLL:
                raise LinkFailure("nothing stays open between polls", offered=False)

    async def answers(self, node: str) -> bool:
        """See `Opener.answers`."""
        request = NodeStatusRequest()
        try:
            reply = await self._http.call(node, NODE_STATUS.path, encode(request), self._options.attempt_timeout)
            status = NODE_STATUS.read(request, reply.body).response_status
        except (TransportFailure, UnusableAnswer):
            return False
        return status.status == "success"
