"""Several processes that serve one port are one instance: who of them renews it, and who takes it out at the end.

Three locks on files (``flock``, which ends with its process, however it ends) in a folder of the user:

- ``leader``: held by the one that keeps the registration; when it is gone, another one gets it;
- ``members``: held together by all; whoever can have it alone is the last one;
- ``gate``: held while joining and leaving, so that two who leave at once do not both see the other.

Not here: registering; see `artemis.wsgi`. Without ``flock``, as on Windows, every process is the leader and the last.
"""

from __future__ import annotations

import logging
import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

try:
    import fcntl

    HAS_FLOCK = True
except ImportError:  # pragma: no cover - not on POSIX
    HAS_FLOCK = False

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artemis.model import Instance

FOLDER: Final = "artemis-workers"

logger = logging.getLogger("artemis.client")


def worker_folder() -> Path:
    """Return the folder of the locks, made if it is missing: in ``XDG_RUNTIME_DIR``, else in the temporary folder.

    Raises ``PermissionError`` if it is not this user's own: someone else could hold the locks, or has planted a link.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(runtime, FOLDER) if runtime else Path(tempfile.gettempdir(), f"{FOLDER}-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or (hasattr(os, "getuid") and (found.st_uid != user or found.st_mode & 0o022)):
        raise PermissionError(f"{folder} must be a folder that this user alone can write to")
    return folder


def lock_name(instances: Iterable[Instance]) -> str:
    """Return a name for the files of these instances: the same in every process that serves them."""
    digest = blake2b(digest_size=16)
    for one in instances:
        key = "\0".join(part or "" for part in (one.region_id, one.service_id, one.instance_id, one.ip, one.url))
        digest.update(f"{key.lower()}\0{one.port}\n".encode())
    return digest.hexdigest()


class Membership:
    """One process among those that serve the same instances. Not thread-safe; closed by `leave` or with the process.

    After a ``fork()`` the child calls `drop`: closing its copies gives up nothing of the parent's, while keeping them
    would hold the parent's locks beyond its end.
    """

    shared = HAS_FLOCK
    """Whether processes know each other, so that one that ends can leave the instances to another."""

    def __init__(self, folder: Path, name: str) -> None:
        self._files = {part: folder / f"{name}.{part}" for part in ("gate", "leader", "members")}
        self._held: dict[str, int] = {}

    def join(self) -> None:
        """Be one of them."""
        if not HAS_FLOCK:
            return
        self._lock("gate", fcntl.LOCK_EX)
        self._lock("members", fcntl.LOCK_SH)
        self._release("gate")

    def try_to_lead(self) -> bool:
        """Become the leader if there is none; return whether this is it."""
        return not HAS_FLOCK or "leader" in self._held or self._lock("leader", fcntl.LOCK_EX | fcntl.LOCK_NB)

    def leave(self) -> bool:
        """Be one of them no longer; return whether it was the last one. It stays the leader until `drop`."""
        if not HAS_FLOCK:
            return True
        self._lock("gate", fcntl.LOCK_EX)
        self._release("members")
        last = self._lock("members", fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._release("members")
        self._release("gate")
        return last

    def drop(self) -> None:
        """Close the files. In the process that joined this gives up what it holds; in a forked child it does not."""
        for part in list(self._held):
            os.close(self._held.pop(part))

    def _lock(self, part: str, how: int) -> bool:
        # Python's files are closed when another program is executed: only forks take them along.
        descriptor = os.open(self._files[part], os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._held[part] = descriptor
        return True

    def _release(self, part: str) -> None:
        descriptor = self._held.pop(part, None)
        if descriptor is not None:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also where a child that runs no Python holds a copy
            os.close(descriptor)


class Alone(Membership):
    """A process where files cannot be locked: it leads, is the last, and nobody leaves it anything."""

    shared = False

    def __init__(self) -> None:
        super().__init__(Path(), "")

    def join(self) -> None:
        """Have nobody to join."""

    def try_to_lead(self) -> bool:
        """Lead."""
        return True

    def leave(self) -> bool:
        """Be the last one."""
        return True


def membership_of(instances: Iterable[Instance]) -> Membership:
    """Return what tells the processes that serve these instances of each other, `Alone` where there is no folder."""
    try:
        return Membership(worker_folder(), lock_name(instances))
    except OSError as error:
        return _alone(error)


def joined(membership: Membership) -> Membership:
    """Join, which may wait for others that join or leave; return what did, `Alone` where files cannot be locked."""
    try:
        membership.join()
    except OSError as error:
        membership.drop()
        return _alone(error)
    return membership


def _alone(error: OSError) -> Alone:
    logger.warning("workers of one port do not know each other, as there is no place for their locks: %s", error)
    return Alone()
