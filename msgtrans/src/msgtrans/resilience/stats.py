"""What a reconnecting client counts. Not here: sessions and what they move (`msgtrans.stats`)."""

from __future__ import annotations

from msgtrans.stats import EndpointStats


class ReconnectingStats(EndpointStats, kw_only=True):
    """`EndpointStats` over all connections of a client, and what holds it together.

    connect_failures: attempts that came to nothing. connections_lost: connections that ended, and not by our closing.
    breaker_openings: of all addresses. waiting_calls: now. waiting_refused: calls for which there was no room to wait.
    waiting_timeouts: calls that got no connection in time. resubmitted_requests / _messages: sent again, on another
    connection. dropped_messages: accepted by `send`, never written, and dropped because the client closed or gave up.
    """

    connect_failures: int = 0
    connections_lost: int = 0
    breaker_openings: int = 0
    waiting_calls: int = 0
    waiting_refused: int = 0
    waiting_timeouts: int = 0
    resubmitted_requests: int = 0
    resubmitted_messages: int = 0
    dropped_messages: int = 0
