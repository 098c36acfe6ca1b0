"""What the QUIC adapter takes for granted of the library under it, private names included."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection

from msgtrans import QuicClientConfig, QuicServerConfig
from msgtrans.adapters.quic.certificates import client_configuration, configuration, self_signed
from msgtrans.adapters.quic.library import (
    IDLE,
    HoldableConnection,
    ServerConnection,
    closing,
    in_flight,
    keep_quiet,
    unacknowledged,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT, SERVER = ("127.0.0.1", 1111), ("127.0.0.1", 2222)


@pytest.fixture(scope="module")
def serving() -> QuicConfiguration:
    return configuration(QuicServerConfig(), *self_signed(), None)


@pytest.fixture
def pair(serving: QuicConfiguration) -> tuple[HoldableConnection, ServerConnection]:
    """A client and a server whose handshake is done, at time 0."""
    client = HoldableConnection(configuration=client_configuration(QuicClientConfig.insecure("h:1"), "h"))
    client.connect(SERVER, 0.0)
    server = ServerConnection(
        configuration=serving, original_destination_connection_id=client.original_destination_connection_id
    )
    exchange(client, server, 0.0)
    for end in (client, server):
        assert any(isinstance(event, events.HandshakeCompleted) for event in all_events(end))
    return client, server


def exchange(client: QuicConnection, server: QuicConnection, now: float) -> None:
    """Until neither has more to say."""
    while (there := client.datagrams_to_send(now)) + (back := server.datagrams_to_send(now)):
        for data, _ in there:
            server.receive_datagram(data, CLIENT, now)
        for data, _ in back:
            client.receive_datagram(data, SERVER, now)


def all_events(end: QuicConnection) -> list[events.QuicEvent]:
    return list(iter(end.next_event, None))


def test_what_is_in_flight(pair: tuple[QuicConnection, QuicConnection]) -> None:
    """`in_flight` is 0 before the handshake and once everything is acknowledged, and more in between."""
    client, server = pair
    assert 0 == in_flight(QuicConnection(configuration=QuicConfiguration()))
    exchange(client, server, 1.0)
    for end in pair:
        end.handle_timer(2.0)
    exchange(client, server, 2.0)
    assert (0, 0) == (in_flight(client), in_flight(server))
    client.send_stream_data(0, b"something")
    assert 9 == client.get_send_buffer_size()
    sent = client.datagrams_to_send(2.0)
    assert (0, True) == (client.get_send_buffer_size(), in_flight(client) >= 9)
    for data, _ in sent:
        server.receive_datagram(data, CLIENT, 2.0)
    server.handle_timer(2.1)
    exchange(client, server, 2.1)
    assert 0 == in_flight(client)


def test_what_is_not_acknowledged(pair: tuple[QuicConnection, QuicConnection]) -> None:
    """`unacknowledged` counts the probes in a row that got no answer, and is 0 once one does."""
    client, server = pair
    exchange(client, server, 1.0)
    assert (0, 0) == (unacknowledged(client), unacknowledged(QuicConnection(configuration=QuicConfiguration())))
    client.send_stream_data(0, b"something")
    counts = []
    now = 1.0
    for _ in range(4):
        client.datagrams_to_send(now)
        now = client.get_timer()
        client.handle_timer(now)
        counts.append(unacknowledged(client))
    assert sorted(counts) == counts
    assert counts[-1] >= 2
    for _ in range(3):
        exchange(client, server, now)
        now += 0.1
        server.handle_timer(now)
    exchange(client, server, now)
    assert 0 == unacknowledged(client)


def test_a_close_is_known_at_once(pair: tuple[QuicConnection, QuicConnection]) -> None:
    """`closing` tells of the peer's close when it comes, long before the event, and of our own."""
    client, server = pair
    assert (None, None) == (closing(client), closing(server))
    client.close(error_code=7, reason_phrase="because")
    exchange(client, server, 1.0)
    assert [] == all_events(server)
    for end in pair:
        why = closing(end)
        assert why is not None
        assert (7, None, "because") == (why.error_code, why.frame_type, why.reason_phrase)


def test_a_silent_connection_ends_by_itself(pair: tuple[QuicConnection, QuicConnection]) -> None:
    """After the idle timeout comes an event with the reason that we look for, and no close of anybody's."""
    client, server = pair
    exchange(client, server, 1.0)
    for _ in range(10):
        at = client.get_timer()
        if at is not None:
            client.handle_timer(at)
            client.datagrams_to_send(at)
    [end] = [event for event in all_events(client) if isinstance(event, events.ConnectionTerminated)]
    assert (IDLE, True) == (end.reason_phrase, end.frame_type is not None)


def test_a_stateless_reset_looks_like_a_normal_end(pair: tuple[QuicConnection, QuicConnection]) -> None:
    """It ends the connection with code 0 and no frame, as if an application had."""
    client, server = pair
    token = server._tls.stateless_reset_token
    client.receive_datagram(b"\x41" + bytes(range(40)) + token, SERVER, 1.0)
    [end] = [event for event in all_events(client) if isinstance(event, events.ConnectionTerminated)]
    assert (0, None) == (end.error_code, end.frame_type)


@pytest.mark.parametrize(
    ("offered", "chosen", "code"), [(None, None, 0), (["x", "msgtrans/1"], "msgtrans/1", 0), (["x"], None, 0x178)]
)
def test_clients_without_a_protocol(
    serving: QuicConfiguration, offered: list[str] | None, chosen: str | None, code: int
) -> None:
    """`ServerConnection` serves them beside those that offer the right one; the library alone refuses them."""
    for kind in (ServerConnection, QuicConnection):
        wanted = client_configuration(QuicClientConfig.insecure("h:1"), "h")
        wanted.alpn_protocols = offered
        client = QuicConnection(configuration=wanted)
        client.connect(SERVER, 0.0)
        server = kind(
            configuration=serving, original_destination_connection_id=client.original_destination_connection_id
        )
        exchange(client, server, 0.0)
        done = [event.alpn_protocol for event in all_events(server) if isinstance(event, events.HandshakeCompleted)]
        if kind is QuicConnection and chosen is None:
            assert [] == done
            continue
        assert ([chosen] if not code else []) == done
        end = closing(client)
        assert code == (0 if end is None else end.error_code)


def test_streams_are_counted_as_granted(pair: tuple[QuicConnection, QuicConnection]) -> None:
    """`max_concurrent_uni_streams` counts all that ever were granted, and grows as streams end."""
    client, server = pair
    granted = client.max_concurrent_uni_streams
    assert 103 == granted
    for number in range(granted):
        client.send_stream_data(2 + 4 * number, b"packet", True)
    exchange(client, server, 1.0)
    assert client.max_concurrent_uni_streams > granted
    client.send_stream_data(2 + 4 * granted, b"packet", True)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("quic")
    level = logger.level
    yield logger
    logger.setLevel(level)


def test_the_library_is_quiet(logger: logging.Logger, caplog: pytest.LogCaptureFixture, serving: object) -> None:
    """Peers that close are no warnings of its logger, once the adapter is used; with DEBUG they are seen."""
    keep_quiet()
    keep_quiet()
    assert 1 == [type(one).__name__ for one in logger.filters].count("_Quiet")
    for level, expected in ((logging.INFO, []), (logging.DEBUG, [logging.DEBUG])):
        logger.setLevel(level)
        caplog.clear()
        client = HoldableConnection(configuration=client_configuration(QuicClientConfig.insecure("h:1"), "h"))
        client.connect(SERVER, monotonic())
        server = ServerConnection(
            configuration=serving, original_destination_connection_id=client.original_destination_connection_id
        )
        exchange(client, server, monotonic())
        client.close(error_code=0)
        exchange(client, server, monotonic())
        logger.warning("something else")
        told = [record.levelno for record in caplog.records if record.name == "quic"]
        assert [*expected, logging.WARNING] == told


def test_a_connection_that_is_held_makes_its_peer_wait(pair: tuple[HoldableConnection, ServerConnection]) -> None:
    """What comes stays in the core and gives no credit; what was there comes, in order, when it is let go."""
    client, server = pair
    exchange(client, server, 1.0)
    server.hold()
    size = 3 << 20  # windows are 1 MiB
    client.send_stream_data(0, bytes(size))
    now = 2.0
    for _ in range(200):
        now += 0.05
        exchange(client, server, now)
        client.handle_timer(now)
    assert [] == all_events(server)
    assert size - (1 << 20) == client.get_send_buffer_size()
    received = 0
    for _ in range(200):
        server.let_go()
        received += sum(len(event.data) for event in all_events(server) if isinstance(event, events.StreamDataReceived))
        now += 0.05
        exchange(client, server, now)
    assert (size, 0) == (received, client.get_send_buffer_size())


def test_the_end_of_a_connection_that_is_held(pair: tuple[HoldableConnection, ServerConnection]) -> None:
    """It is taken out with all that came before it."""
    client, server = pair
    exchange(client, server, 1.0)
    server.hold()
    client.send_stream_data(0, b"before")
    exchange(client, server, 2.0)
    assert closing(server) is None
    client.close(error_code=0, reason_phrase="bye")
    exchange(client, server, 3.0)
    end = closing(server)
    assert end is not None
    assert "bye" == end.reason_phrase
    assert [b"before"] == [event.data for event in all_events(server) if isinstance(event, events.StreamDataReceived)]
