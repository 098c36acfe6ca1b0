"""Unpacking gzip bodies within a budget, in steps small enough for an event loop. No I/O."""

from __future__ import annotations

import zlib
from collections.abc import Generator

#: Bytes unpacked between two looks at the rest of the world: about 2 ms of work.
STEP = 512 * 1024

#: Members of one body. Clients send one; thousands of empty ones would cost time and add nothing.
MAX_MEMBERS = 16

#: Packed bytes given to zlib at a time: it copies what it leaves over.
_WINDOW = 64 * 1024

_GZIP = 16 + zlib.MAX_WBITS


class GzipError(Exception):
    """The body is not one or more whole gzip members."""


class TooLargeError(Exception):
    """The body is larger than the budget once unpacked."""


def inflate_steps(packed: bytes, budget: int) -> Generator[None, None, bytes]:
    """Unpack `packed`; yields after each `STEP` bytes of output or input and returns the whole.

    Raises `TooLargeError` as soon as more than `budget` bytes come out, and `GzipError` for anything that is not
    complete gzip members (RFC 1952 section 2.2 allows several in a row; here `MAX_MEMBERS`).
    """
    view = memoryview(packed)
    parts: list[bytes] = []
    at = size = work = members = 0
    while at < len(packed) or not members:
        members += 1
        if members > MAX_MEMBERS:
            raise GzipError(f"more than {MAX_MEMBERS} members")
        member = zlib.decompressobj(_GZIP)
        while not member.eof:
            window: bytes | memoryview = view[at : at + _WINDOW]
            if not window:
                raise GzipError("the gzip stream ends too early")
            at += len(window)
            work += len(window)
            while window and not member.eof:
                try:
                    part = member.decompress(window, min(STEP, budget + 1 - size))
                except zlib.error as error:
                    raise GzipError(str(error)) from error
                window = member.unconsumed_tail
                size += len(part)
                work += len(part)
                if size > budget:
                    raise TooLargeError
                parts.append(part)
                if work >= STEP:
                    work = 0
                    yield
        at -= len(member.unused_data)
    return b"".join(parts)
