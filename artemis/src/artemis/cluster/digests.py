"""Sums over all records, by which two nodes find out what they know differently (design 4.1 "Repair").

A record has a digest of eight bytes over all that decides what it shows: key, version, removal, content, assertion and
expiry; dead ones too, until they are swept.
Not the latest renewal, which differs all the time: its owner tells of it by itself, and where a node gave up what
another one still hears, the expiry differs. Not the numbers of the changes either: where all else is the same, they
make no difference to what anybody is shown.
Records fall into buckets by their key, and a bucket's sum is the digests of its records, each made once per change.
Not here: what is sent (`exchange`).
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from zlib import crc32

import msgspec

from artemis.registry import Lease

BUCKETS = 1_024
"""Buckets of instances: at 100 000 of them, a difference costs about a hundred digests."""

_LOW = BUCKETS - 1


class Digests:
    """The sums of a registry's buckets. Owned by a replica, told by the registry of every lease that changes.

    A digest is made when somebody asks, so an instance that changes often costs no more. `forget` is called with every
    lease that the registry forgets.
    """

    def __init__(self, leases: Iterable[Lease], forget: Callable[[Lease], None]) -> None:
        self._forget = forget
        self._sums = array("Q", bytes(8 * BUCKETS))
        self._buckets: list[dict[Lease, None]] = [{} for _ in range(BUCKETS)]
        self._dirty: dict[Lease, None] = dict.fromkeys(leases)

    @property
    def dirty(self) -> int:
        """Count the leases whose digests are to be made."""
        return len(self._dirty)

    def changed(self, lease: Lease) -> None:
        """Note that a lease has another record."""
        digest = lease.digest
        if digest:
            self._sums[digest & _LOW] ^= digest
            lease.digest = 0
        self._dirty[lease] = None

    def gone(self, lease: Lease) -> None:
        """Note that a lease was forgotten."""
        digest = lease.digest
        if digest:
            self._sums[digest & _LOW] ^= digest
            lease.digest = 0
        self._dirty.pop(lease, None)
        self._buckets[bucket_of(lease.record.key[1], lease.record.key[2])].pop(lease, None)
        self._forget(lease)

    def refresh(self, most: int) -> bool:
        """Make at most so many digests that are missing; return whether none is missing now."""
        dirty = self._dirty
        while dirty and most > 0:
            self._make(dirty.popitem()[0])
            most -= 1
        return not dirty

    def _make(self, lease: Lease) -> int:
        lease.digest = digest = _digest(lease)
        bucket = digest & _LOW
        self._sums[bucket] ^= digest
        self._buckets[bucket][lease] = None
        return digest

    def sums(self) -> bytes:
        """Return the sums of all buckets, eight bytes each, little-endian. None must be missing."""
        return packed_digests(self._sums)

    def differing(self, theirs: bytes) -> list[int]:
        """Return the buckets whose sums are others than `theirs`; those that have no sum there are."""
        sums = unpacked_digests(theirs)[:BUCKETS]
        if sums == self._sums:  # as most often
            return []
        missing = list(range(len(sums), BUCKETS))
        return [bucket for bucket, (a, b) in enumerate(zip(self._sums, sums, strict=False)) if a != b] + missing

    def bucket(self, number: int) -> dict[int, Lease]:
        """Return the leases of a bucket by their digests, those that had one before; an unknown number has none."""
        if not 0 <= number < BUCKETS:
            return {}
        found: dict[int, Lease] = {}
        for lease in self._buckets[number]:
            digest = lease.digest
            if not digest:
                self._dirty.pop(lease, None)
                digest = self._make(lease)
            found[digest] = lease
        return found

    def find(self, digests: Iterable[int], buckets: Iterable[int]) -> Iterator[Lease]:
        """Yield the leases of these buckets that have these digests now."""
        found = by_bucket(digests)
        for bucket in buckets:
            wanted = found.get(bucket, ())
            for lease in self._buckets[bucket] if wanted else ():
                if lease.digest in wanted:
                    yield lease


def bucket_of(service: str, instance: str) -> int:
    """Return the bucket of an instance, ids in lower case."""
    return crc32(instance.encode(), crc32(service.encode())) & _LOW


def by_bucket(digests: Iterable[int]) -> dict[int, set[int]]:
    """Return digests of records by the buckets they are of."""
    found: dict[int, set[int]] = {}
    for digest in digests:
        its = found.get(digest & _LOW)
        if its is None:
            found[digest & _LOW] = {digest}
        else:
            its.add(digest)
    return found


def packed_digests(digests: Iterable[int]) -> bytes:
    """Return digests as bytes for the wire, little-endian."""
    return _swapped(array("Q", digests)).tobytes()


def unpacked_digests(data: bytes) -> array[int]:
    """Return the numbers of bytes from the wire; what is left over at their end is none."""
    numbers = array("Q")
    numbers.frombytes(data[: len(data) // 8 * 8])
    return _swapped(numbers)


_encode = msgspec.msgpack.Encoder().encode


def _digest(lease: Lease) -> int:
    """Return the digest of a lease's record, never 0; its lowest bits are its bucket."""
    record = lease.record
    _, service, instance = record.key
    packed = _encode(
        (service, instance, record.version, record.removed, record.content, record.asserted, record.expired)
    )
    high = int.from_bytes(blake2b(packed, digest_size=8).digest(), "little") & ~_LOW
    return (high or BUCKETS) | bucket_of(service, instance)


def _swapped(sums: array[int]) -> array[int]:
    """Return sums between this machine's byte order and that of the wire."""
    if sys.byteorder == "little":
        return sums
    swapped = sums[:]
    swapped.byteswap()
    return swapped
