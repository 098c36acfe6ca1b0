"""Where the servers of an engine are: `nats://h1:4222,h2` or, with TLS, `tls://h1,tls://h2:4333`.

Pure. Not here: who this node is to them (`login`).
"""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

PORT = 4222
MAX_SERVERS = 32


class BadServers(ValueError):  # noqa: N818 - what they are, in the words of the option
    """These are no addresses of servers; the text says why and what to give."""


class Servers(msgspec.Struct, frozen=True):
    """`addresses` are hosts and ports in the order given, each once; `tls` whether only TLS is spoken to them."""

    tls: bool
    addresses: tuple[tuple[str, int], ...]

    def url(self, index: int) -> str:
        """Return the URL of one server, counting on from the last to the first."""
        host, port = self.addresses[index % len(self.addresses)]
        shown = f"[{host}]" if ":" in host else host
        return f"{'tls' if self.tls else 'nats'}://{shown}:{port}"


def parse_servers(text: str) -> Servers:
    """Read the servers of an engine. Raises BadServers, and nothing else."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator or scheme not in ("nats", "tls"):
        raise BadServers(f"{text!r} is no engine; give nats://HOST:PORT,HOST:PORT or, for TLS, tls://HOST:PORT")
    if "@" in rest:
        raise BadServers("user and password belong into files, not into the URL, which others can see")
    addresses = []
    for part in rest.split(","):
        theirs, repeated, place = part.strip().rpartition("://")
        if repeated and theirs != scheme:
            raise BadServers(
                f"{part.strip()!r} is no server of the kind {scheme}://, with which the list begins; "
                "give all of them as nats://HOST:PORT or, for TLS, all as tls://HOST:PORT"
            )
        address = _address(place.rstrip("/"))
        if address not in addresses:
            addresses.append(address)
    if len(addresses) > MAX_SERVERS:
        raise BadServers(f"{len(addresses)} servers are too many; {MAX_SERVERS} will do")
    return Servers(scheme == "tls", tuple(addresses))


def _address(part: str) -> tuple[str, int]:
    if not part:
        raise BadServers("there is no HOST:PORT beside a comma or behind ://; leave out what is empty")
    if any(sign in part for sign in "/?# "):
        raise BadServers(f"{part!r} is no HOST:PORT of a server")
    try:
        split = urlsplit(f"//{part}")
        host, port = split.hostname, split.port
    except ValueError as error:
        raise BadServers(f"{part!r} is no HOST:PORT of a server: {error}") from error
    if not host or port == 0:
        raise BadServers(f"{part!r} is no HOST:PORT of a server")
    return host, PORT if port is None else port
