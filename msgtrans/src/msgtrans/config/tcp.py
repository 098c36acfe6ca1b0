"""Options of TCP, plain and inside TLS (specification 4.2).

Where a default differs from the specification's list, the docstring gives the reason.
Not here: options of each session (`config.session`) and of TLS (`config.tls`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.address import parse_address
from msgtrans.config.checks import positive, whole
from msgtrans.config.pacing import Pacing
from msgtrans.config.profiles import PeerProfile, for_peers, needs_of
from msgtrans.config.retry import RetryConfig
from msgtrans.config.tls import TlsClientConfig, TlsServerConfig
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types

if TYPE_CHECKING:
    from msgtrans.config.session import SessionConfig


class TcpServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP listener (specification 4.2).

    bind_address: "host:port", default 127.0.0.1:8080, loopback; port 0 lets the system choose.
    tls: serve TLS with these options; default None, plain.
    max_connections: open connections of this listener, beside the server's own limit; default 1000.
    nodelay: TCP_NODELAY, default on. keepalive: seconds of silence before the system probes the peer, None for never;
    default 60. read_buffer_size: bytes taken from the system at once, at most and by default 64 KiB (the specification
    lists 8192 for a buffer that each connection has for itself; this one is shared by all, so size costs nothing).
    write_buffer_size: bytes of outbound data above which `send` waits, default None: `SessionConfig.high_water`.
    accept_timeout: seconds a TLS handshake may take; default 30. idle_timeout: seconds without any packet in either
    direction after which a session is closed, default 300, None for never; `SessionConfig.idle_timeout` goes before it.
    reuse_port: let several processes listen on the port; default off. reuse_addr: listen although old connections of
    the port linger in the system; default on. backlog: connections the system queues; default 1024.
    notsent_lowat: bytes that the system takes from a session ahead of what it can send (TCP_NOTSENT_LOWAT; Linux and
    macOS), from 4096 up; default None, its whole send buffer. Commands wait behind what it has taken.
    pacing: write as peers with a poor reader need it; default None. It needs nodelay.
    peer_profile: "modern" (default), or what Rust peers need: "rust-1.0" from 1.0.4 on (payloads of 1 MiB at most),
    "rust-1.0-legacy" up to 1.0.3 (`Pacing()`, unless `pacing` says otherwise; at most 8 requests unanswered; nothing
    compressed). Limits of the session that are lower hold.
    """

    transport: ClassVar[str] = "tcp"

    bind_address: str = "127.0.0.1:8080"
    tls: TlsServerConfig | None = None
    max_connections: int = 1000
    nodelay: bool = True
    keepalive: int | None = 60
    read_buffer_size: int = 64 * 1024
    write_buffer_size: int | None = None
    accept_timeout: float = 30.0
    idle_timeout: float | None = 300.0
    reuse_port: bool = False
    reuse_addr: bool = True
    backlog: int = 1024
    notsent_lowat: int | None = None
    pacing: Pacing | None = None
    peer_profile: PeerProfile = "modern"

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        parse_address(self.bind_address, field="bind_address")
        if self.bind_address.lower().startswith("tls://") and self.tls is None:
            raise ConfigurationError("tls", "is missing; a tls:// listener needs a TlsServerConfig with a certificate")
        whole(self, "max_connections", "backlog")
        whole(self, "read_buffer_size", most=64 * 1024)
        whole(self, "keepalive", "write_buffer_size", none=True)
        whole(self, "notsent_lowat", least=4096, none=True)
        positive(self, "accept_timeout")
        positive(self, "idle_timeout", none=True)
        _check_pacing(self)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this listener says of its sessions."""
        idle = self.idle_timeout if base.idle_timeout is None else base.idle_timeout
        config = base.with_buffer(self.write_buffer_size).replace(idle_timeout=idle)
        return for_peers(config, self.peer_profile, self.transport, self.pacing)


class TcpClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP connection to a server (specification 4.2).

    target_address: "host:port", required; with tls:// in front, or with `tls`, inside TLS.
    connect_timeout: seconds one attempt may take, TLS handshake included, None to wait as long as the system does;
    default 10. retry_config: further attempts; by default three.
    nodelay, keepalive, read_buffer_size, write_buffer_size: as for the server.
    read_timeout, write_timeout: `SessionConfig.packet_timeout` and `write_timeout` of this connection; default None
    leaves them as they are there, 30 s. local_bind_address: the address to connect from, default any.
    notsent_lowat, pacing, peer_profile: as for the server.
    """

    transport: ClassVar[str] = "tcp"

    target_address: str
    tls: TlsClientConfig | None = None
    connect_timeout: float | None = 10.0
    nodelay: bool = True
    keepalive: int | None = 60
    read_buffer_size: int = 64 * 1024
    write_buffer_size: int | None = None
    read_timeout: float | None = None
    write_timeout: float | None = None
    retry_config: RetryConfig = RetryConfig()
    local_bind_address: str | None = None
    notsent_lowat: int | None = None
    pacing: Pacing | None = None
    peer_profile: PeerProfile = "modern"

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        if parse_address(self.target_address, field="target_address").port == 0:
            raise ConfigurationError("target_address", "port 0 is for servers; name the port to connect to")
        if self.local_bind_address is not None:
            parse_address(self.local_bind_address, field="local_bind_address")
        positive(self, "connect_timeout", "read_timeout", "write_timeout", none=True)
        _check_pacing(self)
        whole(self, "read_buffer_size", most=64 * 1024)
        whole(self, "keepalive", "write_buffer_size", none=True)
        whole(self, "notsent_lowat", least=4096, none=True)

    @property
    def tls_config(self) -> TlsClientConfig | None:
        """`tls`, or its defaults where only the scheme asks for TLS; None for a plain connection."""
        if self.tls is None and self.target_address.lower().startswith("tls://"):
            return TlsClientConfig()
        return self.tls

    @property
    def uri(self) -> str:
        """Where it connects to, with scheme."""
        return f"{'tls' if self.tls_config else 'tcp'}://{parse_address(self.target_address)}"

    @classmethod
    def high_performance(cls, target_address: str) -> Self:
        """Buffers of 64 KiB; gives up on connecting after 5 s, and probes a silent peer after 30 s."""
        return cls(
            target_address=target_address,
            read_buffer_size=65_536,
            write_buffer_size=65_536,
            connect_timeout=5.0,
            keepalive=30,
        )

    @classmethod
    def low_latency(cls, target_address: str) -> Self:
        """Buffers of 4 KiB; gives up on connecting after 3 s."""
        return cls(target_address=target_address, read_buffer_size=4096, write_buffer_size=4096, connect_timeout=3.0)

    @classmethod
    def reliable(cls, target_address: str) -> Self:
        """Ten retries, one second apart at first, up to a minute; gives up on one attempt after 30 s."""
        retry = RetryConfig(max_retries=10, retry_interval=1.0, backoff_multiplier=1.5, max_retry_interval=60.0)
        return cls(target_address=target_address, retry_config=retry, connect_timeout=30.0, keepalive=120)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this connection says of its session."""
        config = base.with_buffer(self.write_buffer_size)
        if self.read_timeout is not None:
            config = config.replace(packet_timeout=self.read_timeout)
        if self.write_timeout is not None:
            config = config.replace(write_timeout=self.write_timeout)
        return for_peers(config, self.peer_profile, self.transport, self.pacing)


def _check_pacing(config: TcpServerConfig | TcpClientConfig) -> None:
    if config.nodelay:
        return
    if config.pacing is not None:
        raise ConfigurationError("nodelay", "must be on with pacing: without it the system joins packets")
    if needs_of(config.peer_profile, config.transport).pacing is not None:
        raise ConfigurationError(
            "nodelay", f"must be on with peer_profile {config.peer_profile!r}: without it the system joins packets"
        )
