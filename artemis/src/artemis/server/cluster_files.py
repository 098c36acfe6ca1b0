"""The files that a cluster's options name: the secret that its nodes share, and who vouches for those with https URLs.

Not here: what is proved with the secret (`cluster.mesh`).
"""

from __future__ import annotations

import ssl
from pathlib import Path

SHORTEST = 16
"""Characters of a secret at least: it must not be found by trying, whoever records a handshake."""

_FILE_LIMIT = 4096


class ClusterFileError(Exception):
    """A file of the cluster cannot be used; the text says why and what to do."""


def read_secret(file: Path) -> bytes:
    """The first line of a file, without blanks around it. Raises `ClusterFileError` when it is no secret."""
    try:
        with file.open("rb") as stream:
            line = stream.read(_FILE_LIMIT).partition(b"\n")[0].strip()
    except OSError as error:
        text = f"cannot read {file}: {error.strerror}; give a readable --cluster-secret-file"
        raise ClusterFileError(text) from error
    if len(line) < SHORTEST:
        raise ClusterFileError(
            f"{file}: the first line must be the cluster's secret, {SHORTEST} characters or more, made for example "
            "with: openssl rand -hex 32"
        )
    return line


def check_authorities(file: Path, option: str = "--cluster-ca-file") -> None:
    """Make sure that a file has certificates. It is read anew for each link. Raises `ClusterFileError`."""
    try:
        ssl.create_default_context(cafile=str(file))
    except ssl.SSLError as error:
        text = f"{file} has no certificates in PEM form ({error.reason}); give another {option}"
        raise ClusterFileError(text) from error
    except OSError as error:
        text = f"cannot read {file}: {error.strerror}; give a readable {option}"
        raise ClusterFileError(text) from error
