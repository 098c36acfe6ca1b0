"""Joining the parts of a long answer to pieces that are neither small nor long in the making.

Not here: the encoders of operations with such answers; see `artemis.server.operations.pieces`.
"""

from collections.abc import Iterator

PARTS_PER_PIECE = 5_000
"""Parts, empty ones too, that are asked for before a piece is given: about 5 ms where nothing fits."""


def joined(parts: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield the parts in pieces of at least `size` bytes, or less after PARTS_PER_PIECE of them."""
    gathered: list[bytes] = []
    length = count = 0
    for part in parts:
        count += 1
        if part:
            gathered.append(part)
            length += len(part)
        if length >= size or count == PARTS_PER_PIECE:
            yield b"".join(gathered)
            gathered, length, count = [], 0, 0
    if gathered:
        yield b"".join(gathered)
