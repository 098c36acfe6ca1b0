"""A file that names the nodes: a URL on each line, `#` begins a comment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from artemis.cluster.addresses import BadAddress, PeerUrl, peer_place
from artemis.cluster.sources.listing import SourceError

LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""

MAX_FILE = 64 * 1024
"""Bytes of the file at most."""

_State = tuple[int, int, int]
_NO_STATE = (0, 0, 0)


def read_lines(text: str) -> list[PeerUrl]:
    """Read the content of such a file. Raises SourceError, which names the line: half a list is none."""
    urls = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            urls.append(peer_place(word))
        except BadAddress as error:
            raise SourceError(f"line {number}: {error}") from error
    return urls


class PeersFile:
    """Reads the file when it has changed and then stayed the same from one look to the next: nobody reads what is just
    being written. An empty one names no nodes, at once (defect 11)."""

    every = LOOK_EVERY
    empty_after = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: _State | None = None
        self._read: _State | None = None
        self._found: list[PeerUrl] | str = "it is just being written"

    @property
    def label(self) -> str:
        """Return what to call it."""
        return f"file {self._path}"

    def read(self) -> list[PeerUrl]:
        """Return what the file names. Raises SourceError."""
        state = self._state()
        settled = self._seen in {None, state}
        self._seen = state
        if settled and state != self._read:
            self._read = state
            self._found = self._urls()
        if isinstance(self._found, str):
            raise SourceError(self._found)
        return self._found

    def _urls(self) -> list[PeerUrl] | str:
        """Return what the file names, or what is wrong with it."""
        try:
            return read_lines(self._text())
        except OSError as error:
            return f"it cannot be read: {error.strerror or error}"
        except UnicodeDecodeError:
            return "it is not text"
        except SourceError as error:
            return str(error)

    def _state(self) -> _State:
        try:
            found = self._path.stat()
        except OSError as error:
            self._seen = _NO_STATE
            raise SourceError(f"it cannot be read: {error.strerror or error}") from error
        if not stat.S_ISREG(found.st_mode):
            self._seen = _NO_STATE
            raise SourceError("it is not a regular file")
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _text(self) -> str:
        with os.fdopen(os.open(self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise SourceError(f"it has more than {MAX_FILE} bytes")
        return content.decode()
