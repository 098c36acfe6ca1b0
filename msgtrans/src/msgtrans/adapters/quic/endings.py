"""Why connections end: what is told to the peer when we end one, and what it means when it does.

Application error codes of ours (in CONNECTION_CLOSE, with a sentence): 0 in good order, 1 dropped by its user,
2 the peer broke the protocol, 3 a bound was reached, 4 a timeout passed, 5 not admitted,
6 not admitted now, as the server is full or stopping: another attempt may help.
Rust peers send 0 only, and take all of them for a normal end.
Not here: ending anything.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from msgtrans.adapters.words import printable
from msgtrans.errors import (
    ConnectError,
    RemoteProtocolError,
    ResourceError,
    SessionClosedError,
    TransportConnectionError,
    TransportError,
)
from msgtrans.events import CloseReason

if TYPE_CHECKING:
    from msgtrans.session import Session

REASON_LIMIT: Final = 200  # bytes of the sentence
_TURNED_AWAY: Final = {0x2, 0xC}  # CONNECTION_REFUSED, and APPLICATION_ERROR before keys are agreed on
CRYPTO: Final = 0x100  # transport error codes from here on are alerts of TLS
_NO_ALPN: Final = 120
_HANDSHAKE_FAILURE: Final = 40
_CERTIFICATE: Final = range(42, 50)
_OTHER_VERSIONS: Final = "Could not find a common protocol version"
NO_HELLO: Final = "packet contains no CRYPTO frame"
"""What the library says of a connection that does not begin with the begin of a handshake."""
_UNACCEPTABLE: Final = "the server certificate is unacceptable"  # all the library says of several reasons


class ProtocolRefusedError(ConnectError):
    """The server takes none of the application protocols that were offered, or insists on one."""


class Code(IntEnum):
    """Application error codes. `NORMAL` is that of Rust peers."""

    NORMAL = 0
    DROPPED = 1
    PROTOCOL = 2
    OVERLOADED = 3
    TIMED_OUT = 4
    REFUSED = 5
    FULL = 6


_MEANING: Final = {
    Code.DROPPED: "the peer dropped the connection",
    Code.PROTOCOL: "the peer says that we broke the protocol",
    Code.OVERLOADED: "the peer has reached a bound",
    Code.TIMED_OUT: "the peer lost patience",
    Code.REFUSED: "the peer does not admit us",
    Code.FULL: "the peer does not admit us",
}


def farewell(session: Session | None) -> tuple[int, str]:
    """Code and sentence for the peer of a session that ends."""
    if session is None:
        return Code.FULL, "no session: the server is full or stopping"
    reason, error = session.close_reason, session.close_error
    if reason is CloseReason.NORMAL or reason is None:
        return Code.NORMAL, ""
    if reason is CloseReason.FORCED:
        return Code.DROPPED, "dropped"
    if reason is CloseReason.TIMEOUT:
        return Code.TIMED_OUT, shortened(error)
    if isinstance(error, ResourceError):
        return Code.OVERLOADED, shortened(error)
    if isinstance(error, RemoteProtocolError):
        return Code.PROTOCOL, shortened(error)
    return Code.REFUSED, shortened(error)


def shortened(error: object) -> str:
    """The text of an error, as long as a datagram has room for."""
    return str(error).encode()[:REASON_LIMIT].decode("utf-8", "ignore")


def verdict(code: int, frame_type: int | None, reason: str) -> TransportError | None:
    """What the end of an open connection was: None for one in good order, and for a stateless reset, which looks so.

    frame_type: None where the application ended it, else what the transport complains of.
    """
    if not code:
        return None
    reason = printable(reason)
    if frame_type is not None:
        return TransportConnectionError(f"the connection broke: QUIC error {code:#x}{_told(reason)}")
    meaning = _MEANING.get(code, f"the peer closed the connection with code {code}")  # type: ignore[call-overload]
    return SessionClosedError(meaning + _told(reason), retriable=code not in {Code.PROTOCOL, Code.REFUSED})


def connect_failed(uri: str, code: int, frame_type: int | None, reason: str) -> ConnectError:
    """The error of a handshake that ended so."""
    alert, reason = code - CRYPTO, printable(reason)
    if reason == _OTHER_VERSIONS:
        return ConnectError(
            f"{uri} speaks other versions of QUIC than 1; does a MsgTrans server run there?", retriable=False
        )
    if frame_type is None:
        error = verdict(code, frame_type, reason)
        return ConnectError(f"{uri} closed the connection at once: {error or 'it may be full or stopping'}")
    if code in _TURNED_AWAY:
        return ConnectError(f"{uri} does not admit us: {reason or 'it may be full or stopping'}")
    if alert == _NO_ALPN or (alert == _HANDSHAKE_FAILURE and "ALPN" in reason):
        return ProtocolRefusedError(
            f"{uri} takes none of the application protocols that we offer; see alpn: Rust servers 1.x want none, "
            "from 2.0 on msgtrans/1",
            retriable=False,
        )
    if alert in _CERTIFICATE and reason == _UNACCEPTABLE:
        return ConnectError(
            f"the certificate of {uri} is not trusted: it is for another name, out of date, or an authority's own "
            "instead of a server's; see server_name",
            retriable=False,
        )
    if alert in _CERTIFICATE:
        return ConnectError(
            f"the certificate of {uri} is not trusted: {reason}; name its authority in TlsClientConfig.ca_file, or "
            "what it was issued for in server_name",
            retriable=False,
        )
    if 0 <= alert < CRYPTO:
        return ConnectError(f"the TLS handshake with {uri} failed: {reason or f'alert {alert}'}", retriable=False)
    return ConnectError(f"cannot connect to {uri}: QUIC error {code:#x}{_told(reason)}")


def _told(reason: str) -> str:
    return f": {reason}" if reason else ""
