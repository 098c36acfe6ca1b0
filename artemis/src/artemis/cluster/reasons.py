"""Reasons why nodes are not there, as people are told them: seen from here, and once for all nodes that share one.

Pure. Not here: who is missing (`members`), and what a start waits for (`joining`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MOST_NAMED = 3
"""Nodes that a sentence on the start names at most."""

_NAMED = re.compile(r"node (\S+) \([^\s()]+\)")
"""A node as it is named at a handshake."""


def seen_from(own: str, reason: str) -> str:
    """Return a reason that is about two nodes without their names: the one with the id `own` is `this node`, the other
    one `that node`. A reason that names several others stays as it is."""
    others = {found[0] for found in _NAMED.finditer(reason) if found[1] != own}
    if len(others) > 1:
        return reason
    return _NAMED.sub(lambda found: "this node" if found[1] == own else "that node", reason)


def shared(reasons: Iterable[tuple[str, str]], most: int | None = None) -> list[str]:
    """Return names, each with its reason in parentheses; those that share one are together, `most` of them by name.

    A reason may be empty; such a name stands for itself.
    """
    groups: dict[str, list[str]] = {}
    for name, why in reasons:
        groups.setdefault(f" ({why})" if why else f"\0{name}", []).append(name)
    return [names[0] if why.startswith("\0") else f"{named(names, most)}{why}" for why, names in groups.items()]


def named(names: Sequence[str], most: int | None = None) -> str:
    """Return names as words: `a`, `a and b`, `a, b, c and 4 more` where `most` is 3."""
    *first, last = names if most is None or len(names) <= most else [*names[:most], f"{len(names) - most} more"]
    return f"{', '.join(first)} and {last}" if first else last
