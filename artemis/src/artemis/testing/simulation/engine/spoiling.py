"""Takes a rule of the engine's core away, to see the history that needs it: what travels lacks what the rule says."""

from __future__ import annotations

from msgspec.structs import replace

from artemis.cluster.engine.entries import BadEntry, Value, decode_entry, encode_entry
from artemis.cluster.engine.port import Entry, Opening, Put, Stored, Told
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

    def opening(self, opening: Opening) -> Opening:
        """Return what a node finds instead."""
        return opening


class Renewing(EngineSpoil):
    """Nodes do not tell whom they have heard."""

    def told(self, message: Told) -> Told | None:
        """Tell nobody."""
        return replace(message, handles=b"") if isinstance(message, Renewals) else message


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


class Markers(EngineSpoil):
    """Nodes say that all they did is in the bucket before it is."""

    def told(self, message: Told) -> Told | None:
        """Claim more than there is, where it is."""
        return replace(message, reached=message.reached + 3, sequence=1) if isinstance(message, Stored) else message


class Identity(EngineSpoil):
    """A bucket that was made anew cannot be told from the former one."""

    def opening(self, opening: Opening) -> Opening:
        """Let it be called as ever."""
        return replace(opening, identity="bucket")


def _spoilt(key: str, data: bytes, spoil: EngineSpoil) -> bytes:
    try:
        return encode_entry(spoil.value(decode_entry(key, data)))
    except BadEntry:
        return data


ENGINE_SPOILED: dict[str, EngineSpoil] = {
    "renewals": Renewing(),
    "dots": Dots(),
    "holes": Holes(),
    "markers": Markers(),
    "identity": Identity(),
}
