"""Counters, and the snapshots that users read (specification 4.4).

Counters of sessions live in the sessions while these are open and are added to their endpoint's when they close.
Not here: rates, histograms, exporters.
"""

from __future__ import annotations

import msgspec


class SessionStats(msgspec.Struct, frozen=True):
    """One session at one moment. Bytes are bytes on the wire, packets of all types.

    outbound_bytes: queued, and not taken by the system yet. waiting_bytes: of sends and requests that wait for room
    there, in line. reading_paused: whether a bound is reached. dropped_outbound, dropped_inbound: one-way messages lost
    because a strategy said so.
    """

    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    pending_requests: int
    running_handlers: int
    outbound_bytes: int
    waiting_bytes: int
    reading_paused: bool
    dropped_outbound: int = 0
    dropped_inbound: int = 0


class ErrorStats(msgspec.Struct, frozen=True, kw_only=True):
    """The errors among the counters of an endpoint, by kind (specification 4.4).

    connection: handshakes and upgrades that failed, and connections turned away. protocol: peers that broke it.
    authentication: proofs of identity that were wrong. resource: what was refused or lost at a bound. timeout: of
    requests, writes, packets, upgrades and pings. handler: handlers that raised. total: of all these.
    Configuration errors are raised to who configures, and what was sent again counts in `ReconnectingStats`.
    """

    total: int
    connection: int
    protocol: int
    authentication: int
    resource: int
    timeout: int
    handler: int


class EndpointStats(msgspec.Struct, kw_only=True):
    """A server or client over its whole life, closed sessions included.

    connections_open / _total / _refused: sessions now, ever, and those turned away at max_connections or by middleware.
    handshake_failures: connections that ended before their TLS handshake was done; those of which the loop never hears
    again count when it lets go of them. certificate_reloads / _failures: certificates read again, and those that could
    not be used.
    packets_* and bytes_*: on the wire.
    protocol_errors: sessions closed because the peer broke the protocol.
    bad_compression: payloads handed over as they came (`on_bad_compression="raw"`).
    handler_errors: handlers that raised, and middleware that failed. refused: requests and messages that middleware
    turned away. authentication_failures: proofs of identity that were wrong, late or missing; each ends its session.
    late_answers: answers of our own handlers whose session was gone.
    unhandled: requests and messages for which there was neither handler nor event stream.
    stray_responses: responses of the peer that nobody waited for, late ones among them. request_timeouts: requests of
    ours that got no answer in time.
    discarded: packets that arrived, or were held, while the session was closing.
    read_pauses: how often reading from a peer stopped because a bound was reached.
    unseen_sessions: sessions left out of an event stream, which had no room, because they came and went unseen.
    backpressure_errors: sends refused at max_outbound or by the strategy REJECT, broadcasts left out included.
    dropped_outbound, dropped_inbound: one-way messages lost because a strategy said so. overloads: sessions closed by
    the inbound strategy REJECT. rate_limited: requests and messages refused or dropped on arrival by a rate limit;
    rate_waits: how often a session had to wait for one.
    write_timeouts / idle_timeouts / packet_timeouts: sessions dropped because of these.
    upgrade_errors / upgrade_timeouts: connections that were to become WebSocket, and were refused or left while they
    asked, or did not ask in time. ping_timeouts: WebSocket sessions dropped because a ping was not answered.
    kept_overflows: sessions dropped because incomplete packets of all sessions together reached `max_buffered`.
    udp_errors: calls on sockets of QUIC that the system refused; the datagram is lost, and sent again. udp_moves:
    sockets that clients replaced because their address had vanished; their sessions went on.
    """

    connections_open: int = 0
    connections_total: int = 0
    connections_refused: int = 0
    handshake_failures: int = 0
    certificate_reloads: int = 0
    certificate_failures: int = 0
    packets_sent: int = 0
    packets_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    protocol_errors: int = 0
    bad_compression: int = 0
    handler_errors: int = 0
    refused: int = 0
    authentication_failures: int = 0
    late_answers: int = 0
    unhandled: int = 0
    stray_responses: int = 0
    request_timeouts: int = 0
    discarded: int = 0
    read_pauses: int = 0
    unseen_sessions: int = 0
    backpressure_errors: int = 0
    dropped_outbound: int = 0
    dropped_inbound: int = 0
    overloads: int = 0
    rate_limited: int = 0
    rate_waits: int = 0
    write_timeouts: int = 0
    idle_timeouts: int = 0
    packet_timeouts: int = 0
    kept_overflows: int = 0
    upgrade_errors: int = 0
    upgrade_timeouts: int = 0
    ping_timeouts: int = 0
    udp_errors: int = 0
    udp_moves: int = 0

    def errors(self) -> ErrorStats:
        """The errors among them."""
        connection = self.handshake_failures + self.upgrade_errors + self.connections_refused
        resource = (
            self.backpressure_errors
            + self.dropped_outbound
            + self.dropped_inbound
            + self.overloads
            + self.kept_overflows
            + self.rate_limited
        )
        timeout = (
            self.request_timeouts
            + self.write_timeouts
            + self.packet_timeouts
            + self.upgrade_timeouts
            + self.ping_timeouts
        )
        kinds = (connection, self.protocol_errors, self.authentication_failures, resource, timeout, self.handler_errors)
        return ErrorStats(
            total=sum(kinds),
            connection=connection,
            protocol=self.protocol_errors,
            authentication=self.authentication_failures,
            resource=resource,
            timeout=timeout,
            handler=self.handler_errors,
        )
