"""What a transport is: the contract between endpoints and whatever carries their sessions.

The built-in transports and plug-ins implement `Transport`; `adapters.registry` finds them by URI scheme or by the type
of a config. A transport that carries packets on a byte stream needs little more than a way to listen and to connect:
`adapters.stream.StreamConnection` does the rest.
Not here: any transport, and what one connection owes its session (`link`).
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from msgtrans.config import Address, RetryConfig, SessionConfig
    from msgtrans.config.codec import CodecOptions
    from msgtrans.link import Link
    from msgtrans.session import Session
    from msgtrans.stats import EndpointStats
    from msgtrans.workers.link import WorkerLink


class Host(Protocol):
    """What a server or client is to a transport. All of it is for the loop it runs on."""

    codec: CodecOptions
    config: SessionConfig
    counters: EndpointStats

    def admit(self, link: Link) -> Session | None:
        """The session of a connection that is ready to carry packets; None turns it away: close it."""
        ...


class ServerHost(Host, Protocol):
    """What a server is to a transport that listens.

    worker_link: in a worker process, its link to the supervisor, which binds the sockets of all workers; else None.
    """

    worker_link: WorkerLink | None


class ServerConfig(Protocol):
    """Options of one listener. `transport` is the name of the transport they belong to."""

    transport: ClassVar[str]

    @property
    def max_connections(self) -> int:
        """Open connections of this listener."""
        ...

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this listener says of its sessions."""
        ...


class ClientConfig(Protocol):
    """Options of one connection to a server."""

    transport: ClassVar[str]

    @property
    def uri(self) -> str:
        """Where it connects to, with scheme, for messages and events."""
        ...

    @property
    def retry_config(self) -> RetryConfig:
        """Further attempts to connect."""
        ...

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this connection says of its session."""
        ...


class Listener(Protocol):
    """Something that accepts connections, until it is closed."""

    @property
    def uris(self) -> list[str]:
        """Where it listens, as URIs that a client on this machine can use."""
        ...

    @property
    def addresses(self) -> list[Address]:
        """Where it listens; empty where a transport has no host and port."""
        ...

    def close(self) -> None:
        """Accept no more; open connections stay."""
        ...

    async def wait_closed(self) -> None:
        """Wait until nothing is left of it."""
        ...


@runtime_checkable
class HasCertificates(Protocol):
    """What a listener that serves TLS can do beside what is asked of every `Listener`."""

    def reload_certificates(self) -> bool:
        """Read the certificates again, now; False when they could not be used and those before stay."""
        ...


@runtime_checkable
class CanRest(Protocol):
    """What a listener can do whose connections are no sessions at once: let these become sessions. Others `close`."""

    async def rest(self) -> None:
        """Accept no more, and wait, a second at most, for what was accepted and is no session yet. `close` follows."""
        ...


class Transport(Protocol):
    """One way to carry sessions. Stateless: one object serves all servers and clients."""

    @property
    def info(self) -> TransportInfo:
        """Its name and what is known of it."""
        ...

    def server_config(self, uri: str) -> ServerConfig:
        """The default options of a listener at `uri` (or a bare address). Raises ConfigurationError."""
        ...

    def client_config(self, uri: str) -> ClientConfig:
        """The default options of a connection to `uri` (or a bare address). Raises ConfigurationError."""
        ...

    async def listen(self, config: ServerConfig, host: ServerHost) -> Listener:
        """Listen, and have each connection admitted by `host`. Raises ConnectError when that is not possible."""
        ...

    async def connect(self, config: ClientConfig, host: Host) -> Link:
        """Connect once, and have the connection admitted by `host`; it delivers nothing before `resume_reading`.

        Raises ConnectError, TransportTimeoutError; ConfigurationError when trying again cannot help.
        """
        ...


class TransportInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a transport. name: in configs and statistics. schemes: of its URIs.

    description: a sentence. features: short words. default_port: where its examples listen, None without ports.
    """

    name: str
    schemes: tuple[str, ...]
    description: str
    features: tuple[str, ...] = ()
    default_port: int | None = None


class Terms:
    """What all connections of one listener, or the one of a client, have in common. Made by transports.

    host: who admits them. session: what holds for their sessions. protocol: `Session.protocol` of theirs.
    max_connections: how many may be open at once. open: how many are. taken: limits and policies of what comes; those
    of the session until a transport sets others.
    """

    __slots__ = ("__weakref__", "host", "loop", "max_connections", "open", "protocol", "session", "taken")

    def __init__(
        self, host: Host, session: SessionConfig, protocol: str, *, max_connections: int = sys.maxsize
    ) -> None:
        self.host = host
        self.session = session
        self.taken = session.codec
        self.protocol = protocol
        self.max_connections = max_connections
        self.loop = asyncio.get_running_loop()
        self.open = 0

    def take(self) -> bool:
        """Count a new connection; False, and counted as refused, when there are as many as may be."""
        if self.open >= self.max_connections:
            self.host.counters.connections_refused += 1
            return False
        self.open += 1
        return True

    def give_back(self) -> None:
        """A connection that was counted is gone."""
        self.open -= 1
