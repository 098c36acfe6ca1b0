"""Options of QUIC (specification 2.3, 2.4, 4.2).

Where a default differs from the specification's list, the docstring gives the reason. What the library under it fixes
is no option: 100 bidirectional and 103 unidirectional streams of the peer may be open at once.
Not here: options of each session (`config.session`) and of TLS (`config.tls`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.address import parse_address
from msgtrans.config.checks import positive, whole
from msgtrans.config.profiles import PeerProfile, for_peers, needs_of
from msgtrans.config.retry import RetryConfig
from msgtrans.config.tls import TlsClientConfig, TlsServerConfig
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types

if TYPE_CHECKING:
    from msgtrans.config.session import SessionConfig

MIB = 1 << 20
SCHEMES = ("quic",)
APPLICATION_PROTOCOL: Final = "msgtrans/1"
"""What the protocol is called in TLS handshakes (ALPN). Rust peers from 2.0 on insist on it, those before refuse it."""


class QuicServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A QUIC listener (specification 2.3, 2.4, 4.2). QUIC is always inside TLS 1.3.

    bind_address: "host:port" of UDP, default 127.0.0.1:8080, loopback; port 0 lets the system choose.
    tls: the certificate's files. cert_pem, key_pem: the certificate and its key as text instead. With neither, a fresh
    certificate for localhost signs itself, and its fingerprint is logged: clients must turn verification off.
    QUIC clients cannot be asked for certificates; use the token middleware.
    mapping: "auto" (default) finds out by the client's first stream how its packets travel; "stream", all on one, or
    "uni", each on one of its own. mapping_fallback_after: seconds after which, under "auto", a client that sends
    nothing is taken to use mapping_fallback ("stream" or "uni", default "uni"); default None, wait for ever: what we
    send it waits too.
    alpn: application protocols; of those that a client offers, the first of these is chosen, and a client that offers
    only others is refused. One that offers none at all, as Rust clients 1.x, is served. Default "msgtrans/1", which
    Rust clients from 2.0 on insist on. Empty: nothing is chosen, whatever a client offers.
    max_connections: open connections of this listener, beside the server's own limit; default 1000. As many handshakes
    may be under way. validate_addresses: have every client prove its address before any memory is spent on it, which
    costs it a round trip; default off: only while more than 64 handshakes are under way.
    accept_timeout: seconds until the handshake is done; default 30. idle_timeout: as for TCP, default 300.
    max_idle_timeout: seconds without any datagram of the peer after which the connection is gone; the lesser of both
    sides counts; default 30. keep_alive_interval: seconds of silence before the peer is pinged, None for never; default
    15. initial_rtt: seconds a datagram and its answer are taken to need, until that is known; default 0.1.
    receive_window, stream_receive_window: bytes that may be under way to us, on all streams and on one; default 1 MiB:
    as much may come in each round trip, so at most 20 MiB in a second over 50 ms; give more for long distances. A
    session that reads slowly makes the peer wait when as much is there.
    max_unread: bytes of packets on streams of their own that may wait for one before them; at more, the connection is
    closed with a ResourceError; default 16 MiB.
    peer_profile: as for WebSocket; "rust-1.0" has packets of 16 MiB at most, "rust-1.0-legacy" of 1 MiB.
    "auto" finds out about legacy clients too.
    """

    transport: ClassVar[str] = "quic"

    bind_address: str = "127.0.0.1:8080"
    tls: TlsServerConfig | None = None
    cert_pem: str | None = None
    key_pem: str | None = None
    mapping: Literal["auto", "stream", "uni"] = "auto"
    mapping_fallback_after: float | None = None
    mapping_fallback: Literal["stream", "uni"] = "uni"
    alpn: tuple[str, ...] = (APPLICATION_PROTOCOL,)
    max_connections: int = 1000
    validate_addresses: bool = False
    accept_timeout: float = 30.0
    idle_timeout: float | None = 300.0
    max_idle_timeout: float = 30.0
    keep_alive_interval: float | None = 15.0
    initial_rtt: float = 0.1
    receive_window: int = MIB
    stream_receive_window: int = MIB
    max_unread: int = 16 * MIB
    peer_profile: PeerProfile = "modern"

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        parse_address(self.bind_address, field="bind_address", schemes=SCHEMES)
        _check_certificate(self)
        if self.mapping_fallback_after is not None and self.mapping != "auto":
            raise ConfigurationError("mapping_fallback_after", f"is for mapping='auto', and that is {self.mapping!r}")
        whole(self, "max_connections")
        positive(self, "accept_timeout")
        positive(self, "idle_timeout", "mapping_fallback_after", none=True)
        _check_connection(self)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this listener says of its sessions."""
        config = base.replace(idle_timeout=self.idle_timeout if base.idle_timeout is None else base.idle_timeout)
        return for_peers(config, self.peer_profile, self.transport)

    @property
    def chosen_mapping(self) -> Literal["auto", "stream", "uni"]:
        """`mapping`."""
        return self.mapping

    @classmethod
    def insecure(cls, bind_address: str) -> Self:
        """With a certificate that signs itself."""
        return cls(bind_address=bind_address)


class QuicClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A QUIC connection to a server (specification 2.3, 2.4, 4.2).

    target_address: "host:port" of UDP. tls: what is verified of the server; default None: its certificate
    and name, by the authorities of the system. QUIC
    servers ask for no certificates of clients.
    mapping: "stream": all packets on one stream, for servers of ours and Rust ones from 1.0.3 on; "uni": each on one of
    its own, for Rust servers 1.0.0 to 1.0.2; default None: "uni" with peer_profile "rust-1.0-legacy", else "stream".
    "probe": the first packet, if it is a request of at most 16 KiB,
    goes both ways, and the answer tells; what follows waits for it. Any other first packet means "stream".
    connect_timeout: seconds one attempt may take, None for as long as max_idle_timeout; default 10. retry_config:
    further attempts; by default three.
    alpn: application protocols to offer, one of which the server must have; empty: none. Default None: none, and when
    the server refuses that, as Rust ones from 2.0 on do, "msgtrans/1" at once, and first when connecting there again;
    not the other way round, since a Rust server before 1.0.4 listens no more after a handshake that it refused.
    max_idle_timeout, keep_alive_interval, initial_rtt, receive_window, stream_receive_window, max_unread: as for the
    server. local_bind_address: the address to connect from, default any.
    peer_profile: as for the server; "rust-1.0" and "rust-1.0-legacy" do not go with `alpn`: such servers have none.
    """

    transport: ClassVar[str] = "quic"

    target_address: str
    tls: TlsClientConfig | None = None
    mapping: Literal["stream", "uni", "probe"] | None = None
    connect_timeout: float | None = 10.0
    alpn: tuple[str, ...] | None = None
    max_idle_timeout: float = 30.0
    keep_alive_interval: float | None = 15.0
    initial_rtt: float = 0.1
    receive_window: int = MIB
    stream_receive_window: int = MIB
    max_unread: int = 16 * MIB
    retry_config: RetryConfig = RetryConfig()
    local_bind_address: str | None = None
    peer_profile: PeerProfile = "modern"

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        if parse_address(self.target_address, field="target_address", schemes=SCHEMES).port == 0:
            raise ConfigurationError("target_address", "port 0 is for servers; name the port to connect to")
        if self.local_bind_address is not None:
            parse_address(self.local_bind_address, field="local_bind_address", schemes=SCHEMES)
        if self.tls is not None and self.tls.certificate_file is not None:
            raise ConfigurationError(
                "tls", "has a certificate_file, and QUIC servers ask for none; prove who you are with a token instead"
            )
        if self.alpn and self._bare:
            raise ConfigurationError(
                "alpn", f"must be empty with peer_profile {self.peer_profile!r}: such servers have none"
            )
        positive(self, "connect_timeout", none=True)
        _check_connection(self)

    @property
    def chosen_mapping(self) -> Literal["stream", "uni", "probe"]:
        """`mapping`, or what the peer profile says."""
        return self.mapping or needs_of(self.peer_profile, self.transport).mapping

    @property
    def offers(self) -> tuple[tuple[str, ...], ...]:
        """What is offered of application protocols, one after the other while the server refuses for that reason."""
        if self.alpn is not None:
            return (self.alpn,)
        return ((),) if self._bare else ((), (APPLICATION_PROTOCOL,))

    @property
    def _bare(self) -> bool:
        return needs_of(self.peer_profile, self.transport).bare

    @property
    def tls_config(self) -> TlsClientConfig:
        """`tls`, or its defaults."""
        return self.tls or TlsClientConfig()

    @property
    def uri(self) -> str:
        """Where it connects to, with scheme."""
        return f"quic://{parse_address(self.target_address, schemes=SCHEMES)}"

    @classmethod
    def high_performance(cls, target_address: str) -> Self:
        """For near servers: a first round trip of 20 ms; gives up on connecting after 5 s."""
        return cls(target_address=target_address, initial_rtt=0.02, connect_timeout=5.0)

    @classmethod
    def low_latency(cls, target_address: str) -> Self:
        """A first round trip of 10 ms; pings after 5 s of silence, and gives up after 10 s of it."""
        return cls(target_address=target_address, initial_rtt=0.01, keep_alive_interval=5.0, max_idle_timeout=10.0)

    @classmethod
    def insecure(cls, target_address: str) -> Self:
        """Takes any certificate, as of a server that signed its own; the name sent is localhost."""
        return cls(target_address=target_address, tls=TlsClientConfig(verify=False, server_name="localhost"))

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this connection says of its session."""
        return for_peers(base, self.peer_profile, self.transport)


def _check_certificate(config: QuicServerConfig) -> None:
    if (config.cert_pem is None) != (config.key_pem is None):
        raise ConfigurationError(
            "key_pem" if config.key_pem is None else "cert_pem", "is missing; a certificate goes with its key"
        )
    if config.tls is None:
        return
    if config.cert_pem is not None:
        raise ConfigurationError("cert_pem", "is set beside tls; give the certificate once")
    if config.tls.client_ca_file is not None:
        raise ConfigurationError(
            "tls", "has a client_ca_file, and QUIC clients cannot be asked for certificates; use the token middleware"
        )


def _check_connection(config: QuicServerConfig | QuicClientConfig) -> None:
    """Check what both sides have."""
    for name in config.alpn or ():
        if not 0 < len(name.encode()) < 256:
            raise ConfigurationError("alpn", f"{name[:50]!r} is no protocol's name; use 1 to 255 bytes")
    positive(config, "max_idle_timeout", "initial_rtt")
    positive(config, "keep_alive_interval", none=True)
    if config.keep_alive_interval is not None and config.keep_alive_interval >= config.max_idle_timeout:
        raise ConfigurationError(
            "keep_alive_interval", f"must be less than max_idle_timeout, {config.max_idle_timeout:g}; or None"
        )
    whole(config, "receive_window", "stream_receive_window", least=16 * 1024, most=(1 << 62) - 1)
    whole(config, "max_unread", least=64 * 1024)
