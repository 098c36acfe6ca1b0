"""All Java peers of one node: what clients of this node ask is handed to each, and the first copy comes from one.

Never what other nodes brought: each node passes on what its own clients ask, and that is the whole prevention of loops
(spec 7.1). Not here: one peer (`peer`), and what a node does without peers.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from artemis.cluster.java.copying import copy
from artemis.cluster.java.dues import Kind
from artemis.cluster.java.exchange import Unanswered, make_session
from artemis.cluster.java.peer import JavaPeer
from artemis.model.nodes import UP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.addresses import PeerUrl
    from artemis.cluster.java.standing import JavaStanding
    from artemis.registry import Lease, Registry, RenewalPlan

MOST_RENEWALS = 1_000_000
"""Renewals that wait to be handed to peers; those beyond are dropped and counted, the next heartbeat says the same."""

_EVERY = 0.1
_SLICE = 1_000
_AGAIN = 0.5


class JavaView(NamedTuple):
    """A Java peer as it is shown: `for_ms` in this state, `waiting` tasks for it, `trouble` with the last batch."""

    url: PeerUrl
    standing: JavaStanding
    for_ms: int
    waiting: int
    trouble: str
    counters: Counter[str]


class JavaPeers:
    """The Java peers of one node. Owned by the assembly, on its event loop: `start`, then `stop`, each once.

    `offered`: whether clients are told of them. `dropped` counts renewals that were too many.
    """

    def __init__(
        self,
        urls: Iterable[PeerUrl],
        registry: Registry,
        zone: str,
        *,
        offered: bool,
        now: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> None:
        self.offered = offered
        self.dropped = 0
        self._registry = registry
        self._zone = zone
        self._now = now
        self._log = log
        self._session = make_session()
        self._renewals: deque[Sequence[Lease]] = deque()
        self._waiting = 0
        self._peers: dict[PeerUrl, JavaPeer] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._handing: asyncio.Task[None] | None = None
        for url in urls:
            self._add(url)

    def start(self) -> None:
        """Ask and tell from now on."""
        self._handing = asyncio.create_task(self._hand_on())
        for peer in self._peers.values():
            peer.start()

    async def stop(self) -> None:
        """Ask and tell no more."""
        if self._handing is not None:
            self._handing.cancel()
            await asyncio.gather(self._handing, return_exceptions=True)
        await asyncio.gather(*(peer.stop() for peer in self._peers.values()), *self._stopping)
        await self._session.close()

    def configure(self, urls: Iterable[PeerUrl], *, offered: bool) -> None:
        """Have these peers from now on; what others were still to be told is dropped."""
        self.offered = offered
        wanted = dict.fromkeys(urls)
        for url in [url for url in self._peers if url not in wanted]:
            task = asyncio.create_task(self._peers.pop(url).stop())
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
        for url in wanted:
            if url not in self._peers:
                self._add(url)
                self._peers[url].start()

    @property
    def urls(self) -> list[PeerUrl]:
        """Their addresses."""
        return list(self._peers)

    def views(self) -> list[JavaView]:
        """Return how all of them stand."""
        now = self._now()
        return [
            JavaView(
                peer.url, peer.standing, now - peer.since, len(peer.dues), peer.trouble, Counter(peer.dues.counters)
            )
            for peer in self._peers.values()
        ]

    def _add(self, url: PeerUrl) -> None:
        self._peers[url] = JavaPeer(url, self._session, self._registry.region, now=self._now, log=self._log)

    # -- what clients of this node asked

    def registered(self, lease: Lease, now: int) -> None:
        """A client registered an instance or changed its content."""
        self._put(Kind.REGISTER, lease, lease.record.content, now)

    def renewed(self, lease: Lease, now: int) -> None:
        """A client renewed a lease, maybe with other content."""
        # Only what writes a new version gives it the stamp of the renewal. Heartbeats bring Java nodes no content.
        if lease.renewed == lease.record.version:
            self.registered(lease, now)
        else:
            self._renew((lease,))

    def renewed_by_plan(self, plan: RenewalPlan) -> None:
        """A client renewed the leases of a plan, all as they were."""
        for leases in (plan.normal, plan.legacy):
            if leases:
                self._renew(leases)

    def removed(self, lease: Lease, content: bytes, now: int) -> None:
        """A client removed an instance; `content` says which, as Java nodes want it whole."""
        self._put(Kind.UNREGISTER, lease, content, now)

    def _put(self, kind: Kind, lease: Lease, content: bytes, now: int) -> None:
        _, service, name = lease.record.key
        for peer in self._peers.values():
            peer.put(kind, (service, name), content, now)
            peer.wake()

    def _renew(self, leases: Sequence[Lease]) -> None:
        if self._waiting + len(leases) > MOST_RENEWALS:
            self.dropped += len(leases)
            return
        self._waiting += len(leases)
        self._renewals.append(leases)

    async def _hand_on(self) -> None:
        """Hand renewals to the peers bit by bit: a client may renew thousands of leases with one short message."""
        while True:
            await asyncio.sleep(_EVERY)
            while self._renewals:
                leases = self._renewals.popleft()
                for start in range(0, len(leases), _SLICE):
                    self._hand(leases[start : start + _SLICE])
                    if len(leases) > start + _SLICE:
                        await asyncio.sleep(0)
                self._waiting -= len(leases)

    def _hand(self, leases: Sequence[Lease]) -> None:
        now = self._now()
        for peer in self._peers.values():
            for lease in leases:
                record = lease.record
                if lease.live:
                    peer.put(Kind.HEARTBEAT, record.key[1:], record.content, now)
            peer.wake()

    # -- the first copy

    async def copy_first(self, patience: float) -> str:
        """Copy from one of the peers that are up, those of the own zone first; returns what came of it, as a sentence.

        `patience`: seconds in which one has to be found.
        """
        deadline = self._now() + round(patience * 1000)
        why: dict[PeerUrl, str] = {}
        while True:
            for peer in self._to_copy_from():
                try:
                    copied = await copy(peer.exchange, self._registry, self._zone, self._now)
                except Unanswered as error:
                    why[peer.url] = str(error)
                    continue
                refused = f", {copied.refused} could not be registered" if copied.refused else ""
                taken = f"{copied.taken} instances, {copied.known} known before{refused}"
                return f"copied from Java peer {peer.url}: {taken}"
            if self._now() >= deadline:
                break
            await asyncio.sleep(min(_AGAIN, max(0.01, patience)))
        reasons = [f"{url}: {text}" for url, text in why.items()] or [
            f"{peer.url}: {peer.standing.why or peer.standing.state}" for peer in self._peers.values()
        ]
        return f"there was nothing to copy from Java peers ({'; '.join(reasons[:3])}); it takes in what they send"

    def _to_copy_from(self) -> list[JavaPeer]:
        up = [peer for peer in self._peers.values() if peer.standing.state == UP]
        return sorted(up, key=lambda peer: peer.standing.zone.lower() != self._zone.lower())
