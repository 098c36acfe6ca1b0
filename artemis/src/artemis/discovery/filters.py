"""The filters that a configuration may name: the built-in ones and those installed as plug-ins (spec 5.1).

A plug-in is a distribution with an entry point in the group `artemis.discovery_filters`, called what `--filter` calls
it, that names a factory without arguments of a `DiscoveryFilter`. Plug-ins are loaded only when they are named.
Answers are cached for all callers alike, so a filter cannot depend on who asks: there is none for the caller's zone.
Not here: the filter of operations (`artemis.management`), which is always there, and running filters (`catalog`).
"""

import logging
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Final

import msgspec

from artemis.discovery.views import DiscoveryFilter, ServiceDraft

GROUP: Final = "artemis.discovery_filters"

logger = logging.getLogger(__name__)


class UnknownFilter(ValueError):  # noqa: N818 - what it is, in the words of the answer
    """No filter has that name, or its plug-in cannot be used; the text lists those that exist."""


class _Status(msgspec.Struct, gc=False):
    status: str | None = None


_STATUS = msgspec.json.Decoder(_Status)


class StatusUp:
    """Shows only instances whose status is `up`, in any letter case (artemis-rust 5.2; the Java original has none)."""

    name = "status-up"

    def apply(self, draft: ServiceDraft) -> ServiceDraft:
        """Return the draft without the instances that call themselves anything else."""
        kept = tuple(pair for pair in draft.instances if self._status(pair[1]).lower() == "up")
        return draft if len(kept) == len(draft.instances) else msgspec.structs.replace(draft, instances=kept)

    def explain(self, draft: ServiceDraft) -> str:
        """Say what the instance calls itself."""
        status = self._status(draft.instances[0][1]) if draft.instances else ""
        return f"the status is {status!r}" if status.lower() == "up" else f"the status is {status!r}, not 'up'"

    @staticmethod
    def _status(content: bytes) -> str:
        return _STATUS.decode(content).status or ""


_BUILT_IN: dict[str, Callable[[], DiscoveryFilter]] = {StatusUp.name: StatusUp}


def filter_names() -> list[str]:
    """Return the names of all filters, installed plug-ins included, in order."""
    return sorted({*_BUILT_IN, *(entry.name for entry in entry_points(group=GROUP))})


def make_filters(names: Iterable[str]) -> list[DiscoveryFilter]:
    """Make the filters of these names, in this order.

    Raises UnknownFilter for a name that does not exist or comes twice, and for a plug-in that cannot be loaded or makes
    something that is no filter.
    """
    made: dict[str, DiscoveryFilter] = {}
    for name in names:
        if name in made:
            raise UnknownFilter(f"filter {name!r} is named twice; name it once")
        made[name] = _make(name)
    return list(made.values())


def _make(name: str) -> DiscoveryFilter:
    built_in = _BUILT_IN.get(name)
    if built_in is not None:
        return built_in()
    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        raise UnknownFilter(f"there is no filter {name!r}; there are: {', '.join(filter_names())}")
    try:
        step = entry.load()()
    except Exception as error:
        logger.debug("discovery filter cannot be loaded: filter=%s", name, exc_info=True)
        raise UnknownFilter(f"filter {name!r} ({entry.value}) cannot be loaded: {error}") from error
    if not callable(getattr(step, "apply", None)) or not callable(getattr(step, "explain", None)):
        raise UnknownFilter(f"filter {name!r} ({entry.value}) is no filter: it needs apply and explain")
    result: DiscoveryFilter = step
    return result
