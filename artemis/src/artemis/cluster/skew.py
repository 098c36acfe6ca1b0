"""Wall clocks of nodes that differ: between whom, by how much, and whose is the wrong one (design 4.1).

The version of a record begins with a wall clock, so one that is ahead would win against everybody. Two nodes whose
clocks differ by more than an eighth of the TTL refuse each other; a node that differs from most of those it reaches
takes itself for the one that is wrong. Pure. Not here: how clocks are measured (`mesh`).
"""

from __future__ import annotations

import msgspec

from artemis.cluster.machines import machine_of

KEPT = 60_000
"""Milliseconds after which a measurement says nothing any more; nodes that refuse each other measure well within."""

STEP = 1_000
"""Milliseconds between two ticks by which the wall clock went other than the monotonic one: somebody set it, or the
machine slept. What was measured before is void then."""


class Measured(msgspec.Struct, frozen=True):
    """What another node's wall clock showed: that minus our monotonic clock, by how much that may be wrong, when."""

    offset: int
    error: int
    at: int


class Clocks:
    """The wall clocks of the nodes that this one reaches, all in milliseconds. Owned by `Members`.

    `limit` is by how much two may differ, `own` the id of this node. Processes of one machine have one clock, and one
    voice in whose is wrong. A difference counts only as far as it is certain. `agreed` says that this
    node's clock is right, as more than half of those that are reached agree with it, this one included.
    """

    def __init__(self, limit: int, own: str = "") -> None:
        self.limit = limit
        self._machine = machine_of(own)
        self._measured: dict[str, Measured] = {}
        self._own: int | None = None
        self._reached = 0
        self.agreed = False
        self._fault: str | None = None

    def measure(self, node: str, skew: int, error: int, now: int, wall: int) -> None:
        """Take note that the wall clock of `node` is ahead of ours, `wall`, by `skew`, give or take `error`."""
        self._measured[node] = Measured(wall + skew - now, error, now)

    def forget(self, node: str) -> None:
        """Drop a node that is no member any more."""
        self._measured.pop(node, None)

    def skew(self, node: str, now: int, wall: int) -> int | None:
        """Return by how much the clock of a node is ahead of ours, None when that is not known."""
        found = self._measured.get(node)
        return None if found is None else found.offset - (wall - now)

    def too_far(self, node: str, now: int, wall: int) -> bool:
        """Whether the clock of a node certainly differs by more than the limit."""
        found = self._measured.get(node)
        return found is not None and abs(found.offset - (wall - now)) - found.error > self.limit

    def doubtful(self, node: str, now: int, wall: int) -> bool:
        """Whether a node is there, refused for its clock, and not known to be the one that is wrong: it may go on."""
        return not self.agreed and self.too_far(node, now, wall)

    def fault(self, now: int, wall: int) -> str | None:
        """Judge the own clock; returns a sentence while it is the wrong one.

        It is, if more than half of the nodes that are reached, this one included, agree with each other and not with
        it. Two nodes that differ cannot tell whose clock is wrong: both go on, apart. Once it is the wrong one it stays
        so until it is measured right, or nobody was reached for a minute.
        """
        self._void(now, wall)
        machines = {
            machine_of(node): found
            for node, found in sorted(self._measured.items(), key=lambda each: each[1].error, reverse=True)
        }
        machines.pop(self._machine, None)
        if not machines:
            if now - self._reached > KEPT:
                self._fault = None
            return self._fault
        self._reached = now
        others = list(machines.values())
        mine = Measured(wall - now, 0, now)
        everybody = [mine, *others]
        self.agreed = 2 * self._agreeing(mine, everybody) > len(everybody)
        if self.agreed:
            self._fault = None
        elif 2 * max(self._agreeing(each, everybody) for each in others) > len(everybody):
            self._fault = self._sentence(mine, others)
        return self._fault

    def _agreeing(self, one: Measured, all_: list[Measured]) -> int:
        return sum(abs(one.offset - each.offset) - one.error - each.error <= self.limit for each in all_)

    def _sentence(self, mine: Measured, others: list[Measured]) -> str:
        apart = sorted(
            abs(mine.offset - each.offset) * (1 if mine.offset > each.offset else -1)
            for each in others
            if self._agreeing(mine, [each]) == 0
        )
        median = apart[len(apart) // 2]
        direction = "ahead of" if median > 0 else "behind"
        most = f"{len(apart)} of the {len(others)}" if len(apart) < len(others) else "all the"
        return (
            f"the wall clock of this node is {abs(median) / 1000:.1f} s {direction} {most} others that it reaches; "
            "set it right, for example with NTP: registry is served again then, and until then nothing expires here"
        )

    def _void(self, now: int, wall: int) -> None:
        """Drop what is too old, and everything when the own clock was set."""
        own = wall - now
        if self._own is not None and abs(own - self._own) > STEP:
            self._measured.clear()
        self._own = own
        for node in [name for name, found in self._measured.items() if now - found.at > KEPT]:
            del self._measured[node]
