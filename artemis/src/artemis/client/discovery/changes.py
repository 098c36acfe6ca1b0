"""What happened to a service: what a push says of it, and what its followers are told.

Pure. Not here: how a view changes, see `services`; who follows and how he is told, see `watch` and `listeners`.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Literal, NamedTuple

from artemis.client.links.link import EVERYTHING, Change, Push
from artemis.client.names import instance_key, service_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


def by_service(push: Push, services: Iterable[str]) -> dict[str, Push]:
    """Return what a push about all services says of each of ``services``, ids in lower case; of others it says nothing.

    Its instances name their services; a reload that names none, or ``*``, is for all. With a full sync those that are
    not named have nothing.
    """
    concerned = dict.fromkeys(services)
    sorted_by: dict[str, list[Change]] = {}
    for change in push.changes:
        name = service_key(change.instance.service_id)
        everybody = name in {"", EVERYTHING} and change.change_type == "reload"
        for service in concerned if everybody else (name,) if name in concerned else ():
            sorted_by.setdefault(service, []).append(change)
    return {
        service: Push(service, tuple(sorted_by.get(service, ())), push.cursor, push.full_sync, push.age, push.missing)
        for service in (concerned if push.full_sync else sorted_by)
    }


def without_unusable(push: Push, usable: Callable[[Instance], bool]) -> Push:
    """Return a push of one service without what a lookup would not show either.

    An instance that was there and lost its url is gone; what is of another service, or no instance, says nothing.
    """
    changes: list[Change] = []
    for change in push.changes:
        instance = change.instance
        if change.change_type not in {"new", "change"} or usable(instance):
            changes.append(change)
        elif service_key(instance.service_id) == push.service and (instance.instance_id or "").strip():
            changes.append(Change("delete", instance, change.change_time))
    if len(changes) == len(push.changes) and all(map(is_, changes, push.changes)):
        return push
    return Push(push.service, tuple(changes), push.cursor, push.full_sync, push.age, push.missing)


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
