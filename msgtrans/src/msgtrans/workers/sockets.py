"""The listening sockets of a group of workers, bound and kept by their supervisor for its whole life.

A worker that ends leaves its socket, and the connections that queue there, to the next one of its place: nothing is
refused meanwhile. Where Linux spreads connections over a socket for each place, it is told which places serve now, by a
filter (SO_ATTACH_REUSEPORT_CBPF), so that nobody has to wait at a place that is empty while others serve.
Not here: accepting, names (a worker resolves these), and giving the sockets to workers (`supervisor`).
"""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from msgtrans.workers.messages import Listen

logger = logging.getLogger("msgtrans.workers")

SPREADS: Final = sys.platform == "linux"
"""Whether the system spreads connections over sockets that share a port by SO_REUSEPORT."""
ATTACH: Final = 51  # SO_ATTACH_REUSEPORT_CBPF, which the module socket does not name
DETACH: Final = 68  # SO_DETACH_REUSEPORT_BPF
ATTEMPTS: Final = 10  # to find a port that is free on all addresses of a name
LOAD_RANDOM: Final = (0x20, 0, 0, 0xFFFFF000 + 56)  # classic BPF: A = a random number
MODULO, JUMP_UNLESS, RETURN = 0x94, 0x15, 0x06


class Bound:
    """One port, on all addresses of a name: sockets of each place, or shared by all (then of place 0).

    order: which place the sockets that share the port belong to, as the kernel numbers them.
    """

    def __init__(self, hosts: tuple[str, ...], port: int) -> None:
        self.hosts = hosts
        self.port = port
        self.sockets: dict[int, list[socket.socket]] = {}
        self.order: list[int] = []
        self.users: set[int] = set()  # lives that asked for it
        self.steered: tuple[int, ...] = ()


class Listening:
    """All ports. reuse_port: a socket for each place, where the system spreads connections."""

    def __init__(self, *, reuse_port: bool) -> None:
        self._apart = reuse_port and SPREADS
        self._ports: dict[tuple[int, tuple[str, ...], int], Bound] = {}
        self._can_steer = True

    def get(self, asked: Listen, place: int, life: int) -> list[socket.socket]:
        """The sockets of one listener of a worker, made when they are asked for first. Raises OSError.

        The same port is the same listener; port 0 is another one for each listener of a worker.
        """
        key = (asked.ordinal + 1 if asked.port == 0 else 0, asked.hosts, asked.port)
        place = place if self._apart else 0
        bound = self._ports.get(key)
        if bound is None:
            bound = Bound(asked.hosts, asked.port)
            self._bind_first(bound, place, asked)
            self._ports[key] = bound
        elif place not in bound.sockets:
            bound.sockets[place] = _bind_all(bound.hosts, bound.port, asked, apart=True)
            bound.order.append(place)
        bound.users.add(life)
        return bound.sockets[place]

    def steer(self, serving: Collection[int]) -> None:
        """Let the system give new connections to these places only; to all where none of them serves."""
        if not self._apart or not self._can_steer:
            return
        for bound in self._ports.values():
            numbers = tuple(number for number, place in enumerate(bound.order) if place in serving)
            if numbers in {(), tuple(range(len(bound.order)))}:
                numbers = ()
            if numbers == bound.steered:
                continue
            bound.steered = numbers
            try:
                for listening in bound.sockets[bound.order[0]]:
                    _attach(listening, numbers)
            except OSError as error:
                self._can_steer = False
                logger.warning("connections to a worker that restarts will wait for it: %s", error)

    def leave(self, place: int) -> None:
        """A place is no more."""
        if not self._apart:
            return
        for bound in self._ports.values():
            for listening in bound.sockets.pop(place, ()):
                listening.close()
            if place in bound.order:  # as the kernel does it: the last one takes the number
                number = bound.order.index(place)
                last = bound.order.pop()
                if number < len(bound.order):
                    bound.order[number] = last
                bound.steered = (-1,)  # whatever it was, it was about other numbers

    def keep_only(self, lives: Collection[int]) -> None:
        """Close what none of these has asked for."""
        for key, bound in list(self._ports.items()):
            if bound.users.isdisjoint(lives):
                _close(bound.sockets.values())
                del self._ports[key]

    def close(self) -> None:
        """Close all."""
        for bound in self._ports.values():
            _close(bound.sockets.values())
        self._ports.clear()

    def _bind_first(self, bound: Bound, place: int, asked: Listen) -> None:
        if asked.port and self._apart:
            _close([_bind_all(asked.hosts, asked.port, asked, apart=False)])  # fails where another program listens
        for attempt in range(1, ATTEMPTS + 1):
            try:
                made = _bind_all(asked.hosts, asked.port, asked, apart=self._apart)
                break
            except OSError as error:
                if asked.port or error.errno != errno.EADDRINUSE or attempt == ATTEMPTS:
                    raise
        bound.hosts = tuple(listening.getsockname()[0] for listening in made)
        bound.port = made[0].getsockname()[1]
        bound.sockets[place] = made
        bound.order.append(place)


def _bind_all(hosts: tuple[str, ...], port: int, asked: Listen, *, apart: bool) -> list[socket.socket]:
    """Listen to one port on all hosts that this machine has; at least one."""
    made: list[socket.socket] = []
    try:
        for host in hosts:
            try:
                made.append(_bind(host, port, asked, apart=apart))
            except OSError as error:
                # A name may stand for an address that this machine does not have, as ::1 without IPv6.
                last = host == hosts[-1] and not made
                if last or error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
            else:
                port = made[0].getsockname()[1]
    except BaseException:
        _close([made])
        raise
    return made


def _bind(host: str, port: int, asked: Listen, *, apart: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if asked.reuse_address:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if apart:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(asked.backlog)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _attach(listening: socket.socket, numbers: tuple[int, ...]) -> None:
    """Have the system choose at random among the sockets with these numbers; among all when there are none."""
    if not numbers:
        with suppress(FileNotFoundError):  # none was attached
            listening.setsockopt(socket.SOL_SOCKET, DETACH, 0)
        return
    program = [LOAD_RANDOM, (MODULO, 0, 0, len(numbers))]
    for chosen, number in enumerate(numbers):
        program += [(JUMP_UNLESS, 0, 1, chosen), (RETURN, 0, 0, number)]
    program.append((RETURN, 0, 0, numbers[0]))
    import ctypes

    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    listening.setsockopt(socket.SOL_SOCKET, ATTACH, struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))


def _close(sockets: Iterable[Iterable[socket.socket]]) -> None:
    for several in sockets:
        for listening in several:
            listening.close()
