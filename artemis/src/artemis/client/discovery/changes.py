"""What happened to a service, as its followers are told: one change for each instance that looks different to them.

Pure. Not here: how a view changes, see `services`; who follows and how he is told, see `watch` and `listeners`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from artemis.client.names import instance_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artemis.client.names import Key
    from artemis.model import Instance


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """One change of a service, as this client learned of it.

    ``change_type`` is ``new`` (came), ``change`` (same instance, other content) or ``delete`` (went; ``instance`` is
    what it last was). ``change_time`` is when this client saw it, in epoch milliseconds.
    """

    change_type: Literal["new", "change", "delete"]
    instance: Instance
    change_time: int


class Touched(NamedTuple):
    """An instance that looks different now; None where there was or is none."""

    key: Key
    before: Instance | None
    after: Instance | None


class Backlog:
    """What one follower has not been told yet: at most one change for each instance, however long he takes.

    What came and went, or changed and changed back, is nothing; so there are never more changes waiting than there are
    instances that he knows or would know.
    """

    def __init__(self, present: Iterable[Instance] = ()) -> None:
        self._waiting: dict[Key, tuple[Instance | None, Instance | None, int]] = {
            instance_key(instance): (None, instance, 0) for instance in present
        }

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, touched: Iterable[Touched], wall: int) -> None:
        """Note what happened at ``wall`` (epoch milliseconds)."""
        for key, before, after in touched:
            known = self._waiting.pop(key, None)
            first = before if known is None else known[0]
            if first != after:
                self._waiting[key] = first, after, wall

    def take(self, wall: int) -> list[InstanceChange]:
        """Hand out everything: first each ``delete``, then ``new`` and ``change``.

        What was there from the beginning has ``wall`` as its time.
        """
        waiting, self._waiting = self._waiting, {}
        gone = [
            InstanceChange("delete", before, seen or wall)
            for before, after, seen in waiting.values()
            if after is None and before is not None
        ]
        return gone + [
            InstanceChange("new" if before is None else "change", after, seen or wall)
            for before, after, seen in waiting.values()
            if after is not None
        ]
