"""What a watcher has been shown so far, and what a change or a fresh look adds to that.

Pure. Whatever way changes come in, twice or out of date, each is shown once, and after a gap exactly the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.client import InstanceChange
from artemis.client.names import instance_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artemis.client.names import Key
    from artemis.model import Instance


class Shown:
    """The instances that were shown as live, of one service or of all."""

    def __init__(self) -> None:
        self._live: dict[Key, Instance] = {}

    def apply(self, change_type: str, instance: Instance, now: int) -> InstanceChange | None:
        """Take in one change, ``now`` in epoch milliseconds; None when it shows nothing new."""
        key = instance_key(instance)
        known = self._live.get(key)
        if change_type == "delete":
            if known is None:
                return None
            del self._live[key]
            return InstanceChange("delete", known, now)
        if known == instance:
            return None
        self._live[key] = instance
        return InstanceChange("new" if known is None else "change", instance, now)

    def sync(self, instances: Iterable[Instance], now: int, service: str = "") -> list[InstanceChange]:
        """Take in everything that is live now, of ``service`` (lower case) alone or of all; return what differs."""
        live = {instance_key(instance): instance for instance in instances}
        gone = [key for key in self._live if key not in live and (not service or key[1] == service)]
        changes = [self.apply("delete", self._live[key], now) for key in gone]
        changes += [self.apply("new", instance, now) for instance in live.values()]
        return [change for change in changes if change is not None]
