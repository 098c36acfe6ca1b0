"""What a seed decides before anything happens: how many nodes, which kind of links, how bad the world is.

Times are scaled down, so that a run sees many lifetimes: a beat of 2 s and a TTL of 8 s instead of 5 s and 20 s.
Not here: what happens when, which the same seed decides on the way.
"""

from __future__ import annotations

import random

import msgspec

BEAT = 2_000
"""Milliseconds between two heartbeats of a client."""

TTL = 8_000
LEGACY_TTL = 12_000
GRACE = 2_000
HOLD = 24_000
TICK = 400

JOIN = 3_000
"""How long a node waits at most for a copy of its peers before it serves."""

CALM_TICK = 700
"""The same once the faults are over: it saves time, and is not yet long enough to be taken for a pause of the node."""

SKEW = TTL // 16
"""Each wall clock is off by at most this, so two of them differ by TTL / 8 at most."""

CHAOS = 50_000
"""How long faults happen."""

REGION = "r"

EPOCH = 1_700_000_000_000
"""What right wall clocks show when the world begins, in milliseconds."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The world of one seed.

    `streams`: links are ordered streams that break and lose what was under way, as in reality; else every message goes
    its own way, may be lost, arrive late or twice. `loss`, of such messages, and `slow`, of streams that carry a few
    messages a second, are shares. `jumps`: wall clocks jump beyond what is allowed; `churn`: nodes join, leave and are
    replaced; `pauses`: processes stand still; `operators`: they pull instances out.
    `java`: the share of clients that know no versions.
    """

    seed: int
    nodes: int
    streams: bool
    loss: float
    slow: float
    lifetime: int
    clients: int
    services: int
    java: float
    legacy: float
    jumps: bool
    churn: bool
    pauses: bool
    operators: bool
    mass_death: int | None
    log_entries: int
    rows: int

    @property
    def outlives(self) -> bool:
        """Whether a removal is remembered for longer than self-preservation may hold what was removed elsewhere."""
        return self.lifetime > LEGACY_TTL + HOLD + self.nodes * GRACE

    @property
    def departure(self) -> int:
        """Milliseconds for which nodes that left are remembered: no longer than removals, or longer than the run."""
        return 86_400_000 if self.seed % 2 == 0 else self.lifetime

    @property
    def slow_sweeps(self) -> bool:
        """Whether the pull-out of a server takes many ticks, as it does where there are many instances."""
        return self.rows == 2

    @property
    def settle(self) -> int:
        """Milliseconds after the last fault until everyone must show the same."""
        return HOLD + 2 * LEGACY_TTL + (self.nodes + 2) * GRACE + 8_000


def plan_of(seed: int) -> tuple[Plan, random.Random]:
    """Return the plan of a seed, and the randomness for what happens on the way."""
    rnd = random.Random(seed)  # noqa: S311 - a simulation is to be repeated
    nodes = rnd.choice((3,) * 7 + (4,) * 4 + (5,) * 2 + (7,))
    lifetime = rnd.choice((LEGACY_TTL + nodes * GRACE + 6_000, 34_000, 56_000))
    plan = Plan(
        seed=seed,
        nodes=nodes,
        streams=rnd.random() < 0.6,
        loss=rnd.choice((0.0, 0.02, 0.1)),
        slow=rnd.choice((0.0, 0.0, 0.3)),
        lifetime=lifetime,
        clients=rnd.choice((10, 16)),
        services=rnd.choice((1, 2, 3)),
        java=rnd.choice((0.0, 0.3, 1.0)),
        legacy=rnd.choice((0.0, 0.0, 0.5)),
        jumps=rnd.random() < 0.15,
        churn=rnd.random() < 0.3,
        pauses=rnd.random() < 0.3,
        operators=rnd.random() < 0.4,
        mass_death=rnd.randint(15_000, CHAOS) if rnd.random() < 0.25 else None,
        log_entries=rnd.choice((20, 200, 50_000)),
        rows=rnd.choice((2, 5, 200)),
    )
    return plan, rnd
