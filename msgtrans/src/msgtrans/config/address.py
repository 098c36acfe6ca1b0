"""Addresses as text, and as host and port. Not here: resolving names."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from msgtrans.errors import ConfigurationError

_ADDRESS: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^:\[\]/]+)):(?P<port>\d{1,5})/?")


class Address(NamedTuple):
    """A host (name or literal) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, *, field: str = "address", schemes: tuple[str, ...] = ("tcp", "tls")) -> Address:
    """Read "host:port", with or without "SCHEME://" in front. Raises ConfigurationError naming `field`."""
    if not isinstance(text, str):
        raise ConfigurationError(field, f"is {text!r}; write an address as text, HOST:PORT")
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() not in schemes:
        known = " or ".join(f"{name}://HOST:PORT" for name in schemes)
        raise ConfigurationError(field, f"scheme {scheme!r} does not belong here; write {known}")
    match = _ADDRESS.fullmatch(rest if separator else text)
    if match is None or int(match["port"]) > 0xFFFF:
        raise ConfigurationError(
            field, f"{text!r} is no address; write {schemes[0]}://HOST:PORT, for IPv6 {schemes[0]}://[ADDRESS]:PORT"
        )
    return Address(match["ipv6"] or match["host"], int(match["port"]))
