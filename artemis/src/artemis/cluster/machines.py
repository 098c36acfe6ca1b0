"""Machines with several workers, as others see them: each worker is a member of the cluster, all together are one node.

Pure. Not here: what a worker is to its siblings (`artemis.server.workers`), and who is a member (`members`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from artemis.model.nodes import DOWN, STARTING, UNKNOWN, UP

if TYPE_CHECKING:
    from artemis.cluster.member_view import MemberView

_BEST = {UP: 0, STARTING: 1, UNKNOWN: 2, DOWN: 3}

_FURTHER = re.compile(r"#[1-9]\d*$")


def machine_of(node: str) -> str:
    """Return the id of the node that a worker is a part of, by its own id: that of the first worker."""
    return _FURTHER.sub("", node)


def together(views: Sequence[MemberView], unmet: Sequence[tuple[str, str]] = ()) -> MemberView:
    """Return what to tell of a machine: what holds for the worker that serves best, and which others are not up, unless
    they said farewell. `unmet` are the addresses of those that were not met at all, with why."""
    best = min(views, key=lambda view: (_BEST.get(view.status, len(_BEST)), view.node))
    others = [view for view in views if view.status != UP and view.presence != "left" and view is not best]
    why = best.why
    if others or unmet:
        troubles = dict.fromkeys(f"{view.node}: {view.why or view.status}" for view in others)
        troubles |= dict.fromkeys(f"{url}: {why or 'it was not reached yet'}" for url, why in unmet)
        told = f"not up of its {len(views) + len(unmet)} processes: {'; '.join(troubles)}"
        why = f"{why}; {told}" if why else told
    return msgspec.structs.replace(best, why=why)
