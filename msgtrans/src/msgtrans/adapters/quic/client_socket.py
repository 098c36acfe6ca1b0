"""The UDP socket of a client's connection, and another one when its address has vanished.

It is connected, so nothing but what the server sends gets through, and the system says when nobody listens there
(`refusals`). When the address that it has is gone, as of a laptop that moves, the system takes nothing from it any
more: then a new one takes its place, and the connection goes on, since QUIC knows it by its ids.
Not here: what happens inside the connection (`connection`).
"""

from __future__ import annotations

import errno
import logging
import socket
from time import monotonic
from typing import TYPE_CHECKING, Final

from msgtrans.adapters.quic.refusals import Doubt, Refusals, wait
from msgtrans.adapters.quic.udp import PASSING, UdpSocket, logger
from msgtrans.config import Address

if TYPE_CHECKING:
    import asyncio

    from msgtrans.adapters.quic.connection import QuicLink
    from msgtrans.adapters.quic.driving import Driving
    from msgtrans.stats import EndpointStats

_AWAY: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENETDOWN, errno.ENODEV}
)
"""What the system says of a datagram from an address that is gone, or that leads nowhere."""
FIRST: Final = 0.1
"""Seconds until the first look at an address that may be gone."""
LONGEST: Final = 2.0
"""Seconds between two looks at most; each wait is twice as long as the one before."""
LOOKS: Final = 40
"""Looks in a row, without a datagram of the server in between; then silence ends the connection."""


class ClientSocket(UdpSocket):
    """The socket of one connection. local: where it is bound, None for any address. Raises OSError.

    link: the connection.
    """

    _level = logging.INFO  # its session tells how it ends

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        family: int,
        address: tuple[str, int],
        local: Address | None,
        counters: EndpointStats,
    ) -> None:
        self._family = family
        self._address = address
        self._local = local
        self.link: QuicLink | None = None
        self._refusals = Refusals()
        self._doubting: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._looks = 0
        self._looked = 0.0  # when the first was due
        self._away: OSError | None = None  # what the system said since the last look
        super().__init__(loop, self._made(), counters)
        self._connected = True

    def issued(self, link: Driving, connection_id: bytes) -> None:
        """All that comes is for the one connection."""

    def retired(self, link: Driving, connection_id: bytes) -> None:
        """As above."""

    def left(self, link: Driving) -> None:
        """As above: a client stays for nothing."""

    def gone(self, link: Driving) -> None:  # noqa: ARG002 - there is only one
        """The connection is gone."""
        self.link = None
        self.close()

    def close(self) -> None:
        """Close the socket, and look for no other."""
        for timer in (self._doubting, self._looking):
            if timer is not None:
                timer.cancel()
        super().close()

    def _made(self, *, any_port: bool = False) -> socket.socket:
        made = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            if self._local is not None:
                made.bind((self._local.host, 0 if any_port else self._local.port))
            made.connect(self._address)
        except BaseException:
            made.close()
            raise
        return made

    def _readable(self) -> None:
        read = self._read()
        if self.link is not None and read:
            self.link.take_datagrams([data for data, _ in read], self._address)

    # What the system refuses

    def _refused(self, error: OSError, data: bytes, address: tuple[str, int]) -> None:
        link = self.link
        self._loop.call_soon(self._watch)
        if isinstance(error, ConnectionRefusedError) and link is not None and link.established:
            self._not_sent(error)
            try:  # this was said of an earlier one; the system has not looked at this one yet
                self._socket.send(data)
            except OSError as another:
                error = another
            else:
                return
        super()._refused(error, data, address)

    def _not_sent(self, error: OSError) -> None:
        link = self.link
        if link is None or error.errno in PASSING:
            return
        if not link.established:
            self._loop.call_soon(self._give_up, error)
        elif isinstance(error, ConnectionRefusedError):
            if self._refusals.refused(monotonic()) is Doubt.PROBE:
                self._loop.call_soon(self._probe)
        elif error.errno in _AWAY:
            self._away = error
            if link.heard > self._looked:
                self._looks = 0
            if self._looking is None and self._looks < LOOKS:
                self._looked = monotonic()
                self._looking = self._loop.call_later(FIRST, self._look)

    def _give_up(self, error: OSError) -> None:
        if self.link is not None:
            self.link.unreachable(error)

    # A server that may be gone

    def _probe(self) -> None:
        link = self.link
        if link is not None:
            self._doubting = self._loop.call_later(wait(link.round_trip), self._probed)
            link.probe()

    def _probed(self) -> None:
        self._doubting = None
        if self.link is None:
            return
        doubt = self._refusals.due(self.link.heard)
        if doubt is Doubt.PROBE:
            self._probe()
        elif doubt is Doubt.GONE:
            self.link.vanished()

    # An address that may be gone

    def _look(self) -> None:
        """Try the socket again; if the system still takes nothing from it, another one."""
        away = self._tried()
        if away is not None and not self._change():
            self._looks += 1
            delay = min(FIRST * 2.0**self._looks, LONGEST)
            self._looking = self._loop.call_later(delay, self._look) if self._looks < LOOKS else None
        else:
            self._looking = None

    def _tried(self) -> OSError | None:
        """Send a probe; what the system says, if it is away still."""
        self._away = None
        if self.link is not None:
            self.link.probe()
        return None if self._closed else self._away

    def _change(self) -> bool:
        """Take a new socket; False while the system gives none that leads there."""
        link, before = self.link, self._local_address
        try:
            self._use(self._made(any_port=True))
            if self._local is not None and self._local.port:
                self._use(self._made())  # the port is free now
        except OSError as error:
            where = "" if self._local is None else f", which is to be {self._local}"
            self._tell(error, f"another address{where},", self._address)
            if self._local_address == before:
                return False
        self._counters.udp_moves += 1
        server = Address(*self._address[:2])
        logger.info("%s is gone; the connection to %s goes on from %s", before, server, self._local_address)
        if link is not None:
            link.moved()
        return True
