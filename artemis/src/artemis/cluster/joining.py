"""The start of a node that has others: it copies what they know before it serves, and never waits for long (spec 6.4).

A brand-new cluster, and one that was restarted whole, come up by themselves (defect 11): a node serves when it has
compared itself with one that serves, or, where nobody does, with everybody; when there is nobody; and in any case after
the join timeout. While a copy comes in that does not run, up to a bound: half a copy lacks instances, and others serve
meanwhile. Until then it takes part in replication and refuses clients. A node that comes back with a snapshot does the
same, so that nobody is shown what has ended meanwhile.
Pure: milliseconds of the own monotonic clock come in. Not here: the comparison itself (`exchange`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from artemis.cluster.reasons import MOST_NAMED, named
from artemis.model.nodes import UNKNOWN, UP

ZONE_PATIENCE = 1_000
"""Milliseconds, at most, that a node of the own zone is waited for while one of another zone could be copied from."""

LONGEST = 12
"""Times the join timeout that a start takes at most, also while a copy comes in: a million instances at the default."""

_WITHOUT = "it serves what it has, and takes the rest in as it comes"


class Reachable(NamedTuple):
    """Another node that messages go to and come from: its id, its zone, and its status as it says."""

    node: str
    zone: str
    status: str


class Surroundings(NamedTuple):
    """What a node sees around itself.

    `listed` is empty once the list of nodes was read, before that it says from where it is to come; `unmet` are the
    addresses in it where nobody was met, with reasons, those that share one in one entry; `compared` says when an
    exchange with a node was completed last, `came` when the latest part of one under way came, None while there is
    none.
    """

    listed: str
    unmet: Sequence[str]
    reachable: Sequence[Reachable]
    compared: Mapping[str, int]
    came: int | None = None


class Joining:
    """The start of one node. Owned by the assembly: call `look` several times a second until it is `over`.

    `waiting` is a sentence on what is waited for, `outcome` one on why it is over; `partners` are the nodes to compare
    with, None for any, and `wanted` those of them with which that is still to be done.
    """

    def __init__(self, zone: str, timeout: int, now: int) -> None:
        self.waiting = "it waits for a first look at the other nodes"
        self.outcome = ""
        self.partners: Collection[str] | None = ()
        #: The node that was copied from, empty for none.
        self.source = ""
        self.wanted: Collection[str] = ()
        self._zone = zone.lower()
        self._begun = self._came = now
        self._timeout = timeout
        self._up: dict[str, int] = {}

    @property
    def over(self) -> bool:
        """Whether clients may be served."""
        return bool(self.outcome)

    def put_off(self, now: int) -> None:
        """Let the timeout begin now: nobody could be copied from before."""
        self._begun = self._came = now

    def look(self, around: Surroundings, now: int) -> None:
        """Judge what there is to see at this moment."""
        if self.over:
            return
        serving = [peer for peer in around.reachable if peer.status == UP]
        self._up = {peer.node: self._up.get(peer.node, now) for peer in serving}
        if around.came is not None:
            self._came = max(self._came, around.came)
        if now - self._came >= self._timeout:
            self._end(f"{self.waiting}, and the join timeout of {self._timeout / 1000:g} s is over: {_WITHOUT}")
        elif now - self._begun >= LONGEST * self._timeout:
            allowed = f"{LONGEST} times the join timeout of {self._timeout / 1000:g} s"
            self._end(f"{self.waiting}, and a start takes {allowed} at most: {_WITHOUT}")
        elif around.listed:
            self._wait(f"the list of nodes from {around.listed}", ())
        elif serving:
            self._copy(serving, around, now)
        else:
            self._meet(around)

    def _copy(self, serving: list[Reachable], around: Surroundings, now: int) -> None:
        """Compare with a node that serves, of the own zone if there is one soon."""
        done = next((peer for peer in serving if around.compared.get(peer.node, -1) >= self._up[peer.node]), None)
        if done is not None:
            self.source = done.node
            self._end(f"it has copied from node {done.node} in zone {done.zone}")
            return
        near = [peer for peer in serving if peer.zone.lower() == self._zone]
        first = min(self._up.values())
        if not near and around.unmet and now - first < min(ZONE_PATIENCE, self._timeout // 4):
            self._wait(f"a node of zone {self._zone} to copy from", ())
            return
        partners = [peer.node for peer in near or serving]
        self._wait(f"the copy from {_names(partners)}", partners, partners)

    def _meet(self, around: Surroundings) -> None:
        """Nobody serves: compare with everybody, as each may remember something."""
        silent = [peer.node for peer in around.reachable if peer.status == UNKNOWN]
        missing = [peer.node for peer in around.reachable if peer.node not in around.compared]
        partners = [peer.node for peer in around.reachable]
        if around.unmet:
            self._wait(f"{_names(around.unmet)} to be reached", partners, missing)
        elif silent:
            self._wait(
                f"{_names(silent)} to say whether {_either(silent, 'it serves', 'they serve')}", partners, missing
            )
        elif missing:
            idle = _either(missing, "which does not serve yet either", "which do not serve yet either")
            self._wait(f"the comparison with {_names(missing)}, {idle}", partners, missing)
        elif partners:
            self._end(f"nobody serves yet, and it has compared itself with {_names(partners)}")
        else:
            self._end("it is the only node")

    def _wait(self, what: str, partners: Collection[str], wanted: Collection[str] = ()) -> None:
        self.waiting = f"it waits for {what}"
        self.partners, self.wanted = partners, wanted

    def _end(self, why: str) -> None:
        self.outcome = why
        self.partners, self.wanted = None, ()


def _names(names: Sequence[str]) -> str:
    """Return the first few of these names as words."""
    return named(names, MOST_NAMED)


def _either(names: Sequence[str], one: str, many: str) -> str:
    return one if len(names) == 1 else many
