"""Whom a node dials: the peers that it was given, and those that dial it and announced where they can be reached.

Not here: how one of them is dialled (`dialler`), and what becomes of links (`mesh`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from artemis.cluster.addresses import BadAddress, PeerUrl, peer_url
from artemis.cluster.mesh.claims import Claims
from artemis.cluster.mesh.dialler import Dialler
from artemis.cluster.mesh.wire import Code

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator

    from artemis.cluster.mesh.handshake import Party
    from artemis.cluster.mesh.home import Home
    from artemis.cluster.mesh.listener import MeshListener


class Diallers:
    """Owned by the mesh, on its event loop: `close`, then `stop`, each once. Iterates over all of them."""

    def __init__(self, home: Home, listener: MeshListener) -> None:
        self._home = home
        self._claims = Claims(listener)
        self._configured: dict[PeerUrl, Dialler] = {}
        self._announced: dict[str, Dialler] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    def __iter__(self) -> Iterator[Dialler]:
        yield from [*self._configured.values(), *self._announced.values()]

    def set_peers(self, urls: Collection[PeerUrl]) -> None:
        """Dial these nodes and no others, beside those that announced themselves."""
        for url in [each for each in self._configured if each not in urls]:
            self._drop(self._configured.pop(url), "it was taken from the list of peers")
        for url in urls:
            if url not in self._configured and not self._closed:
                self._configured[url] = self._adopted(url) or self._dial(url, configured=True)

    def dial_back(self, party: Party) -> None:
        """Dial a node that dialled us and is not linked, unless that is done already."""
        if self._closed:
            return
        try:
            url = peer_url(party.url)
        except BadAddress:
            return  # refused at the handshake
        dialler = self._configured.get(url) or self._announced.get(party.node)
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
        for dialler in self._configured.values():
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
        self._announced.clear()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _adopted(self, url: PeerUrl) -> Dialler | None:
        """Return the one that has dialled this URL so far because it was announced; its link goes on."""
        for node, dialler in self._announced.items():
            if dialler.url == url:
                del self._announced[node]
                dialler.configured = True
                return dialler
        return None

    def _dial(self, url: PeerUrl, *, configured: bool) -> Dialler:
        dialler = Dialler(url, self._home, self._claims, configured=configured)
        dialler.start()
        return dialler

    def _drop(self, dialler: Dialler, why: str) -> None:
        task = asyncio.get_running_loop().create_task(dialler.stop(why))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
