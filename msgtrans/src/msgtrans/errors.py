"""Every error this package raises on purpose, as one tree.

    TransportError
    ├── TransportConnectionError  (also ConnectionError)   CONNECTION_ERROR
    │   ├── ConnectError                could not connect
    │   └── SessionClosedError          the session ended, or is ending
    ├── ProtocolError                                       PROTOCOL_ERROR
    │   ├── LocalProtocolError          our side asked for something the protocol does not allow
    │   └── RemoteProtocolError         the peer sent something the protocol does not allow
    ├── AuthenticationError                                 AUTHENTICATION_ERROR
    ├── TransportTimeoutError     (also TimeoutError)       TIMEOUT_ERROR
    ├── ConfigurationError        (also ValueError)         CONFIG_ERROR
    ├── WorkerError                 the worker processes could not be kept running   WORKER_ERROR
    └── ResourceError                                       RESOURCE_ERROR
        └── BackpressureError           the peer takes less than we give

Codes, retry advice and delays follow section 4.5 of the protocol specification.
Not here: logging, or any decision to retry; the classes only say whether retrying can help.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Severity(StrEnum):
    """How bad an error is for operation (specification 4.5)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class TransportError(Exception):
    """The root of the tree. `str(error)` is a sentence the reader can act on.

    `code` is stable and meant for machines; `retriable` says whether the same call can succeed later;
    `retry_delay` is the suggested pause in seconds before that, or None; `severity` is how bad it is.
    `refusal`, set on the way through middleware: True when a middleware turned a message or session away with it, False
    when it came from the handler, or stands for a bug in a middleware; None otherwise.
    `attempts` is how often it was tried; `str(error)` tells when that was more than once.
    """

    code: ClassVar[str] = "TRANSPORT_ERROR"
    advice: ClassVar[str] = "The transport failed; see the chained cause."
    retry_delay: ClassVar[float | None] = None
    retriable: bool = False
    refusal: bool | None = None
    attempts: int = 1

    def __init__(self, message: str | None = None, *, retriable: bool | None = None) -> None:
        super().__init__(message or self.advice)
        if retriable is not None:
            self.retriable = retriable

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.attempts == 1 else f"{text} (tried {self.attempts} times)"

    @property
    def severity(self) -> Severity:
        """MEDIUM; an error of the connection that retrying cannot help is HIGH, of the configuration CRITICAL.

        A resource is CRITICAL above 90 % of its limit and HIGH above 80 %.
        """
        return Severity.MEDIUM


class TransportConnectionError(TransportError, ConnectionError):
    """The connection could not be made, or is gone."""

    code = "CONNECTION_ERROR"
    advice = "There is no connection; connect (again) before using it."
    retry_delay = 1.0
    retriable = True

    @property
    def severity(self) -> Severity:
        """MEDIUM if retriable, else HIGH."""
        return Severity.MEDIUM if self.retriable else Severity.HIGH


class ConnectError(TransportConnectionError):
    """Connecting failed: refused, unreachable, or the name does not resolve."""

    advice = "Could not connect; check that the server runs and that the address is right."


class SessionClosedError(TransportConnectionError):
    """The session is closed or closing. Requests that were waiting for an answer fail with it at once.

    written: of a call that failed, whether anything of it may have reached the peer: True when it was given to the
    connection, False when it certainly never was, so that it can be repeated safely.
    """

    advice = "The session is closed; connect again and repeat what may be repeated."

    def __init__(self, message: str | None = None, *, retriable: bool | None = None, written: bool = False) -> None:
        super().__init__(message, retriable=retriable)
        self.written = written


class ProtocolError(TransportError):
    """Something outside the protocol; the subclass says whose fault it is."""

    code = "PROTOCOL_ERROR"
    advice = "The packet protocol was violated."


class LocalProtocolError(ProtocolError):
    """Our own call asked for something that cannot be sent: a size, an id, a second answer. Nothing was sent."""

    advice = "This cannot be sent; correct the call."


class RemoteProtocolError(ProtocolError):
    """The peer sent bytes that are no packet, or more than the limits allow. The session is closed with it."""

    advice = "The peer does not speak this protocol, or not within the limits set here."
    retry_delay = 0.1
    retriable = True


class AuthenticationError(TransportError):
    """The peer did not prove who it is. Never says what it sent."""

    code = "AUTHENTICATION_ERROR"
    advice = "The peer is not known here; check its token or certificate."

    @property
    def severity(self) -> Severity:
        """HIGH: the same attempt fails again."""
        return Severity.HIGH


class TransportTimeoutError(TransportError, TimeoutError):
    """An operation took longer than it may. `operation` names it, `seconds` is the time it had."""

    code = "TIMEOUT_ERROR"
    advice = "The operation took too long; the peer may be overloaded, or the timeout too short."
    retry_delay = 0.2
    retriable = True

    def __init__(self, operation: str, seconds: float) -> None:
        super().__init__(f"{operation} took longer than {seconds:.3g} s; try again, or allow more time")
        self.operation = operation
        self.seconds = seconds


class ConfigurationError(TransportError, ValueError):
    """An option, address or installation is wrong. `field` names what to change."""

    code = "CONFIG_ERROR"
    advice = "An option is wrong."

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field

    @property
    def severity(self) -> Severity:
        """CRITICAL: nothing works before it is corrected."""
        return Severity.CRITICAL


class WorkerError(TransportError):
    """The worker processes of a server ended again and again, or could not even start; none is left."""

    code = "WORKER_ERROR"
    advice = "The workers could not be kept running; see the log for why they ended."

    @property
    def severity(self) -> Severity:
        """CRITICAL: nothing is served."""
        return Severity.CRITICAL


class ResourceError(TransportError):
    """A bound was reached. `resource` names it, `current` and `limit` are in its own unit (bytes or a count)."""

    code = "RESOURCE_ERROR"
    advice = "A limit is reached; wait, or raise it."
    retry_delay = 0.5
    retriable = True

    def __init__(self, resource: str, current: int, limit: int) -> None:
        super().__init__(f"{resource}: {current}, and the limit is {limit}; wait until that falls, or raise the limit")
        self.resource = resource
        self.current = current
        self.limit = limit

    @property
    def severity(self) -> Severity:
        """By how much of the limit is in use."""
        if self.current > self.limit * 0.9:
            return Severity.CRITICAL
        return Severity.HIGH if self.current > self.limit * 0.8 else Severity.MEDIUM


class BackpressureError(ResourceError):
    """The peer takes less than we give it, and our outbound buffer is full; `await send()` waits instead."""
