"""Unpacking gzip bodies within a budget, in steps small enough for an event loop. No I/O."""

from __future__ import annotations

import zlib
from collections.abc import Generator

#: Bytes unpacked between two looks at the rest of the world: about 2 ms of work.
STEP = 512 * 1024

_GZIP = 16 + zlib.MAX_WBITS


class GzipError(Exception):
    """The body is not one or more whole gzip members."""


class TooLargeError(Exception):
    """The body is larger than the budget once unpacked."""


def inflate_steps(packed: bytes, budget: int) -> Generator[None, None, bytes]:
    """Unpack `packed`; yields after each `STEP` bytes of output and returns the whole.

    Raises `TooLargeError` as soon as more than `budget` bytes come out, and `GzipError` for anything that is not
    complete gzip members (RFC 1952
    section 2.2 allows several in a row).
    """
    parts: list[bytes] = []
    size = 0
    while True:
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            try:
                part = member.decompress(packed, min(STEP, budget + 1 - size))
            except zlib.error as error:
                raise GzipError(str(error)) from error
            packed = member.unconsumed_tail
            size += len(part)
            if size > budget:
                raise TooLargeError
            if part:
                parts.append(part)
            elif not member.eof:
                raise GzipError("the gzip stream ends too early")
            if len(part) == STEP:
                yield
        packed = member.unused_data
        if not packed:
            return b"".join(parts)


def inflate(packed: bytes, budget: int) -> bytes:
    """Unpack a small body at once; same errors as `inflate_steps`."""
    steps = inflate_steps(packed, budget)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: bytes = stop.value
            return result
