"""Whom a node dials: the peers that it was given, the processes of those that are machines with several, and those that
dial it and announced where they can be reached.

Not here: how one of them is dialled (`dialler`), and what becomes of links (`mesh`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.cluster.addresses import BadAddress, PeerUrl, peer_url
from artemis.cluster.configured import MAX_MEMBERS
from artemis.cluster.mesh.claims import Claims
from artemis.cluster.mesh.dialler import Dialler
from artemis.cluster.mesh.wire import Code

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator

    from artemis.cluster.mesh.handshake import Party
    from artemis.cluster.mesh.home import Home
    from artemis.cluster.mesh.listener import MeshListener
    from artemis.cluster.mesh.pauses import MeshTimings


class Diallers:
    """Owned by the mesh, on its event loop: `close`, then `stop`, each once. Iterates over all of them.

    `near` are the URLs of the other processes of this machine, which are dialled at the pace of `timings`.
    """

    def __init__(
        self, home: Home, listener: MeshListener, near: Collection[PeerUrl] = (), timings: MeshTimings | None = None
    ) -> None:
        self._home = home
        self._claims = Claims(listener)
        self._near, self._timings = frozenset(near), timings
        self._configured: dict[PeerUrl, Dialler] = {}
        # Processes of machines, which those that are configured have sent us to.
        self._beyond: dict[PeerUrl, Dialler] = {}
        self._announced: dict[str, Dialler] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    def __iter__(self) -> Iterator[Dialler]:
        yield from [*self._configured.values(), *self._beyond.values(), *self._announced.values()]

    def set_peers(self, urls: Collection[PeerUrl]) -> None:
        """Dial these nodes and no others, beside those that announced themselves."""
        for url in [each for each in self._configured if each not in urls]:
            self._drop(self._configured.pop(url), "it was taken from the list of peers")
            self._keep_beyond(url, ())
        for url in urls:
            if url not in self._configured and not self._closed:
                self._configured[url] = self._adopted(url) or self._dial(url, configured=True)

    def sends_on(self, dialler: Dialler) -> bool:
        """Whether it leads to a machine whose processes are dialled by others."""
        return any(dialler.url in each.origins for each in self._beyond.values())

    def send_on(self, front: Dialler, urls: Collection[PeerUrl]) -> list[PeerUrl] | None:
        """Dial the processes of a machine, and none that it has no more. Returns those that are too many; None, and
        nothing is dialled, unless it is one of the configured nodes."""
        if self._configured.get(front.url) is not front:
            return None
        self._keep_beyond(front.url, urls)
        beyond: list[PeerUrl] = []
        for url in urls:
            dialler = self._configured.get(url) or self._beyond.get(url)
            if dialler is None and (self._closed or len(self._beyond) >= MAX_MEMBERS):
                beyond.append(url)
                continue
            if dialler is None:
                dialler = self._beyond[url] = self._adopted(url) or self._dial(url, configured=True)
            dialler.origins[front.url] = None
        return beyond

    def direct(self, dialler: Dialler) -> None:
        """A link was made by this one itself: what it led to is one process."""
        self._keep_beyond(dialler.url, ())

    def parted(self, dialler: Dialler) -> None:
        """A process of a machine is linked no more: it may be at another place."""
        for origin in dialler.origins:
            if origin in self._configured:
                self._configured[origin].ask_again()

    def dial_back(self, party: Party) -> None:
        """Dial a node that dialled us and is not linked, unless that is done already."""
        if self._closed:
            return
        if party.beside(self._home.me):
            for near in [each for url, each in self._configured.items() if url in self._near and each.peer is None]:
                near.hurry()
            return
        try:
            url = peer_url(party.dialled_at)
        except BadAddress:
            return  # refused at the handshake
        dialler = self._configured.get(url) or self._beyond.get(url) or self._announced.get(party.node)
        if dialler is not None and dialler.url == url:
            dialler.hurry()
            return
        if dialler is not None:
            self.forget(dialler)
        self._announced[party.node] = self._dial(url, configured=False)

    def keep(self, nodes: Container[str]) -> None:
        """Look after who depends on being dialled back; `nodes` are those that dial us and have us in their list.

        Of those that announced themselves, others are dialled no more. A peer that was dialled before it came into the
        list, and that does not dial us, has to hear that it may.
        """
        for node, dialler in list(self._announced.items()):
            if node not in nodes:
                self.forget(dialler)
        for dialler in [*self._configured.values(), *self._beyond.values()]:
            if dialler.peer is not None and not dialler.listing and dialler.peer.party.node not in nodes:
                dialler.leave(Code.REPLACED, "it has come into the list of peers")

    def forget(self, dialler: Dialler) -> None:
        """Dial it no more, if it is one that announced itself."""
        for node, each in list(self._announced.items()):
            if each is dialler:
                del self._announced[node]
                self._drop(dialler, "it does not dial this node any more")

    def close(self) -> None:
        """Begin to dial nobody any more; links that there are stay."""
        self._closed = True

    async def stop(self) -> None:
        """Leave all links."""
        for dialler in self:
            self._drop(dialler, "this node stops")
        self._configured.clear()
        self._beyond.clear()
        self._announced.clear()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _keep_beyond(self, origin: PeerUrl, urls: Container[PeerUrl]) -> None:
        """Dial of the processes that this origin has sent us to only these."""
        for url, dialler in list(self._beyond.items()):
            if url not in urls and dialler.left_by(origin):
                self._drop(self._beyond.pop(url), "its machine has no such process any more")

    def _adopted(self, url: PeerUrl) -> Dialler | None:
        """Return the one that has dialled this URL so far for another reason; its link goes on."""
        if url in self._beyond:
            return self._beyond.pop(url)
        for node, dialler in self._announced.items():
            if dialler.url == url:
                del self._announced[node]
                dialler.configured = True
                return dialler
        return None

    def _dial(self, url: PeerUrl, *, configured: bool) -> Dialler:
        timings = self._timings if url in self._near else None
        dialler = Dialler(url, self._home, self._claims, configured=configured, timings=timings)
        dialler.start()
        return dialler

    def _drop(self, dialler: Dialler, why: str) -> None:
        task = asyncio.get_running_loop().create_task(dialler.stop(why))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
