"""The data directory of a node: held by one process at a time, and read and cleared without being stopped by what
happens to lie there.

Not here: what its files say (`identity`, `persistence`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import sys
import time
from pathlib import Path

LOCK = "node.lock"

#: Seconds that a start waits for the process before it to let go, and between two tries.
PATIENCE = 2.0
_AGAIN = 0.05

#: Errors by which a file system says that it has no locks, not that the file is locked.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


class DataDirectoryError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


class DirectoryLock:
    """The right of this process to a data directory, until `release` or the end of the process, however it ends.

    The file stays, only the lock on it comes and goes. `enforced`: False on a file system that has no locks.
    """

    def __init__(self, descriptor: int, *, enforced: bool) -> None:
        self.enforced = enforced
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next process have the directory; once more is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


async def hold(directory: Path, patience: float = PATIENCE) -> DirectoryLock:
    """Make the directory where it is missing, and hold it for this process.

    A process that is about to end is waited for, at most `patience` seconds. Raises `DataDirectoryError`.
    """
    deadline = time.monotonic() + patience
    while (lock := _try_to_hold(directory)) is None:
        if time.monotonic() >= deadline:
            raise DataDirectoryError(
                f"{directory} is in use by another node{_holder(directory)}; stop that one, or give this one a "
                "--data-dir of its own"
            )
        await asyncio.sleep(_AGAIN)
    return lock


def read_regular(path: Path) -> bytes:
    """Read a regular file whole. Raises OSError, also for what is no regular file: a pipe would never end."""
    # Opening a pipe for reading waits for its writer, unless told not to; for files the flag means nothing.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Give a file or directory that cannot be used the name `*.WHY-TIME` and return that. Raises OSError."""
    base = f"{path.name}.{why}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    aside, number = path.with_name(base), 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{base}-{number}")
    path.rename(aside)
    return aside


def make_way(path: Path) -> Path | None:
    """Set a directory aside that stands where a file is to be written; returns its new name. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.lstat().st_mode):
            return set_aside(path)
    return None


def create(path: Path) -> int:
    """Make a new file that only its owner may read, and return its descriptor. Raises OSError.

    What has the name goes: a file that was left half, or a pipe, which would have to be waited for.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)


def _try_to_hold(directory: Path) -> DirectoryLock | None:
    path = directory / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            set_aside(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
    except OSError as error:
        text = f"cannot use the data directory {directory}: {error.strerror}; give another --data-dir"
        raise DataDirectoryError(text) from error
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return DirectoryLock(descriptor, enforced=False)
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):  # only for the sentence that another process may have to say
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return DirectoryLock(descriptor, enforced=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # A byte that nobody writes: locked ones cannot be read either.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(directory: Path) -> str:
    """Which process it is, as far as it could say so."""
    try:
        text = read_regular(directory / LOCK).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return f" (process {text})" if text.isdigit() else ""
