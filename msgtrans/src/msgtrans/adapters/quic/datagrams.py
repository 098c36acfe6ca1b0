"""What can be told of a UDP datagram without any keys (RFC 8999, RFC 9000 17.2), and tokens that prove an address.

Pure: time and keys are arguments. Not here: connections, and anything inside of packets.
"""

from __future__ import annotations

import hmac
import ipaddress
import struct
from hashlib import sha256
from typing import Final, NamedTuple

ID_SIZE: Final = 8
"""Bytes of the connection ids that we choose."""
LEAST_INITIAL: Final = 1200
"""Bytes that a datagram which begins a connection must have."""
MAX_ID: Final = 20
LEAST_ID: Final = 8
"""Bytes of the id that a client makes up for the server at first (RFC 9000, 7.2)."""
TOKEN_LIFETIME: Final = 10
"""Seconds in which a client must come back with its token."""
_SIGNATURE: Final = 16
_TIME: Final = struct.Struct(">I")


class LongHeader(NamedTuple):
    """The beginning of a datagram of the handshake. initial: it begins a connection; token: what it proves."""

    version: int
    destination: bytes
    source: bytes
    initial: bool
    token: bytes


def parse_long(data: bytes) -> LongHeader | None:
    """The header of a datagram whose first bit is set; None for what is none. The token is read for version 1 only."""
    size = len(data)
    if size < 7:
        return None
    version = int.from_bytes(data[1:5])
    at = 6 + data[5]
    if at >= size:
        return None
    destination = data[6:at]
    end = at + 1 + data[at]
    if end > size:
        return None
    source = data[at + 1 : end]
    initial = version == 1 and data[0] & 0x30 == 0
    token = b""
    if initial:
        if len(destination) > MAX_ID or len(source) > MAX_ID or end >= size:
            return None
        width = 1 << (data[end] >> 6)
        length = int.from_bytes(data[end : end + width]) & ((1 << (8 * width - 2)) - 1)
        token = data[end + width : end + width + length]
        if len(token) != length:
            return None
    return LongHeader(version, destination, source, initial, token)


class Tokens:
    """Makes and checks the tokens of Retry packets: nothing is kept for an address that has not proved itself.

    key: secret, as of `secrets.token_bytes(32)`.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, host: str, port: int, original: bytes, chosen: bytes, now: float) -> bytes:
        """A token for a client there, whose first packet was for connection id `original` and the next for `chosen`."""
        body = b"".join((_TIME.pack(int(now) & 0xFFFFFFFF), bytes((len(original),)), original, chosen))
        return body + self._sign(host, port, body)

    def check(self, host: str, port: int, token: bytes, destination: bytes, now: float) -> bytes | None:
        """The original connection id if the token is ours, of that address, and in time; None otherwise."""
        body, signature = token[:-_SIGNATURE], token[-_SIGNATURE:]
        if len(body) < _TIME.size + 1 or not hmac.compare_digest(signature, self._sign(host, port, body)):
            return None
        (made,) = _TIME.unpack_from(body)
        original = body[5 : 5 + body[4]]
        if (int(now) - made) & 0xFFFFFFFF > TOKEN_LIFETIME or body[5 + body[4] :] != destination:
            return None
        return original

    def _sign(self, host: str, port: int, body: bytes) -> bytes:
        address = ipaddress.ip_address(host.partition("%")[0]).packed + port.to_bytes(2)
        return hmac.digest(self._key, bytes((len(address),)) + address + body, sha256)[:_SIGNATURE]
