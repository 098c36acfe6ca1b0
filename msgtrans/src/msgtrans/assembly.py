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

    __slots__ = ("_buffers", "_pieces", "_room", "missing")

    def __init__(self, need: int, buffers: BufferPool) -> None:
        self._buffers = buffers
        self._pieces: list[bytearray] = []
        self._room = 0  # bytes free in the last piece
        self.missing = need

    def __len__(self) -> int:
        return len(self._pieces) * PIECE

    def take(self, data: bytes | bytearray | memoryview) -> int:
        """Copy what belongs to the packet from the beginning of `data`; how many bytes that were."""
        at, stop = 0, min(len(data), self.missing)
        while at < stop:
            if not self._room:
                self._pieces.append(self._buffers.get(PIECE))
                self._room = PIECE
            size = min(self._room, stop - at)
            filled = PIECE - self._room
            self._pieces[-1][filled : filled + size] = data[at : at + size] if at or size < len(data) else data
            self._room -= size
            at += size
        self.missing -= stop
        return stop

    def split(self, ext_size: int) -> tuple[bytes, bytes]:
        """Ext header and payload, once nothing is missing; gives the pieces back."""
        views = [memoryview(piece)[:PIECE] for piece in self._pieces]
        if self._room:
            views[-1] = views[-1][: PIECE - self._room]
        body = HEADER_SIZE + ext_size
        if body <= PIECE:
            ext_header = bytes(views[0][HEADER_SIZE:body])
            views[0] = views[0][body:]
            payload = b"".join(views)
        else:  # an ext header of nearly 64 KiB
            whole = b"".join(views)
            ext_header, payload = whole[HEADER_SIZE:body], whole[body:]
        for view in views:
            view.release()
        views.clear()
        self.release()
        return ext_header, payload

    def release(self) -> None:
        """Give the pieces back, whatever is in them."""
        for piece in self._pieces:
            self._buffers.release(piece)
        self._pieces = []
        self._room = 0
