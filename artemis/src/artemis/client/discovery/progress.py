"""Whether what a node shows is at least what is known already: a client never steps back silently (design 4.1).

Pure. Cursors are opaque on the wire; to compare them is what nodes and our own client have in common. Those of others,
which cannot be read, say nothing, and neither does a node without cursors.
Not here: what becomes of an older answer, see `views`.
"""

from __future__ import annotations

from artemis.model.cursors import MESH, Cursor, Origin, later_of_same_life, read_cursor


def goes_back(known: str | None, shown: str | None) -> bool:
    """Tell whether whoever takes what is shown at one cursor for what is known at another may lose something."""
    if not known or not shown or known == shown or later_of_same_life(shown, known):
        return False
    before, after = read_cursor(known), read_cursor(shown)
    if MESH not in (before.kind, after.kind) or before.kind != after.kind:
        return False
    return not after.dominates(before)


def lost_for_good(known: str | None, shown: str | None) -> bool:
    """Tell whether all that a node lacks of what is known are changes of earlier lives of its own.

    It was restarted without them, so nobody is to be expected to bring them: there is nothing to wait for.
    """
    before, after = read_cursor(known or ""), read_cursor(shown or "")
    issuer = after.issuer
    if issuer is None or before.name != after.name:
        return False
    lacking = {origin for origin, seq in _numbers(before) if not after.covers(origin, seq)}
    forgotten = {node for node, epoch in before.base.items() if after.base.get(node, 0) < epoch}
    return {origin.node for origin in lacking} | forgotten <= {issuer.node} and issuer not in lacking


def _numbers(cursor: Cursor) -> list[tuple[Origin, int]]:
    return [*cursor.vector.items(), *cursor.ahead.items()]
