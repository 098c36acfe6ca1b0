"""Unix sockets for msgtrans: `unix:///path/to.sock`, and on Linux `unix://@name` without a file."""

from msgtrans_unix.config import UnixClientConfig, UnixServerConfig
from msgtrans_unix.transport import UnixTransport

__all__ = ["UnixClientConfig", "UnixServerConfig", "UnixTransport"]
