"""Which node the client talks to: one of those that are known, kept while it answers, left when it fails.

Pure: time and randomness come in, nothing is sent. Asking the registry for its nodes is the business of `addresses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from artemis.client.nodes.breaker import Breaker
from artemis.client.nodes.urls import node_url, same_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

MOST_LEARNED = 1000
"""Nodes that are remembered of what the registry tells; more make a choice no better."""


@dataclass(frozen=True, slots=True)
class ToldNode:
    """A node that the registry named: where it is reached, and in which region and zone it stands."""

    url: str
    region_id: str = ""
    zone_id: str = ""


class Tier(IntEnum):
    """How much is in favour of a node, the best first.

    - ``OWN_ZONE``: the registry names it, and it stands in the client's region and zone;
    - ``NAMED``: the registry names it;
    - ``BOOTSTRAP``: the client was configured with it; kept for good, as the last resort;
    - ``UNREACHED``: the registry names it, but it failed this client and has never answered it: from here it may have
      another address than the registry believes;
    - ``GONE``: nobody names it any more.
    """

    OWN_ZONE = 0
    NAMED = 1
    BOOTSTRAP = 2
    UNREACHED = 3
    GONE = 4


class Nodes:
    """The nodes of one cluster and the sticky choice among them (spec 9.1).

    A client starts at a random one of ``urls`` and leaves a node only when it failed, or for a better one (`better`).
    A node that failed rests, see `Breaker`. Who moves chooses at random among the best nodes that do not rest, so that
    the clients of a lost node spread evenly over those that are left. When all rest, the one that has been left alone
    for longest is asked: in a row of failures every node has its turn. Of nodes that never answered this client the
    registry may name any number, so after a failure of one of them it is the turn of a node that did answer once: it
    is asked at latest every second time, as soon as its first rest is over.

    ``rest`` and ``rest_limit`` in seconds; ``region_id`` and ``zone_id`` say where the client is.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        random: Random,
        rest: float,
        rest_limit: float = 120.0,
        region_id: str | None = None,
        zone_id: str | None = None,
    ) -> None:
        spellings: dict[str, str] = {}
        for url in map(node_url, urls):
            spellings.setdefault(same_node(url), url)
        self.bootstrap = tuple(spellings.values())
        """The configured addresses, in their order."""
        if not self.bootstrap:
            raise ValueError("no node to talk to: servers is empty")
        self.urls = self.bootstrap
        """All that are known: those that the registry named last, then the configured ones."""
        self._random = random
        self._rest = rest
        self._rest_limit = max(rest, rest_limit)
        self._zone = _zone(region_id, zone_id)
        self._told: dict[str, ToldNode] = {}
        self._breakers: dict[str, Breaker] = {}
        self._reached: set[str] = set()
        self.current = random.choice(self.bootstrap)
        """The URL that the next call goes to."""

    def learn(self, told: Iterable[ToldNode]) -> bool:
        """Take the registry's list of its nodes for the one before; return whether the known addresses changed.

        The addresses have to be usable, see `urls.objection`. Of more than `MOST_LEARNED` the first are taken, and an
        empty list means nothing (spec 9.1). The node that the client talks to is not left by this.
        """
        spelling = {same_node(url): url for url in (*self.bootstrap, self.current)}
        learned: dict[str, ToldNode] = {}
        for node in told:
            url = node_url(node.url)
            learned.setdefault(spelling.get(same_node(url), url), node)
            if len(learned) >= MOST_LEARNED:
                break
        if not learned:
            return False
        before = set(self.urls)
        self._told = learned
        self.urls = (*learned, *(url for url in self.bootstrap if url not in learned))
        known = {*self.urls, self.current}
        self._breakers = {url: breaker for url, breaker in self._breakers.items() if url in known}
        self._reached &= known
        return set(self.urls) != before

    def tier(self, url: str) -> Tier:
        """Return how much is in favour of a node."""
        told = self._told.get(url)
        bootstrap = url in self.bootstrap
        if told is None:
            return Tier.BOOTSTRAP if bootstrap else Tier.GONE
        if not bootstrap and url in self._breakers and url not in self._reached:
            return Tier.UNREACHED
        at_home = self._zone is not None and self._zone == _zone(told.region_id, told.zone_id)
        return Tier.OWN_ZONE if at_home else Tier.NAMED

    @property
    def all_failed(self) -> bool:
        """Whether every known node has failed since it answered last: the registry is away, or cannot be reached."""
        return all(url in self._breakers for url in self.urls)

    def resting(self, url: str, now: float) -> bool:
        """Whether a node is passed over because it failed."""
        breaker = self._breakers.get(url)
        return breaker is not None and breaker.resting(now)

    def answered(self, url: str) -> None:
        """Note that the node gave a usable answer: nothing is held against it any longer."""
        self._breakers.pop(url, None)
        if url in self.urls or url == self.current:
            self._reached.add(url)

    def failed(self, url: str, now: float) -> str:
        """Note that the node failed at ``now`` (seconds); return the URL to use from here on.

        Calls that fail together on one node move the client once: a node that is no longer current moves nothing.
        """
        if url in self.urls or url == self.current:
            self._breakers.setdefault(url, Breaker(self._rest, self._rest_limit)).failed(now)
        if url == self.current:
            self.current = self._next(now) or url
        return self.current

    def better(self, now: float) -> str | None:
        """Return a node to go to although the present one answers, or None: it is in the own zone, or still named.

        Nothing happens by asking. Whoever follows this takes a random time first, and looks whether the node answers.
        """
        rank = min(self.tier(self.current), Tier.BOOTSTRAP)
        fit = [url for url in self.urls if self.tier(url) < rank and not self.resting(url, now)]
        best = min(map(self.tier, fit), default=None)
        return None if best is None else self._random.choice([url for url in fit if self.tier(url) is best])

    def move(self, url: str) -> None:
        """Go to a node because it is the better one; nothing is held against the one that is left."""
        self.current = url

    def _next(self, now: float) -> str | None:
        others = [url for url in self.urls if url != self.current]
        awake = [url for url in others if not self.resting(url, now)]
        if self.current not in self._reached:
            reached = [url for url in others if url in self._reached]
            # A rest that doubled is for those who have a better choice: here the others may be silent for ever.
            due = [url for url in reached if not self.resting(url, now) or now >= self._failed_at(url) + self._rest]
            awake = due or awake
            others = reached or others
        if awake:
            best = min(map(self.tier, awake))
            return self._random.choice([url for url in awake if self.tier(url) is best])
        # All failed. Were the best ones preferred here too, a good one that is last in order would never be asked.
        longest = min(map(self._failed_at, others), default=None)
        if longest is None:
            return None
        return self._random.choice([url for url in others if self._failed_at(url) == longest])

    def _failed_at(self, url: str) -> float:
        return self._breakers[url].failed_at


def _zone(region_id: str | None, zone_id: str | None) -> tuple[str, str] | None:
    """Return a zone as it is compared, or None where it is not told; ids know no letter case."""
    return ((region_id or "").lower(), zone_id.lower()) if zone_id else None
