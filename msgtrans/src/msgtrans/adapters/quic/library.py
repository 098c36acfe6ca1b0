"""The QUIC library under it, qh3, and the few things of it that are not public. Everything else uses what is.

The private names are tested (`test_quic_library`), and the extra `msgtrans[quic]` holds the version.
Not here: sockets, sessions, and what is done with what comes.
"""

from __future__ import annotations

import logging
from typing import Final

from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionError

__all__ = [
    "QuicConfiguration",
    "QuicConnection",
    "QuicConnectionError",
    "closing",
    "events",
    "fault",
    "in_flight",
    "keep_quiet",
]

VERSIONS: Final = (1,)
"""QUIC versions spoken here."""
IDLE: Final = "Idle timeout"
"""The reason of a connection that has been silent for too long; no peer sent it."""


def closing(connection: QuicConnection) -> events.ConnectionTerminated | None:
    """Why the connection ends, once it does by the peer's or the library's will, or by ours.

    The library's own event comes only when nothing of the connection can be under way any more.
    """
    return connection._close_event  # noqa: SLF001 - see above


def in_flight(connection: QuicConnection) -> int:
    """Bytes sent and not acknowledged yet."""
    core = connection._core  # noqa: SLF001 - `open_outbound_streams` counts streams that never end, too
    return 0 if core is None else core.bytes_in_flight


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
