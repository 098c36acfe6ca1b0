"""Payloads that tell what they are, for the soak and churn programs: a number, and bytes that follow from it.

A number is a stream (who sends) and a place in it, so that what is lost, doubled or out of order can be told.
Not here: sending them.
"""

from __future__ import annotations

import random
import struct
from binascii import crc32
from typing import Final

HEAD: Final = struct.Struct(">QII")  # the number, bytes of the body, their checksum
ANSWER: Final = 1 << 63  # the bit that an answer has beside the number of its request
PLACES: Final = 40  # bits of a number that are the place in its stream
LARGEST: Final = 4 << 20  # bytes of a body
BLOCK: Final = random.Random(7).randbytes(LARGEST // 2 + 65_536).hex().encode()  # noqa: S311 - no secret


class DamagedError(Exception):
    """A payload is not what was sent."""


def numbered(stream: int, place: int) -> int:
    """The number of what a stream sends."""
    return stream << PLACES | place


def make(number: int, size: int) -> bytes:
    """The payload of a number, with a body of `size` bytes."""
    body = _body(number, size)
    return HEAD.pack(number, size, crc32(body)) + body


def check(payload: bytes) -> int:
    """The number of a payload. Raises DamagedError when it is not one of `make`."""
    if len(payload) < HEAD.size:
        raise DamagedError(f"{len(payload)} bytes are no payload: {bytes(payload[:16])!r}")
    number, size, checksum = HEAD.unpack_from(payload)
    body = memoryview(payload)[HEAD.size :]
    if len(body) != size:
        raise DamagedError(f"payload {number:x} has {len(body)} bytes of {size}")
    if crc32(body) != checksum:
        raise DamagedError(f"payload {number:x} of {size} bytes has another checksum")
    return int(number)


def answer(payload: bytes) -> bytes:
    """The answer to a payload that has been checked: the same body under the number with `ANSWER`."""
    number, size, checksum = HEAD.unpack_from(payload)
    return HEAD.pack(number | ANSWER, size, checksum) + payload[HEAD.size :]


def check_answer(request: bytes, answered: bytes) -> None:
    """Raise DamagedError unless `answered` is the answer to `request`, byte by byte."""
    if answered != answer(request):
        number = HEAD.unpack_from(request)[0]
        raise DamagedError(f"the answer to {number:x} of {len(request)} bytes is another: {bytes(answered[:24])!r}")


def _body(number: int, size: int) -> bytes:
    start = number * 4099 % (len(BLOCK) - size + 1)
    return BLOCK[start : start + size]
