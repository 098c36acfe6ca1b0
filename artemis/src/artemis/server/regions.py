"""Which region a caller asks for: that of the node, or one of which it has a copy (`artemis.federation`).

Pure. Not here: what is shown of it, which is the same code for a node and a copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from artemis.discovery import Elsewhere
from artemis.model import ResponseStatus
from artemis.model.responses import BAD_REQUEST, NO_PERMISSION, SERVICE_UNAVAILABLE, failure
from artemis.server.outcomes import not_ours

if TYPE_CHECKING:
    from artemis.discovery import Catalog
    from artemis.discovery.narrowing import NarrowedViews
    from artemis.federation.copy import RegionCopy
    from artemis.federation.federation import Federation
    from artemis.federation.federation import Region as FollowedRegion
    from artemis.push import ChangeLog, ChangeStream
    from artemis.registry import Registry


class Showing(Protocol):
    """What callers can be shown: a node's own region, or its copy of another one."""

    catalog: Catalog
    log: ChangeLog
    stream: ChangeStream
    narrowed: NarrowedViews
    missing_nodes: int

    @property
    def copy(self) -> RegionCopy | None:
        """What is shown, if it is a copy."""

    @property
    def registry(self) -> Registry:
        """The records behind it."""

    def cursor(self) -> str:
        """Return the position of everything that is shown now."""

    def age(self, now: int) -> int:
        """Return how many milliseconds old that may be."""


class Regions:
    """The other regions of a node, none for most nodes. Owned by the node."""

    def __init__(self, own: str) -> None:
        self._own = own.lower()
        self._federation: Federation | None = None
        self._copies: dict[str, RegionCopy] = {}

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._copies)

    @property
    def complete(self) -> bool:
        """Tell whether there is something to be shown of each."""
        return all(copy.ready for copy in self._copies.values())

    def follow(self, federation: Federation) -> None:
        """Show what this one has, now and later."""
        self._federation = federation
        self._copies = federation.copies

    @property
    def followed(self) -> list[FollowedRegion]:
        """All of them, in the order of their names."""
        return [] if self._federation is None else self._federation.regions

    def known(self, region: str | None) -> RegionCopy | None:
        """Return the copy of a region, in any letter case, whether or not there is something in it yet."""
        return self._copies.get(region.strip().lower()) if region and self._copies else None

    def named(self, region: str | None, further: Iterable[str | None] = ()) -> RegionCopy | ResponseStatus | None:
        """Return the copy that a caller asks for, by the `region` of the request or by `further` ones of its parts; why
        it cannot be shown; or None where he asks for nothing but what the node is for."""
        if not self._copies:
            return None
        parts = {name.strip().lower() for name in further if name and name.strip()}
        if len(parts) > 1:
            return failure(BAD_REQUEST, "One request may ask for one region. Ask for each of them by itself.")
        name = next(iter(parts), (region or "").strip().lower())
        copy = self._copies.get(name)
        if copy is not None:
            return self.shown(copy)
        if parts and name not in {self._own, (region or "").strip().lower()}:
            return failure(NO_PERMISSION, self.unknown(name))
        return None

    def shown(self, copy: RegionCopy) -> RegionCopy | ResponseStatus:
        """Return the copy if there is something in it, else say why there is not."""
        if not copy.current:
            return failure(NO_PERMISSION, self.unknown(copy.region))
        if not copy.ready:
            return failure(SERVICE_UNAVAILABLE, f"region {copy.region!r} cannot be shown yet: {copy.why_not}")
        return copy

    def unknown(self, region: str) -> str:
        """Say that a region is not shown here, and which are."""
        return (
            f"region {region!r} is not followed by this node; it shows {self._own!r}, and of other regions "
            f"{self._names or 'none'}"
        )

    def refused(self, region: str | None, own: str) -> str:
        """Say that a region is not `own`, that of this node, and which others are shown where there are any."""
        others = f"; of other regions it shows {self._names}" if self._copies else ""
        return f"{not_ours('region', region, own)}{others}"

    def whole(self, region: str | None) -> ResponseStatus | None:
        """Say why all of a region of which there is a copy is not shown in one answer; None for others, which callers
        of the original name for nothing."""
        copy = self.known(region)
        if copy is None:
            return None
        where = " or ".join(copy.where[:3])
        text = f"region {copy.region!r} is not listed whole here; look up its services, or ask {where}"
        return failure(NO_PERMISSION, text)

    def only_copied(self, region: str | None) -> str:
        """Say why a region of which there is a copy cannot be explained here; empty for others."""
        copy = self.known(region)
        if copy is None:
            return ""
        where = " or ".join(copy.where[:3])
        return f"region {copy.region!r} is only copied here, and its own nodes decide what is shown; ask {where}"

    @property
    def _names(self) -> str:
        return ", ".join(sorted(repr(copy.region) for copy in self._copies.values()))

    def hint(self, region: str | None) -> str:
        """Return where to go with what can be done only in a region of which there is a copy; empty for others."""
        copy = self.known(region)
        if copy is None:
            return ""
        where = " or ".join(copy.where[:3])
        return f"; it has a copy of the region {copy.region!r} to look things up in, and writes to it go to {where}"


def elsewhere(copy: RegionCopy, now: int) -> Elsewhere:
    """Return what goes with an answer that shows a copy as it is now."""
    return Elsewhere(copy.region, copy.cursor(), copy.age(now), copy.missing_nodes, copy.left_out)
