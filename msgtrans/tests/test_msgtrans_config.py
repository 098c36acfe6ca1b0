"""Options and addresses: defaults, ranges, and errors that name what to change."""

from __future__ import annotations

import re

import msgspec
import pytest

import msgtrans
from msgtrans import (
    Address,
    CodecOptions,
    ConfigurationError,
    LoadBalancerConfig,
    ReconnectingClient,
    RetryConfig,
    SessionConfig,
    TcpClientConfig,
    TcpServerConfig,
    TlsClientConfig,
    TlsServerConfig,
    TransportClient,
    TransportServer,
    WebSocketClientConfig,
    WebSocketServerConfig,
)
from msgtrans.config import parse_address
from msgtrans.middleware import LoggingMiddleware

REQUIRED: dict[str, object] = {
    "certificate_file": "server.pem",
    "count": 1,
    "target_address": "h:1",
    "target_url": "ws://h/",
}
CONFIGS = [
    made
    for made in vars(msgtrans).values()
    if isinstance(made, type) and issubclass(made, msgspec.Struct) and hasattr(made, "__post_init__")
]
OPTIONS = [(config, field.name) for config in CONFIGS for field in msgspec.structs.fields(config)]


def needed(config: type[msgspec.Struct]) -> dict[str, object]:
    """What `config` cannot do without."""
    return {field.name: REQUIRED[field.name] for field in msgspec.structs.fields(config) if field.required}


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
    with pytest.raises(ConfigurationError, match=r"^tcp: is 5; use an address"):
        TransportServer(tcp=5)
    with pytest.raises(ConfigurationError, match=r"^target: is None"):
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
        {"command_high_water": 0},
        {"batch_size": 0},
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
    with pytest.raises(ConfigurationError, match="scheme 'http' is not known; there are quic, tcp, tls"):
        TransportServer(tcp="http://127.0.0.1:0")


def test_all_configs_are_known() -> None:
    """The tests below see every config that the package offers."""
    offered = {name for name in msgtrans.__all__ if name.endswith(("Config", "Options"))}
    offered |= {"AlertLevels", "BufferLimits", "Optimizations", "Pacing", "RateLimit"}
    assert offered == {config.__name__ for config in CONFIGS}


@pytest.mark.parametrize(("config", "name"), OPTIONS, ids=lambda part: getattr(part, "__name__", part))
def test_a_value_of_another_type_is_refused(config: type[msgspec.Struct], name: str) -> None:
    """Every option of every config refuses what is not of its type, by name, and says what to use."""
    for wrong in (object(), b"x", [1], {1: 2}, (None,), TcpClientConfig, 1j):
        with pytest.raises(ConfigurationError, match=rf"^{name}: is of type |^{name}: is the class ") as caught:
            config(**needed(config) | {name: wrong})
        assert caught.value.field == name
        assert "; use " in str(caught.value)


@pytest.mark.parametrize(("config", "name"), OPTIONS, ids=lambda part: getattr(part, "__name__", part))
def test_numbers_switches_and_text_are_not_taken_for_each_other(config: type[msgspec.Struct], name: str) -> None:
    """A switch is no number, a number no switch, and text neither."""
    declared = next(field.type for field in msgspec.structs.fields(config) if field.name == name)
    text = str(declared)
    wrong = [] if declared is bool else [True]
    wrong += [] if declared in {int, float} or "int" in text or "float" in text else [1]
    wrong += [] if declared is str or "str" in text or "Literal" in text else ["text"]
    for value in wrong:
        with pytest.raises(ConfigurationError, match=rf"^{name}: is ({value!r}|of type \w+); use "):
            config(**needed(config) | {name: value})


@pytest.mark.parametrize(
    ("config", "wrong", "told"),
    [
        (TcpServerConfig, {"tls": "server.pem"}, "is 'server.pem'; use TlsServerConfig(certificate_file=...) or None"),
        (TcpServerConfig, {"nodelay": "no"}, "is 'no'; use True or False"),
        (TcpServerConfig, {"tls": TlsClientConfig()}, "is of type TlsClientConfig; use TlsServerConfig("),
        (TcpClientConfig, {"retry_config": 5}, "is 5; use RetryConfig()"),
        (TlsClientConfig, {"verify": 0}, "is 0; use True or False"),
        (TlsClientConfig, {"minimum_version": "TLSv1"}, "is 'TLSv1'; use 'TLSv1.2' or 'TLSv1.3'"),
        (TlsServerConfig, {"key_password": b"s3cret"}, "is of type bytes; use text or None"),
        (TlsServerConfig, {"key_password": 1234}, "is of type int; use text or None"),
        (WebSocketServerConfig, {"allowed_origins": "https://x"}, "is 'https://x'; use a tuple, as"),
        (WebSocketServerConfig, {"subprotocols": ["a"]}, "is of type list; use a tuple, as"),
        (WebSocketClientConfig, {"headers": {"Authorization": b"s3cret"}}, "is of type dict; use a mapping of text"),
        (LoadBalancerConfig, {"policy": "best"}, "is 'best'; use 'round_robin' or 'random' or"),
        (LoadBalancerConfig, {"policy": "weighted_round_robin", "weights": (1, 0.5)}, "is of type tuple; use a tuple"),
        (SessionConfig, {"inbound_strategy": "block"}, "is 'block'; use a member of Backpressure"),
        (SessionConfig, {"codec": {"frame_policy": "lenient"}}, "is of type dict; use CodecOptions()"),
        (CodecOptions, {"frame_policy": "loose"}, "is 'loose'; use 'strict' or 'lenient'"),
        (CodecOptions, {"max_payload_size": "1"}, "is '1'; use a whole number"),
    ],
)
def test_the_error_says_what_to_use(config: type[msgspec.Struct], wrong: dict[str, object], told: str) -> None:
    """The sentence shows what was given, unless that may be a secret, and what to write instead."""
    field = list(wrong)[-1]
    with pytest.raises(ConfigurationError, match="^" + re.escape(f"{field}: {told}")) as caught:
        config(**needed(config) | wrong)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "origin", ["", "x", "x.org", "https://", "https://x/", "https://x/path", "https://x:port", "https://a b", "*"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """An allowed origin is scheme, host and perhaps a port, as browsers send it; anything else would never match."""
    with pytest.raises(ConfigurationError, match=r"^allowed_origins: .* is no origin; write scheme://host"):
        WebSocketServerConfig(allowed_origins=("https://good.example", origin))


def test_origins_as_browsers_send_them() -> None:
    """Hosts, ports, IPv6 literals and "null" are origins."""
    origins = ("https://x.org", "http://localhost:5173", "http://[::1]:80", "moz-extension://0a-1b", "null")
    assert origins == WebSocketServerConfig(allowed_origins=origins).allowed_origins


def test_configs_of_the_other_side() -> None:
    """A server takes no config of a client, and a client none of a server; the argument is named."""
    of_client, of_server = TcpClientConfig(target_address="h:1"), TcpServerConfig()
    with pytest.raises(ConfigurationError, match=r"^tcp: is a TcpClientConfig; .* as TcpServerConfig"):
        TransportServer(tcp=of_client)
    with pytest.raises(ConfigurationError, match=r"^listen: is a TcpClientConfig"):
        TransportServer(listen=[of_client])
    with pytest.raises(ConfigurationError, match=r"^listen: is 5"):
        TransportServer(listen=5)
    with pytest.raises(ConfigurationError, match=r"^target: is a TcpServerConfig; .* as TcpClientConfig"):
        TransportClient(of_server)
    with pytest.raises(ConfigurationError, match=r"^targets: is a TcpServerConfig"):
        ReconnectingClient([of_client, of_server])
    with pytest.raises(ConfigurationError, match=r"^tcp: is the class TcpServerConfig"):
        TransportServer(tcp=TcpServerConfig)


def test_one_listener_needs_no_list() -> None:
    """`listen` takes a single URI or config too."""
    for one in ("tcp://127.0.0.1:0", TcpServerConfig(bind_address="127.0.0.1:0")):
        assert len(TransportServer(listen=one)._configs) == 1


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("session", CodecOptions()),
        ("retry", 3),
        ("retry", None),
        ("circuit_breaker", True),
        ("balancing", "best"),
        ("balancing", RetryConfig()),
        ("options", {}),
    ],
)
def test_arguments_of_a_reconnecting_client(name: str, wrong: object) -> None:
    """Each argument of another type is refused by name."""
    with pytest.raises(ConfigurationError, match=f"^({name}|policy): is "):
        ReconnectingClient("h:1", **{name: wrong})


def test_arguments_of_endpoints() -> None:
    """Servers and clients refuse options, middleware and handlers of another type at once."""
    with pytest.raises(ConfigurationError, match=r"^session: is of type TcpServerConfig; use SessionConfig\(\)"):
        TransportServer(session=TcpServerConfig())
    with pytest.raises(ConfigurationError, match=r"^rate_limit: is 5; use RateLimit\(\)"):
        TransportServer(rate_limit=5)
    for name in ("max_connections", "max_buffered", "bind_timeout"):
        for wrong in ("5", True, None):
            with pytest.raises(ConfigurationError, match=rf"^{name}: is {wrong!r}; use a (whole )?number"):
                TransportServer(**{name: wrong})
    server = TransportServer()
    with pytest.raises(ConfigurationError, match=r"^middleware: is the class LoggingMiddleware; use an instance"):
        server.use(LoggingMiddleware)
    for name in ("on_request", "on_message", "on_error", "on_connect", "on_disconnect"):
        with pytest.raises(ConfigurationError, match=rf"^{name}: is 'x'; use a function"):
            getattr(server, name)("x")
