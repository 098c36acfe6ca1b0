"""Move messages: one API over several transports, wire compatible with the Rust crate msgtrans.

`TransportServer`, `TransportClient` and `ReconnectingClient` are the way in; `Packet`, `encode` and
`PacketDecoder` are the protocol alone.
"""

from msgtrans._version import __version__
from msgtrans.adapters.unified_port import UnifiedPort
from msgtrans.client import TransportClient
from msgtrans.codec import PacketDecoder, decode, encode
from msgtrans.config import (
    Address,
    AlertLevels,
    Backpressure,
    CircuitBreakerConfig,
    ConnectionConfig,
    ExpertConfig,
    LoadBalancerConfig,
    Optimizations,
    Pacing,
    PerformanceConfig,
    QuicClientConfig,
    QuicServerConfig,
    RateLimit,
    ReconnectingConfig,
    RetryConfig,
    SessionConfig,
    SmartPoolConfig,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    WebSocketClientConfig,
    WebSocketServerConfig,
    WorkersConfig,
)
from msgtrans.config.codec import CodecOptions
from msgtrans.containers import ConcurrentCounter, ConcurrentMap, ConcurrentQueue
from msgtrans.errors import (
    AuthenticationError,
    BackpressureError,
    ConfigurationError,
    ConnectError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    ResourceError,
    SessionClosedError,
    Severity,
    TransportConnectionError,
    TransportError,
    TransportTimeoutError,
    WorkerError,
)
from msgtrans.events import (
    Closed,
    CloseReason,
    Established,
    Event,
    EventStream,
    MessageReceived,
    RequestReceived,
    ServerStarted,
    ServerStopped,
)
from msgtrans.flow.batching import PacketBatches, ProtocolStats
from msgtrans.flow.pipelines import ActorStats, SessionPipelines
from msgtrans.flow.threads import ThreadSender, ThreadSenderStats
from msgtrans.handlers import Context, Reply
from msgtrans.info import ConnectionInfo, SessionState
from msgtrans.monitor.watching import Monitor
from msgtrans.packet import Compression, Flag, Packet, PacketType
from msgtrans.pool.allocation import BufferClass, BufferLimits, BufferPoolStats
from msgtrans.pool.buffers import BufferPool
from msgtrans.pool.connections import ConnectionPool
from msgtrans.pool.events import (
    ConnectionAcquired,
    ConnectionCreated,
    ConnectionReleased,
    ConnectionRemoved,
    PoolError,
    PoolEvent,
    PoolEventStream,
    PoolExpanded,
    PoolShrunk,
)
from msgtrans.pool.stats import PoolDetailedStatus, PoolStats
from msgtrans.reconnecting import ReconnectingClient
from msgtrans.requests import PendingRequests
from msgtrans.resilience.states import ClientState, StateChanged
from msgtrans.server import TransportServer
from msgtrans.session import Session
from msgtrans.stats import EndpointStats, ErrorStats, SessionStats
from msgtrans.tls import ServerTls
from msgtrans.workers.link import Worker

__all__ = [
    "ActorStats",
    "Address",
    "AlertLevels",
    "AuthenticationError",
    "Backpressure",
    "BackpressureError",
    "BufferClass",
    "BufferLimits",
    "BufferPool",
    "BufferPoolStats",
    "CircuitBreakerConfig",
    "ClientState",
    "CloseReason",
    "Closed",
    "CodecOptions",
    "Compression",
    "ConcurrentCounter",
    "ConcurrentMap",
    "ConcurrentQueue",
    "ConfigurationError",
    "ConnectError",
    "ConnectionAcquired",
    "ConnectionConfig",
    "ConnectionCreated",
    "ConnectionInfo",
    "ConnectionPool",
    "ConnectionReleased",
    "ConnectionRemoved",
    "Context",
    "EndpointStats",
    "ErrorStats",
    "Established",
    "Event",
    "EventStream",
    "ExpertConfig",
    "Flag",
    "LoadBalancerConfig",
    "LocalProtocolError",
    "MessageReceived",
    "Monitor",
    "Optimizations",
    "Pacing",
    "Packet",
    "PacketBatches",
    "PacketDecoder",
    "PacketType",
    "PendingRequests",
    "PerformanceConfig",
    "PoolDetailedStatus",
    "PoolError",
    "PoolEvent",
    "PoolEventStream",
    "PoolExpanded",
    "PoolShrunk",
    "PoolStats",
    "ProtocolError",
    "ProtocolStats",
    "QuicClientConfig",
    "QuicServerConfig",
    "RateLimit",
    "ReconnectingClient",
    "ReconnectingConfig",
    "RemoteProtocolError",
    "Reply",
    "RequestReceived",
    "ResourceError",
    "RetryConfig",
    "ServerStarted",
    "ServerStopped",
    "ServerTls",
    "Session",
    "SessionClosedError",
    "SessionConfig",
    "SessionPipelines",
    "SessionState",
    "SessionStats",
    "Severity",
    "SmartPoolConfig",
    "StateChanged",
    "TcpClientConfig",
    "TcpServerConfig",
    "ThreadSender",
    "ThreadSenderStats",
    "TlsClientConfig",
    "TlsServerConfig",
    "TransportClient",
    "TransportConnectionError",
    "TransportError",
    "TransportServer",
    "TransportTimeoutError",
    "UnifiedPort",
    "WebSocketClientConfig",
    "WebSocketServerConfig",
    "Worker",
    "WorkerError",
    "WorkersConfig",
    "__version__",
    "decode",
    "encode",
]
