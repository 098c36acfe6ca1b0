"""The error tree: codes, kinship, advice."""

from __future__ import annotations

import pytest

from msgtrans import (
    BackpressureError,
    ConfigurationError,
    ConnectError,
    LocalProtocolError,
    RemoteProtocolError,
    ResourceError,
    SessionClosedError,
    TransportError,
    TransportTimeoutError,
)


@pytest.mark.parametrize(
    ("error", "code", "retriable", "kin"),
    [
        (ConnectError(), "CONNECTION_ERROR", True, ConnectionError),
        (SessionClosedError(), "CONNECTION_ERROR", True, ConnectionError),
        (LocalProtocolError(), "PROTOCOL_ERROR", False, TransportError),
        (RemoteProtocolError(), "PROTOCOL_ERROR", True, TransportError),
        (TransportTimeoutError("request", 2.5), "TIMEOUT_ERROR", True, TimeoutError),
        (ConfigurationError("port", "is missing"), "CONFIG_ERROR", False, ValueError),
        (BackpressureError("outbound bytes", 5, 4), "RESOURCE_ERROR", True, ResourceError),
    ],
)
def test_every_error_has_its_code_kin_and_sentence(
    error: TransportError, code: str, retriable: bool, kin: type[Exception]
) -> None:
    """Errors are told apart by code and by built-in kin, say whether retrying can help, and say something."""
    assert (code, retriable) == (error.code, error.retriable)
    assert isinstance(error, kin)
    assert isinstance(error, TransportError)
    assert len(str(error)) > 10
    assert (error.retry_delay is not None) == retriable


@pytest.mark.parametrize(
    ("error", "severity"),
    [
        (ConnectError(), "medium"),
        (ConnectError(retriable=False), "high"),
        (RemoteProtocolError(), "medium"),
        (TransportTimeoutError("request", 1), "medium"),
        (ConfigurationError("port", "is missing"), "critical"),
        (ResourceError("places", 100, 100), "critical"),
        (ResourceError("places", 90, 100), "high"),
        (ResourceError("places", 80, 100), "medium"),
    ],
)
def test_severities(error: TransportError, severity: str) -> None:
    """Each error says how bad it is, as specification 4.5 has it."""
    assert severity == error.severity


def test_retriable_can_be_said_otherwise() -> None:
    """One error object may differ from its class."""
    assert not ConnectError("for good", retriable=False).retriable
    assert ConnectError().retriable
