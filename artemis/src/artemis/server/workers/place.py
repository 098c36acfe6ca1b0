"""Where a worker stands among those of its machine: which one it is, how it meets the others, its share of limits.

Not here: processes and sockets (`ground`, `supervision`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from artemis.cluster.addresses import PeerUrl
    from artemis.server.workers.totals import Totals


_VERSIONS = 2**44
"""Versions of one worker, 500 years of milliseconds; those of 64 workers fit into the whole numbers of JSON."""


class Links(msgspec.Struct, frozen=True):
    """Where nodes of other machines are linked with one worker: at `url`, which leads to the listening sockets `bound`;
    `secure` says that TLS is spoken there. `everywhere` are the URLs of all workers."""

    url: str
    bound: tuple[socket.socket, ...]
    secure: bool
    everywhere: tuple[str, ...]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, number `index` of `count`, of the node `machine`. `secret` is what the siblings trust each other by,
    and all nodes of the cluster where it is one of a mesh with other machines; then there are `links`. `life` is what
    all workers have in common from the machine's start to its end, and no others; `again` says that this one was
    started again beside others.

    `url` is where siblings dial it, at the socket `mesh`, and `siblings` where it dials them. `hosts` are the addresses
    of the machine's `port` and `plain_port`, `listen` gets sockets for one port of them, `udp` are sockets for QUIC,
    which one worker has. `totals` are the numbers of all, `leave` has the whole machine leave its cluster, with a text
    once a worker of every place has wanted that with the same.
    """

    index: int
    count: int
    machine: str
    secret: bytes
    url: PeerUrl
    siblings: tuple[PeerUrl, ...]
    mesh: socket.socket
    hosts: tuple[str, ...]
    port: int
    plain_port: int | None
    listen: Callable[[Sequence[str], int], Awaitable[list[socket.socket]]]
    totals: Totals
    leave: Callable[[str], None]
    life: str
    links: Links | None = None
    again: bool = False
    udp: tuple[socket.socket, ...] = ()

    def share(self, limit: int) -> int:
        """Return this worker's part of a limit of the machine: the parts add up to it, and each is 1 at least."""
        part, rest = divmod(limit, self.count)
        return max(1, part + (self.index < rest)) if limit else 0

    @property
    def node_id(self) -> str:
        """The id of this worker among its siblings, if it has no other: that of the machine for the first."""
        return f"{self.machine}#{self.index}" if self.index else self.machine

    def first_version(self, wall: int) -> int:
        """Return the version that the catalog of this worker begins with at `wall` milliseconds: no two workers ever
        give the same, so one that is asked about a version of another says that it does not know it."""
        return wall + self.index * _VERSIONS

    def directory_of(self, machine: Path | None) -> Path | None:
        """Return the data directory of this worker: that of the machine for the first, one below it for each other."""
        return machine / f"worker-{self.index}" if machine is not None and self.index else machine
