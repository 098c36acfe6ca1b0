"""Network namespaces for tests on Linux: machines on one switch, whose packets the kernel really drops.

::

    with Network() as network:
        one, two = network.machine(), network.machine()
        two.drop(0.3, one.address)  # a third of the packets that come from there
        one.blackhole(two.address)  # nothing goes there any more
        one.unplug()

Each machine is a namespace with one interface on a bridge, which is in a namespace of its own and is the only thing
that this machine is joined to; so nothing that happens there touches other networks. Everything is named after the
process and removed at the end, also after a failure; `remove_leftovers` removes what a killed process left behind.
Needs root, iproute2 and, for `drop`, nftables; `why_not` says what is missing. What needs no root is in
`artemis.testing.links`. Not for production.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_PREFIX = "arte"
_NAMES = Path("/run/netns")


class NamespacesError(RuntimeError):
    """A command that makes or changes a namespace failed; the text holds it and what it printed."""


def why_not(*, drops: bool = True) -> str:
    """Return why namespaces cannot be used here, empty if they can; ``drops``: with lost packets."""
    if sys.platform != "linux":
        return "network namespaces are those of Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need ip: apt-get install iproute2"
    if drops and shutil.which("nft") is None:
        return "lost packets need nft: apt-get install nftables"
    name = f"{_PREFIX}{os.getpid()}-try"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "netns", "delete", name)
    except NamespacesError as error:
        return f"network namespaces cannot be made here: {error}"
    return ""


def remove_leftovers() -> list[str]:
    """Remove the namespaces of processes of ours that are gone, and return their names."""
    if not _NAMES.is_dir():
        return []
    found = []
    for name in sorted(os.listdir(_NAMES)):
        pid = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _run("ip", "netns", "delete", name)
            found.append(name)
    return found


class Machine:
    """A namespace with an address; made by `Network.machine`.

    ``within`` are the words that come before a command that is to run in it; they end in the command's own process.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._table = False

    @property
    def within(self) -> tuple[str, ...]:
        """Return what comes before a command."""
        return ("ip", "netns", "exec", self.name)

    def drop(self, share: float, *sources: str) -> None:
        """Drop this share, 0 to 1, of the packets that come from these addresses, from all unless some are named."""
        if not 0 <= share <= 1:
            raise ValueError(f"a share is from 0 to 1, not {share}")
        if not self._table:
            self._nft("add table inet artemis")
            self._nft("add chain inet artemis loss { type filter hook input priority 0; }")
            self._table = True
        chance = f"numgen random mod 1000 < {round(share * 1000)}" if share < 1 else ""
        for source in sources or ("0.0.0.0/0",):
            self._nft(f"add rule inet artemis loss ip saddr {source} {chance} drop")

    def blackhole(self, *addresses: str) -> None:
        """Let nothing go to these addresses; what comes from there still arrives."""
        for address in addresses:
            _run("ip", "-n", self.name, "route", "replace", "blackhole", f"{address}/32")

    def unplug(self) -> None:
        """Take the interface down."""
        _run("ip", "-n", self.name, "link", "set", "eth0", "down")

    def heal(self) -> None:
        """Undo all of that."""
        if self._table:
            self._nft("flush chain inet artemis loss")
        _run("ip", "-n", self.name, "route", "flush", "type", "blackhole")
        _run("ip", "-n", self.name, "link", "set", "eth0", "up")

    def _nft(self, words: str) -> None:
        _run(*self.within, "nft", words)


class Network:
    """A switch, machines on it, and this machine too, as ``address``; a context manager. Blocking.

    The network is 198.18.x.0/24, a range for benchmarks, with an x that goes by the process. Raises `NamespacesError`.
    """

    def __init__(self) -> None:
        self._number = os.getpid() % 256
        self._name = f"{_PREFIX}{os.getpid()}"
        self._machines: list[Machine] = []
        self._undo = ExitStack()
        self.address = self._address(254)

    def __enter__(self) -> Self:
        remove_leftovers()
        hub, here = f"{self._name}-hub", f"{self._name}h"[:15]
        with ExitStack() as undo:
            self._namespace(undo, hub)
            _run("ip", "-n", hub, "link", "add", "br0", "type", "bridge")
            _run("ip", "-n", hub, "link", "set", "br0", "up")
            _run("ip", "link", "add", here, "type", "veth", "peer", "name", "here", "netns", hub)
            undo.callback(_run, "ip", "link", "delete", here)
            _run("ip", "-n", hub, "link", "set", "here", "master", "br0", "up")
            _run("ip", "address", "add", f"{self.address}/24", "dev", here)
            _run("ip", "link", "set", here, "up")
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The end of a namespace takes its interfaces with it, and with them the other ends, but only after a while.
        self._undo.close()

    def machine(self) -> Machine:
        """Add a machine."""
        number = len(self._machines) + 1
        hub, name = f"{self._name}-hub", f"{self._name}-{number}"
        self._namespace(self._undo, name)
        one = Machine(name, self._address(number))
        self._machines.append(one)
        _run("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"m{number}", "netns", hub)
        _run("ip", "-n", hub, "link", "set", f"m{number}", "master", "br0", "up")
        _run("ip", "-n", name, "address", "add", f"{one.address}/24", "dev", "eth0")
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "link", "set", "eth0", "up")
        return one

    def _address(self, number: int) -> str:
        return f"198.18.{self._number}.{number}"

    def _namespace(self, undo: ExitStack, name: str) -> None:
        _run("ip", "netns", "add", name)
        undo.callback(_run, "ip", "netns", "delete", name)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 - our own words
    if done.returncode:
        raise NamespacesError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
