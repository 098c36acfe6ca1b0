"""The core, called so that a mistake in it ends nothing: neither the reading of a bucket, nor what others say.

On the way it is noted how far a bucket was known to reach: one that is put back to an earlier state has lower numbers.
Pure. Not here: what a core does with a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec

from artemis.cluster.engine.port import Command, Core, Entry, Opening, Position, Told

P = ParamSpec("P")


class Calls:
    """A core (`artemis.cluster.engine.port.Core`) around one; `failed` gets the name of a call, and what it raised.

    `known` is the identity of the bucket that was opened last, or that a former life had read, and the highest number
    of it that was heard of.
    """

    def __init__(self, core: Core, failed: Callable[[str, Exception], None], position: Position | None = None) -> None:
        self._core = core
        self._failed = failed
        self.known = ("", 0) if position is None else (position.identity, position.sequence)

    @property
    def untold(self) -> bool:
        """Pass on; so do all."""
        return self._core.untold

    def opened(self, opening: Opening, now: int) -> None:
        """Pass on."""
        self.known = (opening.identity, opening.last)
        self._call("opened", self._core.opened, opening, now)

    def lost(self, why: str, now: int) -> None:
        """Pass on."""
        self._call("lost", self._core.lost, why, now)

    def entry(self, entry: Entry, now: int) -> None:
        """Pass on."""
        self._reach(entry.sequence)
        self._call("entry", self._core.entry, entry, now)

    def at(self, sequence: int, now: int) -> None:
        """Pass on."""
        self._call("at", self._core.at, sequence, now)

    def doubted(self, now: int) -> None:
        """Pass on."""
        self._call("doubted", self._core.doubted, now)

    def last(self, sequence: int, now: int) -> None:
        """Pass on."""
        self._call("last", self._core.last, sequence, now)

    def got(self, key: str, entry: Entry | None, now: int) -> None:
        """Pass on."""
        self._call("got", self._core.got, key, entry, now)

    def scanned(self, number: int, entry: Entry, now: int) -> None:
        """Pass on."""
        self._call("scanned", self._core.scanned, number, entry, now)

    def scan_over(self, number: int, last: int, now: int) -> None:
        """Pass on."""
        self._call("scan_over", self._core.scan_over, number, last, now)

    def stored(self, number: int, sequence: int, now: int) -> None:
        """Pass on."""
        self._reach(sequence)
        self._call("stored", self._core.stored, number, sequence, now)

    def conflicted(self, number: int, now: int) -> None:
        """Pass on."""
        self._call("conflicted", self._core.conflicted, number, now)

    def refused(self, number: int, full: bool, why: str, now: int) -> None:
        """Pass on."""
        self._call("refused", self._core.refused, number, full, why, now)

    def unknown(self, number: int, now: int) -> None:
        """Pass on."""
        self._call("unknown", self._core.unknown, number, now)

    def receive(self, node: str, message: Told, now: int) -> None:
        """Pass on."""
        self._call("receive", self._core.receive, node, message, now)

    def flush(self, now: int) -> None:
        """Pass on."""
        self._call("flush", self._core.flush, now)

    def tick(self, now: int, wall: int) -> None:
        """Pass on."""
        self._call("tick", self._core.tick, now, wall)

    def take(self) -> Sequence[Command]:
        """Return what is to be done; nothing where that fails."""
        try:
            return self._core.take()
        except Exception as error:  # noqa: BLE001 - as in `_call`
            self._failed("take", error)
            return ()

    def _reach(self, sequence: int) -> None:
        if sequence > self.known[1]:
            self.known = (self.known[0], sequence)

    def _call(self, name: str, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, what comes next must be heard
            self._failed(name, error)
