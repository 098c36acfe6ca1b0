"""Which node the client talks to: one of the configured addresses, kept while it answers, left when it fails.

Pure: time and randomness come in, nothing is sent. It does not learn addresses from the cluster (spec 9.1 does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random


def node_url(text: str) -> str:
    """Check the address of a node and return it without a trailing slash.

    A path is kept: a node may live below a prefix (spec 2). Raises ``ValueError`` saying what is wrong.
    """
    url = text.strip()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not the URL of a node: {text!r} ({error})") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(f"not the URL of a node: {text!r} (expected http://HOST:PORT or https://HOST:PORT)")
    if parts.query or parts.fragment:
        raise ValueError(f"not the URL of a node: {text!r} (no ?query and no #fragment, please)")
    return url.rstrip("/")


class Nodes:
    """The addresses of the nodes and the sticky choice among them (spec 9.1).

    Every client starts at a random node, and moves to another random one only when its node failed. Nodes that
    failed within the last ``rest`` seconds are passed over while there are others; so all clients of a lost node
    spread over those that are left.
    """

    def __init__(self, urls: Sequence[str], *, random: Random, rest: float) -> None:
        self.urls = tuple(dict.fromkeys(node_url(url) for url in urls))
        if not self.urls:
            raise ValueError("no node to talk to: servers is empty")
        self._random = random
        self._rest = rest
        self._failed: dict[str, float] = {}
        self.current = random.choice(self.urls)
        """The URL that the next call goes to."""

    def move(self, url: str) -> None:
        """Go to a node because it is the better one; nothing is held against the one that is left."""
        self.current = url

    def answered(self, url: str) -> None:
        """Note that the node gave a usable answer: it need not rest any longer."""
        self._failed.pop(url, None)

    def failed(self, url: str, now: float) -> str:
        """Note that the node failed at ``now`` (seconds); return the URL to use from here on.

        Calls that fail together on one node move the client once: a node that is no longer current moves nothing.
        """
        self._failed[url] = now
        if url == self.current and len(self.urls) > 1:
            others = [other for other in self.urls if other != url]
            rested = [other for other in others if now - self._failed.get(other, now - self._rest) >= self._rest]
            self.current = self._random.choice(rested or others)
        return self.current
