"""Views of a service that show only some of its instances, kept while they are in use (an addition to spec 5.1).

Callers ask for them with `discoveryData`, which has no effect in the originals; see `selections` for its names.
Not here: the whole views, which the catalog keeps and which nothing here slows down.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from artemis.discovery.selections import EVERYTHING, Selection, selection
from artemis.discovery.views import ServiceDraft, ServiceView

MAX_NARROWED = 20_000
"""Instances that may be looked through for one lookup: about 10 ms of work."""


class _Parts(msgspec.Struct, rename="camel", gc=False):
    instances: list[msgspec.Raw]
    logic_instances: list[msgspec.Raw]
    route_rules: list[msgspec.Raw]


_PARTS = msgspec.json.Decoder(_Parts)


class NarrowedViews:
    """Narrowed views by service and selection, those used last. Owned by a node and its event loop.

    `limit` bounds their number, `max_bytes` the JSON that they hold, that of the whole views they were made of
    included. One that was made of an older view of its service is made anew.
    """

    def __init__(self, *, limit: int = 256, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        self._bytes = 0
        self._views: OrderedDict[tuple[str, Selection], tuple[ServiceView, ServiceView]] = OrderedDict()

    def __len__(self) -> int:
        """Count the views that are kept."""
        return len(self._views)

    def all_narrowed(
        self, views: Sequence[ServiceView], conditions: Sequence[Mapping[str, str | None] | None]
    ) -> list[ServiceView] | None:
        """Narrow each view by the conditions of the same place; None when that is too much for one lookup."""
        wanted = [selection(each) if each else EVERYTHING for each in conditions]
        work = sum(view.instance_count for view, each in zip(views, wanted, strict=True) if each)
        if work > MAX_NARROWED:
            return None
        return [self.narrowed(view, each) for view, each in zip(views, wanted, strict=True)]

    def narrowed(self, view: ServiceView, wanted: Selection) -> ServiceView:
        """Return the view with the wanted instances only; `view` is that of the whole service now."""
        if not wanted or not view.instance_count:
            return view
        key = (view.service_id.lower(), wanted)
        kept = self._views.get(key)
        if kept is not None and kept[0] is view:
            self._views.move_to_end(key)
            return kept[1]
        self._drop(key)
        made = narrow(view, wanted)
        self._views[key] = (view, made)
        self._bytes += len(view.json) + len(made.json)
        while len(self._views) > self._limit or self._bytes > self._max_bytes:
            self._drop(next(iter(self._views)))
        return made

    def _drop(self, key: tuple[str, Selection]) -> None:
        kept = self._views.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept[0].json) + len(kept[1].json)


def narrow(view: ServiceView, wanted: Selection) -> ServiceView:
    """Return a view with the wanted instances only; logic instances and route rules stay."""
    parts = _PARTS.decode(view.json)
    draft = ServiceDraft(
        key=view.service_id.lower(),
        service_id=view.service_id,
        instances=tuple(("", bytes(each)) for each in parts.instances if wanted.matches(bytes(each))),
        logic_instances=tuple(bytes(each) for each in parts.logic_instances),
        route_rules=tuple(bytes(each) for each in parts.route_rules),
    )
    return ServiceView(draft)
