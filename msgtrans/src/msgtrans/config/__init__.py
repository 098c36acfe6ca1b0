"""The room for options: immutable, validated values with default and range. Each of them acts.

`config.replace(option=value)` gives a changed copy.
"""

from msgtrans.config.address import Address, parse_address
from msgtrans.config.connection import ConnectionConfig, ExpertConfig
from msgtrans.config.limits import Backpressure, RateLimit
from msgtrans.config.optimizations import Optimizations
from msgtrans.config.pacing import Pacing
from msgtrans.config.performance import AlertLevels, PerformanceConfig
from msgtrans.config.pool import SmartPoolConfig
from msgtrans.config.quic import QuicClientConfig, QuicServerConfig
from msgtrans.config.resilience import CircuitBreakerConfig, LoadBalancerConfig, ReconnectingConfig
from msgtrans.config.retry import NO_RETRY, RetryConfig
from msgtrans.config.session import SessionConfig
from msgtrans.config.tcp import TcpClientConfig, TcpServerConfig
from msgtrans.config.tls import TlsClientConfig, TlsServerConfig
from msgtrans.config.websocket import WebSocketClientConfig, WebSocketServerConfig
from msgtrans.config.workers import WorkersConfig

__all__ = [
    "NO_RETRY",
    "Address",
    "AlertLevels",
    "Backpressure",
    "CircuitBreakerConfig",
    "ConnectionConfig",
    "ExpertConfig",
    "LoadBalancerConfig",
    "Optimizations",
    "Pacing",
    "PerformanceConfig",
    "QuicClientConfig",
    "QuicServerConfig",
    "RateLimit",
    "ReconnectingConfig",
    "RetryConfig",
    "SessionConfig",
    "SmartPoolConfig",
    "TcpClientConfig",
    "TcpServerConfig",
    "TlsClientConfig",
    "TlsServerConfig",
    "WebSocketClientConfig",
    "WebSocketServerConfig",
    "WorkersConfig",
    "parse_address",
]
