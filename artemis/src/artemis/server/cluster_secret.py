"""The secret that the nodes of a cluster share, from its file. Not here: what is proved with it (`cluster.mesh`)."""

from __future__ import annotations

from pathlib import Path

SHORTEST = 16
"""Characters of a secret at least: it must not be found by trying, whoever records a handshake."""

_FILE_LIMIT = 4096


class ClusterSecretError(Exception):
    """The secret file cannot be used; the text says why and what to do."""


def read_secret(file: Path) -> bytes:
    """The first line of a file, without blanks around it. Raises `ClusterSecretError` when it is no secret."""
    try:
        with file.open("rb") as stream:
            line = stream.read(_FILE_LIMIT).partition(b"\n")[0].strip()
    except OSError as error:
        text = f"cannot read {file}: {error.strerror}; give a readable --cluster-secret-file"
        raise ClusterSecretError(text) from error
    if len(line) < SHORTEST:
        raise ClusterSecretError(
            f"{file}: the first line must be the cluster's secret, {SHORTEST} characters or more, made for example "
            "with: openssl rand -hex 32"
        )
    return line
