"""Makes a link of a given kind to a given node. Which and when is decided by `ladder` and `live`."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from artemis.client.calls.answers import UnusableAnswer
from artemis.client.calls.api import NODE_STATUS
from artemis.client.calls.transport import TransportFailure
from artemis.client.links.java import LIFETIME, open_java
from artemis.client.links.link import LinkFailure, LinkKind
from artemis.client.links.long_poll import open_long_poll
from artemis.client.links.msgtrans import open_msgtrans
from artemis.client.telemetry.logs import fields
from artemis.model import NodeStatusRequest, encode

if TYPE_CHECKING:
    from random import Random

    from artemis.client.calls.transport import HttpTransport
    from artemis.client.links.link import Link, OnPush
    from artemis.client.options import ClientOptions
    from msgtrans import TlsClientConfig

logger = logging.getLogger("artemis.client")


class Opener(Protocol):
    """Opens links, and finds out whether a node that does not speak of one kind is alive at all."""

    async def open(self, kind: LinkKind, node: str, on_push: OnPush, port: int | None = None) -> Link:
        """Open a link, of QUIC to the ``port`` that the node offers.

        Raises ``LinkFailure``, and leaves nothing open then, or when cancelled.
        """
        ...

    @property
    def takes_quic(self) -> bool:
        """Whether QUIC can be used by this client at all."""
        ...

    async def offer(self, link: Link) -> int | None:
        """Ask the node of a link for the port where it serves QUIC; None: it does not say. Raises ``LinkFailure``."""
        ...

    async def answers(self, node: str) -> bool:
        """Whether the node answers calls over HTTP within ``attempt_timeout``."""
        ...


class NodeOpener:
    """The `Opener` of a client; `region` is the other one whose services it looks up, None for that of the nodes."""

    def __init__(
        self,
        *,
        http: HttpTransport,
        options: ClientOptions,
        tls: TlsClientConfig | None,
        random: Random,
        region: str | None = None,
    ) -> None:
        self._region = region
        self._http = http
        self._options = options
        self._tls = tls
        self._random = random
        self._told = False

    async def open(self, kind: LinkKind, node: str, on_push: OnPush, port: int | None = None) -> Link:
        """See `Opener.open`."""
        try:
            await self._http.find(node, self._options.link_timeout)
        except TransportFailure as failure:
            raise LinkFailure(str(failure)) from failure
        match kind:
            case LinkKind.QUIC | LinkKind.MSGTRANS | LinkKind.WEBSOCKET:
                return await open_msgtrans(kind, node, self._options, self._tls, on_push, port, self._region)
            case LinkKind.JAVA_WEBSOCKET:
                if self._region is not None:
                    raise LinkFailure("nodes of Java show no other region", offered=False)
                lifetime = LIFETIME * self._random.uniform(0.8, 1.0)
                return await open_java(node, self._options, self._tls, lifetime, on_push)
            case LinkKind.LONG_POLL:
                return await open_long_poll(node, self._http, self._options, self._random, on_push, self._region)
            case LinkKind.POLL:
                raise LinkFailure("nothing stays open between polls", offered=False)

    @property
    def takes_quic(self) -> bool:
        """See `Opener.takes_quic`; the log says once why not."""
        if find_spec("qh3") is None:
            why = "qh3 is not installed; pip install 'artemis-registry[quic]'"
        elif self._tls is not None and self._tls.certificate_file is not None:
            why = "this client shows a certificate, which QUIC servers cannot ask for"
        else:
            return True
        if not self._told:
            self._told = True
            logger.debug("QUIC is not used: %s", why, extra=fields("quic-not-used", reason=why))
        return False

    async def offer(self, link: Link) -> int | None:
        """See `Opener.offer`."""
        body, within = encode(NodeStatusRequest()), self._options.attempt_timeout
        if link.carries_calls:
            return (await link.call(NODE_STATUS.path, body, within)).quic
        try:
            return (await self._http.call(link.node, NODE_STATUS.path, body, within)).quic
        except TransportFailure:
            return None  # no word of it; whoever needs an answer will say what is wrong

    async def answers(self, node: str) -> bool:
        """See `Opener.answers`."""
        request = NodeStatusRequest()
        try:
            reply = await self._http.call(node, NODE_STATUS.path, encode(request), self._options.attempt_timeout)
            status = NODE_STATUS.read(request, reply.body).response_status
        except (TransportFailure, UnusableAnswer):
            return False
        return status.status == "success"
