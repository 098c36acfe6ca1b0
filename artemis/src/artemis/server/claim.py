"""What one process at a time may have: the data directory and the address of a node.

Not here: what is kept in the directory (`identity`, `persistence`), and what answers at the address (`doors`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from artemis.server.data_directory import DirectoryLock, hold


class ListenError(Exception):
    """The port cannot be had; the text says which and what to do."""


class Claim:
    """Owned by the node's process: `take`, then `listener.start_serving()`, then `give_up`.

    `listener` is the socket, bound and not yet answering, and `enforced` says whether the directory is locked in fact.
    """

    def __init__(self, listener: asyncio.Server, lock: DirectoryLock | None) -> None:
        self.listener = listener
        self.enforced = lock is None or lock.enforced
        self._lock = lock

    @property
    def address(self) -> tuple[str, int]:
        """Host and port in fact."""
        host, port = self.listener.sockets[0].getsockname()[:2]
        return host, port

    def give_up(self) -> None:
        """Leave the address and the data directory to others; once more is fine."""
        self.listener.close()
        if self._lock is not None:
            self._lock.release()


async def take(data_dir: Path | None, host: str, port: int, connected: Callable[[], asyncio.BaseProtocol]) -> Claim:
    """Take the data directory, if there is one, and the address; another process that leaves them is waited for.

    `connected` makes what speaks on each connection. Can be cancelled, and then has taken nothing. Raises
    `DataDirectoryError` and `ListenError`.
    """
    lock = None if data_dir is None else await hold(data_dir)
    try:
        return Claim(await _bind(host, port, connected), lock)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


async def _bind(host: str, port: int, connected: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(connected, host, port, backlog=1024, start_serving=False)
    except OSError as error:
        advice = "choose another --host" if isinstance(error, socket.gaierror) else "choose another --port"
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}; {advice}") from error
