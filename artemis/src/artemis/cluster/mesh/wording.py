"""How nodes are named in sentences, and what strangers say of themselves in a form that is safe in a log.

Pure. Not here: when there is something to be said (`handshake`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artemis.cluster.messages import Versions


def named(node: str, url: str) -> str:
    """Name a node in a sentence; what a stranger says of itself is cut and quoted."""
    return f"node {quoted(node)} ({quoted(url)})"


def quoted(text: str) -> str:
    """Return what a stranger said in a form that is safe in a log line, 120 characters of it at most."""
    cut = text if len(text) <= 120 else f"{text[:119]}…"
    return cut if cut.isprintable() else repr(cut)


def sentence(text: str) -> str:
    """Return what another node gave as its reason in a form that is safe in a log line, cut to 500 characters."""
    cut = text[:500]
    return cut if cut.isprintable() else repr(cut)


def no_common_version(them: str, theirs: Versions, us: str, ours: Versions) -> str:
    """Say of two nodes that they speak no version in common, and what to do."""
    older, newer = (them, theirs), (us, ours)
    if ours.newest < theirs.newest:
        older, newer = newer, older
    return (
        f"{them} speaks {theirs} of the messages between nodes, {us} {ours}; update {older[0]} to a release that "
        f"speaks version {newer[1].oldest}, or take {newer[0]} back to one that speaks version {older[1].newest}; "
        "nothing is lost meanwhile, what both know is merged then"
    )
