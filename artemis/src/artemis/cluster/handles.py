"""Handles: small numbers instead of instances, so that a heartbeat costs its peers four bytes (design 4.1 "Links").

A sender numbers the leases that it tells of, the same for all peers, and says the name of a number when it first uses
it. A receiver that lacks a name asks for it (`Unnamed`): so does one that connected later, or lost a message. When many
numbers name leases that are gone, the sender begins anew, in a new generation. What is said of a number without a name
is kept until its name comes, else an instance that is heard elsewhere would be given up here meanwhile.
Not here: what a renewal does (`artemis.registry.merging`).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence

from artemis.registry import Lease, Registry, Stamp

Name = tuple[int, str, str]
"""A handle, service and instance id in lower case."""

MAX_HANDLES = 4_000_000
"""The largest handle that is read is below this."""

NAMES_AT_ONCE = 2_000
"""Names of one message, and names asked for at once: about 100 KB."""

_HANDLES_AT_ONCE = 5_000

GROWTH = 100_000
"""How far beyond all handles of a peer that were named before one may be that is named now."""

MOST_UNMET = 16 * 1024 * 1024
"""Bytes, about, of the names of one peer that no record here has."""

MOST_OWED = 100_000
"""Renewals of one peer that wait for the names of their handles."""

OWED_FOR = 5_000
"""Milliseconds that they wait; who is alive is heard again by then."""

_SPARE = 1_000
"""Handles of leases that are gone, at least, before a new generation begins."""


class Handles:
    """The handles that this node gives. Owned by a replica."""

    def __init__(self) -> None:
        self.generation = 1
        self._numbers: dict[Lease, int] = {}
        self._leases: list[Lease | None] = []
        self._gone = 0

    def __len__(self) -> int:
        """Count the handles in use."""
        return len(self._numbers)

    def forget(self, lease: Lease) -> None:
        """Use the handle of a lease no longer."""
        number = self._numbers.pop(lease, None)
        if number is not None:
            self._leases[number] = None
            self._gone += 1

    def compact(self) -> None:
        """Begin a new generation if most handles are of leases that are gone."""
        if self._gone > max(_SPARE, len(self._numbers)):
            self.generation += 1
            self._numbers.clear()
            self._leases.clear()
            self._gone = 0

    def batches(self, leases: Sequence[Lease]) -> Iterator[tuple[list[Name], bytes]]:
        """Yield the handles of leases in parts of one message each, with the names of those that are new."""
        numbers, known = self._numbers, self._leases
        names: list[Name] = []
        handles = array("I")
        for lease in leases:
            number = numbers.get(lease)
            if number is None:
                number = numbers[lease] = len(known)
                known.append(lease)
                names.append((number, *lease.record.key[1:]))
            handles.append(number)
            if len(handles) == _HANDLES_AT_ONCE or len(names) == NAMES_AT_ONCE:
                yield names, packed(handles)
                names, handles = [], array("I")
        if handles:
            yield names, packed(handles)

    def names(self, handles: Iterable[int]) -> list[Name]:
        """Return the names of handles, without those that are unknown, NAMES_AT_ONCE at most."""
        known = self._leases
        found: list[Name] = []
        for number in handles:
            lease = known[number] if number < len(known) else None
            if lease is not None:
                found.append((number, *lease.record.key[1:]))
                if len(found) == NAMES_AT_ONCE:
                    break
        return found


class PeerHandles:
    """What the handles of one peer, in one of its lives and generations, mean here. Owned by a replica."""

    __slots__ = ("_meant", "_owed", "_unmet", "life")

    def __init__(self, life: tuple[int, int]) -> None:
        self.life = life
        """Epoch and generation; larger ones are later."""
        self._unmet = 0
        # The lease that a handle means; its ids while there is none.
        self._meant: list[Lease | tuple[str, str] | None] = []
        # What was said of handles without names, and when; the latest last.
        self._owed: dict[int, tuple[Stamp, int]] = {}

    def learn(self, names: Iterable[Name]) -> int:
        """Note what handles mean; return how many are not noted.

        Those are what is beyond MAX_HANDLES; what is far beyond all that was named before, as one number would make a
        table of any size, but each message brings the table nearer; and names that are too many to be kept until their
        records come. Whoever uses such a handle is asked for its name again.
        """
        meant = self._meant
        room = min(len(meant) + GROWTH, MAX_HANDLES)
        refused = 0
        far = False
        for number, service, instance in names:
            if not 0 <= number < room or self._unmet > MOST_UNMET:
                refused += 1
                far = far or number >= room
                continue
            if number >= len(meant):
                meant.extend([None] * (number + 1 - len(meant)))
            self._put(number, (service, instance))
        if far:
            meant.extend([None] * (room - len(meant)))
        return refused

    def _put(self, number: int, one: Lease | tuple[str, str]) -> None:
        before = self._meant[number]
        if before.__class__ is tuple:
            self._unmet -= _size(before)
        if one.__class__ is tuple:
            self._unmet += _size(one)
        self._meant[number] = one

    def owe(self, handles: Iterable[int], stamp: Stamp, now: int) -> int:
        """Keep a renewal of handles without names until the names come; return how many there is no room for."""
        owed = self._owed
        while owed and now - owed[oldest := next(iter(owed))][1] > OWED_FOR:
            del owed[oldest]
        refused = 0
        for number in handles:
            owed.pop(number, None)
            if len(owed) < MOST_OWED:
                owed[number] = stamp, now
            else:
                refused += 1
        return refused

    def settle(self, names: Iterable[Name], now: int) -> dict[Stamp, list[int]]:
        """Take out what is owed to handles whose names have come: the handles, by the stamp of their renewal."""
        owed = self._owed
        due: dict[Stamp, list[int]] = {}
        if owed:
            for number in [number for number, *_ in names if number in owed]:
                stamp, at = owed.pop(number)
                if now - at <= OWED_FOR:
                    due.setdefault(stamp, []).append(number)
        return due

    def leases(self, handles: Sequence[int], registry: Registry) -> tuple[list[Lease], list[int], bool]:
        """Return the leases that handles mean, the handles whose names are missing, and whether a record is missing."""
        meant, count = self._meant, len(self._meant)
        found: list[Lease] = []
        nameless: list[int] = []
        lacking = False
        for number in handles:
            one = meant[number] if number < count else None
            if one.__class__ is Lease and one.live:
                found.append(one)
                continue
            if one is None:
                nameless.append(number)
                continue
            # It was swept, and maybe came back as another, or it was not there yet.
            service, instance = one.record.key[1:] if isinstance(one, Lease) else one
            lease = registry.find(service, instance)
            if lease is None:
                lacking = True
                self._put(number, (service, instance))
            else:
                self._put(number, lease)
                found.append(lease)
        return found, nameless, lacking


def _size(name: tuple[str, str]) -> int:
    return 200 + len(name[0]) + len(name[1])


def packed(handles: Iterable[int]) -> bytes:
    """Return handles as bytes for the wire, in ascending order."""
    ordered = array("I", sorted(handles))
    if sys.byteorder == "big":
        ordered.byteswap()
    return ordered.tobytes()


def unpacked(data: bytes) -> array[int]:
    """Return the handles of bytes from the wire; what is left over at their end is no handle."""
    handles = array("I")
    handles.frombytes(data[: len(data) // 4 * 4])
    if sys.byteorder == "big":
        handles.byteswap()
    return handles
