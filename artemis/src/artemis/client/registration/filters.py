"""Registry filters (spec 9.4): what the owner of a client lets it withhold from the registry, instance by instance.

Pure. Not here: health, which is asked and may take its time, see `artemis.client.registration.health`; nor what
withholding is: `artemis.client.registration.leases`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from artemis.client.events import FilterFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from artemis.client.registration.leases import Lease
    from artemis.model import Instance


class RegistryFilter(Protocol):
    """Says of each instance whether the registry is to have it; asked before every registration and heartbeat."""

    @property
    def name(self) -> str:
        """What to call it in events and errors."""
        ...

    def keep(self, instance: Instance) -> bool:
        """Return whether the instance is to be registered. Called in the event loop: it must not wait."""
        ...


class Filters:
    """All filters of one client: what one of them does not keep is withheld.

    One that raises has no say that time: the instance stays as far as it is concerned, and ``publish`` gets one
    `FilterFailed` for each filter and message.
    """

    def __init__(self, filters: Sequence[RegistryFilter], publish: Callable[[FilterFailed], None]) -> None:
        self._filters = tuple(filters)
        self._publish = publish

    def sift(self, leases: Iterable[Lease]) -> None:
        """Write down for each lease which filter keeps it out."""
        if not self._filters:
            return
        failed: dict[str, FilterFailed] = {}
        for lease in leases:
            lease.filtered = self._asked(lease.instance, failed)
        for failure in failed.values():
            self._publish(failure)

    def _asked(self, instance: Instance, failed: dict[str, FilterFailed]) -> str:
        for one in self._filters:
            try:
                keep = one.keep(instance)
            except Exception as error:  # noqa: BLE001 - code of the client's owner: whatever it raises is told
                failed.setdefault(one.name, FilterFailed(one.name, instance, error))
            else:
                if not keep:
                    return f"the registry filter {one.name} keeps it out"
        return ""
