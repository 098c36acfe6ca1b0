"""What nodes of a cluster tell each other: the messages of the mesh, one format for all links (design 4.1 "Links").

A message is one MessagePack array whose first element names it. Whoever meets a message that he does not know drops it
and says so; what both sides understand is agreed at the handshake.
Not here: what a message means (`replica`), and how it travels (`mesh`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import msgspec

from artemis.cluster.standing import ByHand
from artemis.registry import Record
from artemis.registry.settings import MAX_ID

PROTOCOL = 2
"""The newest version of the messages below that this node speaks."""

OLDEST_PROTOCOL = 1
"""The oldest version that it speaks as well."""


MACHINES = 2
"""Since this version nodes know that a node may be several processes, each of which they link with."""


class Versions(NamedTuple):
    """The versions of the messages that a node speaks, from the `oldest` to the `newest`."""

    oldest: int
    newest: int

    def common(self, other: Versions) -> int | None:
        """Return the highest version that both speak, None if there is none."""
        highest = min(self.newest, other.newest)
        return highest if highest >= max(self.oldest, other.oldest) else None

    def __str__(self) -> str:
        """Say which these are."""
        return f"version {self.newest}" if self.oldest == self.newest else f"versions {self.oldest} to {self.newest}"


SPOKEN = Versions(OLDEST_PROTOCOL, PROTOCOL)
"""What this release speaks: the newest version, and that of the release before where they differ."""

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of one message at most, so that it fits into a packet."""

MAX_ROWS = 250
"""Rows of one message that are read, as nobody else has a turn while they are merged; senders stop far below."""

MAX_DOTS = 12_000
"""Dots of all rows of one message that are read; senders stop at some thousands, but one row may have MAX_ORIGINS."""

MAX_NAMES = 2_000
"""Names of handles in one message."""

MAX_ORIGINS = 10_000
"""Origins that a vector may name: all lives of all nodes within the lifetime of records."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""A sequence number, an epoch, or a stamp's value."""

AHEAD = 2**45
"""Milliseconds, a thousand years: nobody believes in epochs and stamps that are further ahead of the own wall clock.
All that follow must be later still, so one that is near a bound that never moves would leave no room for them.
"""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]
"""A service, instance or node id."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_ID)]
"""What an operator has written, or nothing."""

Stamp = tuple[Number, str]
"""See `artemis.registry.records`."""

Part = tuple[Name, Number, Number]
"""An origin and a sequence number: node, epoch, number."""

Parts = Annotated[list[Part], msgspec.Meta(max_length=MAX_ORIGINS)]
"""A vector, or the dots of a record."""

Handles = Annotated[bytes, msgspec.Meta(max_length=20_000)]
"""Little-endian unsigned 32-bit numbers, 5 000 at most, as nobody else has a turn while they are looked up."""

RecordDigests = Annotated[bytes, msgspec.Meta(max_length=262_144)]
"""Digests of records, eight bytes each; see `digests`."""

Age = Number
"""How many milliseconds ago, on the sender's monotonic clock, the latest renewal of a record was accepted."""

UNHEARD: Age = 2**62
"""The age of a record that the sender has never heard."""


class BadMessage(ValueError):  # noqa: N818 - what it is, in the words of the log
    """A message cannot be read; the text says why. The link is not to be trusted any further."""


class InstanceRow(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="i", tag_field="kind"):
    """The record of an instance. `region` is the cluster's, so it is left out. Ids are in lower case.

    `dots` is empty in a change, whose record has the change's own dot as its only one.
    """

    service: Name
    instance: Name
    version: Stamp
    removed: bool
    content: bytes
    renewed: Stamp
    expired: Stamp
    asserted: Stamp
    age: Age
    dots: Parts = []


class OperationRow(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="o", tag_field="kind"):
    """The record of an operator's decision about an instance, or about a server if `service` is empty.

    `target` is an instance or server id, `operation` its name, each as it was first spelt, `since` when that was; in
    lower case they are the key. `removed` says that the operation was completed. `version`, then `removed`, then
    operator and token decide.
    """

    region: Name
    service: Text
    target: Name
    operation: Name
    since: Stamp
    version: Stamp
    removed: bool
    operator: Text
    token: Text | None
    dots: Parts = []


Row = InstanceRow | OperationRow


class Changes(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="changes"):
    """Changes of one origin, numbered from `first` without a hole; None for one that changes no record."""

    node: Name
    epoch: Number
    first: Number
    rows: Annotated[list[Row | None], msgspec.Meta(max_length=MAX_ROWS)]


class Renewals(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="renewals"):
    """The leases that the sender heard since its last such message, all renewed at `stamp`; the sign of life, also when
    empty.

    A lease is named by its handle, a number that the sender has given it in this `generation` of handles; `names` gives
    handles with service and instance id where they are first used, and where an `Unnamed` asked for them. `handles` are
    little-endian unsigned 32-bit numbers in ascending order. `wall` is the sender's wall clock in milliseconds, to
    notice a clock that is off. `reached` is the sender's own last sequence number, so that a lost last change is
    noticed.
    """

    node: Name
    epoch: Number
    stamp: Stamp
    wall: int
    reached: Number
    generation: Number
    names: Annotated[list[tuple[Number, Name, Name]], msgspec.Meta(max_length=MAX_NAMES)]
    handles: Handles


class Unnamed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="unnamed"):
    """Asks for the names of `handles` of the receiver's `generation`, which came first, or whose names were lost."""

    generation: Number
    handles: Handles


class Digest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="digest"):
    """Asks for what the receiver knows else: one sum of eight bytes for each bucket of the sender's records.

    `request` numbers the sender's exchanges.
    """

    request: Number
    sums: Annotated[bytes, msgspec.Meta(max_length=65_536)]


class Repair(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="repair"):
    """A part of the answer to a `Digest`: rows of the buckets that differ, as they are when it is sent.

    The one with `index` 0 comes at once, with the state of that moment: vector, base (node to the epoch below which
    everything is included), floor, and `unnamed` (node to the epoch below which rows name no changes, where that is
    beyond the base), and the `buckets` that differ. Each further one is asked for by `More`, and all is there after the
    one that is `last`. Of instances it has the records whose digests the asker did not tell of, and `unknown` are
    digests that he told of and that no record of the sender has; `through` buckets of instances are gone through by
    then, the last of them maybe not whole. Of operations it has all.
    """

    request: Number
    index: Number
    last: bool
    rows: Annotated[list[Row], msgspec.Meta(max_length=MAX_ROWS)]
    buckets: Annotated[list[Number], msgspec.Meta(max_length=8_192)] = []
    vector: Parts = []
    base: Annotated[list[tuple[Name, Number]], msgspec.Meta(max_length=10_000)] = []
    floor: Parts = []
    unnamed: Annotated[list[tuple[Name, Number]], msgspec.Meta(max_length=10_000)] = []
    through: Number = 0
    unknown: RecordDigests = b""


class More(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="more"):
    """Asks for the part `index` of the answer to `request`, and tells of the next `buckets` of instances that differ.

    `digests` are those of all records that the asker has in them. The sender goes through no bucket before it was told
    of.
    """

    request: Number
    index: Number
    buckets: Number = 0
    digests: RecordDigests = b""


class Farewell(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="farewell"):
    """The sender stops serving now: it drains, or it leaves the cluster for good."""

    node: Name
    epoch: Number
    leaving: bool


class Reached(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="reached"):
    """Acknowledges to a sibling, another worker of one machine, its own changes of this `epoch` up to `seq`: all of
    them are known here, and shown."""

    epoch: Number
    seq: Number


class Switched(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="switched"):
    """Tells a sibling how an operator has put one `switch` by hand, last of all that the sender knows of.

    It was put at `at` milliseconds of the wall clock, or later than what it overrules, at `node`. `position` is `up` or
    `down` of a service, `on` or `off` of self-preservation, `leave` or `leave-anyway` of retirement, which has the
    machine taken out of service; empty: it is left to itself. `operator` has put it at the moment `since`.
    """

    switch: ByHand
    at: Number
    node: Name
    position: Text
    operator: Text
    since: Number

    @property
    def stamp(self) -> Stamp:
        """Return what is greater for the later of two."""
        return self.at, self.node


Message = Changes | Renewals | Unnamed | Digest | Repair | More | Farewell | Reached | Switched

SINCE: Mapping[type[Message], int] = {}
"""Since which version there is a message, for those that the oldest version lacks."""


def spoken_in(version: int, message: Message) -> bool:
    """Tell whether a peer with whom this version was agreed knows a message; it is sent no other."""
    return SINCE.get(type(message), 0) <= version


def latest_epoch(wall: int) -> int:
    """Return the last epoch that is believed in while the wall clock shows `wall` milliseconds."""
    return max(wall, 0) + AHEAD


def latest_stamp(wall: int) -> int:
    """Return the highest value of a stamp that is believed in while the wall clock shows `wall` milliseconds."""
    return latest_epoch(wall) * 1_000


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode_message(message: Message) -> bytes:
    """Return the bytes of a message, the same for every receiver."""
    return _ENCODE(message)


def decode_message(data: bytes) -> Message:
    """Read one message. Raises BadMessage, and nothing else."""
    if len(data) > MAX_MESSAGE:
        raise BadMessage(f"a message has {MAX_MESSAGE} bytes at most, not {len(data)}")
    try:
        message = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"a message cannot be read: {error}") from error
    if isinstance(message, Changes | Repair):
        dots = sum(len(row.dots) for row in message.rows if row is not None)
        if dots > MAX_DOTS:
            raise BadMessage(f"the rows of a message name {MAX_DOTS} changes at most, not {dots}")
    return message


def instance_row(record: Record, age: Age, *, with_dots: bool) -> InstanceRow:
    """Return the row of a record."""
    _, service, instance = record.key
    return InstanceRow(
        service,
        instance,
        record.version,
        record.removed,
        record.content,
        record.renewed,
        record.expired,
        record.asserted,
        age,
        [(dot.origin.node, dot.origin.epoch, dot.seq) for dot in record.dots] if with_dots else [],
    )
