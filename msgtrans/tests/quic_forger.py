"""A QUIC client that sends any frames: it does the handshake as others do, then makes its packets itself (RFC 9001).

Not here: what is tested, and answers to what comes; `acknowledge` says that all of it has arrived.
"""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from qh3.quic.crypto import derive_key_iv_hp
from qh3.tls import CipherSuite
from quic_peer import RawQuicPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST = 10_000  # number of our first packet, beyond those that the library has sent
SUITE = CipherSuite.AES_128_GCM_SHA256
CLOSES = (0x1C, 0x1D)  # frames that end a connection


class Forger:
    """closed: the frame that ended the connection, as the server sent it. received: datagrams. largest: packet number.

    acknowledges: whether everything that comes is acknowledged; default on.
    """

    def __init__(self, peer: RawQuicPeer, log: str) -> None:
        self.peer = peer
        self.closed: bytes | None = None
        self.received = 0
        self.largest = self.first = -1
        self.acknowledges = True
        secrets = {label: bytes.fromhex(secret) for label, _, secret in map(str.split, log.splitlines())}
        self._out = _keys(secrets["CLIENT_TRAFFIC_SECRET_0"])
        self._in = _keys(secrets["SERVER_TRAFFIC_SECRET_0"])
        self._number = FIRST
        peer.quic.send_ping(0)
        sent = [data for data, _ in peer.quic.datagrams_to_send(monotonic())]
        self._id = sent[-1][1:9]
        for data in sent:
            peer.socket.send(data)
        if peer._timer is not None:
            peer._timer.cancel()
        peer.loop.add_reader(peer.socket.fileno(), self._readable)

    @classmethod
    @asynccontextmanager
    async def connected(cls, host: str, port: int) -> AsyncIterator[Forger]:
        """Connected while the block runs."""
        log = io.StringIO()
        async with RawQuicPeer.connected(host, port, hello=False, secrets_log_file=log, cipher_suites=[SUITE]) as peer:
            forger = cls(peer, log.getvalue())
            try:
                yield forger
            finally:
                forger.send(b"\x1d\0\0")  # the end, in good order
                peer.disappear()

    def send(self, *frames: bytes) -> None:
        """Send frames in one packet."""
        number, payload = self._number.to_bytes(4), b"".join(frames).ljust(4, b"\0")
        self._number += 1
        key, iv, mask = self._out
        header = b"\x43" + self._id + number
        sealed = AESGCM(key).encrypt(_nonce(iv, number), payload, header)
        self.peer.socket.send(_masked(header, mask(sealed[:16]), 4) + sealed)

    def acknowledge(self) -> None:
        """Say that all packets from the first to the last have arrived."""
        count = self.largest - self.first
        self.send(b"\x02" + varint(self.largest) + b"\0\0" + varint(count))

    async def until_closed(self) -> bytes:
        """The frame that ended the connection."""
        await self.peer.until(lambda: self.closed)
        assert self.closed is not None
        return self.closed

    def _readable(self) -> None:
        while (data := self._receive()) is not None:
            self.received += 1
            payload = None if data[0] & 0x80 else self._open(data)
            if payload is not None and payload[0] in CLOSES:
                self.closed = self.closed or payload
        if self.acknowledges and self.largest >= 0 and not self.closed:
            self.acknowledge()
        self.peer._news.set()

    def _receive(self) -> bytes | None:
        try:
            return self.peer.socket.recv(65535)
        except OSError:
            return None

    def _open(self, data: bytes) -> bytes | None:
        key, iv, mask = self._in
        bits = mask(data[13:29])
        size = 1 + ((data[0] ^ bits[0]) & 3)
        header = _masked(data[: 9 + size], bits, size)
        number = _whole_number(int.from_bytes(header[9:]), size, self.largest + 1)
        payload = AESGCM(key).decrypt(_nonce(iv, number.to_bytes(4)), data[9 + size :], header)
        self.largest = max(self.largest, number)
        self.first = number if self.first < 0 else self.first
        return payload


def varint(number: int) -> bytes:
    """A number as QUIC writes it."""
    for bits, size in enumerate((1, 2, 4, 8)):
        if number < 1 << 8 * size - 2:
            return (number | bits << 8 * size - 2).to_bytes(size)
    raise ValueError(number)


def stream(stream_id: int, offset: int, data: bytes, *, end: bool = False) -> bytes:
    """A STREAM frame."""
    return bytes((0x0E | end,)) + varint(stream_id) + varint(offset) + varint(len(data)) + data


def _keys(secret: bytes):
    key, iv, header_key = derive_key_iv_hp(cipher_suite=SUITE, secret=secret, version=1)

    def mask(sample: bytes) -> bytes:
        return Cipher(algorithms.AES(header_key), modes.ECB()).encryptor().update(sample)  # noqa: S305 - as RFC 9001 has it

    return key, iv, mask


def _whole_number(number: int, size: int, expected: int) -> int:
    """Of all packet numbers that end with these bytes, the nearest to the expected one (RFC 9000, A.3)."""
    window = 1 << 8 * size
    candidates = [(expected // window + turn) * window + number for turn in (-1, 0, 1)]
    return min((one for one in candidates if one >= 0), key=lambda one: abs(one - expected))


def _nonce(iv: bytes, number: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(iv, number.rjust(len(iv), b"\0"), strict=True))


def _masked(header: bytes, bits: bytes, size: int) -> bytes:
    made = bytearray(header)
    made[0] ^= bits[0] & 0x1F
    for at in range(size):
        made[9 + at] ^= bits[1 + at]
    return bytes(made)
