"""Who a node is: its id, and the epoch that grows with each of its starts (design 4.1). Kept in the data directory
when there is one."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_FILE = "node.json"


class Identity(msgspec.Struct, frozen=True):
    """A node's id, the number of this start of it and that of the start before, 0 when unknown."""

    node_id: str
    epoch: int
    previous: int = 0


class IdentityError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


def identify(data_dir: Path | None, fallback_id: str, wall_ms: int) -> Identity:
    """The identity for this start.

    Without a data directory the id is `fallback_id` and the epoch the wall clock in ms, which grows from start to
    start as long as the
    clock does. With one, id and epoch are kept there, and the epoch grows whatever the clock says. Raises
    `IdentityError`.
    """
    if data_dir is None:
        return Identity(fallback_id, wall_ms)
    path = data_dir / _FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        kept = msgspec.json.decode(path.read_bytes(), type=Identity) if path.exists() else Identity(fallback_id, 0)
        now = Identity(kept.node_id, max(kept.epoch + 1, wall_ms), kept.epoch)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(now))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise IdentityError(f"cannot keep the node's identity in {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise IdentityError(f"{path} is damaged ({error}); restore it, or remove it to become a new node") from error
    return now
