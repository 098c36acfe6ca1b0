"""How one message reaches one node: the seam between the SDK and the network, and its HTTP form.

It moves bytes and maps foreign exceptions; it knows neither what a message says nor whether to try again.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import aiohttp

from artemis.client.calls.passage import PASSAGE
from artemis.client.errors import printable
from artemis.client.links.offers import offered_port
from artemis.client.links.operations import MOST_CURSOR, MOST_DIGITS
from artemis.client.nodes.names import Names
from msgtrans import TlsClientConfig
from msgtrans.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIXES: Final = ("/api/", "/artemis/api/")
"""Where the operations are below the URL of a node: Java v1 and our nodes, Java v2 (spec 2)."""

NOTHING_THERE: Final = (
    "HTTP 404, nothing is there below /api/ and /artemis/api/; is it the address of a registry node, of this version?"
)

UNTRUSTED: Final = "its certificate is not accepted"
"""How the reason begins where TLS ends because this side does not trust the node."""

MAX_NODES: Final = 1000
"""Nodes of which it is remembered where their operations are; the one learned of first makes room."""


class TransportFailure(Exception):  # noqa: N818 - an outcome that never leaves the SDK, not an error for its users
    """An attempt ended without an answer; the text says why in words for people.

    ``status`` is that of HTTP where that is the reason, ``late`` whether there was none in time.
    """

    def __init__(self, text: str, *, status: int | None = None, late: bool = False) -> None:
        super().__init__(printable(text))
        self.status = status
        self.late = late


@dataclass(frozen=True, slots=True)
class Reply:
    """What a node sent: the bytes of its answer, and which data they show (design 6).

    ``cursor`` is the position of the data, None where the node does not say; ``age`` how many seconds old it may be,
    ``missing`` how many other nodes that leaves out, as they are down or were never met. ``quic`` is the port of UDP
    where the node says that it serves QUIC, None where it says nothing of it.
    """

    body: bytes
    cursor: str | None = None
    age: float = 0.0
    missing: int = 0
    quic: int | None = None


class Transport(Protocol):
    """Carries a request to a node and brings the answer back; may be called concurrently."""

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - it is the attempt's bound
        """Send ``body`` (JSON) to the operation at ``path`` of ``node``; raise ``TransportFailure`` for any trouble.

        ``timeout`` in seconds covers everything from connecting to the last byte.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class HttpTransport:
    """Operations as ``POST NODE/api/PATH`` over pooled keep-alive connections (spec 2, 9.2).

    A node that has nothing there is asked below ``/artemis/api/`` (Java v2, spec 14), and that is remembered.
    ``tls`` says what is trusted and shown at ``https://`` nodes; ``ConfigurationError`` for files that cannot be used.
    Owns its aiohttp session from the first call until :meth:`close`. Answers over ``max_answer_bytes`` (after
    inflating) fail. Names of nodes are resolved again for new connections, what was found counts for 10 seconds.
    """

    def __init__(self, *, max_answer_bytes: int, tls: TlsClientConfig | None = None) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._tls = tls or TlsClientConfig()
        if tls is not None:
            client_context(tls)  # files that cannot be used are told of now, not with every call
        self._session: aiohttp.ClientSession | None = None
        self._names = Names()
        self._prefixes: OrderedDict[str, str] = OrderedDict()

    async def call(self, node: str, path: str, body: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - see Transport
        """See :meth:`Transport.call`; a status of 300 or more is a failure too (spec 0.1).

        Redirects are not followed: a registry never sends one (spec 2), and the request is for the configured nodes.
        """
        return await self._find("POST", node, path, timeout, body=body)

    async def get(self, node: str, path: str, query: Mapping[str, str], timeout: float) -> Reply:  # noqa: ASYNC109
        """Ask with GET; otherwise as `call`. Parts of ``path`` are quoted already."""
        return await self._find("GET", node, path, timeout, query=query)

    async def find(self, node: str, timeout: float) -> None:  # noqa: ASYNC109 - see Transport
        """Look up the name of a node before others connect to it, who would hold up the loop's pool if that hangs.

        Raises ``TransportFailure`` if there is no such name, or no answer in time.
        """
        host = urlsplit(node).hostname or ""
        if ":" in host or not host.strip("0123456789."):
            return  # an address already
        try:
            async with asyncio.timeout(timeout):
                await self._names.resolve(host)
        except TimeoutError:
            raise TransportFailure(f"the name {host!r} is not found within {timeout:g} s", late=True) from None
        except OSError as error:
            raise TransportFailure(f"the name {host!r} is not found: {error.strerror or error}") from error

    async def close(self) -> None:
        """Close every connection; a later call opens new ones."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _find(
        self,
        method: str,
        node: str,
        path: str,
        timeout: float,  # noqa: ASYNC109 - see Transport
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask below the prefix that the node is known to have, and below the other one if nothing is there."""
        known = self._prefixes.get(node, PREFIXES[0])
        try:
            async with asyncio.timeout(timeout):
                try:
                    return await self._ask(method, node, known + path, body, query)
                except TransportFailure as failure:
                    if failure.status != 404:
                        raise
                other = PREFIXES[1] if known == PREFIXES[0] else PREFIXES[0]
                try:
                    reply = await self._ask(method, node, other + path, body, query)
                except TransportFailure as failure:
                    raise (TransportFailure(NOTHING_THERE, status=404) if failure.status == 404 else failure) from None
        except TimeoutError:
            raise TransportFailure(f"no answer within {timeout:g} s", late=True) from None
        self._prefixes[node] = other
        if len(self._prefixes) > MAX_NODES:
            self._prefixes.popitem(last=False)
        return reply

    async def _ask(
        self, method: str, node: str, path: str, body: bytes | None, query: Mapping[str, str] | None
    ) -> Reply:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"Content-Type": "application/json"},
                connector=aiohttp.TCPConnector(resolver=self._names),
                # No registry sets cookies, and what something in between sets is not for every later request.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            secure = node.startswith("https:")
            async with self._session.request(
                method,
                f"{node}{path}",
                data=body,
                params=query,
                headers=_headers(),
                timeout=aiohttp.ClientTimeout(),
                allow_redirects=False,
                ssl=client_context(self._tls) if secure else True,
                server_hostname=self._tls.server_name if secure else None,
            ) as response:
                if response.status >= 300:
                    raise TransportFailure(_refusal(response), status=response.status)
                body = await self._read(response)
                # Without TLS, who says it may be anybody.
                quic = offered_port(response.headers.getall("Alt-Svc", [])) if secure else None
                return Reply(body, _cursor(response), _age(response), _missing(response), quic)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransportFailure(in_words(error)) from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > self._max_answer_bytes:
                raise TransportFailure(f"an answer of more than {self._max_answer_bytes} bytes")
            parts.append(part)
        return b"".join(parts)


def _headers() -> Mapping[str, str] | None:
    passage = PASSAGE.get()
    return None if passage is None else passage.headers


def _cursor(response: aiohttp.ClientResponse) -> str | None:
    """Return the cursor of an answer, None for what cannot be one: it is to be sent back."""
    text = response.headers.get("Artemis-Cursor", "")
    return text if text.isascii() and 0 < len(text) <= MOST_CURSOR else None


def _age(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Artemis-Age-Ms", "0")
    # The first digits of a number that is too long for an age are an age that nobody will take for young.
    return int(text[:18]) / 1000 if text.isascii() and text.isdigit() else 0.0


def _missing(response: aiohttp.ClientResponse) -> int:
    text = response.headers.get("Artemis-Missing-Nodes", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else 0


def _refusal(response: aiohttp.ClientResponse) -> str:
    location = response.headers.get("Location")
    if response.status >= 400 or location is None:
        return f"HTTP {response.status}"
    return f"HTTP {response.status}, a redirect to {location[:150]!r}"


def in_words(error: Exception) -> str:
    """Return why a connection failed, in a few words for people."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{UNTRUSTED} ({_why_not(error.certificate_error)})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return _in_system_words(error.os_error)
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection ended in the middle of the answer"
    return str(error) or type(error).__name__


def _why_not(error: Exception) -> str:
    """What is wrong with a certificate, without the names and line numbers of C code."""
    return getattr(error, "verify_message", "").rstrip(".") or str(error)


def _in_system_words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return f"no TLS there ({reason}); a plain node is reached by http://, not https://"
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
