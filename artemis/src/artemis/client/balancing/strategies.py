"""How an instance is chosen within a group. Pure: randomness, the time and the key come in.

Not here: which group, and who of it is left out, see `choices`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from artemis.client.balancing.rendezvous import Lanes, slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from artemis.client.balancing.members import Lot, Member

    Pick = Callable[[Lot, Sequence[Member], Random, Callable[[], float], bytes], Member]
    """Chooses one of the members given, not empty; the lot remembers turns; then randomness, the time and the key."""

Strategy = Literal["round-robin", "random", "least-requests", "consistent-hash", "power-of-two"]
"""How a balancer chooses within a group of instances.

- ``round-robin``: one after another, from a random start;
- ``random``: each with the same chance;
- ``least-requests``: one with the fewest requests under way from this client, of several any; of more than 32
  instances 32 neighbours are looked at, from anywhere on;
- ``consistent-hash``: the one that the key belongs to, in every process; when an instance comes or goes only the keys
  that it gets or had move;
- ``power-of-two``: of two at random the one that promises the shorter wait by its requests under way, how long its
  answers took lately and its failures since the last of them.

Requests under way, latency and failures are known for requests made with ``balancer.request`` alone (and ``report``,
but for the requests under way).
"""

SLOTS = 1 << 16
"""Keys fall into so many slots; each belongs to one instance. 65 for each of 1000 instances."""

LOOKED_AT = 32
"""``least-requests`` compares so many, so that a choice costs the same among thousands."""

MEMORY = 10.0
"""Seconds after which a measured latency counts for 1/e: whoever was slow is tried again, though nobody asked it."""

WEIGHT_OF_LAST = 0.25
"""The share of the last answer in the moving average of the latency."""


def smooth_turn(lots: Sequence[Lot]) -> Lot:
    """Return the group whose turn it is by smooth weighted round robin.

    Out of as many choices as the weights add up to, each group gets exactly its weight, evenly spread.
    """
    total = 0
    best = lots[0]
    for lot in lots:
        lot.credit += lot.weight
        total += lot.weight
        if lot.credit > best.credit:
            best = lot
    best.credit -= total
    return best


def in_turn(lot: Lot, able: Sequence[Member], _random: Random, _now: Callable[[], float], _key: bytes) -> Member:
    """Choose one after another."""
    lot.turn += 1
    return able[lot.turn % len(able)]


def at_random(_lot: Lot, able: Sequence[Member], random: Random, _now: Callable[[], float], _key: bytes) -> Member:
    """Choose any, each with the same chance."""
    return able[int(random.random() * len(able))]


def least_requests(_lot: Lot, able: Sequence[Member], random: Random, _now: Callable[[], float], _key: bytes) -> Member:
    """Choose one with the fewest requests under way, of several any with the same chance."""
    if len(able) > LOOKED_AT:
        start = int(random.random() * len(able))
        able = (*able[start : start + LOOKED_AT], *able[: max(0, start + LOOKED_AT - len(able))])
    loads = [member.outstanding for member in able]
    lowest = min(loads)
    ties = loads.count(lowest)
    turn = int(random.random() * ties)
    if ties == len(loads):
        return able[turn]
    place = loads.index(lowest)
    for _ in range(turn):
        place = loads.index(lowest, place + 1)
    return able[place]


def power_of_two(_lot: Lot, able: Sequence[Member], random: Random, now: Callable[[], float], _key: bytes) -> Member:
    """Choose the better of two different ones; while the latency of one is unknown their requests under way decide."""
    count = len(able)
    first = int(random.random() * count)
    if count == 1:
        return able[first]
    second = int(random.random() * (count - 1))
    one, two = able[first], able[second + (second >= first)]
    if one.latency is None or two.latency is None:
        return two if two.outstanding < one.outstanding else one
    moment = now()
    return two if _wait(two, two.latency, moment) < _wait(one, one.latency, moment) else one


def by_key(lot: Lot, able: Sequence[Member], _random: Random, _now: Callable[[], float], key: bytes) -> Member:
    """Choose the one that the key belongs to."""
    slot = slot_of(key)
    if able is not lot.able:
        return able[Lanes(member.halves for member in able).owner(slot)]
    owner = lot.owners.get(slot)
    if owner is None:
        lanes = lot.lanes = lot.lanes or Lanes(member.halves for member in able)
        owner = lot.owners[slot] = able[lanes.owner(slot)]
    return owner


def learn_latency(member: Member, seconds: float, now: float) -> None:
    """Take in what an answered request took."""
    if member.latency is None:
        member.latency = seconds
    else:
        member.latency += (seconds - member.latency) * WEIGHT_OF_LAST
    member.sampled = now


def _wait(member: Member, latency: float, now: float) -> float:
    # Quick failures must not make an instance look quick, so failed requests teach no latency and count here.
    lately = latency * math.exp((member.sampled - now) / MEMORY)
    return lately * (1 + member.outstanding) * (1 + member.failures)


PICKS: dict[Strategy, Pick] = {
    "round-robin": in_turn,
    "random": at_random,
    "least-requests": least_requests,
    "consistent-hash": by_key,
    "power-of-two": power_of_two,
}
