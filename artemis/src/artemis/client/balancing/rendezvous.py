"""Which of many instances a key belongs to: of all the one with the highest score for the key's slot (rendezvous).

Every score is the same in every process and version, so when an instance comes or goes only the keys that it gets or
had move. The scores of all instances for one slot are worked out together, as lanes of one large number each: with
thousands of instances that is a tenth of the time. Not here: when a key is asked for, see `strategies`.
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LANE = 8
"""Bytes of a lane: twice what a factor has, so that no product reaches the next lane."""

_HALF = 0xFFFFFFFF
_WORD = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15
# Those of the 32 bit finalizer of MurmurHash3.
_FIRST = 0x85EBCA6B
_SECOND = 0xC2B2AE35
_FOLD = 15


def slot_of(key: bytes) -> int:
    """Return the slot of a key: the first two bytes of its BLAKE2b-64, so the same in every process and version."""
    digest = blake2b(key, digest_size=8).digest()
    return digest[0] << 8 | digest[1]


def score(seed: int, slot: int) -> int:
    """Return how much an instance wants a slot, both mixed to 32 evenly spread bits; below them, half its seed."""
    mixed = ((seed ^ _salt(slot)) & _HALF) * _FIRST & _HALF
    mixed = (mixed ^ mixed >> _FOLD ^ seed >> 32) * _SECOND & _HALF
    return mixed << 32 | seed >> 32


class Lanes:
    """The seeds (64 bits) of some instances, ready to be scored together."""

    __slots__ = ("_count", "_high", "_low", "_mask", "_ones")

    def __init__(self, halves: Iterable[tuple[bytes, bytes]]) -> None:
        low, high = zip(*halves, strict=True)
        self._count = len(low)
        self._low = _number(b"".join(low))
        self._high = _number(b"".join(high))
        self._ones = _number(lane(1) * self._count)
        self._mask = self._ones * _HALF

    def owner(self, slot: int) -> int:
        """Return the place of the one with the highest `score` for a slot."""
        mixed = (self._low ^ self._ones * _salt(slot)) * _FIRST & self._mask
        mixed = ((mixed ^ mixed >> _FOLD) & self._mask ^ self._high) * _SECOND & self._mask
        raw = (mixed << 32 | self._high).to_bytes(LANE * self._count, sys.byteorder)
        scores = memoryview(raw).cast("Q").tolist()
        return scores.index(max(scores))


def halves(seed: int) -> tuple[bytes, bytes]:
    """Return the lower and the upper half of a seed as lanes."""
    return lane(seed & _HALF), lane(seed >> 32)


def lane(number: int) -> bytes:
    """Return a number as a lane."""
    return number.to_bytes(LANE, sys.byteorder)


def _salt(slot: int) -> int:
    return ((slot + 1) * _GOLDEN & _WORD) >> 32


def _number(lanes: bytes) -> int:
    return int.from_bytes(lanes, sys.byteorder)
