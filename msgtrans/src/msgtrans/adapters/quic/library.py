"""The QUIC library under it, qh3, and the few things of it that are not public. Everything else uses what is.

The private names are tested (`test_quic_library`), and the extra `msgtrans[quic]` holds the version.
Not here: sockets, sessions, and what is done with what comes.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from qh3 import tls
from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionError

if TYPE_CHECKING:
    from qh3._hazmat import Buffer
    from qh3.quic.tls_bridge import QuicTlsBridge

__all__ = [
    "QuicConfiguration",
    "QuicConnection",
    "QuicConnectionError",
    "ServerConnection",
    "closing",
    "events",
    "fault",
    "in_flight",
    "keep_quiet",
    "renew_id",
    "round_trip",
    "unacknowledged",
]

VERSIONS: Final = (1,)
"""QUIC versions spoken here."""
IDLE: Final = "Idle timeout"
"""The reason of a connection that has been silent for too long; no peer sent it."""


class HoldableConnection(QuicConnection):
    """A connection whose peer can be made to wait.

    The library's core grants the peer more when what came is taken out of it, and the library does so at once.
    """

    held = False

    def hold(self) -> None:
        """Leave what comes in the core from now on, once the handshake is confirmed: the peer's credit ends by itself.

        An end of the connection is taken out nevertheless, and all that came before it.
        """
        self.held = True

    def let_go(self) -> None:
        """Take everything out; further events follow, and credit for the peer among what is to be sent."""
        self.held = False
        if self._core is not None:
            self._drain_core()

    def _drain_core(self) -> None:
        core = self._core
        if not (self.held and self._handshake_confirmed and core is not None and core.state == "connected"):
            super()._drain_core()


class ServerConnection(HoldableConnection):
    """A server's side of a connection, for clients that offer an application protocol and for those that offer none.

    The library refuses the latter where the configuration names protocols.
    """

    def _create_tls(self, remote_source_cid: bytes | None) -> QuicTlsBridge:
        bridge = super()._create_tls(remote_source_cid)
        if self.configuration.alpn_protocols is not None:
            bridge.tls.__class__ = _Tolerant
        return bridge


class _Tolerant(tls.Context):
    """TLS of a server that asks for an application protocol only where the client offers some."""

    def _server_handle_hello(
        self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer, onertt_buf: Buffer
    ) -> None:
        begins = input_buf.tell()
        offered = tls.pull_client_hello(input_buf).alpn_protocols
        input_buf.seek(begins)
        if offered is None:
            self._alpn_protocols = None
        elif not set(offered) & set(self._alpn_protocols or ()):
            raise _NoProtocol(f"none of the application protocols offered is served here: {', '.join(offered)[:100]}")
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf, onertt_buf)


class _NoProtocol(tls.Alert):
    """The alert that RFC 9001, 8.1, asks for; the library has another."""

    description = tls.AlertDescription.no_application_protocol


def closing(connection: QuicConnection) -> events.ConnectionTerminated | None:
    """Why the connection ends, once it does by the peer's or the library's will, or by ours.

    The library's own event comes only when nothing of the connection can be under way any more.
    """
    return connection._close_event  # noqa: SLF001 - see above


def in_flight(connection: QuicConnection) -> int:
    """Bytes sent and not acknowledged yet."""
    core = connection._core  # noqa: SLF001 - `open_outbound_streams` counts streams that never end, too
    return 0 if core is None else core.bytes_in_flight


def unacknowledged(connection: QuicConnection) -> int:
    """How often in a row what was sent had to be sent again because nothing of it was acknowledged."""
    core = connection._core  # noqa: SLF001 - nothing public says so
    return 0 if core is None else core.pto_count


def round_trip(connection: QuicConnection) -> float:
    """Seconds that a datagram and its answer need."""
    core = connection._core  # noqa: SLF001 - nothing public says so
    known = None if core is None else core.smoothed_rtt
    return connection.configuration.initial_rtt if known is None else known


def renew_id(connection: QuicConnection) -> None:
    """Call the peer by another of its ids from now on, if it has given any."""
    with suppress(ValueError):  # it has not
        connection.change_connection_id()


def fault(error: BaseException) -> BaseException:
    """`error`, which the library raised: a panic of its Rust part is no Exception. What ends a program is raised on."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    return error


class _Quiet(logging.Filter):
    """Turns warnings about every peer that closes a connection, or breaks the protocol, into debug messages."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING and str(record.msg).startswith("Native "):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return logging.getLogger("quic").isEnabledFor(logging.DEBUG)
        return True


_QUIET: Final = _Quiet()


def keep_quiet() -> None:
    """Have the library's logger, `quic`, not warn of what sessions report already. Any number of calls do it once."""
    logging.getLogger("quic").addFilter(_QUIET)
