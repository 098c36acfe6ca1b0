"""The addresses of nodes as text: which are usable, which are the same, and which a node may tell others of.

Pure, and without any lookup of names.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

LONGEST = 2000
"""Characters of an address."""
PORTS = {"http": 80, "https": 443}
_NUMBER = re.compile(r"0x[0-9a-f]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9}")


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
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise ValueError(f"not the URL of a node: {text!r} (expected http://HOST:PORT or https://HOST:PORT)")
    if parts.query or parts.fragment:
        raise ValueError(f"not the URL of a node: {text!r} (no ?query and no #fragment, please)")
    return url.rstrip("/")


def same_node(url: str) -> str:
    """Return what all spellings of one address have in common: scheme and host in lower case, the port written out."""
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}{parts.path.rstrip('/')}"


def on_loopback(url: str) -> bool:
    """Whether the address, as it is written, reaches nothing but the own machine."""
    host = (urlsplit(url).hostname or "").removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def objection(told: str, by: str) -> str:
    """Say why the address that the node at ``by`` told is not used; empty if nothing speaks against it.

    A node that does not know under which address others reach it must not capture its clients, and no node may lead
    those who talk TLS to one that does not.
    """
    if len(told) > LONGEST:
        return f"it has more than {LONGEST} characters"
    try:
        url = node_url(told)
    except ValueError as error:
        return str(error)
    parts = urlsplit(url)
    if parts.username is not None or " " in url or not url.isprintable():
        return "an address of a node has neither a user nor spaces in it"
    if parts.scheme == "http" and by.startswith("https:"):
        return "it is without TLS, and the node that told it is reached with TLS"
    if on_loopback(url) and not on_loopback(by):
        return "it is a loopback address, and the node that told it is on another machine (set its --self-url)"
    if _reaches_nobody(parts.hostname or ""):
        return "no single machine has this address"
    return ""


def _reaches_nobody(host: str) -> bool:
    address = _address(host.removesuffix("."))
    return address is not None and (address.is_unspecified or address.is_multicast)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is in any spelling that systems take, or None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return _old_spelling(host)
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def _old_spelling(host: str) -> IPv4Address | None:
    """Read an address as inet_aton does: one to four numbers, also octal and hex; the last fills what is left."""
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    *firsts, last = (int(part, 16 if part.startswith("0x") else 8 if part.startswith("0") else 10) for part in parts)
    room = 8 * (4 - len(firsts))
    if last >= 1 << room or any(first > 255 for first in firsts):
        return None
    return IPv4Address(sum(first << 24 - 8 * place for place, first in enumerate(firsts)) + last)
