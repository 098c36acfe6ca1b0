"""The versions of instances as clients hand them back (design 4.1 [client]): opaque texts for them, stamps for us.

A client that names, with each request, the version of its last answer is never served by a node that knows less of the
instance than the client: what is registered becomes newer, and a heartbeat that finds something older registers again.
Those who name none, as Java clients, are never told any.
Not here: what a version decides, which is the registry's.
"""

from __future__ import annotations

from collections.abc import Sequence

from artemis.registry import Lease, Stamp

AHEAD = 86_400_000
"""Milliseconds that a version may be ahead of this node's wall clock. All nodes pass the versions that they see, so one
that is further ahead, and ahead of all that this node has seen, counts as none: no node has given it.
"""

MAX_VERSION = 300
"""Characters of a version that is read."""


class Versions:
    """The versions of one request: those that the client named, in the order of its instances, and those of the answer.

    `latest` is the highest value that a version may have. `news` tells whether an answer without them would leave
    something out: versions that the client has named itself need not be told.
    """

    __slots__ = ("_latest", "_named", "news", "told")

    def __init__(self, named: Sequence[str | None], count: int, latest: int) -> None:
        self._named = named
        self._latest = latest
        self.told = [""] * count
        self.news = False

    def known(self, number: int) -> Stamp | None:
        """Return the version that the client names of its instance `number`; None without any."""
        text = self._named[number] if number < len(self._named) else None
        return stamp_of(text, self._latest) if text else None

    def tell(self, number: int, lease: Lease) -> None:
        """Let the answer name the version of an instance."""
        self.told[number] = text = text_of(lease.record.version)
        if number >= len(self._named) or self._named[number] != text:
            self.news = True


def text_of(version: Stamp) -> str:
    """Return a version as clients get it."""
    return f"{version[0]}.{version[1]}"


def stamp_of(text: str, latest: int) -> Stamp | None:
    """Read a version back; None for what no node has given, such as one whose value is above `latest`."""
    value, point, node = text[:MAX_VERSION].partition(".")
    if not point or not (value.isascii() and value.isdecimal()) or len(text) > MAX_VERSION:
        return None
    stamp = int(value)
    return (stamp, node) if stamp <= latest else None
