"""Deflating and inflating payloads, never beyond a cap (specification 1.3).

zlib is always there; zstd needs Python 3.14 or `pip install msgtrans[zstd]`.
Not here: the decision whether a failure ends the session; that is a policy of the codec.
"""

from __future__ import annotations

import sys
import zlib
from typing import TYPE_CHECKING, Final

from msgtrans.errors import ConfigurationError, LocalProtocolError, RemoteProtocolError
from msgtrans.packet import Compression

if TYPE_CHECKING:
    from types import ModuleType

ZLIB_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3


def deflate(code: int, data: bytes) -> bytes:
    """Compress `data` with the algorithm of `code` (1 zstd level 3, 2 zlib level 6).

    Raises LocalProtocolError for another code, ConfigurationError when zstd is not installed.
    """
    if code == Compression.ZLIB:
        return zlib.compress(data, ZLIB_LEVEL)
    if code == Compression.ZSTD:
        return _zstd().compress(data, ZSTD_LEVEL)  # type: ignore[no-any-return]  # the module is chosen at run time
    raise LocalProtocolError(f"compression code {code} is unknown; use 0 (none), 1 (zstd) or 2 (zlib)")


def inflate(code: int, data: bytes, limit: int) -> bytes:
    """Decompress one whole zstd frame or zlib stream; at most `limit` bytes come into being, plus one to notice.

    Raises RemoteProtocolError for corrupt, truncated, oversized or trailing data, ConfigurationError when zstd is
    not installed.
    """
    if code == Compression.ZLIB:
        stream = zlib.decompressobj()
        try:
            plain = stream.decompress(data, limit + 1)
        except zlib.error as error:
            raise RemoteProtocolError(f"a payload marked as zlib does not inflate: {error}") from error
        whole, rest = stream.eof, stream.unused_data
    else:
        zstd = _zstd()
        frame = zstd.ZstdDecompressor()
        try:
            plain = frame.decompress(data, limit + 1)
        except zstd.ZstdError as error:
            raise RemoteProtocolError(f"a payload marked as zstd does not inflate: {error}") from error
        whole, rest = frame.eof, frame.unused_data
    if len(plain) > limit:
        raise RemoteProtocolError(f"a payload inflates to more than max_inflated_size, {limit} bytes")
    if not whole:
        raise RemoteProtocolError("a compressed payload is cut short")
    if rest:
        raise RemoteProtocolError(f"{len(rest)} bytes follow a compressed payload")
    return plain


def _zstd() -> ModuleType:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise ConfigurationError("compression", "zstd is not installed here; pip install msgtrans[zstd]") from error
    return zstd
