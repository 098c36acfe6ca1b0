"""Answers that are made bit by bit, as the encoders of an operation: one shape for all families.

Not here: what is in such an answer; see the handlers.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, cast

import msgspec

from artemis.model import decode, encode, encode_msgpack


class InPieces(Protocol):
    """An answer that can be made bit by bit; the pieces together are its JSON."""

    def json_pieces(self, size: int) -> Iterator[bytes]:
        """Yield the answer as JSON in pieces of about `size` bytes; empty ones stand for work between."""
        ...


def pieces(answer: object, size: int) -> Iterator[bytes]:
    """Yield the JSON of an answer, a struct or one in pieces."""
    if isinstance(answer, msgspec.Struct):
        return iter([encode(answer)])
    return cast("InPieces", answer).json_pieces(size)


def whole_json(answer: object) -> bytes:
    """Return the JSON of an answer in one go."""
    return b"".join(pieces(answer, 1 << 20))


def whole_msgpack(response_type: type[msgspec.Struct]) -> Callable[[object], bytes]:
    """Return an encoder to MessagePack, in one go, of the answers that are a `response_type`."""

    def encoder(answer: object) -> bytes:
        return encode_msgpack(
            answer if isinstance(answer, msgspec.Struct) else decode(response_type, whole_json(answer))
        )

    return encoder
