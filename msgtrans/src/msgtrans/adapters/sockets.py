"""Listening on and connecting to host and port, with the errors users get. Shared by the transports on TCP.

Not here: what is spoken on the connections.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from msgtrans.adapters import listening
from msgtrans.adapters.telling import keep_alive, limit_unsent
from msgtrans.config import Address, parse_address
from msgtrans.errors import ConnectError, TransportTimeoutError
from msgtrans.tls import ServerTls, client_context, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgtrans.config import TcpServerConfig, TlsClientConfig, WebSocketServerConfig
    from msgtrans.stats import EndpointStats
    from msgtrans.workers.link import WorkerLink

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
_VERIFY_ADVICE: Final = {  # by OpenSSL's numbers
    9: "check the clocks of both machines",
    10: "have the server's certificate renewed, and check the clocks",
    62: "name what the certificate was issued for in TlsClientConfig.server_name",
    64: "name what the certificate was issued for in TlsClientConfig.server_name",
}
_OURS: Final = {  # what is wrong on our side, and what to do
    errno.EMFILE: "allow this process more open files (ulimit -n), or close connections",
    errno.ENFILE: "this machine has as many open files as it may; see fs.file-max",
    errno.ENOBUFS: "this machine is short of memory for sockets",
    errno.ENOMEM: "this machine is short of memory",
    errno.EADDRNOTAVAIL: "no port is free for another connection to there; keep connections instead of making new ones",
    errno.EPERM: "a firewall of this machine forbids it",
}
LINGER: Final = 1.0  # seconds to wait for handshakes of a listener that is closed
LOOK: Final = 0.01  # seconds between two looks at them
ATTEMPTS: Final = 10  # to find a port that is free on all addresses of a name


class SocketListener:
    """A listening TCP socket, or several where a name has several addresses."""

    def __init__(self, servers: list[asyncio.Server], tls: ServerTls | None, scheme: str) -> None:
        self._servers = servers
        self._tls = tls
        self._scheme = scheme
        self._addresses = [Address(*listening.getsockname()[:2]) for server in servers for listening in server.sockets]

    @property
    def addresses(self) -> list[Address]:
        """Where it listens; after binding port 0 the port it got, the same on all addresses of a name."""
        return list(self._addresses)

    @property
    def uris(self) -> list[str]:
        """The same as URIs."""
        return [f"{self._scheme}://{address}" for address in self._addresses]

    def reload_certificates(self) -> bool:
        """Read the certificates again, now; False when they could not be used and those before stay."""
        return self._tls is None or self._tls.reload()

    async def rest(self, unfinished: Callable[[], int] = lambda: 0) -> None:
        """Accept no more, and wait for what was accepted: for handshakes of TLS, a second at most.

        unfinished: how many connections are not what they are to become.
        """
        loop = asyncio.get_running_loop()
        self._accept_no_more()
        until, calm = loop.time() + LINGER, 0
        while calm < 2 and loop.time() < until:  # twice, as a handshake may follow another one
            await asyncio.sleep(LOOK)
            busy = unfinished() or (self._tls is not None and self._tls.handshakes)
            calm = 0 if busy else calm + 1

    def close(self) -> None:
        """Accept no more."""
        self._accept_no_more()
        if self._tls is not None:
            self._tls.close()

    def _accept_no_more(self) -> None:
        """Close the sockets a turn later: in that turn asyncio makes the transports of what it has accepted just now,
        and if their server is closed before, it drops them, with a traceback from Python 3.13 on.
        """
        for server in self._servers:
            loop = server.get_loop()
            for bound in server.sockets:
                loop.remove_reader(bound.fileno())
            loop.call_soon(server.close)

    async def wait_closed(self) -> None:
        """Wait until the sockets are closed. Call it when the sessions are: what is left are handshakes, dropped here.

        From Python 3.12 on asyncio waits for these too, and from 3.13 on it can drop them; before, they end by
        themselves at accept_timeout, so they are waited for a second at most.
        """
        await asyncio.sleep(0)
        for server in self._servers:
            abort: Callable[[], None] | None = getattr(server, "abort_clients", None)
            if abort is not None:
                abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                for server in self._servers:
                    await server.wait_closed()


async def listen(
    config: TcpServerConfig | WebSocketServerConfig,
    factory: Callable[[], asyncio.BaseProtocol],
    schemes: tuple[str, str],
    counters: EndpointStats | None = None,
    worker: WorkerLink | None = None,
) -> SocketListener:
    """Listen as `config` says; `factory` makes the protocol of each connection. schemes: without and with TLS.

    worker: in a worker process, its link to the supervisor, which binds and keeps the sockets for all workers.

    A name with several addresses is listened to on all that this machine has, port 0 becoming the same port on each.
    As many TLS handshakes as `max_connections` may run at once. counters: for what happens to these.
    Raises ConnectError when the address cannot be bound, ConfigurationError when the certificate cannot be used.
    """
    loop = asyncio.get_running_loop()
    host, port = parse_address(config.bind_address, field="bind_address", schemes=schemes)
    tls: ServerTls | None = None
    if config.tls is not None:
        tls = ServerTls(
            config.tls,
            max_handshakes=config.max_connections,
            handshake_timeout=config.accept_timeout,
            counters=counters,
        )

    serve = partial(
        loop.create_server,
        factory,
        backlog=config.backlog,
        ssl=tls.context if tls is not None else None,
        ssl_handshake_timeout=config.accept_timeout if tls is not None else None,
    )

    async def bind(host: str, port: int) -> asyncio.Server:
        bound = listening.bind(host, port, reuse_address=config.reuse_addr, reuse_port=config.reuse_port)
        try:
            return await serve(sock=bound)
        except BaseException:
            bound.close()
            raise

    try:
        hosts = await addresses_of(host)
        if worker is None:
            servers = await _bind_all(hosts, port, bind)
        else:
            given = await worker.listen(hosts, port, backlog=config.backlog, reuse_address=config.reuse_addr)
            servers = [await serve(sock=listening.ListeningSocket(fileno=bound.detach())) for bound in given]
    except (OSError, UnicodeError) as error:  # the latter for names that cannot be one
        raise ConnectError(f"cannot listen on {config.bind_address}: {bind_advice(error)}") from error
    for server in servers:
        for bound in server.sockets:  # accepted sockets inherit it
            if config.keepalive is not None:
                keep_alive(bound, config.keepalive)
            if config.notsent_lowat is not None or worker is not None:
                limit_unsent(bound, config.notsent_lowat or 0)  # a socket for workers may have that of others before
    if tls is not None:
        tls.watch()
    return SocketListener(servers, tls, schemes[tls is not None])


def not_inherited(notsent_lowat: int | None) -> int | None:
    """What is left to set on each accepted socket: nothing on Linux, where they inherit it of the listening one."""
    return None if sys.platform == "linux" else notsent_lowat


async def addresses_of(host: str) -> list[str]:
    """The addresses to listen on: `host` itself, or what the name stands for."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
    return [host]


async def _bind_all(
    hosts: list[str], port: int, bind: Callable[[str, int], Awaitable[asyncio.Server]]
) -> list[asyncio.Server]:
    """Bind the same port on all hosts; a port that the system chooses may be taken on another, so try some."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await _bind_each(hosts, port, bind)
        except OSError as error:
            if port != 0 or error.errno != errno.EADDRINUSE or attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


async def _bind_each(
    hosts: list[str], port: int, bind: Callable[[str, int], Awaitable[asyncio.Server]]
) -> list[asyncio.Server]:
    servers: list[asyncio.Server] = []
    try:
        for host in hosts:
            try:
                servers.append(await bind(host, port))
            except OSError as error:
                # A name may stand for an address that this machine does not have, as ::1 without IPv6. Newer versions
                # of asyncio raise that without a number.
                last = host == hosts[-1] and not servers
                if last or error.errno not in {errno.EADDRNOTAVAIL, None}:
                    raise
            else:
                port = servers[0].sockets[0].getsockname()[1]
    except BaseException:
        for server in servers:
            server.close()
        raise
    return servers


async def connect(
    uri: str,
    address: Address,
    factory: Callable[[], ProtocolT],
    *,
    tls: TlsClientConfig | None,
    local_bind_address: str | None,
    handshake_timeout: float | None = None,
) -> ProtocolT:
    """Connect once to `address`, inside TLS where `tls` is given. uri: for messages.

    handshake_timeout: seconds after which the loop gives up a handshake, None for a minute. Raises ConnectError. Time
    is the caller's matter: what it raises in between passes through. Cancelled between the connection and the
    handshake, uvloop keeps both, and whoever made them, until `handshake_timeout`.
    """
    loop = asyncio.get_running_loop()
    host, port = address
    local = parse_address(local_bind_address) if local_bind_address else None
    context = client_context(tls) if tls is not None else None
    try:
        _, protocol = await loop.create_connection(
            factory,
            host,
            port,
            local_addr=local,
            ssl=context,
            server_hostname=(tls.server_name or host) if tls is not None else None,
            ssl_handshake_timeout=handshake_timeout if tls is not None else None,
        )
    except socket.gaierror as error:
        raise ConnectError(f"the name {host!r} does not resolve: {error.strerror}") from error
    except UnicodeError as error:
        raise ConnectError(f"the name {host!r} does not resolve: it cannot be one", retriable=False) from error
    except ssl.SSLError as error:
        raise _tls_failed(uri, error) from error
    except OSError as error:
        raise connect_failed(uri, error, local_bind_address, secure=context is not None) from error
    return protocol


def connect_timed_out(uri: str, seconds: float | None) -> TransportTimeoutError:
    """The error of an attempt that took too long."""
    return TransportTimeoutError(f"connecting to {uri}", seconds or 0)


def _tls_failed(uri: str, error: ssl.SSLError) -> ConnectError:
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _VERIFY_ADVICE.get(error.verify_code, "name its authority in TlsClientConfig.ca_file")
        return ConnectError(
            f"the certificate of {uri} is not trusted: {error.verify_message or error}; {advice}", retriable=False
        )
    reason = refusal(error) or f"{error.reason or error}; does that port speak TLS?"
    return ConnectError(f"the TLS handshake with {uri} failed: {reason}", retriable=False)


def connect_failed(uri: str, error: OSError, local: str | None, *, secure: bool = False) -> ConnectError:
    """What to tell of an attempt that the system ended. local: where it was to come from. secure: inside TLS."""
    if local is not None and error.errno in {errno.EADDRNOTAVAIL, errno.EADDRINUSE}:
        return ConnectError(f"cannot connect to {uri} from {local}: {bind_advice(error)}")
    if secure and isinstance(error, ConnectionResetError | BrokenPipeError):
        return ConnectError(f"the connection to {uri} broke during the TLS handshake; does that port speak TLS?")
    advice = advice_of(error)
    if advice is not None:
        return ConnectError(f"cannot connect to {uri}: {error.strerror}; {advice}")
    reason = "nothing listens there" if isinstance(error, ConnectionRefusedError) else str(error)
    return ConnectError(f"cannot connect to {uri}: {reason}; check that the server runs and the address is right")


def advice_of(error: OSError) -> str | None:
    """What to do about an error whose cause is on this machine; None for others."""
    return _OURS.get(error.errno or 0)


def bind_advice(error: OSError | UnicodeError) -> str:
    """Why an address cannot be bound, and what to do."""
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return "the port is in use; choose another, or port 0 for any"
        case errno.EACCES:
            return "no permission; ports below 1024 need privileges"
        case errno.EADDRNOTAVAIL:
            return "no interface of this machine has that address"
        case _:
            return str(error)
