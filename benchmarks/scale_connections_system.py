"""What `scale_connections.py` needs of the system, and what it reads there: limits beforehand, memory of processes and
of the kernel while it runs. Linux only.

Not here: any connection.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
PER_ADDRESS = 1000  # connections from one source address, far less than it has ports
SPARE_FILES = 200  # of a process, beside its connections
UNEVEN = 1.15  # the system spreads connections over the workers by a hash of their addresses
BACKLOG = 1024  # of each worker's listening socket
PER_CONNECTION = 64 * 1024  # bytes of memory on both sides and in the kernel; measured it is less
MIB = 1024 * 1024


class Plan(NamedTuple):
    """How many connections, and the processes that have them."""

    connections: int
    workers: int
    clients: int

    @property
    def files(self) -> int:
        """Files that the process with the most of them opens."""
        worker = math.ceil(self.connections / self.workers * UNEVEN)
        return max(worker, math.ceil(self.connections / self.clients)) + SPARE_FILES

    @property
    def all_files(self) -> int:
        """Files of all processes together."""
        return 2 * self.connections + SPARE_FILES * (self.workers + self.clients)


def read_setting(name: str) -> list[int]:
    """The numbers of a file below /proc/sys, none where it is not there."""
    try:
        return [int(word) for word in (PROC / "sys" / name).read_text().split()]
    except FileNotFoundError:
        return []


def lacking(plan: Plan, hard_limit: int, available: int, read: Callable[[str], list[int]] = read_setting) -> list[str]:
    """What keeps this system from holding so many connections, as sentences that say what to set.

    hard_limit: of open files of a process. available: bytes of memory. read: what a file below /proc/sys says.
    """
    found: list[str] = []
    if plan.files > hard_limit:
        found.append(
            f"a process may open {hard_limit} files and would need {plan.files}: raise it (ulimit -Hn {plan.files}, or "
            "LimitNOFILE= of a systemd unit), or give more --workers and --clients"
        )
        if (most := read("fs/nr_open")) and plan.files > most[0]:
            found.append(f"no process may be allowed more than {most[0]} files: sysctl -w fs.nr_open={plan.files}")
    opened = (read("fs/file-nr") or [0])[0]
    if (most := read("fs/file-max")) and opened + plan.all_files > most[0]:
        needed = opened + plan.all_files
        found.append(f"all processes together may open {most[0]} files: sysctl -w fs.file-max={needed}")
    if (most := read("net/core/somaxconn")) and min(BACKLOG, plan.connections) > most[0]:
        found.append(f"only {most[0]} new connections may wait for a worker: sysctl -w net.core.somaxconn={BACKLOG}")
    if (ports := read("net/ipv4/ip_local_port_range")) and ports[1] - ports[0] + 1 < 2 * PER_ADDRESS:
        found.append(
            f"an address has {ports[1] - ports[0] + 1} ports to connect from, {2 * PER_ADDRESS} are needed: "
            'sysctl -w net.ipv4.ip_local_port_range="32768 60999"'
        )
    tracked = (read("net/netfilter/nf_conntrack_count") or [0])[0] + math.ceil(plan.connections * UNEVEN)
    if (most := read("net/netfilter/nf_conntrack_max")) and tracked > most[0]:
        found.append(
            f"the firewall tracks {most[0]} connections at most: sysctl -w net.netfilter.nf_conntrack_max={tracked}"
        )
    if available < plan.connections * PER_CONNECTION:
        found.append(
            f"{available // MIB} MiB of memory are available, {plan.connections * PER_CONNECTION // MIB} are needed: "
            "give fewer --connections"
        )
    return found


def raise_limit() -> int:
    """Let this process and its children open as many files as they may; how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def numbers(text: str) -> dict[str, int]:
    """Lines of "name: number ..." as they stand in /proc/meminfo and smaps_rollup; kB become bytes."""
    found = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        words = rest.split()
        if colon and " " not in name and words and words[0].isdecimal():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def available() -> int:
    """Bytes of memory that programs can still have."""
    return numbers((PROC / "meminfo").read_text())["MemAvailable"]


class Memory(NamedTuple):
    """Bytes at one moment: of processes resident, and with pages that they share counted once; of the kernel.

    slab: what the kernel allocates in pieces, sockets and files among it. buffers: of TCP. used: what programs cannot
    have any more, kernel included.
    """

    server: int
    server_once: int
    clients: int
    clients_once: int
    slab: int
    buffers: int
    used: int

    def since(self, before: Memory) -> Memory:
        """What came since."""
        return Memory(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def kernel(self) -> int:
        """What no process has, of what is used."""
        return self.used - self.server_once - self.clients_once


def memory(server: Iterable[int], clients: Iterable[int]) -> Memory:
    """Of these processes and the kernel, now."""
    system = numbers((PROC / "meminfo").read_text())
    sides = []
    for side in (server, clients):
        maps = [numbers((PROC / str(pid) / "smaps_rollup").read_text()) for pid in side]
        sides += [sum(one["Rss"] for one in maps), sum(one["Pss"] for one in maps)]
    buffers = 0
    for line in (PROC / "net" / "sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            buffers = int(words[words.index("mem") + 1]) * resource.getpagesize()
    return Memory(*sides, system["Slab"], buffers, system["MemTotal"] - system["MemAvailable"])


def descriptors(pid: int) -> int:
    """Files that a process has open."""
    return len(list((PROC / str(pid) / "fd").iterdir()))


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100  # USER_HZ, the same on every Linux that matters
