"""The versions of this client's instances: what nodes said of them last, to be handed back with the next message.

They are opaque. A node that has not heard yet what another one has accepted of this client sees that by them: what is
registered there becomes newer, and a heartbeat that finds something older registers again (design 4.1 [client]). So
they are kept when the client goes on at another node, and when an instance ends and comes back.
Pure. Not here: what has to be sent; see `artemis.client.registration.leases`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artemis.client.names import Key, instance_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from artemis.model import Instance

MAX_VERSION: Final = 300
"""Characters of a version that is remembered."""


class KnownVersions:
    """The versions of one client's instances. Of those that are not among ``leases``, ``limit`` are kept at most."""

    def __init__(self, leases: Collection[Key], limit: int) -> None:
        self._leases = leases
        self._limit = limit
        self._known: dict[Key, str] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, instances: Iterable[Instance]) -> list[str]:
        """Return the version of each, empty for those of which none is known."""
        known = self._known
        return [known.get(instance_key(instance), "") for instance in instances]

    def learn(self, instances: Sequence[Instance], versions: Sequence[str]) -> None:
        """Take in what a node said of these instances, in the same order; an empty version says nothing."""
        for instance, version in zip(instances, versions, strict=False):
            if version and len(version) <= MAX_VERSION:
                self._known[instance_key(instance)] = version
        if len(self._known) > len(self._leases) + self._limit:
            # All at once, so that it costs nothing on the average.
            self._known = {key: version for key, version in self._known.items() if key in self._leases}
