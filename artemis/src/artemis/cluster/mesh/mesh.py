"""All links of one node, what becomes of them, and the replica whose messages they carry.

Not here: whom it dials (`diallers`), what the messages say (`artemis.cluster.replica`), and which nodes ought to be
there (`artemis.cluster.members`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

from artemis.cluster.addresses import BadAddress, peer_url
from artemis.cluster.configured import MAX_MEMBERS
from artemis.cluster.mesh.accepting import Reception
from artemis.cluster.mesh.diallers import Diallers
from artemis.cluster.mesh.handshake import RefusedError
from artemis.cluster.mesh.link_log import NOT_LINKED, TURNED_AWAY, LinkLog
from artemis.cluster.mesh.listener import MeshListener
from artemis.cluster.mesh.pauses import MeshTimings
from artemis.cluster.mesh.states import LinkState, link_state
from artemis.cluster.mesh.wire import Code, Pulse, Refusal
from artemis.cluster.mesh.wording import named, quoted
from artemis.cluster.messages import MAX_MESSAGE, SPOKEN, Farewell, encode_message, spoken_in
from artemis.model.nodes import UP

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.addresses import PeerUrl
    from artemis.cluster.mesh.accepting import Accepted
    from artemis.cluster.mesh.dialler import Dialler
    from artemis.cluster.mesh.handshake import ElsewhereError, Party, Peer, Skew, TwinError
    from artemis.cluster.mesh.linked import Linked
    from artemis.cluster.messages import Message, Versions
    from artemis.cluster.standing import Standing

#: Milliseconds between two looks at what has become of the links.
_KEEPING = 1_000
#: A connection of a peer is dropped after this many times the silence that its dialler would bear.
_PATIENCE = 3
#: Milliseconds between two words in the log on those who dialled us and did not prove who they are.
_STRANGERS = 1_000


class Mesh:
    """The links of a node. Owned by the assembly, on one event loop: `start`, then `stop`, each once.

    `me` is who this node is, `secret` what its cluster shares (empty: none, and loopback only), `ca_file` the
    authorities that vouch for peers with https URLs. `max_skew` gives the milliseconds that wall clocks may be apart,
    `now` monotonic milliseconds, `wall` those of the wall clock, `standing` what this node says of itself.
    `versions` are those of the messages that this node speaks; a peer is sent what the highest one that both speak has.
    Of a node of several processes this is one: `near` are the URLs of the others, dialled at the pace of
    `near_timings`, `processes` those where other nodes make links with each of them, this one included.
    `reception` is what the doors hand sessions to, `front` what the door of the node's own port does: the same, unless
    links are made elsewhere. `counters` only grow: `links`, `overflows` (a queue was dropped), `dropped` messages,
    `oversized`, `failures`.
    """

    def __init__(
        self,
        me: Party,
        replica: Linked,
        *,
        secret: bytes,
        ca_file: str | None,
        max_skew: Callable[[], int],
        standing: Callable[[], Standing],
        now: Callable[[], int],
        wall: Callable[[], int],
        log: FilteringBoundLogger,
        listener: MeshListener | None = None,
        timings: MeshTimings | None = None,
        versions: Versions = SPOKEN,
        near: Collection[PeerUrl] = (),
        near_timings: MeshTimings | None = None,
        processes: Sequence[str] = (),
    ) -> None:
        self.me = me
        self.versions = versions
        self.secret = secret
        self.ca_file = ca_file
        self.timings = timings or MeshTimings()
        self.now, self.wall, self.standing = now, wall, standing
        self.chance = random.Random().random  # noqa: S311 - spreads attempts, keeps no secret
        self.reception = Reception(self)
        self.front = Reception(self, processes) if processes else self.reception
        self.counters: Counter[str] = Counter({"links": 0, "overflows": 0, "dropped": 0, "oversized": 0, "failures": 0})
        #: Handshakes that came to nothing, by who dialled (`us` or `them`) and code.
        self.refused: Counter[tuple[str, str]] = Counter()
        self._replica = replica
        self._max_skew = max_skew
        self._log = log
        self._listener = listener or MeshListener()
        self._diallers = Diallers(self, self._listener, near, near_timings)
        self._links: dict[str, Dialler] = {}
        self._pulses: dict[str, Pulse] = {}
        self._links_log = LinkLog(log)
        self._loop = asyncio.get_running_loop()
        self._flushing: asyncio.Handle | None = None
        self.resumed_at = 0
        self._next_keeping = 0
        self._next_stranger = 0
        self._told: Standing | None = None
        self._stopping = False

    # -- what the assembly calls

    @property
    def max_skew(self) -> int:
        """Return the milliseconds that wall clocks may be apart."""
        return self._max_skew()

    @property
    def links(self) -> Collection[str]:
        """Return the ids of the nodes that we can send to."""
        return self._links.keys()

    @property
    def all_told(self) -> bool:
        """Return whether all nodes that we can send to have heard what this one says of itself now."""
        standing = self.standing()
        return all(link.told == standing for link in self._links.values())

    @property
    def all_counters(self) -> dict[str, int]:
        """Return what is counted here and where nodes come in."""
        received = Counter(self.reception.counters)
        if self.front is not self.reception:
            received.update(self.front.counters)
        return {**self.counters, **received}

    def set_peers(self, urls: Collection[PeerUrl]) -> None:
        """Dial these nodes and no others, beside those that dial us."""
        self._diallers.set_peers(urls)

    def soon(self) -> None:
        """Send what there is at the end of this turn of the loop: for whoever hears of a change."""
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self.turn)

    def tick(self) -> None:
        """Let time pass; about every 100 ms."""
        now = self.now()
        try:
            self._replica.tick(now, self.wall())
        except Exception as error:  # noqa: BLE001 - a node whose time stands still would lose its cluster
            self.failed("tick", error)
        self.turn()
        if now >= self._next_keeping:
            self._next_keeping = now + _KEEPING
            self._keep(now)

    def resumed(self) -> None:
        """This node itself stood still: no link ends for that, and the pulse of each is felt now.

        Exchanges with all tell what this node lacks."""
        self.resumed_at = now = self.now()
        self.reception.resumed(now)
        for node, link in self._links.items():
            link.tell()
            self._replica.want(node)

    async def stop(self, *, leaving: bool = False) -> None:
        """Send what there is, say farewell and leave all links; takes `drain` and a second at most."""
        self._stopping = True
        self._diallers.close()
        self.turn()
        farewell = encode_message(Farewell(self.me.node, self.me.epoch, leaving))
        for link in self._links.values():
            link.send(farewell)
        delivering = [self._loop.create_task(link.deliver()) for link in self._links.values()]
        if delivering:
            _, late = await asyncio.wait(delivering, timeout=self.timings.drain)
            for task in late:
                task.cancel()
            await asyncio.wait(delivering)
        await self._diallers.stop()
        self.reception.close()
        self.front.close()
        if self._flushing is not None:
            self._flushing.cancel()

    def peers(self) -> list[LinkState]:
        """Return the state of every peer: those that are dialled, and those that only dial us."""
        now, connections = self.now(), self.reception.connections
        states = []
        seen = set()
        for dialler in self._diallers:
            if dialler.peer is None and self._diallers.sends_on(dialler):
                continue
            node = "" if dialler.peer is None else dialler.peer.party.node
            seen.add(node)
            states.append(link_state(now, dialler, connections.get(node), self._standing_of(node)))
        for node, connection in connections.items():
            if node not in seen:
                states.append(link_state(now, None, connection, self._standing_of(node)))
        return states

    # -- what diallers call

    def sent_on(self, dialler: Dialler, error: ElsewhereError) -> bool:
        """A machine was dialled, with whose processes links are made; whether there are all of these. Raises
        RefusedError when they cannot be reached."""
        urls = _reachable(error, loopback=dialler.url.on_loopback)
        too_many = self._diallers.send_on(dialler, urls)
        if too_many is None:
            raise RefusedError(Code.SAME_NODE, f"{error}, and those are dialled if it is in the list of peers")
        self._links_log.linked(str(dialler.url))
        if too_many:
            text = f"{error}, and a node knows {MAX_MEMBERS} others at most"
            self._links_log.refused(NOT_LINKED, str(too_many[0]), Refusal(Code.NOT_A_MEMBER, text), self.now())
        self._listener.sent_on(dialler.url, urls)
        linked = {link.url: node for node, link in self._links.items() if link.url in urls}
        for node in linked.values():  # by another name of the machine, before this one was answered
            self._listener.same(dialler.url, node)
        return all(url in linked for url in urls if url not in too_many)

    def linked(self, dialler: Dialler, peer: Peer) -> None:
        """A handshake with a node that we dialled is done. Raises RefusedError when a later life of it is linked, or it
        cannot be a member."""
        party = peer.party
        self._outdate(peer)
        self._meet(peer, dialler.url)
        for origin in dialler.origins:
            self._listener.same(origin, party.node)
        self._diallers.direct(dialler)
        self._links[party.node] = dialler
        self._links_log.linked(str(dialler.url))
        self.counters["links"] += 1
        self._links_log.tell(
            "info", "peer linked", self.now(), node=party.node, url=str(dialler.url), epoch=party.epoch, rtt_ms=peer.rtt
        )
        self._replica.connect(party.node, self.now())
        self._listener.measured(party.node, peer.skew)
        self.soon()

    def parted(self, dialler: Dialler, peer: Peer, reason: Refusal) -> None:
        """A link is gone."""
        node = peer.party.node
        if self._links.get(node) is not dialler:
            return
        del self._links[node]
        self._replica.disconnect(node)
        self._diallers.parted(dialler)
        level: Literal["info", "warning"] = "info" if reason.code == Code.STOPPING else "warning"
        self._links_log.tell(level, "peer parted", self.now(), node=node, url=str(dialler.url), reason=reason.text)
        self._listener.parted(peer, reason)

    def unlinked(self, dialler: Dialler, refusal: Refusal) -> None:
        """An attempt to link came to nothing."""
        self.refused["us", str(refusal.code)] += 1
        if self._diallers.sends_on(dialler):
            return  # of its processes those tell that are dialled
        if self._links_log.refused(NOT_LINKED, str(dialler.url), refusal, self.now()):
            self._listener.trouble(dialler.url, refusal, next(iter(dialler.origins), None))
        if not dialler.configured and refusal.code in (Code.SAME_NODE, Code.MYSELF):
            # It calls us from within its task.
            self._loop.call_soon(self._diallers.forget, dialler)

    def pulse(self, peer: Peer, skew: Skew, pulse: Pulse) -> None:
        """A node answered."""
        self._listener.measured(peer.party.node, skew)
        self._hear(peer.party.node, pulse)

    def failed(self, what: str, error: Exception) -> None:
        """Something happened that nobody expected; the node goes on."""
        self.counters["failures"] += 1
        self._log.error("mesh failed", at=what, error=repr(error), exc_info=error)

    def twin(self, error: TwinError) -> None:
        """A node with our id was met."""
        self._listener.twin(error.refusal.text, error.stays)

    # -- what the reception calls

    def admit(self, peer: Peer) -> None:
        """A node that dialled us has proved who it is. Raises RefusedError when a newer life of it is connected, or it
        cannot be a member."""
        if self._stopping:
            raise RefusedError(Code.STOPPING, "this node stops")
        self._outdate(peer)
        self._meet(peer, None)
        older = self.reception.connections.get(peer.party.node)
        if older is not None:
            self.reception.end(older, Refusal(Code.REPLACED, "a newer connection takes the place of this one"))

    def accepted(self, connection: Accepted) -> None:
        """A node will send on a connection of its own."""
        party = connection.peer.party
        self._links_log.tell("info", "peer accepted", self.now(), node=party.node, url=party.url, epoch=party.epoch)
        self._dial_back(connection)

    def lost(self, connection: Accepted) -> None:
        """Such a connection is gone; `_keep` ends what depends on it."""
        self._listener.lost(connection.peer)

    def told(self, connection: Accepted, pulse: Pulse) -> None:
        """A node said something of itself."""
        self._hear(connection.peer.party.node, pulse)

    def turned_away(self, where: str, refusal: Refusal, peer: Peer | None) -> None:
        """A node that dialled us was refused."""
        self.refused["them", str(refusal.code)] += 1
        if peer is not None and refusal.code == Code.CLOCK:
            self._listener.measured(peer.party.node, peer.skew)
        # Not by its port, which is another one each time.
        place = where.rpartition(":")[0] if peer is None else peer.party.url
        if peer is None and self.now() < self._next_stranger:
            return  # it is counted; whoever may connect shall not fill the log
        if self._links_log.refused(TURNED_AWAY, place, refusal, self.now()):
            self._next_stranger = self.now() + _STRANGERS
            self._listener.turned_away(place, refusal)

    def received(self, connection: Accepted, message: Message) -> None:
        """A message came."""
        node = connection.peer.party.node
        if isinstance(message, Farewell):
            self._log.info("peer says farewell", node=node, leaving=message.leaving)
            self._listener.farewell(node, message.epoch, message.leaving)
        try:
            self._replica.receive(node, message, self.now())
        except Exception as error:  # noqa: BLE001 - one message must not end what others say; exchanges repair it
            self.failed("receive", error)

    def turn(self) -> None:
        """Send what changed in this turn of the loop, what this node says of itself as well, and what was asked for."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        standing = self.standing()
        if standing is not self._told:
            self._told = standing
            for link in self._links.values():
                link.tell()
        replica = self._replica
        try:
            replica.flush(self.now())
            outbox = replica.take()
        except Exception as error:  # noqa: BLE001 - as in `received`
            self.failed("flush", error)
            return
        for node, message in outbox:
            self._send(node, message)

    # -- its own

    def _hear(self, node: str, pulse: Pulse) -> None:
        self._pulses[node] = pulse
        self._listener.told(node, pulse.standing)

    def _send(self, node: str | None, message: Message) -> None:
        links = self._links
        if not links or (node is not None and node not in links):
            return
        data = encode_message(message)
        if len(data) > MAX_MESSAGE:
            self.counters["oversized"] += 1
            self._log.error("message too large", kind=type(message).__name__, bytes=len(data), limit=MAX_MESSAGE)
            return
        for to in [node] if node is not None else list(links):
            link = links[to]
            if link.peer is None or not spoken_in(link.peer.protocol, message):
                continue
            dropped = link.queue.dropped
            if not link.send(data):
                self.counters["overflows"] += 1
                self.counters["dropped"] += link.queue.dropped - dropped
                self._log.warning("peer is slow", node=to, dropped=link.queue.dropped - dropped)
                self._replica.overflowed(to)

    def _standing_of(self, node: str) -> Standing | None:
        pulse = self._pulses.get(node)
        return None if pulse is None else pulse.standing

    def _meet(self, peer: Peer, dialled: PeerUrl | None) -> None:
        objection = self._listener.met(peer, dialled)
        if objection:
            raise RefusedError(Code.NOT_A_MEMBER, objection)

    def _outdate(self, peer: Peer) -> None:
        """End the links of other lives of a node. Raises RefusedError when one that is to stay is connected.

        At the same URL that is the later one. At two it may be two nodes, and then one that serves is not ended for one
        that only starts, nor one with links to members for a copy that was started apart (`Precedence`).
        """
        party = peer.party
        link, connection = self._links.get(party.node), self.reception.connections.get(party.node)
        others = [each.peer for each in (link, connection) if each is not None and each.peer is not None]
        for other in others:
            if self._outranks(other, peer):
                raise RefusedError(Code.NODE_ID, _two_lives(other, peer))
        if connection is not None and _differ(connection.peer, peer):
            text = _two_lives(peer, connection.peer)
            self._log.warning("node outdated", node=party.node, reason=text)
            self.reception.end(connection, Refusal(Code.NODE_ID, text))
        if link is not None and link.peer is not None and _differ(link.peer, peer):
            text = _two_lives(peer, link.peer)
            outdated = link.peer
            link.leave(Code.REPLACED, text)
            self.parted(link, outdated, Refusal(Code.REPLACED, text))

    def _outranks(self, linked: Peer, new: Peer) -> bool:
        """Tell whether a life of a node that is linked stays rather than another one."""
        if linked.party.url == new.party.url:
            return linked.party.epoch > new.party.epoch
        told = self._pulses.get(linked.party.node)
        up, links = (linked.up, linked.links) if told is None else (told.standing.status == UP, told.links)
        # It may not have dialled this node yet, and is a member here all the same.
        return msgspec.structs.replace(linked, up=up, links=max(links, 1)).precedence > new.precedence

    def _dial_back(self, connection: Accepted) -> None:
        peer = connection.peer
        if peer.listed and peer.party.node not in self._links:
            self._diallers.dial_back(peer.party)

    def _keep(self, now: int) -> None:
        """Drop who fell silent, dial those back that dial us, and dial those no more that do not."""
        connections = self.reception.connections
        self.reception.drop_silent(now - int(_PATIENCE * self.timings.silence * 1000))
        self._diallers.keep({node for node, connection in connections.items() if connection.peer.listed})
        for connection in list(connections.values()):
            self._dial_back(connection)
        for node in [each for each in self._pulses if each not in connections and each not in self._links]:
            del self._pulses[node]


def _reachable(error: ElsewhereError, *, loopback: bool) -> list[PeerUrl]:
    """Return where the processes of a machine are. Raises RefusedError when that is nowhere that can be dialled."""
    try:
        urls = list(dict.fromkeys(peer_url(text) for text in error.urls))
    except BadAddress as bad:
        raise RefusedError(Code.SELF_URL, f"{error}, where nothing can be dialled: {bad}; set its --self-url") from bad
    if not loopback and any(url.on_loopback for url in urls):
        raise RefusedError(Code.SELF_URL, f"{error}, which is that machine itself; set its --self-url")
    return urls


def _differ(one: Peer, other: Peer) -> bool:
    return (one.party.epoch, one.party.url) != (other.party.epoch, other.party.url)


def _two_lives(stays: Peer, ends: Peer) -> str:
    """Say which of two lives of a node counts."""
    here, gone = stays.party, ends.party
    return (
        f"{named(here.node, here.url)} has the epochs {here.epoch} and {gone.epoch} ({quoted(gone.url)}): it has "
        f"started again, or a second node has the same id or a copy of its data directory; that of {here.epoch} counts"
    )
