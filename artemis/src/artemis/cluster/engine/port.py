"""What the core of a node and the bucket of a cluster say to each other: commands out, calls in (design 4.1 "Engine").

A bucket is a stream of entries, at most one of each key; every put of an entry takes the next sequence number and has
the entry of that key before it disappear. Not here: what either side makes of it (`replica`; `artemis.cluster.nats`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from artemis.cluster.messages import BadMessage, Name, Number, Renewals, Unnamed

# -- what travels beside the bucket


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="stored"):
    """All changes of a node in one life up to number `reached` are in the bucket of this identity, in entries up to
    `sequence`."""

    node: Name
    epoch: Number
    reached: Number
    sequence: Number
    bucket: Name


Told = Renewals | Unnamed | Stored
"""What a node says without the bucket: it may be lost, and comes in no certain order."""

MAX_TOLD = 512 * 1024
"""Bytes of one such message at most."""

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)


def encode_told(message: Told) -> bytes:
    """Return the bytes of a message."""
    return _ENCODE(message)


def decode_told(data: bytes) -> Told:
    """Read one message. Raises BadMessage, and nothing else."""
    if len(data) > MAX_TOLD:
        raise BadMessage(f"a message has {MAX_TOLD} bytes at most, not {len(data)}")
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"a message cannot be read: {error}") from error


# -- what the bucket holds


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An entry as it stands in the bucket: `at` is when it was put, in ms of the engine's clock, and `lain` how many
    milliseconds ago that is by that clock."""

    key: str
    value: bytes
    sequence: int
    at: int
    lain: int


class Opening(msgspec.Struct, frozen=True):
    """A bucket as it was found: the identity of this incarnation of it, its last sequence number, and when that was
    taken, in ms of the engine's clock, both 0 while it is new. `members` are all entries with keys `m.`, which were
    read after that."""

    identity: str
    last: int
    at: int
    members: Sequence[Entry] = ()


class Position(msgspec.Struct, frozen=True):
    """How far a bucket was read, for a later life of the node: all entries up to `sequence`, put at `at` or before."""

    identity: str
    sequence: int
    at: int


# -- commands


class Read(msgspec.Struct, frozen=True, gc=False):
    """Bring every entry with a sequence number above `after`, in order and for ever; what was being brought before that
    comes no more."""

    after: int


class Put(msgspec.Struct, frozen=True, gc=False):
    """Put an entry if the present one of its key has the sequence number `revision`, 0 for none. Its outcome is told
    with its `number`, once: `stored`, `conflicted`, `refused`, or `unknown`."""

    number: int
    key: str
    value: bytes
    revision: int


class Get(msgspec.Struct, frozen=True, gc=False):
    """Bring the present entry of a key, as `got`; nothing when that fails."""

    key: str


class Purge(msgspec.Struct, frozen=True, gc=False):
    """Let an entry disappear if its sequence number is `revision` or below. Nothing is said of the outcome."""

    key: str
    revision: int


class AskLast(msgspec.Struct, frozen=True, gc=False):
    """Say what the last sequence number is, as `last`; asked again when no answer comes."""


class Scan(msgspec.Struct, frozen=True, gc=False):
    """Bring every entry that there is once, beside what `Read` brings, as `scanned` with its `number`, and at the end
    `scan_over`. A new one takes the place of the one before; nothing more comes of it after `lost`."""

    number: int


class Tell(msgspec.Struct, frozen=True, gc=False):
    """Say something to a node, to all others if it is None."""

    node: str | None
    message: Told


Command = Read | Put | Get | Purge | AskLast | Scan | Tell


# -- calls


class Core(Protocol):
    """What a carrier calls. `now` is monotonic milliseconds. After every batch of calls it carries out `take`."""

    @property
    def untold(self) -> bool:
        """Whether there are changes that are being put, or of which it has not told the others: it does when they were
        brought."""

    def opened(self, opening: Opening, now: int) -> None:
        """There is a bucket to work with, for the first time, again after `lost`, or another one. Nothing is brought
        before the `Read` that follows, and outcomes of earlier puts are told no more."""

    def lost(self, why: str, now: int) -> None:
        """There is no bucket to work with until `opened`; `why` is a sentence without a full stop. Puts under way may
        happen or not, also later."""

    def entry(self, entry: Entry, now: int) -> None:
        """The next entry that `Read` asked for."""

    def at(self, sequence: int, now: int) -> None:
        """All entries up to this sequence number that there are have been brought."""

    def doubted(self, now: int) -> None:
        """What was brought may lack some, as it is not what most servers keep: all is to be read again."""

    def last(self, sequence: int, now: int) -> None:
        """Answers `AskLast`: the last sequence number was this one after it was asked."""

    def got(self, key: str, entry: Entry | None, now: int) -> None:
        """Answers `Get`, perhaps with an entry that is not the present one any more."""

    def scanned(self, number: int, entry: Entry, now: int) -> None:
        """The next entry of a `Scan`."""

    def scan_over(self, number: int, last: int, now: int) -> None:
        """All entries up to `last` that there are have been brought by a `Scan`, which was the last one when it
        began."""

    def stored(self, number: int, sequence: int, now: int) -> None:
        """A put was done, as this sequence number."""

    def conflicted(self, number: int, now: int) -> None:
        """A put was not done: the key has another revision."""

    def refused(self, number: int, full: bool, why: str, now: int) -> None:
        """A put was not done: the bucket is full, so that no new key fits, or whatever `why` says."""

    def unknown(self, number: int, now: int) -> None:
        """Nobody knows whether a put was or will be done."""

    def receive(self, node: str, message: Told, now: int) -> None:
        """Another node said something."""

    def flush(self, now: int) -> None:
        """Take up what has changed here; almost free when nothing has."""

    def tick(self, now: int, wall: int) -> None:
        """Do what time has made due; called about every 100 ms."""

    def take(self) -> Sequence[Command]:
        """Return what is to be done, in order."""
