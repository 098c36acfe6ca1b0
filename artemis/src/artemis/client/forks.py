"""What a ``fork()`` means for open clients: in the child they are closed, and nothing of the parent's is touched.

A child inherits the parent's sockets and its epoll instance: a byte written, a TLS goodbye or a descriptor taken out of
the epoll instance would be the parent's loss. So everything that was open is kept for ever in the child, unused.
Not here: starting anew in the child; the sync client does that (`artemis.client.sync.client`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable


class Forkable(Protocol):
    """Something that is open and must not be used in a child."""

    def after_fork(self) -> None:
        """Be closed from now on, in this process, without touching anything that the parent uses."""
        ...


class AtFork:
    """Makes a `Forkable` of a method; whoever owns the method keeps this."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def after_fork(self) -> None:
        """See `Forkable.after_fork`."""
        self._call()


_open: WeakSet[Forkable] = WeakSet()
_kept: list[object] = []


def note_open(one: Forkable) -> None:
    """Have ``after_fork`` called in every child, for as long as ``one`` lives or until `note_closed`."""
    _open.add(one)


def note_closed(one: Forkable) -> None:
    """Let go of it again."""
    _open.discard(one)


def keep_for_ever(one: object) -> None:
    """Never finalise ``one`` in this process, not even when the interpreter ends."""
    if not _kept:
        _make_immortal(_kept)
    _kept.append(one)


def _in_child() -> None:
    inherited = list(_open)
    _open.clear()
    for one in inherited:
        one.after_fork()


def _make_immortal(thing: object) -> None:
    # Modules are emptied when an interpreter ends, and what they held is finalised then: aiohttp would close the
    # connections politely, which for TLS writes to the parent's socket. One reference that nobody gives back helps.
    try:
        import ctypes

        give: Callable[[object], None] = ctypes.pythonapi.Py_IncRef
    except (ImportError, AttributeError):
        return  # no CPython: its finalisers do not run at the end
    ctypes.pythonapi.Py_IncRef.argtypes = [ctypes.py_object]
    ctypes.pythonapi.Py_IncRef.restype = None
    give(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
