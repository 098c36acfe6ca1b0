"""Large answers packed with gzip once, however often they are asked for. No I/O."""

from __future__ import annotations

import zlib
from collections import OrderedDict

#: Answers from this many bytes are packed; below, packing costs more than it saves inside a data centre (design 4.2).
FROM_SIZE = 8 * 1024
#: Answers beyond this many bytes go plain on the hot path: packing one would hold the loop for longer than 10 ms.
UP_TO_SIZE = 1024 * 1024


class PackedAnswers:
    """A bounded, least-recently-used cache from an answer's bytes to the same bytes packed.

    `budget`: bytes of packed answers kept. The key is the answer itself, so a changed answer can never be served stale.
    """

    def __init__(self, budget: int = 16 * 1024 * 1024, from_size: int = FROM_SIZE) -> None:
        self.from_size = from_size
        self._budget = budget
        self._held = 0
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()

    def pack(self, body: bytes) -> tuple[bytes, bytes]:
        """`(packed, b"gzip")`, or `(body, b"")` for what is better sent plain."""
        packed = self._cache.get(body)
        if packed is not None:
            self._cache.move_to_end(body)
            return packed, b"gzip"
        if not self.from_size <= len(body) <= UP_TO_SIZE:
            return body, b""
        packed = zlib.compress(body, level=1, wbits=16 + zlib.MAX_WBITS)
        self._cache[body] = packed
        self._held += len(body) + len(packed)
        while self._held > self._budget:
            old_body, old_packed = self._cache.popitem(last=False)
            self._held -= len(old_body) + len(old_packed)
        return packed, b"gzip"
