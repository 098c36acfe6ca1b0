"""What a node makes of the others: hears of links and lists, and decides what it serves, whom it dials, how old it is.

The decisions are those of `artemis.cluster.members` and `artemis.cluster.starting`; here they are tied to the node
and its replica, and told to the log. Not here: links (`cluster.mesh`), and reading lists of nodes (`cluster.sources`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artemis.cluster.addresses import BadAddress, PeerUrl, peer_url
from artemis.cluster.configured import MAX_MEMBERS
from artemis.cluster.contacts import Contacts
from artemis.cluster.joining import Reachable
from artemis.cluster.members import Announced, Members, MemberTimings
from artemis.cluster.mesh.listener import MeshListener
from artemis.cluster.mesh.wire import Code
from artemis.cluster.starting import Seen
from artemis.cluster.suspicion import Patience
from artemis.server.member_log import MemberLog

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.mesh.handshake import Peer, Skew
    from artemis.cluster.mesh.wire import Refusal
    from artemis.cluster.replicating import Replicating
    from artemis.cluster.standing import Standing
    from artemis.cluster.starting import Start
    from artemis.server.config import ServeConfig
    from artemis.server.node import Node


_WHAT_TO_DO = (
    "if this one is the copy, give this one an empty --data-dir; else give that one an empty --data-dir, or end it, "
    "then start this one again"
)
"""The end of the last line of a node that ends because another one has its id."""

_NOBODY = {Code.UNREACHABLE, Code.SILENT, Code.STOPPING}
"""Reasons why nobody was linked at an address where no node is, or none that goes on."""

_LONGEST_GAP = 3_000
_SHORTEST_GAP = 500
"""Milliseconds between two ticks that are taken for a pause of this node: a quarter of what others may be silent for,
but within these bounds."""


class Membership(MeshListener):
    """The others, as one node sees them. Owned by the assembly; used from one event loop, and waits for nothing.

    `start` decides when the node serves, `most` others are known. `siblings` is where the other workers of its machine
    `machine` are dialled, with whom it is one node to everybody else. `listing` names the sources whose lists of nodes
    are still to come; each is told by `listed`. `links` returns the nodes that messages can be sent to, `receiving`
    whether a node can send to this one, `dial` takes the addresses to be dialled, `resumed` hears that this node stood
    still, `end` that it has to end, and why; they are to be set before the first `tick`, which comes several times a
    second. `deaf` says that nobody can be heard now, which is nobody's fault, `reached` until when all was known that
    others have put where all put it, None where there is no such place. `met_sibling` hears of a link with one, and the
    life that it is in, `lost_sibling` that a peer can tell nothing more.
    """

    def __init__(
        self,
        config: ServeConfig,
        node: Node,
        replica: Replicating,
        start: Start,
        *,
        machine: str = "",
        siblings: Collection[PeerUrl] = (),
        listing: Collection[str],
        most: int = MAX_MEMBERS,
        now: Callable[[], int],
        wall: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> None:
        identity = node.identity
        url = peer_url(identity.url)
        me = Announced(node=identity.node_id, epoch=identity.epoch, url=url, zone=identity.zone)
        self.members = node.members = Members(me, member_timings(config), most, siblings)
        self.start = start
        self.met_sibling: Callable[[str, int], None] = lambda *_: None
        self.lost_sibling: Callable[[str], None] = lambda _: None
        self.links: Callable[[], Collection[str]] = tuple
        self.receiving: Callable[[str], bool] = lambda _: False
        self.dial: Callable[[list[PeerUrl]], None] = lambda _: None
        self.resumed: Callable[[], None] = lambda: None
        self.end: Callable[[str], None] = lambda _: None
        self.deaf: Callable[[], bool] = lambda: False
        self.reached: Callable[[], int | None] = lambda: None
        self._deaf_since: int | None = None
        self._config = config
        self._contacts = Contacts()
        self._last = now()
        self._node, self._replica, self._log = node, replica, log
        self._machine = machine
        self._now, self._wall = now, wall
        self._lists: dict[str, tuple[PeerUrl, ...]] = {}
        self._listing = dict.fromkeys(listing)
        self._redial = False
        # Where somebody with the id of this node is linked, and what is said of it there; with what it has in the list.
        self._taken: dict[PeerUrl, tuple[str, PeerUrl]] = {}
        self._held: int | None = None
        self._ids: Collection[str] = ()
        self._short_for = 0
        self._counted = -1
        self._words = MemberLog(log)
        node.wait_for(start.waiting)

    def reconfigure(self, config: ServeConfig) -> None:
        """Take over the times that can change while the node runs."""
        self._config = config
        self.members.retime(member_timings(config))
        self._check_lifetime(len(self._ids))

    def listed(self, source: str, urls: Iterable[PeerUrl]) -> None:
        """A source says which nodes there are; an empty list is as good as any (defect 11)."""
        self._lists[source] = tuple(urls)
        self._listing.pop(source, None)
        everybody = [url for urls in self._lists.values() for url in urls]
        for sentence in self.members.configure(everybody, self._now()):
            self._log.error("peer left out", reason=sentence)
        listed = self.members.addresses
        self._taken = {url: said for url, said in self._taken.items() if said[1] in listed}
        self._redial = True

    def notice_pause(self) -> None:
        """Notice that this node itself stood still; to be called before anything is judged."""
        now, last = self._now(), self._last
        self._last = now
        bound = min(max(_ms(self._config.suspicion) // 4, _SHORTEST_GAP), _LONGEST_GAP)
        if now - last > bound:
            self.members.resume(now, now - last)
            self._contacts.resumed(self._replica.current, now)
            self.resumed()

    def troubled(self, source: str, why: str) -> None:
        """A source cannot say which nodes there are, and why; empty: it can."""
        self.members.unlisted[source] = why
        self._counted = -1

    def tick(self) -> None:
        """Let time pass."""
        self.notice_pause()
        now, wall = self._now(), self._wall()
        members, replica, node = self.members, self._replica, self._node
        for peer, at in replica.heard.items():
            members.heard(peer, at)
        self._judge_silence(now, wall)
        self._words.look(members, now)
        if self._redial:
            self._redial = False
            self.dial(members.addresses)
        ids = members.ids
        if ids != self._ids:
            self._ids = ids
            replica.set_members(ids)
            self._check_lifetime(len(ids))
        if members.generation != self._counted:
            self._counted = members.generation
            node.missing_nodes = members.lacking()
        self._judge_clock(now, wall)
        if not self.start.over:
            self._join(now)
        else:
            self._hold_alone(now)
        self._date(now)

    # -- what the mesh tells

    def met(self, peer: Peer, dialled: PeerUrl | None) -> str:
        """A handshake went well; returns why the node cannot be a member, empty when it can."""
        party = peer.party
        try:
            url = peer_url(party.url)
        except BadAddress as error:
            return f"node {party.node} announces no usable URL: {error}; set its --self-url"
        link = peer_url(party.link) if party.link else None  # looked at in the handshake
        announced = Announced(node=party.node, epoch=party.epoch, url=url, zone=party.zone, link=link)
        self.notice_pause()
        if dialled is not None:
            self._taken.pop(dialled, None)
        refused = self.members.met(announced, self._now(), dialled)
        if not refused:
            if dialled is None:
                self._contacts.connected(party.node, self._now())
            if self._machine and party.machine == self._machine:
                self.met_sibling(party.node, party.epoch)
            # Before it can send anything: whoever has heard an instance takes turns in giving it up.
            self._ids = self.members.ids
            self._replica.set_members(self._ids)
            self._check_lifetime(len(self._ids))
        return refused

    def lost(self, peer: Peer) -> None:
        """A node cannot send to us any more, unless it does so on a newer connection."""
        self.notice_pause()
        if not self.receiving(peer.party.node):
            self.lost_sibling(peer.party.node)
            self.members.lost(peer.party.node, self._now(), "its connection ended")

    def parted(self, peer: Peer, reason: Refusal) -> None:
        """A node cannot be sent to any more; it may have met another life of this one, which stays."""
        if reason.code == Code.NODE_ID:
            self.end(f"{peer.party.url} says: {reason.text}; {_WHAT_TO_DO}")

    def twin(self, text: str, stays: bool) -> None:
        """Another node has proved that it has the id of this one."""
        if stays:
            advice = "give the one that ends an empty --data-dir"
            self._log.error("second node with the id of this one", reason=text, advice=advice)
        else:
            self.end(f"{text}; {_WHAT_TO_DO}")

    def trouble(self, url: PeerUrl, reason: Refusal, origin: PeerUrl | None = None) -> None:
        """Nobody was linked at an address that we dial."""
        self._taken.pop(url, None)
        listed = origin or url
        # Only one that belongs to the cluster keeps this node from starting.
        if reason.code == Code.NODE_ID and reason.proof and listed in self.members.addresses:
            self._taken[url] = reason.text, listed
        if reason.code == Code.MYSELF:
            self._log.info("own address among the peers", url=str(url), consequence="it is no peer")
            self.members.is_me(url)
            self._redial = True  # later: this comes from within the task that dials
        elif reason.code != Code.SAME_NODE:
            nobody = reason.code in _NOBODY
            self.members.trouble(url, reason.text, clock=reason.code == Code.CLOCK, nobody=nobody, origin=origin)

    def sent_on(self, url: PeerUrl, urls: Collection[PeerUrl]) -> None:
        """An address that we dial is that of a machine."""
        self._taken.pop(url, None)
        self.members.sent_on(url, urls, self._now())

    def same(self, url: PeerUrl, node: str) -> None:
        """An address leads to a node that is linked at another one."""
        self.members.same(url, node)

    def told(self, node: str, standing: Standing) -> None:
        """A node said what it serves."""
        now, before = self._now(), self.members.generation
        self.members.told(node, standing, now)
        if self.members.generation != before:
            self.notice_pause()
            self._date(now)  # from this moment on it may count, and so may what it has accepted

    def answered(self, node: str, asked: int) -> None:
        """A node has answered what was asked at a moment: what comes of it from now on it has said since."""
        self._contacts.answered(node, asked, self._now())

    def measured(self, node: str, skew: Skew) -> None:
        """The wall clock of a node was compared with ours."""
        self.members.clocks.measure(node, skew.offset, skew.error, self._now(), self._wall())

    def farewell(self, node: str, epoch: int, leaving: bool) -> None:
        """A node stops serving now."""
        self.members.farewell(node, epoch, self._now(), leaving=leaving)

    # -- deciding

    def _date(self, now: int) -> None:
        """Say as of when the node knows all that others have accepted."""
        members, replica, reached = self.members, self._replica, self.reached()
        # Where all put what they accept, having read that tells nothing of what they have not put.
        exchanged = replica.exchanged if reached is None else {}
        contact = members.oldest_contact(self._contacts.look(replica.current, exchanged), now)
        if reached is not None:
            contact = reached if contact is None else min(contact, reached)
        # While nobody else is there that is now, and grows old with the first tick that is late. A node without others
        # is never behind: nobody can have accepted anything that it lacks, whatever it slept through.
        alone = not members.addresses and len(members.ids) == 1
        self._node.in_contact(now if contact is None and not alone else contact)

    def _judge_silence(self, now: int, wall: int) -> None:
        """Let time pass for the others, unless it is this node that hears nobody."""
        if self.deaf():
            if self._deaf_since is None:
                self._deaf_since = now
                self._node.registry.listen(False, now)
            self.members.hold(now, wall)
            return
        if self._deaf_since is not None:
            self.members.resume(now, now - self._deaf_since)
            self._node.registry.listen(True, now)
            self._deaf_since = None
        self.members.tick(now, wall)

    def _join(self, now: int) -> None:
        """Go on with the start."""
        start = self.start
        if self._taken:
            self._hold(now)
            return
        self._held = None
        linked = self.links()
        reachable = [Reachable(*peer) for peer in self.members.present() if peer[0] in linked]
        start.look(Seen(" and ".join(self._listing), self.members.unmet, reachable), now)
        if start.over:
            self._node.wait_for(None)
            copying, missing = self._node.availability.copying, "; ".join(self.members.missing(now))
            if copying is not None:
                self._log.info("node does not serve yet", reason=copying)
            elif missing:
                self._log.warning("node serves", without=missing, reason=start.outcome)
            else:
                self._log.info("node serves", reason=start.outcome)
        elif start.waiting != self._node.availability.waiting:
            self._node.wait_for(start.waiting)
            self._log.info("node does not serve yet", reason=start.waiting)

    def _hold(self, now: int) -> None:
        """Begin no life beside another one: with its connection that one goes, or it is a node of its own for good."""
        self.start.put_off(now)
        if self._held is None:
            self._held = now
        where, (said, _) = next(iter(self._taken.items()))
        waiting = f"it waits until no other node has its id: {where} says: {said}"
        if waiting != self._node.availability.waiting:
            self._node.wait_for(waiting)
            self._log.error("node does not serve yet", reason=waiting)
        self._end_if_held(where, said, now)

    def _hold_alone(self, now: int) -> None:
        """Go on beside another life of this node for no longer: it serves nobody else's data, and that one does."""
        if not self._taken or self.links():
            self._held = None
            return
        where, (said, _) = next(iter(self._taken.items()))
        if self._held is None:
            self._held = now
            self._log.error("second node with the id of this one", reason=f"{where} says: {said}")
        self._end_if_held(where, said, now)

    def _end_if_held(self, where: PeerUrl, said: str, now: int) -> None:
        if self._held is not None and now - self._held > 2 * _ms(self._config.given_up):
            self.end(f"another node has its id: {where} says: {said}; {_WHAT_TO_DO}")

    def _judge_clock(self, now: int, wall: int) -> None:
        before = self._node.availability.clock
        fault = self.members.clocks.fault(now, wall)
        self._node.blame_clock(fault)
        if fault is not None and before is None:
            self._log.error("registry is not served", reason=fault)
        elif fault is None and before is not None:
            self._log.info("registry is served again", reason="the wall clock is right")

    def _check_lifetime(self, nodes: int) -> None:
        """Say once for each size when records would be forgotten before the last node may expire them (design 4.1)."""
        least = self._config.least_lifetime(nodes)
        if self._config.record_lifetime > least:
            self._short_for = 0
        elif nodes > self._short_for:
            self._short_for = nodes
            advice = f"set --tombstone-lifetime to more than {least:g} on all nodes"
            self._log.warning("tombstone lifetime too short for so many nodes", nodes=nodes, advice=advice)


def member_timings(config: ServeConfig) -> MemberTimings:
    """The times of membership in milliseconds."""
    return MemberTimings(
        patience=Patience(suspect=_ms(config.suspicion), down=_ms(config.given_up)),
        forget=_ms(config.record_lifetime),
        skew=_ms(config.tolerated_skew),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
