"""Takes a rule of the engine's core away, to see the history that needs it: what travels lacks what the rule says."""

from __future__ import annotations

from msgspec.structs import replace

from artemis.cluster.engine.entries import BadEntry, MemberRow, Value, decode_entry, encode_entry
from artemis.cluster.engine.port import Entry, Put, Stored, Told
from artemis.cluster.messages import InstanceRow, Renewals
from artemis.testing.simulation.bucket import Bucket


class EngineSpoil:
    """Leaves all as it is; one rule each is taken away by those below."""

    def told(self, message: Told) -> Told | None:
        """Return what is told instead, None for nothing."""
        return message

    def arriving(self, put: Put, bucket: Bucket) -> Put:  # noqa: ARG002
        """Return what is put instead."""
        return replace(put, value=_spoilt(put.key, put.value, self))

    def value(self, value: Value) -> Value:
        """Return the value that is put instead."""
        return value

    def entry(self, entry: Entry) -> Entry:
        """Return what is brought instead."""
        return entry

    def last(self, bucket: Bucket) -> int:
        """Return what is said to be the last number."""
        return bucket.last


class Renewing(EngineSpoil):
    """Nodes do not tell whom they have heard."""

    def told(self, message: Told) -> Told | None:
        """Tell nobody."""
        return replace(message, handles=b"") if isinstance(message, Renewals) else message


class Revision(EngineSpoil):
    """Puts count on no revision: what another node has put meanwhile is lost."""

    def arriving(self, put: Put, bucket: Bucket) -> Put:
        """Put it whatever is there."""
        present = bucket.get(put.key, 0)
        return replace(put, revision=0 if present is None else present.sequence)


class Dots(EngineSpoil):
    """Records do not say which changes made them."""

    def value(self, value: Value) -> Value:
        """Name no change."""
        return replace(value, dots=[]) if isinstance(value, InstanceRow) else value


class Holes(EngineSpoil):
    """After a hole in what is read nobody asks up to where it has to be read."""

    def last(self, bucket: Bucket) -> int:  # noqa: ARG002
        """Say that all has been read."""
        return 0


class Lain(EngineSpoil):
    """Entries do not say for how long they have lain there, nor renewals how old they were."""

    def entry(self, entry: Entry) -> Entry:
        """Let it be new."""
        return replace(entry, lain=0)

    def value(self, value: Value) -> Value:
        """Let it be heard just now."""
        return replace(value, age=0) if isinstance(value, InstanceRow) else value


class Floor(EngineSpoil):
    """Nodes do not say what they have let go of."""

    def value(self, value: Value) -> Value:
        """Say nothing of it."""
        return replace(value, floor=[]) if isinstance(value, MemberRow) else value


class Base(EngineSpoil):
    """Nodes do not say which lives they have forgotten."""

    def value(self, value: Value) -> Value:
        """Say nothing of them."""
        return replace(value, base=[], unnamed=[]) if isinstance(value, MemberRow) else value


class Markers(EngineSpoil):
    """Nodes say that all they did is in the bucket before it is."""

    def told(self, message: Told) -> Told | None:
        """Claim more than there is, where it is."""
        return replace(message, reached=message.reached + 3, sequence=1) if isinstance(message, Stored) else message


def _spoilt(key: str, data: bytes, spoil: EngineSpoil) -> bytes:
    try:
        return encode_entry(spoil.value(decode_entry(key, data)))
    except BadEntry:
        return data


ENGINE_SPOILED: dict[str, EngineSpoil] = {
    "renewals": Renewing(),
    "revision": Revision(),
    "dots": Dots(),
    "holes": Holes(),
    "aged": Lain(),
    "floor": Floor(),
    "base": Base(),
    "markers": Markers(),
}
