"""The room for what stands between the wire and the handlers: logging, authentication, limits, statistics.

`endpoint.use(middleware)` takes one into use; the first one used is the outermost. Without any, nothing is slower.
"""

from msgtrans.middleware.base import Middleware
from msgtrans.middleware.statistics import (
    ServerStatistics,
    SessionSummary,
    StatisticsMiddleware,
    fetch_statistics,
)

__all__ = [
    "Middleware",
    "ServerStatistics",
    "SessionSummary",
    "StatisticsMiddleware",
    "fetch_statistics",
]
