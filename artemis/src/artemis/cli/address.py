"""Where an instance can be reached, from what the command line says: checked, and told in the words of its options.

Pure; nothing is resolved and nothing is connected to.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

import typer

_PORTS = {"http": 80, "https": 443}
_LOCAL = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """What `--ip`, `--port` and `--url` come to: ``ip`` is None for a host with a name alone, ``port`` 0 if unknown."""

    ip: str | None
    port: int
    url: str
    name: str
    """HOST:PORT, or HOST without a known port: what an instance is called that is given no name."""


def address(ip: str, port: int | None, url: str) -> Address:
    """Derive what is left out (empty text, None): everything from ``url``, or the url from ``ip`` and ``port``.

    Raises ``typer.BadParameter`` naming the option that is wrong or missing.
    """
    if ip and not is_ip(ip):
        raise typer.BadParameter(
            f"{ip!r} is not an IP address; give the name of a host in --url, as http://HOST:PORT", param_hint="--ip"
        )
    if not url:
        if port is None:
            raise typer.BadParameter(
                "one of them is needed, or nobody can reach the instance", param_hint="--port / --url"
            )
        name = _joined(ip or _LOCAL, port)
        return Address(ip or _LOCAL, port, f"http://{name}", name)
    host, implied = _parts(url)
    known = implied if port is None else port
    own = ip or (host if is_ip(host) else None)
    return Address(own, known, url, _joined(ip or host, known))


def _parts(url: str) -> tuple[str, int]:
    """Return the host of a url and its port: the one in it, the scheme's own, or 0."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise typer.BadParameter(f"{url!r} is not a URL: {error}", param_hint="--url") from None
    if not parts.scheme or not parts.hostname or any(character.isspace() for character in url):
        raise typer.BadParameter(f"{url!r} is not a URL; it looks like http://HOST:PORT", param_hint="--url")
    if port == 0:
        raise typer.BadParameter(f"{url!r} names port 0, which nobody can reach", param_hint="--url")
    return parts.hostname, port or _PORTS.get(parts.scheme, 0)


def is_ip(text: str) -> bool:
    """Say whether a text is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _joined(host: str, port: int) -> str:
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host
