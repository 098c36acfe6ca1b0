"""What the engine's streams and subjects are called for a cluster.

Names of clusters and nodes are arbitrary text, and subjects are not: what would not do is put as a digest, and what
a bucket says of itself tells whose it is (`identity`). Pure; not here: the keys of entries (`artemis.cluster.engine`).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode

import msgspec

_PLAIN = re.compile(r"[a-z0-9-]{1,40}")
_KEY = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")

MAX_KEY = 2_000
"""Characters of a key at most; with its prefix it must fit into a line of 4 096 bytes together with two other
subjects' length (facts of nats-server: "maximum control line exceeded" ends the connection)."""


def token(text: str) -> str:
    """Return one part of a subject that stands for a name: the name itself where that will do."""
    if _PLAIN.fullmatch(text):
        return text
    return "_" + b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:26]


def is_key(text: str) -> bool:
    """Tell whether a key is literal, without anything that a server takes for a pattern."""
    return len(text) <= MAX_KEY and _KEY.fullmatch(text) is not None


class Names(msgspec.Struct, frozen=True):
    """`stream` keeps the bucket, whose entries have subjects that begin with `prefix`; `beats` goes to all nodes of the
    cluster and `nodes` plus a node's token to that one."""

    stream: str
    prefix: str
    beats: str
    nodes: str

    @classmethod
    def of(cls, cluster: str) -> Names:
        """Return the names for a cluster."""
        name = token(cluster)
        bucket = f"artemis_{name}"
        return cls(f"KV_{bucket}", f"$KV.{bucket}.", f"artemis.{name}.beat", f"artemis.{name}.to.")

    @property
    def words(self) -> str:
        """Return how all subjects begin on which nodes talk to each other."""
        return self.nodes.removesuffix("to.")

    def to(self, node: str) -> str:
        """Return the subject of one node."""
        return self.nodes + token(node)
