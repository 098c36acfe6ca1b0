"""QUIC connections whose server is gone without a word, and clients whose own address is: what the system tells."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from udp_proxy import udp_proxy

from msgtrans import (
    CloseReason,
    QuicClientConfig,
    SessionClosedError,
    SessionConfig,
    TransportClient,
    TransportConnectionError,
    TransportServer,
)
from msgtrans.adapters.quic.refusals import LEAST, PROBES, REFUSED, Doubt, Refusals, wait
from msgtrans.config import NO_RETRY

if TYPE_CHECKING:
    from conftest import Until


def client_at(port: int) -> TransportClient:
    """One that would wait for half a minute until it believes that silence is the end."""
    return TransportClient(QuicClientConfig.insecure(f"127.0.0.1:{port}").replace(retry_config=NO_RETRY))


def echo() -> TransportServer:
    """A server that echoes requests."""
    server = TransportServer(quic="127.0.0.1:0", session=SessionConfig(graceful_timeout=0.2))
    server.on_request(lambda context: context.payload)
    return server


# Refusals


def test_a_peer_is_gone_when_several_probes_in_a_row_are_refused() -> None:
    """The first refusal is a reason to ask; then each probe that is refused counts, once."""
    refusals = Refusals()
    assert Doubt.PROBE is refusals.refused(1.0)
    for _ in range(REFUSED - 1):
        for _ in range(3):
            assert Doubt.NONE is refusals.refused(1.1)
        assert Doubt.PROBE is refusals.due(0.5)
    assert Doubt.PROBE is refusals.due(0.5)  # this one is lost, or the system says nothing of it
    refusals.refused(2.0)
    assert Doubt.GONE is refusals.due(0.5)


def test_anything_of_the_peer_ends_the_doubt() -> None:
    """However many refusals there were; they are counted from the beginning then."""
    refusals = Refusals()
    for at in range(10):
        assert Doubt.PROBE is refusals.refused(float(at))
        for _ in range(REFUSED - 1):
            refusals.refused(at + 0.1)
            assert Doubt.PROBE is refusals.due(at - 0.5)
        refusals.refused(at + 0.1)
        assert Doubt.NONE is refusals.due(at + 0.2)


def test_probes_are_bounded() -> None:
    """A single refusal, and silence after it, is not asked about for ever."""
    refusals = Refusals()
    assert Doubt.PROBE is refusals.refused(1.0)
    assert [Doubt.PROBE] * (PROBES - 1) == [refusals.due(0.5) for _ in range(PROBES - 1)]
    assert Doubt.NONE is refusals.due(0.5)
    assert Doubt.PROBE is refusals.refused(9.0)


def test_probes_have_time_to_be_answered() -> None:
    """More than a round trip, however long that is."""
    assert LEAST == wait(0.0)
    assert wait(3.0) > 3.0 + wait(0.0)


async def test_a_server_that_is_gone_without_a_word_is_noticed() -> None:
    """The system says that nobody listens there, again and again: the session ends as with a reset of TCP."""
    server = echo()
    async with server, client_at(server.quic_address.port) as client:
        await client.request(b"")
        [(_, listener)] = server._listeners
        listener._sockets[0].close()
        with pytest.raises(SessionClosedError):
            await client.request(b"nobody hears that", timeout=60.0)
        await asyncio.wait_for(client.session.wait_closed(), 30)
        error = client.session.close_error
        assert (CloseReason.ERROR, TransportConnectionError) == (client.session.close_reason, type(error))
        assert f"the connection to 127.0.0.1:{server.quic_address.port} broke: nothing listens there" in str(error)
        assert isinstance(error.__cause__, ConnectionRefusedError)
        assert client.stats().udp_errors >= REFUSED


async def test_a_client_that_is_idle_notices_with_its_next_ping() -> None:
    """Nothing else leaves."""
    server = echo()
    async with server:
        config = QuicClientConfig.insecure(str(server.quic_address))
        async with TransportClient(config.replace(keep_alive_interval=0.1)) as client:
            await client.request(b"")
            [(_, listener)] = server._listeners
            listener._sockets[0].close()
            await asyncio.wait_for(client.session.wait_closed(), 30)
            assert TransportConnectionError is type(client.session.close_error)


async def test_a_refusal_that_is_not_true_ends_nothing(until: Until) -> None:
    """What is between may start anew, and anybody can forge one: whoever answers is there, after many of them too."""
    server = echo()
    async with server, udp_proxy(server.quic_address) as proxy, client_at(proxy.port) as client:
        for number in range(1, REFUSED + 3):
            proxy.shut()
            asked = asyncio.ensure_future(client.request(b"%d" % number, timeout=60.0))
            await until(lambda number=number: client.stats().udp_errors >= number)
            proxy.open()
            assert b"%d" % number == (await asked).payload
        assert 1 == server.stats().connections_total


# Addresses


UNSHARE, IP = shutil.which("unshare"), shutil.which("ip")


def _can_have_a_network() -> bool:
    if UNSHARE is None or IP is None:
        return False
    tried = subprocess.run([UNSHARE, "-n", IP, "link", "set", "lo", "up"], capture_output=True, check=False)
    return tried.returncode == 0


needs_network = pytest.mark.skipif(
    not _can_have_a_network(), reason="a network of its own needs root, and the programs unshare and ip"
)


def moved(*local: str) -> dict[str, object]:
    """Run `quic_moving`."""
    program = Path(__file__).with_name("quic_moving.py")
    done = subprocess.run(
        [str(UNSHARE), "-n", sys.executable, str(program), *local],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


@needs_network
@pytest.mark.parametrize("port", [None, "0", "free"])
def test_a_client_whose_address_vanishes_goes_on_from_another(port: str | None) -> None:
    """With a new socket and in the same session, what was under way included; a port that was asked for stays."""
    if port == "free":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
    seen = moved(*([] if port is None else [f"0.0.0.0:{port}"]))
    assert ("meanwhile", 1, 1) == (seen["answer"], seen["sessions"], seen["moves"])
    assert ("10.77.0.2", "10.77.0.3") == (seen["before"], seen["after"])
    assert seen["same_port"] == (port not in {None, "0"})
    assert 1 == len([line for line in seen["told"] if "10.77.0.2:" in line and "goes on from 10.77.0.3:" in line])


@needs_network
def test_a_client_that_is_to_have_an_address_stays_there_and_says_so() -> None:
    """With local_bind_address no other is taken; silence ends the session."""
    seen = moved("10.77.0.2:0")
    assert ("TIMEOUT", 0, "10.77.0.2") == (seen["answer"], seen["moves"], seen["before"])
    assert any("another address, which is to be 10.77.0.2:0," in line for line in seen["told"])
