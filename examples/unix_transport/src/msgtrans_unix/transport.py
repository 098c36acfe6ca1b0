"""Sessions on Unix sockets: listening, connecting, and the socket file.

Not here: packets and sessions; `StreamConnection` carries them on any stream of bytes.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from msgtrans import ConfigurationError, ConnectError, TransportTimeoutError
from msgtrans.adapters.stream import StreamConnection
from msgtrans.transport import Terms, TransportInfo
from msgtrans_unix.config import SCHEME, UnixClientConfig, UnixServerConfig, path_of, uri_of

if TYPE_CHECKING:
    from msgtrans import Address
    from msgtrans.link import Link
    from msgtrans.transport import ClientConfig, Host, Listener, ServerConfig


class UnixTransport:
    """The transport of `UnixServerConfig` and `UnixClientConfig`."""

    info = TransportInfo(
        name=SCHEME,
        schemes=(SCHEME,),
        description="Packets back to back on a Unix socket, between processes of one machine.",
        features=("reliable", "ordered", "connection-oriented", "local"),
    )

    def server_config(self, uri: str) -> UnixServerConfig:
        """A listener with defaults."""
        return UnixServerConfig(path=path_of(uri))

    def client_config(self, uri: str) -> UnixClientConfig:
        """A connection with defaults."""
        return UnixClientConfig(path=path_of(uri))

    async def listen(self, config: ServerConfig, host: Host) -> Listener:
        """Listen. Raises ConnectError when somebody does already, or the file cannot be made."""
        if not isinstance(config, UnixServerConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a UnixServerConfig")
        terms = Terms(host, config.session_config(host.config), SCHEME, max_connections=config.max_connections)
        listening = _bind(config)
        try:
            server = await asyncio.get_running_loop().create_unix_server(
                lambda: StreamConnection(terms), sock=listening, backlog=config.backlog
            )
        except BaseException:
            listening.close()
            raise
        return UnixListener(server, config.path)

    async def connect(self, config: ClientConfig, host: Host) -> Link:
        """Connect once."""
        if not isinstance(config, UnixClientConfig):
            raise ConfigurationError("config", f"is a {type(config).__name__}; use a UnixClientConfig")
        terms = Terms(host, config.session_config(host.config), SCHEME)
        try:
            async with asyncio.timeout(config.connect_timeout):
                connected = await _connected(config.path)
            _, link = await asyncio.get_running_loop().create_unix_connection(
                lambda: StreamConnection(terms), sock=connected
            )
        except TimeoutError as error:
            raise TransportTimeoutError(f"connecting to {config.uri}", config.connect_timeout or 0) from error
        except OSError as error:
            nobody = isinstance(error, FileNotFoundError | ConnectionRefusedError)
            raise ConnectError(
                f"cannot connect to {config.uri}: {'nobody listens there' if nobody else error}",
                retriable=not isinstance(error, PermissionError),
            ) from error
        return link


class UnixListener:
    """A listening Unix socket. Removes its file when it is closed, unless that is another's by then."""

    addresses: list[Address] = []  # noqa: RUF012 - it has none

    def __init__(self, server: asyncio.AbstractServer, path: str) -> None:
        self._server = server
        self._path = path
        self._identity = _identity(path)

    @property
    def uris(self) -> list[str]:
        """Where it listens."""
        return [uri_of(self._path)]

    def close(self) -> None:
        """Accept no more, and remove the file."""
        self._server.close()
        if self._identity is not None and _identity(self._path) == self._identity:
            with suppress(FileNotFoundError):  # the event loop may have done it
                os.unlink(self._path)
        self._identity = None

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        await self._server.wait_closed()


async def _connected(path: str) -> socket.socket:
    """A connected socket; by itself, because uvloop takes no abstract names."""
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connecting.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connecting, _system_name(path))
    except BaseException:
        connecting.close()
        raise
    return connecting


def _bind(config: UnixServerConfig) -> socket.socket:
    """A socket bound to the path, with the mode it must have; nobody can connect before it listens."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.setblocking(False)
    try:
        if not config.path.startswith("@"):
            _remove_stale(config.path)
        listening.bind(_system_name(config.path))
        if not config.path.startswith("@"):
            os.chmod(config.path, config.mode)
    except OSError as error:
        listening.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "somebody listens there" if taken else error.strerror or str(error)
        raise ConnectError(f"cannot listen on {uri_of(config.path)}: {reason}", retriable=taken) from error
    return listening


def _remove_stale(path: str) -> None:
    """Remove a socket file whose server is gone. Raises OSError when there is something else, or it is not gone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody listens, and has more connections waiting than the queue takes
    raise OSError(errno.EADDRINUSE, "somebody listens there")


def _identity(path: str) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None without one."""
    try:
        seen = os.lstat(path)
    except (FileNotFoundError, ValueError):
        return None
    return seen.st_dev, seen.st_ino


def _system_name(path: str) -> str:
    """As the system calls the socket: an abstract name begins with a zero byte."""
    return "\0" + path[1:] if path.startswith("@") else path
