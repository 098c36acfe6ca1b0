"""The addresses that sources name: at which nobody was met yet and why, and who was met at the others.

Pure: milliseconds of the own monotonic clock come in. Not here: what is thought of who was met (`members`), and where
the lists come from (`sources`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from artemis.cluster.addresses import PeerUrl
from artemis.cluster.machines import machine_of

MAX_MEMBERS = 64
"""Other nodes that a node knows at most, as each sends every change to every other; further ones take the place of such
as are gone, or are refused."""

ENGINE = "the engine "
"""What the one source that is no list of nodes begins with, before where it is."""

_SHOWN = 5
"""Addresses that one sentence names."""

Place = tuple[str, int]


class Address:
    """A configured address since `since`: `nodes` were met there, one or processes of one, and `trouble` says what kept
    us from meeting any; `clock` that it is one whose clock differs. `left` is when a node that was met there left for
    good, None where none did or another one is there since. That of one process has the `front` of its machine, which
    is the configured one."""

    __slots__ = ("clock", "front", "left", "nodes", "since", "trouble", "url")

    def __init__(self, url: PeerUrl, now: int, front: Address | None = None) -> None:
        self.url = url
        self.front = front
        self.nodes: set[str] = set()
        self.trouble = ""
        self.clock = False
        self.left: int | None = None
        self.since = now

    def meet(self, node: str) -> None:
        """Take note that a node was met there."""
        self.nodes = {each for each in self.nodes if machine_of(each) == machine_of(node)} | {node}
        self.trouble, self.clock, self.left = "", False, None

    def depart(self, node: str, now: int) -> None:
        """Take note that a node that was met there has left for good."""
        self.nodes.discard(node)
        if not self.nodes:
            self.left = now


class Configured:
    """Owned by `Members`. `unlisted` says by source what is wrong with its list of nodes, empty where nothing is."""

    def __init__(self, own: PeerUrl) -> None:
        self.unlisted: dict[str, str] = {}
        self._own = own
        self._own_places = {own.place}
        self._addresses: dict[Place, Address] = {}
        self._processes: dict[Place, Address] = {}

    def __iter__(self) -> Iterator[Address]:
        yield from self._addresses.values()

    def __len__(self) -> int:
        """Count them, without those that lead to this node itself."""
        return len(self._addresses)

    def configure(self, urls: Iterable[PeerUrl], known: Callable[[Place], set[str]], now: int) -> list[str]:
        """Let these be all from now on, without the own one; returns sentences on those that cannot be members.

        `known` returns the members that announce a place.
        """
        wanted: dict[Place, PeerUrl] = {}
        remote: list[PeerUrl] = []
        for url in urls:
            if url.place in self._own_places or url.place in wanted:
                continue
            if self._own.on_loopback and not url.on_loopback:
                remote.append(url)
            else:
                wanted[url.place] = url
        refused = []
        if remote:
            refused.append(
                f"{_left_out(remote)}: this node could tell it only {self._own}, which is that machine itself; "
                "give --self-url http://ADDRESS:PORT"
            )
        beyond = sorted(wanted, key=self._rank)[MAX_MEMBERS:]
        if beyond:
            urls = [wanted.pop(place) for place in beyond]
            refused.append(f"{_left_out(urls)}: a node knows {MAX_MEMBERS} others at most")
        for place in [place for place in self._addresses if place not in wanted]:
            self._divide(self._addresses.pop(place), (), now)
        for place, url in wanted.items():
            address = self._addresses.setdefault(place, Address(url, now))
            address.url = url
            address.nodes = address.nodes or known(place)
        return refused

    def _rank(self, place: Place) -> tuple[bool, bool, str, int]:
        """Return the order of places when there are too many: who was met stays, the others are the same everywhere."""
        address = self._addresses.get(place)
        return address is None or not address.nodes, address is None, *place

    def is_own(self, place: Place) -> bool:
        """Take note that a place is this node itself; tells whether it was configured (defect 12)."""
        self._own_places.add(place)
        own = self._addresses.pop(place, None)
        if own is not None:
            self._divide(own, (), 0)
        return own is not None

    def is_machine(self, place: Place, urls: Collection[PeerUrl], now: int) -> Address | None:
        """Take note of where the processes of a machine are met that is configured; returns its address."""
        front = self._addresses.get(place)
        if front is not None:
            front.left = None
            self._divide(front, urls, now)
        return front

    def at(self, place: Place) -> Address | None:
        """Return the address of a place, None if it is none that is configured, and of no process of one."""
        return self._addresses.get(place) or self._processes.get(place)

    def forget(self, node: str) -> None:
        """Let a node have been met nowhere: it is no member any more."""
        for address in (*self._addresses.values(), *self._processes.values()):
            address.nodes.discard(node)

    def depart(self, node: str, now: int) -> None:
        """Take note that a node has left for good: nobody is to be met where it was, until somebody is there again."""
        for address in (*self._addresses.values(), *self._processes.values()):
            if node in address.nodes:
                address.depart(node, now)

    @property
    def nodes(self) -> set[str]:
        """The ids of the nodes that were met at any of them."""
        return {node for address in self._addresses.values() for node in address.nodes}

    @property
    def unmet(self) -> list[Address]:
        """Those where nobody was met, but for those whose node left for good."""
        return [address for address in self._addresses.values() if not address.nodes and address.left is None]

    @property
    def unmet_processes(self) -> list[Address]:
        """Those of processes that were not met, of machines of which others were."""
        unmet = [each for each in self._processes.values() if not each.nodes and each.left is None]
        return [each for each in unmet if each.front is not None and each.front.nodes]

    @property
    def departed(self) -> list[tuple[Address, int]]:
        """Those whose node left for good, and when."""
        return [(address, address.left) for address in self._addresses.values() if address.left is not None]

    def _divide(self, front: Address, urls: Collection[PeerUrl], now: int) -> None:
        for place, each in list(self._processes.items()):
            if each.front is front and each.url not in urls:
                del self._processes[place]
        for url in urls:
            if url.place not in self._addresses:
                self._processes.setdefault(url.place, Address(url, now, front)).left = None


def _left_out(urls: list[PeerUrl]) -> str:
    shown = ", ".join(str(url) for url in urls[:_SHOWN])
    if len(urls) == 1:
        return f"{shown} is left out"
    return f"{shown} and {len(urls) - _SHOWN} more are left out" if len(urls) > _SHOWN else f"{shown} are left out"
