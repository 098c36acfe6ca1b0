"""Addresses of nodes: which are usable, and which are the same node (defect 12).

They are compared whole, never by parts of their text, and without any look-up of names; two names of one node are found
to be the same at the handshake, which tells the node's id. Pure. Not here: where lists of them come from (`sources`).
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

LONGEST = 2_000
"""Characters of an address."""

_USER = re.compile(r"^(\w+://)[^/?#]*@")
"""What comes before the host; it may have a password, so it is shown to nobody."""

_PORTS = {"http": 80, "https": 443}


class BadAddress(ValueError):  # noqa: N818 - what it is, in the words of the complaint
    """This is not the URL of a node; the text says why."""


class PeerUrl(NamedTuple):
    """The URL of a node, in the one spelling that all spellings of it have in common.

    `scheme` is `http` or `https` (then links to it use TLS), `host` a name or an address in lower case, without
    brackets, `path` what clients put before all paths, empty or with a leading slash. Nodes listen on one port for
    everything, so host and port say which node it is.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Host and port: what is dialled, and what tells nodes apart."""
        return self.host, self.port

    @property
    def on_loopback(self) -> bool:
        """Whether it reaches nothing but the own machine, as it is written."""
        return host_on_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def peer_url(text: str) -> PeerUrl:
    """Read the URL of a node. Raises BadAddress."""
    shown = _USER.sub(r"\1", text.strip())[:80]
    if len(text) > LONGEST:
        raise BadAddress(f"{shown}... has more than {LONGEST} characters")
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"{shown!r} is not a URL: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise BadAddress(f"{shown!r} does not look like http://HOST:PORT or https://HOST:PORT")
    if parts.username is not None:
        raise BadAddress(f"a node is asked without a user name and a password, so it has none in its URL; give {shown}")
    if {"?", "#"} & set(text):
        raise BadAddress(f"{shown!r} has more than a host, a port and a path")
    if not shown.isprintable() or " " in shown:
        raise BadAddress(f"{shown!r} has blanks or characters that do not print")
    return PeerUrl(parts.scheme, _host(parts.hostname), port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def peer_place(text: str) -> PeerUrl:
    """Read the URL of a node in a list of peers, which says whom to dial: a host and a port, and nothing after them.

    Raises BadAddress.
    """
    place = text.strip().partition("?")[0].partition("#")[0]
    url = peer_url(place)
    if url.path or place != text.strip():
        plain = url._replace(path="")
        raise BadAddress(
            f"{text.strip()[:80]!r} has something after the port, which no node is dialled by; give {plain}"
        )
    return url


def host_on_loopback(host: str) -> bool:
    """Whether a name or an address reaches nothing but the own machine, as it is written."""
    name = host.strip("[]").lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _host(name: str) -> str:
    """Return a host in its one spelling: of an address its shortest form, of a name lower case without a last dot."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower().removesuffix(".")
