"""The echo server behind `msgtrans serve-echo`, also used by tests and benchmarks as a peer.

Not here: options of the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgtrans.config import (
    ExpertConfig,
    PerformanceConfig,
    QuicServerConfig,
    TcpServerConfig,
    TlsServerConfig,
    WebSocketServerConfig,
)
from msgtrans.config.address import parse_address
from msgtrans.errors import ConfigurationError
from msgtrans.middleware import StatisticsMiddleware
from msgtrans.monitor import MetricsServer, group_exposition
from msgtrans.server import TransportServer
from msgtrans.workers.serving import on_hangup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgtrans.handlers import Context

MAX_CONNECTIONS: Final = 20_000  # of each listener and of all; a server to try things on must not be full too soon


def echo_server(
    tcp: str | None,
    ws: str | None = None,
    *,
    quic: QuicServerConfig | None = None,
    tls: TlsServerConfig | None = None,
    statistics: bool = True,
    workers: int = 1,
    watched: bool = False,
) -> TransportServer:
    """A server that answers a request with its payload, and sends a one-way message back one-way.

    tcp, ws: "HOST:PORT" to listen on, None for not. quic: that of `quic_listener`. tls: of TCP and WebSocket.
    statistics: tell them to who asks.
    workers: processes; with more than one it is for `run_workers`, not for `serve`. watched: with a monitor.
    """
    server = TransportServer(
        tcp=TcpServerConfig(bind_address=tcp, tls=tls, max_connections=MAX_CONNECTIONS) if tcp else None,
        ws=WebSocketServerConfig(bind_address=ws, tls=tls, max_connections=MAX_CONNECTIONS) if ws else None,
        quic=quic,
        max_connections=MAX_CONNECTIONS,
        workers=workers,
        expert=ExpertConfig(performance=PerformanceConfig()) if watched else None,
    )
    if statistics:
        server.use(StatisticsMiddleware(name="msgtrans serve-echo"))

    @server.on_request
    def answer(context: Context) -> bytes:
        return context.payload

    @server.on_message
    def send_back(context: Context) -> Awaitable[int] | None:
        session = context.session
        if session.congested:
            return session.send(context.payload, biz_type=context.biz_type)
        session.send_nowait(context.payload, biz_type=context.biz_type)
        return None

    return server


def server_tls(certificate: str | None, key: str | None, client_ca: str | None) -> TlsServerConfig | None:
    """The TLS of the files named on a command line, None without any. Raises ConfigurationError without certificate."""
    if certificate is not None:
        if key is None and _holds_a_certificate_alone(certificate):
            raise ConfigurationError("--key", f"is missing, and {certificate!r} holds no private key; give --key FILE")
        return TlsServerConfig(certificate_file=certificate, key_file=key, client_ca_file=client_ca)
    if key is not None or client_ca is not None:
        raise ConfigurationError("--certificate", "is missing, but --key or --client-ca is given; TLS needs all it has")
    return None


def _holds_a_certificate_alone(file: str) -> bool:
    try:
        content = Path(file).read_bytes()
    except (OSError, ValueError):  # whoever loads it says why
        return False
    return b"CERTIFICATE" in content and b"PRIVATE KEY" not in content


def quic_listener(address: str, tls: TlsServerConfig | None) -> tuple[QuicServerConfig, str | None]:
    """A QUIC listener at "HOST:PORT", and the SHA-256 fingerprint of its certificate, if one had to be made for it.

    Raises ConfigurationError for what is no address, and where qh3 is not installed.
    """
    config = QuicServerConfig(bind_address=address, max_connections=MAX_CONNECTIONS)
    if tls is not None:
        if tls.client_ca_file is not None:
            raise ConfigurationError(
                "--client-ca", "goes with --tcp and --ws: QUIC cannot ask clients for certificates"
            )
        return config.replace(tls=tls), None
    try:
        from msgtrans.adapters.quic.certificates import self_signed
    except ImportError as error:
        raise ConfigurationError("--quic", "needs qh3; pip install 'msgtrans[quic]'") from error
    certificate, key = (text.decode() for text in self_signed())
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest()
    return config.replace(cert_pem=certificate, key_pem=key), fingerprint


def metrics_server(server: TransportServer, address: str, *, workers: int = 1) -> MetricsServer:
    """What serves the metrics of `server` at "HOST:PORT"; with several workers each of them tells those of all.

    Raises ConfigurationError for what is no address, and for port 0 with workers.
    """
    if workers > 1 and parse_address(address, field="--metrics").port == 0:
        raise ConfigurationError(
            "--metrics", "needs a fixed port with --workers, which share it; port 0 would be another one in each"
        )
    monitor = server.monitor

    async def text() -> str:
        return monitor.prometheus() if monitor is not None and workers == 1 else await group_exposition(server)

    return MetricsServer(text, address, reuse_port=workers > 1)


async def serve(
    server: TransportServer,
    ready: Callable[[str], object],
    told: Callable[[str], object],
    metrics: MetricsServer | None = None,
    fingerprint: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully; SIGHUP reads the certificates again, if there are any.

    `ready` is told "listening URI" of each listener first, TCP before WebSocket before QUIC, `told` what happens later.
    fingerprint: of a certificate that signs itself, told too.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    async with server, metrics or contextlib.nullcontext():
        uris = one_for_each_listener(server.uris)
        with contextlib.suppress(NotImplementedError):  # Windows: the default handlers interrupt
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            loop.add_signal_handler(signal.SIGHUP, on_hangup(server, stop.set, told))
        for uri in uris:
            ready(f"listening {uri}")
        if fingerprint is not None:
            ready(f"certificate of localhost, signed by itself, SHA-256 {fingerprint}; clients need --insecure")
        if metrics is not None:
            ready(f"metrics {metrics.uri}")
        await stop.wait()


def run_workers(server: TransportServer, ready: Callable[[str], object], metrics: MetricsServer | None = None) -> None:
    """As `serve`, from several processes; SIGHUP replaces them one by one, and so reads certificates again, too."""

    def tell(uris: list[str]) -> None:
        for uri in one_for_each_listener(uris):
            ready(f"listening {uri}")
        if metrics is not None:
            ready(f"metrics {metrics.uri}")

    if metrics is not None:
        server.on_worker_start(lambda _: metrics.start())
        server.on_worker_stop(lambda _: metrics.stop())
    server.run(ready=tell)


def one_for_each_listener(uris: list[str]) -> list[str]:
    """The first URI of each scheme: a host name can have several addresses, and an echo listens once per scheme."""
    return list({uri.partition(":")[0]: uri for uri in reversed(uris)}.values())[::-1]
