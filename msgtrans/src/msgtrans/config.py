"""Every option with its default and range, as immutable, validated values; each of them acts.

`config.replace(option=value)` gives a changed copy. Addresses are text, "host:port", "[ipv6]:port", with or without
"tcp://" in front; names are resolved, port 0 lets the system choose.
Not here: the limits of the codec (`codec.CodecOptions`), and options of transports that do not exist yet.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

import msgspec
from msgspec.structs import replace

from msgtrans.codec import CodecOptions
from msgtrans.errors import ConfigurationError

_ADDRESS: Final = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^:\[\]/]+)):(?P<port>\d{1,5})/?")


class Address(NamedTuple):
    """A host (name or literal) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, *, field: str = "address") -> Address:
    """Read "tcp://host:port" or "host:port". Raises ConfigurationError naming `field`."""
    if not isinstance(text, str):
        raise ConfigurationError(field, f"is {text!r}; write an address as text, HOST:PORT")
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() != "tcp":
        raise ConfigurationError(field, f"scheme {scheme!r} is not known; this version speaks tcp://HOST:PORT")
    match = _ADDRESS.fullmatch(rest if separator else text)
    if match is None or int(match["port"]) > 0xFFFF:
        raise ConfigurationError(field, f"{text!r} is no address; write tcp://HOST:PORT, for IPv6 tcp://[ADDRESS]:PORT")
    return Address(match["ipv6"] or match["host"], int(match["port"]))


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for each session, whatever carries it.

    codec: limits and policies of packets.
    request_timeout: seconds a request waits for its answer unless the call says otherwise; default 10.
    graceful_timeout: seconds a graceful close may take to finish handlers and write what is queued; default 5.
    write_timeout: seconds without any progress in writing after which a peer that does not read is dropped; default 30.
    idle_timeout: seconds without any packet in either direction after which a session is closed; default None, never.
    packet_timeout: seconds in which a packet that has begun must arrive in full or grow by 64 KiB, else the session is
        closed; default 30, None for never. Seen up to half of it late. Time in which we do not read does not count.
    high_water: bytes of outbound data above which `send` waits until the system has taken them; default 256 KiB.
    max_outbound: bytes of outbound data above which `send_nowait` raises, default 16 MiB.
        A session that only answers stops taking requests at high_water already.
    max_pending_requests: requests of ours that may wait for answers at once; default 65 536.
    max_inbound: bytes of messages that coroutine handlers may work on at once, default 16 MiB; above it reading pauses.
        For one-way messages it is high_water while the peer does not take what we send. Also bytes of messages held
        while we read on for answers to requests of ours. A message counts with 160 bytes more than payload and ext
        header.
    max_concurrent_handlers: coroutine handlers that may run at once; above it reading pauses; default 1024.
    event_queue_size: messages an event stream holds for its consumer; above it reading pauses; default 1024.
    """

    codec: CodecOptions = CodecOptions()
    request_timeout: float = 10.0
    graceful_timeout: float = 5.0
    write_timeout: float = 30.0
    idle_timeout: float | None = None
    packet_timeout: float | None = 30.0
    high_water: int = 256 * 1024
    max_outbound: int = 16 * 1024 * 1024
    max_inbound: int = 16 * 1024 * 1024
    max_pending_requests: int = 65_536
    max_concurrent_handlers: int = 1024
    event_queue_size: int = 1024

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        for field in ("request_timeout", "graceful_timeout", "write_timeout"):
            _positive(self, field)
        for field in ("idle_timeout", "packet_timeout"):
            _positive(self, field, None)
        for field in ("high_water", "max_inbound", "max_pending_requests"):
            _positive(self, field)
        for field in ("max_concurrent_handlers", "event_queue_size"):
            _positive(self, field)
        if self.max_outbound < self.high_water:
            raise ConfigurationError("max_outbound", f"must be at least high_water, {self.high_water} bytes")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


class TcpServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP listener (specification 4.2).

    bind_address: default 127.0.0.1:8001, loopback. nodelay: TCP_NODELAY, default on.
    keepalive: seconds of silence before the system probes the peer, None for never; default 60.
    reuse_port: let several processes listen on the port; default off. backlog: connections the system queues.
    """

    bind_address: str = "127.0.0.1:8001"
    nodelay: bool = True
    keepalive: int | None = 60
    reuse_port: bool = False
    backlog: int = 1024

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        parse_address(self.bind_address, field="bind_address")
        _positive(self, "keepalive", None)
        _positive(self, "backlog")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


class TcpClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP connection to a server (specification 4.2).

    target_address: required. connect_timeout: seconds, None to wait as long as the system does; default 10.
    nodelay: TCP_NODELAY, default on. keepalive: as for the server, default 60.
    local_bind_address: the address to connect from, default any.
    """

    target_address: str
    connect_timeout: float | None = 10.0
    nodelay: bool = True
    keepalive: int | None = 60
    local_bind_address: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        if parse_address(self.target_address, field="target_address").port == 0:
            raise ConfigurationError("target_address", "port 0 is for servers; name the port to connect to")
        if self.local_bind_address is not None:
            parse_address(self.local_bind_address, field="local_bind_address")
        _positive(self, "connect_timeout", None)
        _positive(self, "keepalive", None)

    @classmethod
    def high_performance(cls, target_address: str) -> Self:
        """Gives up on connecting after 5 s, and probes a silent peer after 30 s."""
        return cls(target_address=target_address, connect_timeout=5.0, keepalive=30)

    @classmethod
    def low_latency(cls, target_address: str) -> Self:
        """Gives up on connecting after 3 s."""
        return cls(target_address=target_address, connect_timeout=3.0)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)


def _positive(config: msgspec.Struct, field: str, besides: object = ...) -> None:
    value = getattr(config, field)
    if value is besides:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigurationError(field, f"is {value!r}; use a positive number")
