"""Which short ways a session takes (specification 5.4 to 5.6): each can be turned off, to go back or to measure it.

What travels, and in which order, is the same with every choice. Not here: the sizes of batches and buffers.
"""

from __future__ import annotations

from typing import Self

import msgspec
from msgspec.structs import replace

from msgtrans.field_types import check_types


class Optimizations(msgspec.Struct, frozen=True, kw_only=True):
    """Which short ways a session takes; by default all but one.

    batching: data leaves in batches; off: packet by packet, so that whatever is urgent waits for one at most.
    buffer_pool: packets of 128 to 192 KiB that come in several reads are put together in buffers that are used again;
        off by default, as it pays only where the allocator gives memory back to the system each time.
    coalescing: what one turn of the loop sends leaves in one write, answers to what one read brought included; off: one
        write per packet, at once.
    recognition: plain packets, and reads of a single one, are recognised by their header and take a shorter way.
    """

    batching: bool = True
    buffer_pool: bool = False
    coalescing: bool = True
    recognition: bool = True

    def __post_init__(self) -> None:
        """Refuse what is neither on nor off with ConfigurationError."""
        check_types(self)

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)
