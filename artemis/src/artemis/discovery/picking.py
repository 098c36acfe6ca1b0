"""Picking one instance of a service for a caller who wants no list (artemis-rust 5.1).

In turn or at random, among the instances that discovery shows and that call themselves `up` or nothing. Each service,
and each selection of its instances, has its own turn, so that the calls of one do not skip instances of another.
Not here: weights and route rules, which clients apply to lists.
"""

from collections import OrderedDict

import msgspec

from artemis.discovery.catalog import Catalog
from artemis.discovery.selections import EVERYTHING, Selection
from artemis.discovery.views import ServiceView

_UP = {"", "up"}


class _Candidate(msgspec.Struct, gc=False):
    status: str | None = None


class _Shown(msgspec.Struct, gc=False):
    instances: list[msgspec.Raw]


class _Turn(msgspec.Struct, gc=False):
    view: ServiceView
    candidates: list[bytes]
    next: int


class Picker:
    """Picks from a catalog. Owned by a node and its event loop.

    The turns of the `limit` services that were picked from last are kept; another one starts anew. `seed` makes the
    random choice repeatable.
    """

    def __init__(self, catalog: Catalog, *, seed: int, limit: int = 1_000) -> None:
        self._catalog = catalog
        self._state = seed & _MASK
        self._limit = limit
        self._turns: OrderedDict[tuple[str, Selection], _Turn] = OrderedDict()

    def __len__(self) -> int:
        """Count the services and selections whose turns are kept."""
        return len(self._turns)

    def pick(self, service_id: str, *, in_turn: bool) -> bytes | None:
        """Return the JSON of an instance of this service, None when there is none that is up."""
        return self.pick_among(self._catalog.view(service_id), EVERYTHING, in_turn=in_turn)

    def pick_among(self, view: ServiceView, selected: Selection, *, in_turn: bool) -> bytes | None:
        """Return the JSON of an instance of a view, which shows what is `selected` of its service."""
        if not view.instance_count:
            return None
        turn = self._turn((view.service_id.lower(), selected), view)
        if not turn.candidates:
            return None
        if in_turn:
            turn.next += 1
            return turn.candidates[(turn.next - 1) % len(turn.candidates)]
        return turn.candidates[self._draw() % len(turn.candidates)]

    def _turn(self, key: tuple[str, Selection], view: ServiceView) -> _Turn:
        turn = self._turns.get(key)
        if turn is None or turn.view is not view:
            shown = msgspec.json.decode(view.json, type=_Shown).instances
            candidates = [
                bytes(content)
                for content in shown
                if (msgspec.json.decode(content, type=_Candidate).status or "").strip().lower() in _UP
            ]
            turn = self._turns[key] = _Turn(view, candidates, 0 if turn is None else turn.next)
            if len(self._turns) > self._limit:
                self._turns.popitem(last=False)
        self._turns.move_to_end(key)
        return turn

    def _draw(self) -> int:
        """Return the next of a sequence of 64-bit numbers that look random (the generator splitmix64)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)


_MASK = 2**64 - 1
