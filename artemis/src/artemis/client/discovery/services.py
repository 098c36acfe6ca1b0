"""What this client knows about services: the last answer for each one in use, and how two answers differ.

Pure: answers and the time come in. Looking services up is the business of `artemis.client.discovery.discovery`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from artemis.client.errors import LimitError
from artemis.client.names import check_text, instance_key, service_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artemis.model import Instance, Service


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service as the registry last showed it.

    ``instances`` are the live ones in the registry's order; ``age`` says how many seconds ago it was last confirmed.
    """

    service_id: str
    instances: tuple[Instance, ...]
    age: float


@dataclass(frozen=True, slots=True)
class InstanceChange:
    """One change of a service, as this client learned of it.

    ``change_type`` is ``new`` (came), ``change`` (same instance, other content) or ``delete`` (went; ``instance`` is
    what it last was). ``change_time`` is when this client saw it, in epoch milliseconds.
    """

    change_type: Literal["new", "change", "delete"]
    instance: Instance
    change_time: int


def differences(old: Iterable[Instance], new: Iterable[Instance], wall: int) -> list[InstanceChange]:
    """Say what leads from one list of instances to another: first ``delete``, then ``new`` and ``change``.

    ``wall`` (epoch milliseconds) becomes the change time. Instances are the same by region, service and instance id.
    """
    before = {instance_key(instance): instance for instance in old}
    after = {instance_key(instance): instance for instance in new}
    changes = [InstanceChange("delete", instance, wall) for key, instance in before.items() if key not in after]
    for key, instance in after.items():
        if key not in before:
            changes.append(InstanceChange("new", instance, wall))
        elif before[key] != instance:
            changes.append(InstanceChange("change", instance, wall))
    return changes


@dataclass(slots=True, eq=False, weakref_slot=True)
class Followed:
    """One service in use: its instances as last seen (None before the first answer), and since when."""

    service_id: str
    used: float
    instances: tuple[Instance, ...] | None = None
    confirmed: float = 0.0
    watchers: int = 0
    turn: int | None = None
    """How often a balancer chose in turn; shared by all balancers of the service."""

    def view(self, now: float) -> ServiceView | None:
        """Return what is known at ``now`` (monotonic seconds), or None before the first answer."""
        if self.instances is None:
            return None
        return ServiceView(self.service_id, self.instances, now - self.confirmed)


class ServiceBook:
    """The services in use, at most ``limit``: watched ones stay, of the others the one unused for longest goes."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._followed: dict[str, Followed] = {}

    def __len__(self) -> int:
        return len(self._followed)

    def use(self, service_id: str, now: float) -> Followed:
        """Return the entry of a service and mark it used; the letter case of the id does not matter.

        Raises ``ValueError`` for a blank id, ``TypeError`` for one that is no text, and ``LimitError`` if all places
        are taken by watched services.
        """
        name = check_text("service_id", service_id)
        key = service_key(name)
        entry = self._followed.get(key)
        if entry is None:
            self._make_room()
            entry = self._followed[key] = Followed(name, now)
        entry.used = now
        return entry

    def batches(self, size: int, *, missing: bool) -> list[list[Followed]]:
        """Cut the services to look up into messages of at most ``size``: all, or those without an answer so far."""
        wanted = [entry for entry in self._followed.values() if entry.instances is None or not missing]
        return [wanted[start : start + size] for start in range(0, len(wanted), size)]

    @staticmethod
    def take(asked: Sequence[Followed], services: Iterable[Service | None], now: float) -> list[Followed]:
        """Take in the answer to a lookup of ``asked``; return the entries that look different now.

        A service that the answer leaves out keeps what was known, and gets older.
        """
        wanted = {service_key(entry.service_id): entry for entry in asked}
        changed: list[Followed] = []
        for service in services:
            entry = wanted.pop(service_key(service.service_id), None) if service is not None else None
            if service is None or entry is None:
                continue
            instances = tuple(instance for instance in service.instances or () if instance is not None)
            if instances != entry.instances:
                entry.instances = instances
                changed.append(entry)
            entry.confirmed = now
        return changed

    def _make_room(self) -> None:
        if len(self._followed) < self._limit:
            return
        unwatched = [item for item in self._followed.items() if not item[1].watchers]
        if not unwatched:
            raise LimitError(self._limit, f"a client watches at most max_services={self._limit} services")
        key, _ = min(unwatched, key=lambda item: item[1].used)
        del self._followed[key]
