"""Services on disk, one file each: what a caller that starts while the registry is away goes on with.

Blocking, and meant for a thread; when to read and write is decided in `disk`. What cannot be read is as good as absent:
`Unreadable` says why, and nothing else is raised. Several processes may share a directory: files are replaced whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from artemis.model import Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from artemis.client.options import ClientOptions

FORMAT = 1
SUFFIX = ".artemis-service.json"
MAX_FILES = 10_000
"""Files of a directory; beyond that the oldest are removed."""
AHEAD = 60.0
"""Seconds that a file may seem to be from the future, since clocks are set; beyond that its age is not known."""
ABANDONED = 3600.0
"""Seconds after which a file that somebody began to write is nobody's."""
_FOLLOW_NOTHING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class Unreadable(Exception):  # noqa: N818 - an outcome that never leaves the SDK, not an error for its users
    """A file, or the directory, cannot be used; ``path`` names it and the text says why in words for people."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


class Stored(msgspec.Struct, kw_only=True):
    """What a file holds: a service, whose it is, and when it was right (epoch milliseconds).

    ``registry`` says of which registry and region; files of others are not read.
    """

    format: int
    registry: str
    confirmed: int
    service: Service


class Directory:
    """The cache directory of one client; made with mode 0700 at the first write if it is missing.

    ``registry`` tells registries and regions apart; files of over ``max_bytes`` are not read, those older than
    ``max_age`` seconds neither, and these are removed.
    """

    def __init__(self, path: Path, *, registry: str, max_bytes: int, max_age: float) -> None:
        self.path = path
        self._registry = registry
        self._max_bytes = max_bytes
        self._max_age = max_age

    def file(self, key: str) -> Path:
        """Return where a service is, by its id in lower case; the name can be read, and is safe and unique."""
        digest = hashlib.sha256(f"{self._registry}\n{key}".encode("utf-8", "surrogatepass")).hexdigest()[:20]
        return self.path / f"{re.sub('[^a-z0-9_-]', '_', key)[:60]}-{digest}{SUFFIX}"

    def read(self, key: str, wall: int) -> Stored | None:
        """Return what is stored of a service, or None; ``wall`` is now, in epoch milliseconds. Raises `Unreadable`."""
        path = self.file(key)
        try:
            raw = self._bytes(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(path, _in_words(error)) from error
        try:
            stored = msgspec.json.decode(raw, type=Stored)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Unreadable(path, f"it is damaged, or of another program ({error})") from error
        if stored.format != FORMAT or stored.registry != self._registry:
            raise Unreadable(path, "it was written by another version, or for another registry")
        if (stored.service.service_id or "").strip().lower() != key:
            raise Unreadable(path, "it is about another service")
        if stored.confirmed - wall > AHEAD * 1000:
            raise Unreadable(path, "it is from the future: the clock was set back, so nobody knows how old it is")
        if wall - stored.confirmed > self._max_age * 1000:
            return None
        return stored

    def write(self, key: str, service: Service, confirmed: int) -> None:
        """Store a service that was right at ``confirmed`` (epoch milliseconds), whole or not at all.

        Raises `Unreadable`.
        """
        path = self.file(key)
        stored = Stored(format=FORMAT, registry=self._registry, confirmed=confirmed, service=service)
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A new file that nobody else can read: the addresses and metadata of instances are not for everybody.
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FOLLOW_NOTHING, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(msgspec.json.encode(stored))
                unfinished.replace(path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise Unreadable(path, _in_words(error)) from error

    def sweep(self, wall: int) -> None:
        """Remove files that are too old, from the future or too many, and what was begun and never finished.

        Raises `Unreadable`.
        """
        try:
            found = sorted(self._files())
        except FileNotFoundError:
            return
        except OSError as error:
            raise Unreadable(self.path, _in_words(error)) from error
        now = wall / 1000
        many = len(found) - MAX_FILES
        for number, (changed, path) in enumerate(found):
            old = self._max_age if path.endswith(SUFFIX) else ABANDONED
            if number < many or now - changed > old or changed - now > AHEAD:
                # Another process may be sweeping too.
                with contextlib.suppress(OSError):
                    Path(path).unlink()

    def _files(self) -> Iterator[tuple[float, str]]:
        with os.scandir(self.path) as entries:
            for entry in entries:
                ours = entry.name.endswith(SUFFIX) or (SUFFIX in entry.name and entry.name.endswith(".tmp"))
                if ours and entry.is_file(follow_symlinks=False):
                    # It may be replaced or removed at this moment.
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False).st_mtime, entry.path

    def _bytes(self, path: Path) -> bytes:
        with os.fdopen(os.open(path, os.O_RDONLY | _FOLLOW_NOTHING), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Unreadable(path, "it is no plain file")
            # Whoever else may write to the directory cannot make files of ours.
            if not _trusted(about):
                raise Unreadable(path, "it belongs to another user, or others may write it")
            raw = file.read(self._max_bytes + 1)
        if len(raw) > self._max_bytes:
            raise Unreadable(path, f"it is larger than {self._max_bytes} bytes")
        return raw


def cache_directory(
    path: str | os.PathLike[str], servers: Sequence[str], region_id: str | None, options: ClientOptions
) -> Directory:
    """Return the cache directory of a client; nothing is read or made yet. ``ValueError`` if there can be no such."""
    if "\0" in os.fsdecode(path):
        raise ValueError(f"cache_dir is no path: {os.fsdecode(path)!r}")
    registry = " ".join([(region_id or "").lower(), *sorted({url.strip().rstrip("/").lower() for url in servers})])
    return Directory(Path(path), registry=registry, max_bytes=options.max_answer_bytes, max_age=options.cache_max_age)


def _trusted(about: os.stat_result) -> bool:
    """Say whether nobody but this user, or root, can have written it; where there are no users, it is."""
    if not hasattr(os, "geteuid"):
        return True
    return about.st_uid in {os.geteuid(), 0} and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _in_words(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
