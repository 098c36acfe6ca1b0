"""What ``--zone`` leaves of a service: the instances of one zone, and the changes that concern it.

Pure. The registry's own rules for callers of other zones are not its business.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from artemis.client.names import instance_key

if TYPE_CHECKING:
    from artemis.client import InstanceChange
    from artemis.client.names import Key
    from artemis.model import Instance


def in_zone(instance: Instance, zone: str) -> bool:
    """Say whether the instance is in the zone, in any letter case; a blank zone means all."""
    return not zone.strip() or (instance.zone_id or "").lower() == zone.strip().lower()


class ZoneView:
    """Translates the changes of a service into those of one zone of it: whoever moves out goes, who moves in is new."""

    def __init__(self, zone: str) -> None:
        self._zone = zone
        self._shown: set[Key] = set()

    def of(self, change: InstanceChange) -> InstanceChange | None:
        """Return the change as the zone sees it, or None if it does not concern the zone."""
        key = instance_key(change.instance)
        was_shown = key in self._shown
        if change.change_type != "delete" and in_zone(change.instance, self._zone):
            self._shown.add(key)
            return change if was_shown else replace(change, change_type="new")
        self._shown.discard(key)
        return replace(change, change_type="delete") if was_shown else None
