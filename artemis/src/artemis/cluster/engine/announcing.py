"""Who else is there around an engine: signs of life and clocks of the others, judged as by a handshake (design 4.1).

Nodes do not connect to each other; each says now and then to all who it is and how it is. One that is heard for the
first time is asked what its clock shows, so both directions are known to work before it is a member; what would refuse
a link in a mesh refuses it here. Pure: bytes, monotonic milliseconds and those of the wall clock come in, and what is
to be said waits to be taken. Not here: what is thought of members (`artemis.cluster.members`), the bytes (`signs`), who
belongs to the cluster (`judging`), and two nodes with one id (`twins`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from artemis.cluster.engine.judging import objection, other_version
from artemis.cluster.engine.port import Position
from artemis.cluster.engine.signs import (
    Answer,
    BadSign,
    Ends,
    Foreign,
    Question,
    Said,
    Sign,
    decode_sign,
    encode_sign,
)
from artemis.cluster.engine.twins import Twins
from artemis.cluster.mesh.handshake import Party, Peer, RefusedError, Skew, check_clocks, skew
from artemis.cluster.mesh.listener import MeshListener
from artemis.cluster.mesh.states import LinkState
from artemis.cluster.mesh.wire import Code, Refusal
from artemis.cluster.mesh.wording import named
from artemis.cluster.messages import SPOKEN, Versions
from artemis.cluster.standing import Standing
from artemis.model.nodes import UP

MOST_NODES = 256
"""Other nodes that a node knows at most: four times those of a mesh, as nobody sends anything to each of them."""

MOST_REFUSED = 64
"""Nodes that are refused of which the reason is kept."""

_KEPT = 60_000
"""Milliseconds after which a node that is silent is forgotten here."""

_AGAIN = 5_000
"""Milliseconds until a node whose clock was off is asked again."""

_SOON = 200
"""Milliseconds between two signs at least."""


class _Other:
    """Another node in one life: its latest sign, and what came of it."""

    __slots__ = ("again", "asked", "epoch", "first", "heard", "next", "peer", "received", "rtt", "sign", "skew")

    def __init__(self, epoch: int, sign: Sign, now: int) -> None:
        self.epoch, self.sign = epoch, sign
        self.first = self.heard = self.next = now
        self.received = 0
        # Who it is to the membership, None while it is no member.
        self.peer: Peer | None = None
        self.rtt = 0
        self.skew: Skew | None = None
        # The question that is open: its number, and both clocks when it was put.
        self.asked: tuple[int, int, int] | None = None
        # Whether it is to be asked until it has answered.
        self.again = False

    @property
    def met(self) -> bool:
        """Whether it is a member."""
        return self.peer is not None


class Refused(NamedTuple):
    """A node that is none of ours: where it is, why, when it was heard last, and since when it runs."""

    url: str
    refusal: Refusal
    at: int
    epoch: int


class Announcing:
    """Owned by the assembly: `heard` for what others say, `tick` several times a second, then `take`.

    `me` is this node, `listener` gets what becomes of the others, `max_skew` gives the milliseconds that wall clocks
    may be apart, `versions` of the messages are those that it speaks. A sign is said each `beat`; who was not heard for
    `patience` is not counted on. `refused` counts nodes that are none of ours by who refused and code, `refusals` has
    the reasons; `counters` only grow.
    """

    def __init__(
        self,
        me: Party,
        listener: MeshListener,
        *,
        beat: int,
        patience: int,
        max_skew: Callable[[], int],
        versions: Versions = SPOKEN,
    ) -> None:
        self.counters: Counter[str] = Counter(signs=0, signs_bad=0, signs_crowded=0, signs_outdated=0, questions=0)
        self.refused: Counter[tuple[str, str]] = Counter()
        self.refusals: dict[str, Refused] = {}
        self.patience = patience
        self._me, self._listener, self._versions = me, listener, versions
        self._beat, self._max_skew = beat, max_skew
        self._others: dict[str, _Other] = {}
        self._twins = Twins(me)
        self._standing = Standing()
        self._digest: int | None = None
        self._position: Position | None = None
        self._first = True
        self._next = self._next_question = 0
        self._said_at = -_SOON
        self._said: Standing | None = None
        self._asked = ""
        self._number = 0
        self._waiting: list[tuple[str | None, Said]] = []
        self._now = 0

    # -- what the assembly asks

    def admits(self, node: str) -> bool:
        """Tell whether what a node says is to be taken in."""
        other = self._others.get(node)
        return other is not None and other.met

    def links(self) -> Collection[str]:
        """Return the ids of the nodes that messages go to and come from."""
        return [node for node, other in self._others.items() if self._is_there(other)]

    @property
    def taken(self) -> str:
        """What is to be said of another node with the own id, empty while there is none."""
        return self._twins.taken(self._now, self.patience)

    def apart(self) -> list[str]:
        """Return sentences on members that have read another bucket: what either puts the other lacks."""
        mine = "" if self._position is None else self._position.identity
        return [
            f"{named(node, other.sign.url)} and {self._us} have read different buckets: either that was made anew just "
            "now, or they are connected to servers that do not share one JetStream"
            for node, other in sorted(self._others.items())
            if mine and other.sign.bucket and other.sign.bucket != mine and self._is_there(other)
        ]

    def states(self, now: int) -> list[LinkState]:
        """Return the state of every other node that is there or was lately, those that are refused included."""
        found = []
        for node, other in self._others.items():
            refusal = self.refusals.get(node)
            there = self._is_there(other)
            found.append(
                LinkState(
                    url=other.sign.url,
                    configured=False,
                    connected=there,
                    receiving=there,
                    node=node,
                    epoch=other.epoch,
                    zone=other.sign.zone,
                    protocol=min(other.sign.newest, self._versions.newest),
                    status=other.sign.standing.status,
                    connected_for=now - other.first if there else 0,
                    heard_ago=now - other.heard,
                    rtt=other.rtt,
                    skew=0 if other.skew is None else other.skew.offset,
                    skew_error=0 if other.skew is None else other.skew.error,
                    received=other.received,
                    refusal="" if refusal is None else refusal.refusal.code,
                    error="" if refusal is None else refusal.refusal.text,
                )
            )
        return found

    @property
    def barred(self) -> str:
        """Why this node is to leave the bucket alone, empty while it need not: a node that came before it uses that,
        and they cannot understand each other, so each would give up what the other hears."""
        for other in self.refusals.values():
            there = self._now - other.at <= self.patience
            if other.refusal.code == Code.VERSION and there and other.epoch < self._me.epoch:
                return other.refusal.text
        return ""

    # -- time

    def hello(self) -> None:
        """Say at once that this node has begun to listen: it can be heard again."""
        self._first = True
        self._next = self._now

    def resumed(self) -> None:
        """This node stood still: ask all others at once, so that what they said before can be told from what they say
        now."""
        for other in self._others.values():
            other.asked, other.again = None, True

    def tick(self, standing: Standing, digest: int | None, position: Position | None, now: int, wall: int) -> None:
        """Let time pass; this is what the node says of itself now."""
        self._now = now
        if standing is not self._standing:
            self._standing = standing
            self._next = min(self._next, now)
        self._digest, self._position = digest, position
        if now >= self._next and now - self._said_at >= _SOON:
            self._next = now + self._beat
            self._said_at, self._said = now, standing
            self._waiting.append((None, self._sign()))
            self._first = False
        for node, other in self._others.items():
            if other.again and other.asked is None:
                self._ask(node, other, now, wall)
        if now >= self._next_question:
            self._next_question = now + self._beat
            self._ask_next(now, wall)
        self._forget(now)

    def told(self, standing: Standing) -> bool:
        """Whether the others were told that this node says this of itself."""
        return self._said == standing

    def farewell(self, *, leaving: bool) -> bytes:
        """Return the last sign of this node."""
        return encode_sign(self._sign("leaving" if leaving else "stopping"))

    def take(self) -> list[tuple[str | None, bytes]]:
        """Return what is to be said, to a node or to all."""
        waiting, self._waiting = self._waiting, []
        return [(node, encode_sign(said)) for node, said in waiting]

    # -- what others say

    def heard(self, node: str, epoch: int, data: bytes, now: int, wall: int) -> None:
        """Take in what a node says of itself, or asks or answers."""
        self._now = now
        try:
            said = decode_sign(data, self._versions)
        except BadSign:
            self.counters["signs_bad"] += 1
            return
        match said:
            case Sign() if node == self._me.node:
                self._on_twin(epoch, said, now)
            case Sign():
                self._on_sign(node, epoch, said, now, wall)
            case Question():
                if node != self._me.node:
                    self._waiting.append((node, Answer(number=said.number, wall=wall)))
            case Answer():
                self._on_answer(node, epoch, said, now)
            case Foreign():
                self._refuse(node, epoch, said.url, other_version(self._me, self._versions, node, said), now)

    def _on_sign(self, node: str, epoch: int, sign: Sign, now: int, wall: int) -> None:
        other = self._others.get(node)
        self.counters["signs"] += 1
        if sign.ends:
            if other is not None and other.epoch == epoch:
                del self._others[node]
                self.refusals.pop(node, None)
                if other.met:
                    self._listener.farewell(node, epoch, sign.ends == "leaving")
            return
        if other is None or other.epoch != epoch:
            if other is not None and self._outranks(other, epoch, sign, now):
                self.counters["signs_outdated"] += 1
                return
            if other is None and len(self._others) >= MOST_NODES and not self._make_room(now):
                self.counters["signs_crowded"] += 1
                return
            other = self._others[node] = _Other(epoch, sign, now)
        other.sign, other.heard = sign, now
        other.received += 1
        if sign.first:
            self._next = min(self._next, now)
        refusal = objection(self._me, self._versions, node, sign)
        if refusal is not None:
            other.peer = None
            self._refuse(node, epoch, sign.url, refusal, now)
        elif other.met:
            self._listener.told(node, sign.standing)
        elif other.asked is None and now >= other.next:
            self._ask(node, other, now, wall)

    def _on_answer(self, node: str, epoch: int, answer: Answer, now: int) -> None:
        other = self._others.get(node)
        if other is None or other.epoch != epoch or other.asked is None or other.asked[0] != answer.number:
            return
        _, sent, wall = other.asked
        other.asked, other.again, other.rtt = None, False, now - sent
        other.skew = skew(answer.wall, wall, other.rtt)
        self._listener.measured(node, other.skew)
        self._listener.answered(node, sent)
        was = other.peer
        refusal = self._meet(node, other)
        if refusal is None:
            self.refusals.pop(node, None)
            if was is None:
                other.first = now
                self._listener.told(node, other.sign.standing)
            return
        other.peer, other.next = None, now + _AGAIN
        self._refuse(node, other.epoch, other.sign.url, refusal, now)
        if was is not None:
            self._listener.lost(was)

    def _meet(self, node: str, other: _Other) -> Refusal | None:
        """Let a node be a member whose clock was compared, and one that is one stay it; returns why it cannot be."""
        sign = other.sign
        party = Party(
            cluster=sign.cluster, region=sign.region, zone=sign.zone, node=node, epoch=other.epoch, url=sign.url
        )
        peer = Peer(
            party=party,
            protocol=min(sign.newest, self._versions.newest),
            skew=other.skew or Skew(0, 0),
            rtt=other.rtt,
            listed=False,
            up=sign.standing.status == UP,
        )
        try:
            check_clocks(peer, peer.skew, self._max_skew())
        except RefusedError as error:
            return error.refusal
        if other.peer is None or other.peer.party != party:
            why = self._listener.met(peer, None)
            if why:
                return Refusal(Code.NOT_A_MEMBER, why)
        other.peer = peer
        return None

    # -- judging

    @property
    def _us(self) -> str:
        return named(self._me.node, self._me.url)

    def _refuse(self, node: str, epoch: int, url: str, refusal: Refusal, now: int) -> None:
        known = self.refusals.get(node)
        if known is None and len(self.refusals) >= MOST_REFUSED:
            return
        self.refusals[node] = Refused(url, refusal, now, epoch)
        if known is None or known.refusal.code != refusal.code:
            self.refused["them", str(refusal.code)] += 1
            self._listener.turned_away(url, refusal)

    def _outranks(self, known: _Other, epoch: int, sign: Sign, now: int) -> bool:
        """Tell whether the life of a node that is known stays rather than another one: while that one is heard, the
        later, except that one which serves is not ended for a copy that only starts elsewhere."""
        if now - known.heard > self.patience:
            return False
        if known.epoch > epoch:
            return True
        up = known.sign.standing.status == UP
        return known.sign.url != sign.url and up and sign.standing.status != UP

    def _on_twin(self, epoch: int, sign: Sign, now: int) -> None:
        """Another process says to be this node."""
        if sign.first:
            self._next = min(self._next, now)
        told = self._twins.hear(epoch, sign, self._standing.status == UP, now)
        if told is not None:
            self._listener.twin(*told)

    # -- its own

    def _is_there(self, other: _Other) -> bool:
        return other.met and self._now - other.heard <= self.patience

    def _sign(self, ends: Ends = "") -> Sign:
        me = self._me
        return Sign(
            cluster=me.cluster,
            region=me.region,
            zone=me.zone,
            url=me.url,
            standing=self._standing,
            oldest=self._versions.oldest,
            newest=self._versions.newest,
            first=self._first,
            ends=ends,
            digest=self._digest,
            bucket="" if self._position is None else self._position.identity,
            position=0 if self._position is None else self._position.sequence,
        )

    def _ask(self, node: str, other: _Other, now: int, wall: int) -> None:
        self._number += 1
        self.counters["questions"] += 1
        other.asked = (self._number, now, wall)
        self._waiting.append((node, Question(number=self._number)))

    def _ask_next(self, now: int, wall: int) -> None:
        """Ask one of the members what its clock shows, in turn, and those again that have not answered."""
        for other in self._others.values():
            if other.asked is not None and now - other.asked[1] >= max(self._beat, _SOON):
                other.asked = None
        there = sorted(self.links())
        if there:
            self._asked = next((node for node in there if node > self._asked), there[0])
            other = self._others[self._asked]
            if other.asked is None:
                self._ask(self._asked, other, now, wall)

    def _forget(self, now: int) -> None:
        for node in [node for node, other in self._others.items() if now - other.heard > _KEPT]:
            del self._others[node]
        for node in [node for node, each in self.refusals.items() if now - each.at > _KEPT]:
            del self.refusals[node]

    def _make_room(self, now: int) -> bool:
        """Forget the one that was silent for longest, if it is not there any more; False when all are."""
        node, other = min(self._others.items(), key=lambda each: each[1].heard)
        if now - other.heard <= self.patience:
            return False
        del self._others[node]
        return True


def reasons(refusals: Mapping[str, Refused]) -> list[str]:
    """Return why nodes are refused, as sentences, each once."""
    return sorted({each.refusal.text for each in refusals.values()})
