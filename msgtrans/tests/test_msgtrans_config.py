"""Options and addresses: defaults, ranges, and errors that name what to change."""

from __future__ import annotations

import pytest

from msgtrans import (
    Address,
    ConfigurationError,
    SessionConfig,
    TcpClientConfig,
    TcpServerConfig,
    TransportClient,
    TransportServer,
)
from msgtrans.config import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8001", Address("127.0.0.1", 8001)),
        ("tcp://example.org:0", Address("example.org", 0)),
        ("TCP://[::1]:65535/", Address("::1", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """Host names, IPv4 and bracketed IPv6 addresses are read, with or without the scheme."""
    assert address == parse_address(text)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:65536", "::1:5", "tcp://h:1/path", "h:-1"])
def test_wrong_addresses(text: str) -> None:
    """Anything else is refused, naming the field and the right form."""
    with pytest.raises(ConfigurationError, match=r"^target_address: .*tcp://") as caught:
        TransportClient(text)
    assert caught.value.field == "target_address"
    assert caught.value.code == "CONFIG_ERROR"


def test_addresses_of_a_wrong_type() -> None:
    """What is neither text nor a configuration is refused, naming the option."""
    with pytest.raises(ConfigurationError, match=r"^config: is 5; use an address"):
        TransportServer(tcp=5)
    with pytest.raises(ConfigurationError, match=r"^config: is None"):
        TransportClient(None)


def test_a_client_needs_a_port() -> None:
    """Port 0 is only for servers."""
    with pytest.raises(ConfigurationError, match="port 0"):
        TransportClient("tcp://127.0.0.1:0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"request_timeout": 0},
        {"graceful_timeout": -1},
        {"write_timeout": float("inf")},
        {"idle_timeout": 0},
        {"packet_timeout": -0.5},
        {"max_inbound": 0},
        {"high_water": 0},
        {"max_outbound": 1},
        {"max_pending_requests": 0},
        {"max_concurrent_handlers": 0},
        {"event_queue_size": "many"},
    ],
)
def test_session_options_are_validated(wrong: dict[str, object]) -> None:
    """Each option outside its range is refused by name."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        SessionConfig(**wrong)


def test_tcp_options_are_validated() -> None:
    """Listener and connection options are checked when the object is made, and when it is changed."""
    for wrong in ({"bind_address": "nowhere"}, {"keepalive": 0}, {"backlog": 0}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            TcpServerConfig(**wrong)
    good = TcpClientConfig(target_address="h:1", connect_timeout=None, keepalive=None)
    for wrong in ({"connect_timeout": 0}, {"keepalive": -1}, {"local_bind_address": "x"}, {"target_address": "h:0"}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            good.replace(**wrong)


def test_changed_copies() -> None:
    """`replace` leaves the original as it was."""
    base = SessionConfig()
    assert base.replace(request_timeout=3.0).request_timeout == 3.0
    assert base.request_timeout == 10.0
    assert TcpServerConfig().replace(backlog=7).backlog == 7


def test_presets() -> None:
    """The presets of the original set what they promise."""
    assert TcpClientConfig.high_performance("h:1") == TcpClientConfig(
        target_address="h:1", connect_timeout=5.0, keepalive=30, write_buffer_size=65_536
    )
    assert TcpClientConfig.low_latency("h:1").connect_timeout == 3.0


def test_a_server_takes_a_uri_too() -> None:
    """The scheme may stand in front of a server's address."""
    assert TransportServer(tcp="tcp://127.0.0.1:0") is not None
    with pytest.raises(ConfigurationError, match="scheme 'http' is not known; there are tcp, tls"):
        TransportServer(tcp="http://127.0.0.1:0")
