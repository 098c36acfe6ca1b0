"""Cuts what is to be sent about many instances into messages that nodes take. Pure.

Not here: what is sent about them; see `artemis.client.registration.leases` and `registrar`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from artemis.model import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from artemis.model import Instance

T = TypeVar("T")

MESSAGE_BYTES: Final = 1_000_000
"""Bytes of the instances of one message: nodes take 8 MiB, and a MiB at once does not hold the loop up for long."""


def encoded_size(instance: Instance) -> int:
    """Return how many bytes of a message the instance takes."""
    return len(encode(instance)) + 1


def cut(things: Sequence[T], count: int, size_of: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Cut into pieces of at most ``count`` things and `MESSAGE_BYTES`; what is larger alone goes alone.

    A piece is cut when its turn comes, so that sizes are taken in slices too.
    """
    start = size = 0
    for number, thing in enumerate(things):
        more = size_of(thing)
        if number > start and (number - start >= count or size + more > MESSAGE_BYTES):
            yield things[start:number]
            start, size = number, 0
        size += more
    if start < len(things):
        yield things[start:]
