"""The room for what stands between the wire and the handlers: logging, authentication, limits, statistics.

`endpoint.use(middleware)` takes one into use; the first one used is the outermost. Without any, nothing is slower.
"""

from msgtrans.middleware.authentication import AuthenticationMiddleware, TokenMiddleware, fixed_tokens
from msgtrans.middleware.base import Middleware
from msgtrans.middleware.connection_limit import ConnectionLimit
from msgtrans.middleware.logs import LoggingMiddleware
from msgtrans.middleware.statistics import (
    ProtocolSummary,
    ServerStatistics,
    SessionSummary,
    StatisticsMiddleware,
    Watched,
    WorkerSummary,
    fetch_statistics,
)

__all__ = [
    "AuthenticationMiddleware",
    "ConnectionLimit",
    "LoggingMiddleware",
    "Middleware",
    "ProtocolSummary",
    "ServerStatistics",
    "SessionSummary",
    "StatisticsMiddleware",
    "TokenMiddleware",
    "Watched",
    "WorkerSummary",
    "fetch_statistics",
    "fixed_tokens",
]
