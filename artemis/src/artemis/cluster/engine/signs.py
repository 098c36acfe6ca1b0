"""Signs of life among nodes around an engine: what each says of itself, and the question what a clock shows.

Each is a MessagePack map, in which unknown names are ignored, so that later versions can add some, and versions that
both sides know are told even of signs that cannot be read otherwise. Not here: what is made of them (`announcing`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from artemis.cluster.messages import OLDEST_PROTOCOL, PROTOCOL, Versions
from artemis.cluster.standing import Standing

MAX_SIGN = 16 * 1024
"""Bytes of anything here at most."""

_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

Ends = Literal["", "stopping", "leaving"]


class Sign(msgspec.Struct, frozen=True, kw_only=True, tag="sign", tag_field="kind"):
    """A node lives: `oldest` to `newest` are the versions of the messages that it speaks, `standing` what it serves.

    `first` says that it has begun to listen and asks everybody for a sign, `ends` that this is the last one, and
    whether it leaves for good. `digest` is over all that it knows, None while that is not computed, `bucket` which one
    it has read, empty for none, and `position` how far.
    """

    cluster: _Text
    region: _Text
    zone: _Text
    url: _Text
    standing: Standing
    oldest: _Number = OLDEST_PROTOCOL
    newest: _Number = PROTOCOL
    first: bool = False
    ends: Ends = ""
    digest: Annotated[int, msgspec.Meta(ge=0)] | None = None
    bucket: _Text = ""
    position: _Number = 0


class Question(msgspec.Struct, frozen=True, kw_only=True, tag="question", tag_field="kind"):
    """What does your clock show?"""

    number: _Number


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag="answer", tag_field="kind"):
    """The wall clock in milliseconds, at the moment that the question of this number came."""

    number: _Number
    wall: _Number


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """What can be read of a sign of a later version at least."""

    oldest: _Number
    newest: _Number
    url: _Text = ""


Said = Sign | Question | Answer

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)
_FOREIGN = msgspec.msgpack.Decoder(Foreign)


class BadSign(ValueError):  # noqa: N818 - what it is, in the words of the log
    """Bytes are none of these; the text says why."""


def encode_sign(said: Said) -> bytes:
    """Return the bytes of something said."""
    return _ENCODE(said)


def decode_sign(data: bytes, spoken: Versions) -> Said | Foreign:
    """Read what a node says; of a sign that is of none of the versions `spoken`, maybe only which it is of.

    Raises BadSign, and nothing else."""
    if len(data) > MAX_SIGN:
        raise BadSign(f"a sign has {MAX_SIGN} bytes at most, not {len(data)}")
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        try:
            foreign = _FOREIGN.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            foreign = None
        if foreign is None or versions_of(foreign).common(spoken) is not None:
            raise BadSign(f"a sign cannot be read: {error}") from error
        return foreign


def versions_of(other: Sign | Foreign) -> Versions:
    """Return the versions of the messages that another node speaks."""
    return Versions(other.oldest, other.newest)
