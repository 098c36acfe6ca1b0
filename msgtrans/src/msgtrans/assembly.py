"""A packet put together from many reads, in pieces that a pool of buffers lends.

One buffer that grows with every read is allocated, moved and given back to the system over and over; pieces of the pool
are there already, and the payload is the only memory that is new (`docs/performance.md` has the figures).
Not here: when that is worth it, and what the bytes mean (`codec`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgtrans.packet import HEADER_SIZE

if TYPE_CHECKING:
    from msgtrans.pool.buffers import BufferPool

PIECE: Final = 64 * 1024  # bytes, as of `BufferClass.LARGE`


class Assembly:
    """What has come of one packet of `need` bytes. Owned by its decoder, which must `release` it.

    Its length is the memory that it holds: that of its pieces.
    """

    __slots__ = ("_buffers", "_pieces", "_room", "_views", "missing")

    def __init__(self, need: int, buffers: BufferPool) -> None:
        self._buffers = buffers
        self._pieces: list[bytearray] = []
        self._views: list[memoryview] = []  # of the pieces: a slice of a view is filled without another copy
        self._room = 0  # bytes free in the last piece
        self.missing = need

    def __len__(self) -> int:
        return len(self._pieces) * PIECE

    def take(self, data: bytes | bytearray | memoryview) -> int:
        """Copy what belongs to the packet from the beginning of `data`; how many bytes that were."""
        at, stop, room = 0, min(len(data), self.missing), self._room
        while at < stop:
            if not room:
                piece = self._buffers.get(PIECE)
                self._pieces.append(piece)
                self._views.append(memoryview(piece))
                room = PIECE
            size = min(room, stop - at)
            filled = PIECE - room
            self._views[-1][filled : filled + size] = data[at : at + size]
            room -= size
            at += size
        self._room = room
        self.missing -= stop
        return stop

    def split(self, ext_size: int) -> tuple[bytes, bytes]:
        """Ext header and payload, once nothing is missing; gives the pieces back."""
        views = self._views
        views[-1] = views[-1][: PIECE - self._room]
        body = HEADER_SIZE + ext_size
        if body <= PIECE:
            ext_header = bytes(views[0][HEADER_SIZE:body])
            views[0] = views[0][body:]
            payload = b"".join(views)
        else:  # an ext header of nearly 64 KiB
            whole = b"".join(views)
            ext_header, payload = whole[HEADER_SIZE:body], whole[body:]
        self.release()
        return ext_header, payload

    def release(self) -> None:
        """Give the pieces back, whatever is in them."""
        self._views.clear()
        for piece in self._pieces:
            self._buffers.release(piece)
        self._pieces.clear()
        self._room = 0
