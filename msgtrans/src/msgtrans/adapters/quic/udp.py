"""A UDP socket on an event loop: datagrams are read in bursts, and what the system refuses is only lost.

Base of a listener's socket (`endpoint`) and of a client's (`client_socket`), which say what becomes of what is read.
Not here: which connection a datagram belongs to.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

from msgtrans.adapters import sockets
from msgtrans.config import Address
from msgtrans.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

    from msgtrans.stats import EndpointStats

BURST: Final = 64
"""Datagrams that are read in one turn of the loop."""
SIZE: Final = 9216
"""Bytes of the largest datagram that is read whole."""
BACKLOG: Final = 4096
"""Datagrams that may wait for a socket that takes no more; beyond that they are lost, as in any network."""
PAUSE: Final = 0.02
"""Seconds for which nothing is read from a socket that gives nothing but errors."""
PATIENCE: Final = 8
"""Reads in a row that may fail before such a pause."""
QUIET: Final = 60.0
"""Seconds for which the same trouble of one socket is not told again."""
_TOO_BIG: Final = frozenset({errno.EMSGSIZE})
PASSING: Final = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.EINTR, errno.EAGAIN}) | _TOO_BIG
"""What says nothing of whether the other side can be reached."""
logger = logging.getLogger("msgtrans.quic")


class UdpSocket:
    """One UDP socket on an event loop. bound: ours from now on."""

    _level = logging.WARNING  # of what the system refuses

    def __init__(self, loop: asyncio.AbstractEventLoop, bound: socket.socket, counters: EndpointStats) -> None:
        self._loop = loop
        self._counters = counters
        self._waiting: deque[tuple[bytes, tuple[str, int] | None]] = deque()
        self._connected = False
        self._closed = False
        self._failures = 0  # reads in a row
        self._told: dict[int, float] = {}  # when which trouble was told
        self._socket = bound
        self._use(bound)

    def _use(self, bound: socket.socket) -> None:
        """Take a socket instead of the one before. Raises OSError: then it is closed, and the one before stays."""
        before = self._socket
        try:
            set_up(bound)
            local_address = Address(*bound.getsockname()[:2])
            self._loop.add_reader(bound.fileno(), self._readable)
        except BaseException as error:
            bound.close()
            if isinstance(error, NotImplementedError):
                raise ConfigurationError(
                    "quic", "needs an event loop that watches sockets; use a SelectorEventLoop or uvloop"
                ) from error
            raise
        self._socket, self._local_address = bound, local_address
        if before is not bound:
            self._loop.remove_reader(before.fileno())
            self._loop.remove_writer(before.fileno())
            before.close()
            self._failures = 0
            if self._waiting:
                self._loop.add_writer(bound.fileno(), self._writable)

    @property
    def local_address(self) -> Address | None:
        """Where it is bound."""
        return None if self._closed else self._local_address

    @property
    def socket(self) -> socket.socket:
        """The socket."""
        return self._socket

    def send(self, datagrams: list[tuple[bytes, tuple[str, int]]]) -> None:
        """Send them; those that the system does not take wait, and beyond `BACKLOG` are lost."""
        if self._closed:
            return
        connected = self._connected
        for data, address in datagrams:
            if self._waiting:
                self._wait(data, address)
                continue
            try:
                if connected:
                    self._socket.send(data)
                else:
                    self._socket.sendto(data, address)
            except BlockingIOError:
                self._wait(data, address)
            except OSError as error:
                if error.errno not in _TOO_BIG:  # those are meant to find out what is
                    self._refused(error, data, address)

    def close(self) -> None:
        """Close the socket; what waits is lost."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._waiting.clear()
            self._socket.close()

    def _wait(self, data: bytes, address: tuple[str, int]) -> None:
        if not self._waiting:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        if len(self._waiting) < BACKLOG:
            self._waiting.append((data, address))
        else:
            self._counters.udp_errors += 1

    def _writable(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        self._loop.remove_writer(self._socket.fileno())
        self.send([(data, address) for data, address in waiting if address is not None])

    def _read(self) -> list[tuple[bytes, tuple[str, int]]]:
        """What has come, `BURST` datagrams at most."""
        read: list[tuple[bytes, tuple[str, int]]] = []
        receive = self._socket.recvfrom
        for _ in range(BURST):
            try:
                read.append(receive(SIZE))
            except BlockingIOError:
                self._failures = 0
                break
            except OSError as error:  # about something that was sent earlier, or the system's own trouble
                self._counters.udp_errors += 1
                self._not_sent(error)
                self._failures += 1
                if self._failures >= PATIENCE:
                    self._pause(error)
                else:
                    self._watch()
                break
        else:
            self._failures = 0
        return read

    def _watch(self) -> None:
        """Watch the socket anew: after an error of its own uvloop (libuv) looks at it no more, without a word."""
        if not self._closed and self._failures < PATIENCE:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.add_reader(self._socket.fileno(), self._readable)
            if self._waiting:
                self._loop.add_writer(self._socket.fileno(), self._writable)

    def _pause(self, error: OSError) -> None:
        """Read nothing for a moment: the error stays, and the loop would do nothing else."""
        self._tell(error, "receiving", None)
        self._loop.remove_reader(self._socket.fileno())
        self._loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if not self._closed:
            self._failures = 0
            self._loop.add_reader(self._socket.fileno(), self._readable)

    def _tell(self, error: OSError, doing: str, address: tuple[str, int] | None) -> None:
        """Log what the system refuses, once a minute for each error."""
        now = monotonic()
        if now - self._told.get(error.errno or 0, -QUIET) < QUIET:
            return
        self._told[error.errno or 0] = now
        where = f" to {Address(*address[:2])}" if address is not None else ""
        advice = sockets.advice_of(error)
        logger.log(
            self._level,
            "the system refuses %s on %s%s: %s%s; datagrams are lost meanwhile, and sent again",
            doing,
            self._local_address,
            where,
            error.strerror or error,
            f"; {advice}" if advice else "",
        )

    def _readable(self) -> None:
        raise NotImplementedError

    def _refused(self, error: OSError, data: bytes, address: tuple[str, int]) -> None:  # noqa: ARG002 - for clients
        """The system does not take a datagram: it is lost, as datagrams are."""
        self._counters.udp_errors += 1
        self._tell(error, "sending", address)
        self._not_sent(error)

    def _not_sent(self, error: OSError) -> None:
        """The system refuses a datagram, or says that one was refused."""


def set_up(bound: socket.socket) -> None:
    """What every UDP socket needs: not to wait, not to have datagrams cut in pieces, and room for bursts."""
    bound.setblocking(False)
    with suppress(OSError, AttributeError):  # systems without it find the size of datagrams more slowly
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, 23, 3)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE
        else:
            bound.setsockopt(socket.IPPROTO_IP, 10, 3)  # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
