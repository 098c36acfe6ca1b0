"""What the loads of the soak program share: where servers are, how to reach them, when to end, and what was seen.

Not here: the loads (`soak_loads.py`, `soak_peers.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import trustme
from soak_link import CuttingLink
from soak_payloads import ANSWER, DamagedError, answer, check, make, numbered
from soak_samples import Faults

from msgtrans import (
    Context,
    QuicClientConfig,
    SessionClosedError,
    SessionConfig,
    TcpClientConfig,
    TlsClientConfig,
    TransportClient,
    TransportError,
    TransportTimeoutError,
    WebSocketClientConfig,
)
from msgtrans.config import NO_RETRY
from msgtrans.endpoint import Endpoint
from msgtrans.transport import ClientConfig

ASKING = SessionConfig(request_timeout=30.0, graceful_timeout=3.0)


class Carrier(NamedTuple):
    """A transport that the soak runs over. scheme: of the server's URI; config: of a client, given a port and the
    authority's file. streamed: whether it travels over TCP, so that a link can cut it and a raw peer can spoil it.
    rate: how much of what others do it is given, because it costs more.
    """

    scheme: str
    config: Callable[[int, str], ClientConfig]
    streamed: bool = True
    rate: float = 1.0


def _tcp(port: int, _authority: str) -> ClientConfig:
    return TcpClientConfig(target_address=f"127.0.0.1:{port}", retry_config=NO_RETRY, connect_timeout=15.0)


def _tls(port: int, authority: str) -> ClientConfig:
    tls = TlsClientConfig(ca_file=authority)
    return TcpClientConfig(target_address=f"127.0.0.1:{port}", tls=tls, retry_config=NO_RETRY, connect_timeout=15.0)


def _ws(port: int, _authority: str) -> ClientConfig:
    return WebSocketClientConfig(target_url=f"ws://127.0.0.1:{port}/", retry_config=NO_RETRY, connect_timeout=15.0)


def _wss(port: int, authority: str) -> ClientConfig:
    tls = TlsClientConfig(ca_file=authority)
    url = f"wss://127.0.0.1:{port}/"
    return WebSocketClientConfig(target_url=url, tls=tls, retry_config=NO_RETRY, connect_timeout=15.0)


def _quic(port: int, authority: str) -> ClientConfig:
    tls = TlsClientConfig(ca_file=authority)
    return QuicClientConfig(target_address=f"127.0.0.1:{port}", tls=tls, retry_config=NO_RETRY, connect_timeout=15.0)


STREAMS = (Carrier("tcp", _tcp), Carrier("tls", _tls), Carrier("ws", _ws), Carrier("wss", _wss))
CARRIERS = (*STREAMS, Carrier("quic", _quic, streamed=False, rate=0.3))


def write_certificates(directory: Path) -> None:
    """`server.pem`, for this machine, and `authority.pem`, which clients trust."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))


class World:
    """Where everything is. ports: of the servers by scheme, "workers" and "limited" beside; cutting: links to them that
    cut, by the same names. seen: what was done and what went wrong as it may; faults: what may not.
    """

    def __init__(self, ports: dict[str, int], authority: str, faults: Faults, chance: random.Random) -> None:
        self.ports = ports
        self.authority = authority
        self.faults = faults
        self.chance = chance
        self.seen: Counter[str] = Counter()
        self.ending = asyncio.Event()
        self.endpoints: set[Endpoint] = set()
        self.cutting: dict[str, CuttingLink] = {}
        self._streams = 0

    async def cut(self, lifetime: float) -> None:
        """Begin to carry connections that will be cut."""
        datagrams = {carrier.scheme for carrier in CARRIERS if not carrier.streamed}
        for name, port in self.ports.items():
            if name in datagrams:
                continue
            self.cutting[name] = CuttingLink(port, lifetime, self.chance)
            await self.cutting[name].listen()

    async def end_cutting(self) -> None:
        """End the links that cut."""
        for link in self.cutting.values():
            await link.close()
            for how, number in link.cuts.items():
                self.seen[f"cut: {how}"] += number
        self.cutting.clear()

    async def pause(self, rate: float) -> bool:
        """Wait as long as something that happens `rate` times a second leaves one waiting; whether to go on."""
        if self.ending.is_set():
            return False
        try:
            async with asyncio.timeout(self.chance.expovariate(rate)):
                await self.ending.wait()
        except TimeoutError:
            return True
        return False

    def stream(self) -> int:
        """A number for what one sends."""
        self._streams += 1
        return self._streams % (1 << 22)

    def size(self) -> int:
        """Bytes of a payload: mostly few, sometimes many, rarely MiBs."""
        drawn = self.chance.random()
        if drawn < 0.9:
            return self.chance.randrange(1024)
        if drawn < 0.998:
            return self.chance.randrange(100_000)
        return self.chance.randrange(4 << 20)

    def config(self, carrier: Carrier, *, cut: bool = False) -> ClientConfig:
        """How to reach the server that has all transports."""
        port = self.cutting[carrier.scheme].port if cut else self.ports[carrier.scheme]
        return carrier.config(port, self.authority)

    def plain(self, name: str, *, cut: bool = False) -> ClientConfig:
        """How to reach another server, over TCP."""
        return _tcp(self.cutting[name].port if cut else self.ports[name], self.authority)

    @asynccontextmanager
    async def client(self, target: ClientConfig) -> AsyncIterator[TransportClient]:
        """A connected client that answers what the server asks."""
        client = TransportClient(target, session=ASKING)
        self.answering(client)
        with self.counting(client):
            async with client:
                yield client

    def answering(self, endpoint: Endpoint) -> None:
        """Let an endpoint answer what the server asks, and look at the numbers of broadcasts."""
        last = 0

        def answered(context: Context) -> bytes | None:
            try:
                check(context.payload)
            except DamagedError as error:
                self.faults.note(f"came to a client damaged: {error}")
                return None
            return answer(context.payload)

        def heard(context: Context) -> None:
            nonlocal last
            try:
                number = check(context.payload) & ~ANSWER
            except DamagedError as error:
                self.faults.note(f"a broadcast came damaged: {error}")
                return
            if last and number != last + 1 and isinstance(endpoint, TransportClient):
                self.faults.note(f"broadcast {number} came after {last}")
            last = number
            self.seen["broadcasts heard"] += 1

        endpoint.on_request(answered)
        endpoint.on_message(heard)

    def counting(self, endpoint: Endpoint) -> Counted:
        """Count the sessions of an endpoint in samples, as long as the block runs."""
        return Counted(self.endpoints, endpoint)

    def went_wrong(self, load: str, error: BaseException, *, cut: bool) -> None:
        """A call failed. cut: whether it went through a link that cuts, so that it may."""
        kind = type(error).__name__
        if cut and isinstance(error, TransportTimeoutError | SessionClosedError | TransportError):
            self.seen[f"expected: {kind}"] += 1
        else:
            self.faults.note(f"{load}: {kind}: {error}")


class Counted:
    """Has an endpoint in a set while its block runs."""

    def __init__(self, endpoints: set[Endpoint], endpoint: Endpoint) -> None:
        self._endpoints = endpoints
        self._endpoint = endpoint

    def __enter__(self) -> None:
        self._endpoints.add(self._endpoint)

    def __exit__(self, *exc: object) -> None:
        self._endpoints.discard(self._endpoint)


class Sent:
    """What one stream has sent, to be compared with what came of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stream = world.stream()
        self.places = self.messages = self.requests = self.answered = 0

    def payload(self, size: int, *, request: bool) -> bytes:
        """The next payload."""
        self.places += 1
        if request:
            self.requests += 1
        else:
            self.messages += 1
        return make(numbered(self.stream, self.places), size)

    def compare(self, load: str, told: dict[str, int], *, cut: bool) -> None:
        """Note what was lost or came twice. cut: whether the way was cut, so that some may be missing."""
        wrong = told["doubled"] or told["disordered"]
        if cut:
            wrong |= told["requests"] < self.answered or told["requests"] > self.requests
            wrong |= told["messages"] > self.messages
        else:
            wrong |= told["requests"] != self.requests or told["messages"] != self.messages
        if wrong:
            mine = {"requests": self.requests, "answered": self.answered, "messages": self.messages}
            self.world.faults.note(f"{load}: sent {mine}, and there came {told}")
