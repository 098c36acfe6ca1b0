"""Which way to hear of changes comes next at a node, and how long to wait before a connection is made.

Pure: outcomes, time and randomness come in. Connecting is the business of `live`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from artemis.client.links.link import LinkKind

if TYPE_CHECKING:
    from random import Random

RUNGS: Final = tuple(LinkKind)
"""All kinds, the best first; the last one needs nothing of a node."""

MANY: Final = 3
"""Links of one kind lost in a row, soon each time, after which that kind counts as not offered: something cuts it."""

MAX_NODES: Final = 1000
"""Nodes of which it is remembered what they do not offer; the one learned of first makes room."""


def is_better(kind: LinkKind, other: LinkKind) -> bool:
    """Say whether ``kind`` is the better of two; no kind is better than itself."""
    return RUNGS.index(kind) < RUNGS.index(other)


def rungs(node: str, *, quic: bool = False) -> tuple[LinkKind, ...]:
    """Return the kinds that the URL of a node allows: below a path there is no port of its own for MsgTrans.

    QUIC only where the node offers it, and only at https nodes: nobody else can say who answers there.
    """
    url = urlsplit(node)
    if url.path.strip("/"):
        return RUNGS[2:]
    return RUNGS if quic and url.scheme == "https" else RUNGS[1:]


@dataclass(slots=True)
class _Found:
    """What was found out about one node, by kind."""

    lacking: dict[LinkKind, float] = field(default_factory=dict)
    """Until when a kind counts as not offered."""
    lost: dict[LinkKind, int] = field(default_factory=dict)
    """How many links in a row were lost soon."""
    quic: int | None = None
    """The port of UDP that the node offers."""


class Ladder:
    """What each node was found not to offer, and until when that counts (monotonic seconds); and that it offers QUIC,
    which counts only as long as the node says so and is there.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[str, _Found] = OrderedDict()

    def best(self, node: str, now: float, *, beside: bool = True) -> LinkKind:
        """Return the best kind that may work at the node.

        ``beside``: something is there meanwhile. Without, it is not QUIC: where UDP is blocked nothing tells but time.
        """
        lacking = self._lacking(node)
        kinds = self._rungs(node) if beside else rungs(node)
        return next(kind for kind in kinds if kind is LinkKind.POLL or lacking.get(kind, now) <= now)

    def offers(self, node: str, port: int | None, at: float) -> bool:
        """Note that the node serves QUIC on a port of UDP, to be tried from ``at`` on, or that it does not (None).

        Returns whether that is an offer that was not known; only then ``at`` matters.
        """
        if port is None:
            if node in self._found:
                self._found[node].quic = None
            return False
        found = self._of(node)
        if found.quic == port:
            return False
        found.quic = port
        found.lacking[LinkKind.QUIC] = max(at, found.lacking.get(LinkKind.QUIC, at))
        return True

    def quic_port(self, node: str) -> int | None:
        """Return the port of UDP that the node offers."""
        found = self._found.get(node)
        return None if found is None else found.quic

    def lacks(self, node: str, kind: LinkKind, until: float) -> None:
        """Note that the node does not offer a kind; it is not the best again before ``until``."""
        self._of(node).lacking[kind] = until

    def better_at(self, node: str, kind: LinkKind) -> float | None:
        """Return when a kind better than ``kind`` may be tried at the node; None if that is the best there is."""
        lacking = self._lacking(node)
        better = [other for other in self._rungs(node) if is_better(other, kind)]
        return min((lacking.get(other, 0.0) for other in better), default=None)

    def lost(self, node: str, kind: LinkKind, *, soon: bool) -> bool:
        """Note that a link broke, ``soon`` after it was made or not; return whether its kind should count as lacking.

        It should when `MANY` in a row were lost soon while the node was there. What the node lacked is forgotten, as it
        may have been restarted, but not which kinds are cut: two of them would take turns for ever. So is its offer.
        """
        found = self._of(node)
        found.lost[kind] = found.lost.get(kind, 0) + 1 if soon else 0
        cut = {other for other, times in found.lost.items() if times >= MANY}
        found.lacking = {other: until for other, until in found.lacking.items() if other in cut}
        found.quic = None
        return kind in cut

    def forget(self, node: str) -> None:
        """Note that the node went away: what comes back may offer something else."""
        self._found.pop(node, None)

    def _rungs(self, node: str) -> tuple[LinkKind, ...]:
        return rungs(node, quic=self.quic_port(node) is not None)

    def _lacking(self, node: str) -> dict[LinkKind, float]:
        found = self._found.get(node)
        return {} if found is None else found.lacking

    def _of(self, node: str) -> _Found:
        found = self._found.setdefault(node, _Found())
        if len(self._found) > MAX_NODES:
            self._found.popitem(last=False)
        return found


class Pace:
    """Full jitter before every connection after a loss: between 0 and ``min(limit, backoff * 2**n)`` seconds.

    n is how many were lost or failed in a row; one that was held longer than ``limit`` ends the row.
    """

    def __init__(self, *, backoff: float, limit: float) -> None:
        self._backoff = backoff
        self._limit = limit
        self.row = -1
        """n of the formula; -1 before the first loss."""

    def lost(self, held: float) -> None:
        """Note that a link was lost after ``held`` seconds, or could not be made after 0."""
        self.row = 0 if held > self._limit else self.row + 1

    def delay(self, random: Random) -> float:
        """Return how many seconds to wait before the next connection; nothing before the very first."""
        if self.row < 0:
            return 0.0
        return random.uniform(0.0, min(self._limit, self._backoff * 2 ** min(self.row, 32)))

    def soon(self, random: Random) -> float:
        """Return how many seconds to wait once it is known that the node answers again."""
        return random.uniform(0.0, min(self._limit, self._backoff))
