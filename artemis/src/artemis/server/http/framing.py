"""Where one request ends and the next begins, in a connection's bytes.

Heads whole and bounded, bodies by length or by chunks (RFC 9112 section 7.1), so that whoever reads a connection
always knows the exact
message boundary: the hot door can then give a single request away without touching what is pipelined behind it. No I/O.
"""

from __future__ import annotations

import re

#: A chunk-size line with its extension, or one trailer line, is not longer than this.
_MAX_LINE = 4096
_MAX_TRAILERS = 16_384

#: Chunks of one body. Clients send kilobytes in each; a body of single bytes would only cost us time.
MAX_CHUNKS = 20_000

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,15})((?:;%b(?:=(?:%b|\"[^\"\\\x00-\x1f\x7f]*\"))?)*)\r\n" % (_TOKEN, _TOKEN))
_TRAILER_LINE = re.compile(rb"%b:[^\x00-\x08\x0a-\x1f\x7f]*\r\n" % _TOKEN)


class ChunkError(Exception):
    """The chunked framing is broken; the message boundary is lost and with it the connection."""


class ChunkedBody:
    """Reads a chunked body piece by piece.

    `feed(data)` returns how many bytes of `data` belong to this body; `data` collects the decoded bytes, `size` counts
    them and `done`
    is true once the last chunk and its trailers are through. Strict on purpose: sizes are plain hexadecimal digits,
    every line ends in
    CRLF. Lenient readers of chunked bodies are how requests get smuggled.
    """

    __slots__ = ("_left", "_line", "_trailer_bytes", "_trailers", "chunks", "data", "done", "size")

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0
        self.chunks = 0
        self.done = False
        self._left = 0  # bytes of the current chunk that are still to come, its CRLF included
        self._line = b""  # the incomplete line so far
        self._trailers = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> int:
        """Take what belongs to the body from the front of `data`. Raises `ChunkError`."""
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._left > 2:
                piece = data[at : at + self._left - 2]
                self.data += piece
                self.size += len(piece)
                self._left -= len(piece)
                at += len(piece)
            elif self._left:
                if data[at] != b"\r\n"[2 - self._left]:
                    raise ChunkError("a chunk is longer than its size says")
                self._left -= 1
                at += 1
            else:
                newline = data.find(b"\n", at)
                stop = end if newline < 0 else newline + 1
                self._line += data[at:stop]
                at = stop
                if len(self._line) > _MAX_LINE:
                    raise ChunkError("a chunk size line or trailer is too long")
                if newline >= 0:
                    line, self._line = self._line, b""
                    self._on_line(line)
        return at

    def _on_line(self, line: bytes) -> None:
        if self._trailers:
            self._trailer_bytes += len(line)
            self.done = line == b"\r\n"
            if self._trailer_bytes > _MAX_TRAILERS or not (self.done or _TRAILER_LINE.fullmatch(line)):
                raise ChunkError("the trailers are not header fields, or too many")
            return
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise ChunkError("a chunk does not start with its size")
        size = int(match[1], 16)
        self.chunks += 1
        if self.chunks > MAX_CHUNKS:
            raise ChunkError(f"more than {MAX_CHUNKS} chunks; send larger ones")
        if size:
            self._left = size + 2
        else:
            self._trailers = True
