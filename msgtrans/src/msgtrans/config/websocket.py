"""Options of WebSocket, plain and inside TLS (specification 4.2).

Where a default differs from the specification's list, the docstring gives the reason.
Not here: options of each session (`config.session`) and of TLS (`config.tls`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from msgtrans.config.address import Address, parse_address
from msgtrans.config.checks import positive, whole
from msgtrans.config.profiles import PeerProfile, for_peers
from msgtrans.config.retry import RetryConfig
from msgtrans.config.tls import TlsClientConfig, TlsServerConfig
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types

if TYPE_CHECKING:
    from msgtrans.config.session import SessionConfig

SUBPROTOCOL: Final = "msgtrans.v1"
MIB: Final = 1 << 20

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ORIGIN: Final = re.compile(r"null|[A-Za-z][A-Za-z0-9+.\-]*://(?:\[[0-9A-Fa-f:.]+\]|[^\s/:?#@\[\]]+)(?::\d{1,5})?")
_RESERVED: Final = {
    "connection",
    "content-length",
    "host",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "transfer-encoding",
    "upgrade",
}


class WebSocketServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A WebSocket listener (specification 2.2, 4.2).

    bind_address: "host:port", default 127.0.0.1:8080, loopback; port 0 lets the system choose.
    tls: serve wss with these options; default None, ws.
    path: the only path served; default None serves every path (the specification lists "/", and requires every path).
    subprotocols: names we accept beside `msgtrans.v1`; the first one a client offers that we know is chosen, none is
    ever chosen that was not offered. allowed_origins: what the `Origin` header of browsers may be, as "https://host" or
    "https://host:port", "null" for pages without an origin; default None takes all, and clients that send none are
    always taken.
    max_frame_size: bytes of one frame, either way: larger messages are sent in several frames; default 16 MiB.
    max_message_size: bytes of one message that is taken, frames put together; default 64 MiB, and never more than the
    largest packet that the session's codec takes.
    ping_interval: seconds of silence from the peer before we ping it, None for never; default 30. pong_timeout: seconds
    without anything from the peer after a ping until it counts as gone; default 10. Both are looked at four times in
    the shorter of the two.
    max_connections, nodelay, keepalive, write_buffer_size, idle_timeout, reuse_port, reuse_addr, backlog,
    notsent_lowat: as for TCP.
    accept_timeout: seconds until the upgrade is done, TLS handshake included; default 30.
    peer_profile: as for TCP; both of Rust take what is no packet as a one-way message with id 0, legacy has the pauses
    of `Pacing()` without its size. A `path` beside it is still the only one served.
    """

    transport: ClassVar[str] = "websocket"

    bind_address: str = "127.0.0.1:8080"
    tls: TlsServerConfig | None = None
    path: str | None = None
    subprotocols: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] | None = None
    max_frame_size: int = 16 * MIB
    max_message_size: int = 64 * MIB
    ping_interval: float | None = 30.0
    pong_timeout: float = 10.0
    max_connections: int = 1000
    nodelay: bool = True
    keepalive: int | None = 60
    write_buffer_size: int | None = None
    accept_timeout: float = 30.0
    idle_timeout: float | None = 300.0
    reuse_port: bool = False
    reuse_addr: bool = True
    backlog: int = 1024
    notsent_lowat: int | None = None
    peer_profile: PeerProfile = "modern"

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        parse_address(self.bind_address, field="bind_address", schemes=("ws", "wss"))
        if self.bind_address.lower().startswith("wss://") and self.tls is None:
            raise ConfigurationError("tls", "is missing; a wss:// listener needs a TlsServerConfig with a certificate")
        if self.path is not None and not self.path.startswith("/"):
            raise ConfigurationError("path", f"is {self.path!r}; begin it with '/', or use None for every path")
        _check_names("subprotocols", self.subprotocols)
        for origin in self.allowed_origins or ():
            if not _ORIGIN.fullmatch(origin):
                raise ConfigurationError(
                    "allowed_origins", f"{origin!r} is no origin; write scheme://host or scheme://host:port, or null"
                )
        whole(self, "max_frame_size", "max_message_size", least=125)
        whole(self, "max_connections", "backlog")
        whole(self, "keepalive", "write_buffer_size", none=True)
        whole(self, "notsent_lowat", least=4096, none=True)
        positive(self, "pong_timeout", "accept_timeout")
        positive(self, "ping_interval", "idle_timeout", none=True)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this listener says of its sessions."""
        idle = self.idle_timeout if base.idle_timeout is None else base.idle_timeout
        config = base.with_buffer(self.write_buffer_size).replace(idle_timeout=idle)
        return for_peers(config, self.peer_profile, self.transport)


class WebSocketUrl(NamedTuple):
    """A target taken apart. resource: path and query, as it goes on the wire."""

    secure: bool
    address: Address
    resource: str

    @property
    def host_header(self) -> str:
        """The value of `Host`: without the scheme's default port."""
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return host if self.address.port == (443 if self.secure else 80) else f"{host}:{self.address.port}"


class WebSocketClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A WebSocket connection to a server (specification 2.2, 4.2).

    target_url: ws://host[:port][/path][?query] or wss://...; ports default to 80 and 443.
    tls: options of wss. verify_tls: check the server's certificate; default on; off counts also when `tls` says verify.
    connect_timeout: seconds one attempt may take, upgrade included; default 10. retry_config: further attempts; by
    default three. headers: sent with the upgrade, for example Authorization.
    subprotocols: offered to the server in this order; default none. A server that chooses none of them is fine.
    max_frame_size, max_message_size: as for the server; defaults 16 MiB and 64 MiB, which are what the Rust crate has
    in force (its documented 64 KiB and 1 MiB would refuse packets that it sends).
    ping_interval, pong_timeout: as for the server; defaults 30 and 10.
    nodelay, keepalive, write_buffer_size, local_bind_address, notsent_lowat: as for TCP. peer_profile: as for the
    server.
    """

    transport: ClassVar[str] = "websocket"

    target_url: str
    tls: TlsClientConfig | None = None
    verify_tls: bool = True
    connect_timeout: float | None = 10.0
    headers: Mapping[str, str] = {}
    subprotocols: tuple[str, ...] = ()
    max_frame_size: int = 16 * MIB
    max_message_size: int = 64 * MIB
    ping_interval: float | None = 30.0
    pong_timeout: float = 10.0
    nodelay: bool = True
    keepalive: int | None = 60
    write_buffer_size: int | None = None
    retry_config: RetryConfig = RetryConfig()
    local_bind_address: str | None = None
    notsent_lowat: int | None = None
    peer_profile: PeerProfile = "modern"

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        url = self.url
        if self.tls is not None and not url.secure:
            raise ConfigurationError("target_url", f"is {self.target_url!r}, but tls is set; write wss://")
        if self.local_bind_address is not None:
            parse_address(self.local_bind_address, field="local_bind_address")
        _check_names("subprotocols", self.subprotocols)
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name) or not _FIELD.fullmatch(value):
                raise ConfigurationError("headers", f"{name!r} is no header that can be sent")
            if name.lower() in _RESERVED:
                raise ConfigurationError("headers", f"{name!r} belongs to the handshake itself")
        whole(self, "max_frame_size", "max_message_size", least=125)
        whole(self, "keepalive", "write_buffer_size", none=True)
        whole(self, "notsent_lowat", least=4096, none=True)
        positive(self, "pong_timeout")
        positive(self, "connect_timeout", "ping_interval", none=True)

    @property
    def url(self) -> WebSocketUrl:
        """`target_url` taken apart. Raises ConfigurationError."""
        return parse_websocket_url(self.target_url)

    @property
    def uri(self) -> str:
        """Where it connects to, with scheme."""
        return self.target_url

    @property
    def tls_config(self) -> TlsClientConfig | None:
        """What holds for wss, None for ws."""
        if not self.url.secure:
            return None
        tls = self.tls or TlsClientConfig()
        return tls if self.verify_tls else tls.replace(verify=False)

    @classmethod
    def json_api(cls, target_url: str) -> Self:
        """Content-Type application/json, subprotocol json, frames of 16 KiB, messages of 512 KiB."""
        return cls(
            target_url=target_url,
            headers={"Content-Type": "application/json"},
            subprotocols=("json",),
            max_frame_size=16 * 1024,
            max_message_size=512 * 1024,
        )

    @classmethod
    def realtime(cls, target_url: str) -> Self:
        """Pings after 10 s of silence and waits 5 s; frames of 8 KiB; gives up on connecting after 5 s."""
        return cls(
            target_url=target_url, ping_interval=10.0, pong_timeout=5.0, max_frame_size=8 * 1024, connect_timeout=5.0
        )

    @classmethod
    def file_transfer(cls, target_url: str) -> Self:
        """Frames of 1 MiB, messages of 100 MiB, no pings; gives up on connecting after 30 s."""
        return cls(
            target_url=target_url,
            max_frame_size=MIB,
            max_message_size=100 * MIB,
            ping_interval=None,
            connect_timeout=30.0,
        )

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with what this connection says of its session."""
        return for_peers(base.with_buffer(self.write_buffer_size), self.peer_profile, self.transport)


def parse_websocket_url(text: str, *, field: str = "target_url") -> WebSocketUrl:
    """Take "ws://host[:port][/path][?query]" apart. Raises ConfigurationError naming `field`."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigurationError(field, f"{text!r} is no URL: {error}") from error
    if parts.scheme not in {"ws", "wss"}:
        raise ConfigurationError(field, f"{text!r} does not begin with ws:// or wss://")
    if not parts.hostname or parts.username is not None or parts.fragment or port == 0:
        raise ConfigurationError(field, f"{text!r} is no target; write ws://HOST[:PORT][/PATH][?QUERY]")
    secure = parts.scheme == "wss"
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not resource.isascii() or any(ord(character) <= 0x20 for character in resource):
        raise ConfigurationError(field, f"{text!r} has characters that a URL must write as %XX")
    return WebSocketUrl(secure, Address(parts.hostname, port or (443 if secure else 80)), resource)


def _check_names(field: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError(field, f"{name!r} is no name of a subprotocol")
    if len(set(names)) != len(names):
        raise ConfigurationError(field, "names one twice")
