"""Options of Unix sockets. Not here: what they do (`transport`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import msgspec
from msgspec.structs import replace

from msgtrans import ConfigurationError
from msgtrans.config import RetryConfig
from msgtrans.config.checks import positive, whole

if TYPE_CHECKING:
    from msgtrans import SessionConfig

SCHEME = "unix"


class UnixServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A listener on a Unix socket.

    path: of the socket file, or "@name" for an abstract socket of Linux; the folder must exist.
    mode: permissions of the file; default 0o600, its owner alone. Abstract sockets have none: anyone may connect.
    max_connections: open connections of this listener; default 1000. idle_timeout: seconds without any packet in either
    direction after which a session is closed, None for never; default 300. backlog: connections the system queues;
    default 1024.
    """

    transport: ClassVar[str] = SCHEME

    path: str
    mode: int = 0o600
    max_connections: int = 1000
    idle_timeout: float | None = 300.0
    backlog: int = 1024

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_path(self.path)
        whole(self, "mode", least=0, most=0o777)
        whole(self, "max_connections", "backlog")
        positive(self, "idle_timeout", none=True)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`, with the idle timeout of this listener unless it has one."""
        return base if base.idle_timeout is not None else base.replace(idle_timeout=self.idle_timeout)


class UnixClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A connection to a Unix socket.

    path: as for the server. connect_timeout: seconds one attempt may take, None for no limit; default 10: a server
    whose queue is full makes clients wait. retry_config: further attempts; by default three.
    """

    transport: ClassVar[str] = SCHEME

    path: str
    connect_timeout: float | None = 10.0
    retry_config: RetryConfig = RetryConfig()

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_path(self.path)
        positive(self, "connect_timeout", none=True)

    @property
    def uri(self) -> str:
        """Where it connects to."""
        return uri_of(self.path)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def session_config(self, base: SessionConfig) -> SessionConfig:
        """`base`: nothing of it is special here."""
        return base


def uri_of(path: str) -> str:
    """The URI of a path or an abstract name."""
    return f"{SCHEME}://{path}"


def path_of(uri: str) -> str:
    """The path or abstract name that `uri` means. Raises ConfigurationError."""
    _, separator, path = uri.partition("://")
    return check_path(path if separator else uri)


def check_path(path: str) -> str:
    """`path`, unless it cannot be one: then ConfigurationError."""
    if not isinstance(path, str) or not path.startswith(("/", "@")) or path in {"/", "@"} or "\0" in path:
        raise ConfigurationError("path", f"is {path!r}; write an absolute path, or @NAME for an abstract socket")
    return path
