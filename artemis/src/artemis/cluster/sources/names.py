"""A name in DNS: its addresses are the nodes, or, for a name that begins with `_`, its SRV records name them.

So a headless service of Kubernetes names them, as does a round-robin entry. An empty answer is believed only after a
while: such a service names nobody while none of its members is ready, and they are there all the same.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from artemis.cluster.addresses import BadAddress, PeerUrl, peer_url
from artemis.cluster.sources.listing import SourceError

if TYPE_CHECKING:
    from dns.resolver import Resolver

LEAST_EMPTY = 30_000
"""Milliseconds, at least, after which an empty answer is believed; or three readings, if that is more."""

_LIFETIME = 5.0
_NOBODY = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


class PeersName:
    """Asks the system for the addresses of a name, as every program does, or a name server for SRV records.

    `name` may end with `:PORT`; without, the nodes listen on `port`. `scheme` is that of their URLs. `resolver` is whom
    to ask for SRV records; by default the name servers of the system, read anew each time.
    """

    def __init__(self, name: str, *, scheme: str, port: int, every: float, resolver: Resolver | None = None) -> None:
        self._name, _, given = name.partition(":")
        self._scheme = scheme
        self._port = int(given or port)
        self._resolver = resolver
        self.every = every
        self.empty_after = max(LEAST_EMPTY, round(3_000 * every))

    @property
    def label(self) -> str:
        """Return what to call it."""
        return f"DNS name {self._name}"

    def read(self) -> list[PeerUrl]:
        """Return the nodes that the name stands for. Blocks for some seconds at most. Raises SourceError."""
        places = self._services() if self._name.startswith("_") else self._addresses()
        hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in places]
        try:
            return [peer_url(f"{self._scheme}://{host}:{port}") for host, port in hosts]
        except BadAddress as error:
            raise SourceError(f"it names something that is no node: {error}") from error

    def _addresses(self) -> list[tuple[str, int]]:
        try:
            found = socket.getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in _NOBODY:
                return []
            raise SourceError(f"it cannot be resolved: {error.strerror}") from error
        except (OSError, UnicodeError) as error:
            raise SourceError(f"it cannot be resolved: {error}") from error
        # Addresses with a scope mean something on one machine only.
        return sorted({(str(where[0]), self._port) for _, _, _, _, where in found if "%" not in str(where[0])})

    def _services(self) -> list[tuple[str, int]]:
        from dns.exception import DNSException
        from dns.rdtypes.IN.SRV import SRV
        from dns.resolver import NXDOMAIN, NoAnswer, Resolver

        try:
            answer = (self._resolver or Resolver()).resolve(self._name, "SRV", lifetime=_LIFETIME, search=True)
        except (NXDOMAIN, NoAnswer):
            return []
        except (DNSException, OSError) as error:
            raise SourceError(f"its SRV records cannot be had: {error}") from error
        records = [record for record in answer if isinstance(record, SRV)]
        return sorted({(record.target.to_text(omit_final_dot=True), record.port) for record in records if record.port})
