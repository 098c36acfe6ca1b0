"""How messages travel between nodes: as bytes, on ordered streams that break, or each on its own way.

Streams are what the mesh has: one per direction, in order, and when it breaks all that was under way is lost and the
sender knows. The core must also hold where every message may be lost, late or doubled, so half of the seeds are that.
Not here: what befalls the network (`faults`).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from artemis.cluster import Message, decode_message, encode_message
from artemis.cluster.addresses import peer_url
from artemis.testing.simulation.mesh.process import MeshProcess
from artemis.testing.simulation.plan import TTL

if TYPE_CHECKING:
    from artemis.testing.simulation.member import Member
    from artemis.testing.simulation.world import World

SILENCE = 3_000
"""Milliseconds after which a stream that carries nothing is given up."""

QUEUE = 60
"""Messages that wait for a stream at most; one more, and all are dropped."""

Pair = tuple[str, str]


class Stream:
    """A link in one direction: what is under way arrives in order, or not at all. `gap` is for a slow one, in ms."""

    __slots__ = ("born", "free", "gap", "receiver", "sender", "since", "waiting")

    def __init__(self, sender: MeshProcess, receiver: MeshProcess, gap: int, now: int) -> None:
        self.born = now
        self.sender = sender
        self.receiver = receiver
        self.gap = gap
        self.waiting: deque[bytes] = deque()
        self.free = 0
        self.since: int | None = None


class Network:
    """All links. `blocked` are the pairs of nodes that nothing gets through between, in that direction."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.blocked: set[Pair] = set()
        self._streams: dict[Pair, Stream] = {}

    # -- what members do

    def added(self, member: Member) -> None:
        """Keep links up from and to a machine that is new, for as long as it is there."""
        for name in self._world.members:
            if name != member.name:
                self._dial((member.name, name))
                self._dial((name, member.name))

    def stopped(self, member: Member) -> None:
        """Let links end with a process: its peers see that soon, or only by silence."""
        world = self._world
        for pair, stream in list(self._streams.items()):
            if pair[0] == member.name:
                self._drop(pair)
            elif pair[1] == member.name and stream.since is None:
                stream.since = world.schedule.now - (SILENCE if world.rnd.random() < 0.7 else 0)

    def heal(self) -> None:
        """Let everybody reach everybody."""
        self.blocked = set()

    def send(self, source: Member, peer: str | None, message: Message) -> None:
        """Send a message to one peer, or to every one that there is a link to."""
        world = self._world
        if world.spoil is not None:
            spoilt = world.spoil(message)
            if spoilt is None:
                return
            message = spoilt
        data = encode_message(message)
        names = [name for name in world.members if name != source.name] if peer is None else [peer]
        for name in names:
            world.stats["messages"] += 1
            if world.plan.streams:
                self._stream(source, name, data)
            else:
                self._packet(source, name, data)

    # -- streams

    def linked_from(self, name: str) -> list[str]:
        """Return the nodes that a node can send to."""
        return [pair[1] for pair in self._streams if pair[0] == name]

    def is_linked(self, source: str, target: str) -> bool:
        """Tell whether one node can send to another."""
        return (source, target) in self._streams

    def is_idle(self, source: str, target: str) -> bool:
        """Tell whether all that one node has sent to another has arrived: nothing waits in the stream between them."""
        stream = self._streams.get((source, target))
        return self._world.plan.streams and stream is not None and not stream.waiting

    def is_steady(self, source: str, target: str, since: int) -> bool:
        """Tell whether all that one node has sent to another since a moment has arrived."""
        plan = self._world.plan
        stream = self._streams.get((source, target))
        sound = plan.streams and not plan.slow and not plan.pauses and not plan.jumps
        return sound and stream is not None and stream.born < since and not stream.waiting

    def _dial(self, pair: Pair) -> None:
        """Make a link when both run and reach each other, and end it when it is dead; look again soon."""
        world = self._world
        if not all(name in world.members for name in pair):
            self._drop(pair)
            return
        source, target = (world.members[name] for name in pair)
        stream = self._streams.get(pair)
        if stream is not None and self._is_dead(pair, stream):
            world.log(source.name, "loses its link to", target.name)
            self._drop(pair)
        elif stream is not None and stream.since is None:
            stream.sender.tells(stream.receiver)
        elif stream is None and self._wants(source, target) and self._can_meet(source, target):
            self._connect(source, target)
        again = world.rnd.randint(200, 1_000) if world.faults else 3_000
        world.schedule.after(again, partial(self._dial, pair))

    def _drop(self, pair: Pair) -> None:
        """End a link: whoever of the two still runs learns of it."""
        stream = self._streams.pop(pair, None)
        if stream is None:
            return
        if stream.sender.member.process is stream.sender:
            stream.sender.replica.disconnect(pair[1])
        if stream.receiver.member.process is stream.receiver:
            stream.receiver.membership.lost(stream.sender.seen_by(stream.receiver))

    def _wants(self, source: Member, target: Member) -> bool:
        """Whether a node dials another: it has it in its list, or was dialled by it."""
        process = _process(source)
        return process is not None and (
            peer_url(target.url).place in process.dialled or self.is_linked(target.name, source.name)
        )

    def _can_meet(self, source: Member, target: Member) -> bool:
        pair = source.name, target.name
        return source.up is not None and target.up is not None and not {pair, pair[::-1]} & self.blocked

    def _connect(self, source: Member, target: Member) -> None:
        world = self._world
        here, there = _process(source), _process(target)
        if here is None or there is None or not here.meets(there):
            return
        gap = world.rnd.choice((80, 250)) if world.rnd.random() < world.plan.slow else 0
        self._streams[source.name, target.name] = Stream(here, there, gap, world.schedule.now)
        world.log(source.name, "has a link to", target.name)
        here.replica.connect(target.name, source.now)
        source.pump()

    def _is_dead(self, pair: Pair, stream: Stream) -> bool:
        world = self._world
        target = world.members[pair[1]]
        if stream.since is None and stream.sender.skew(stream.receiver).least > TTL // 8:
            return True
        cut = world.plan.streams and (pair in self.blocked or target.paused)
        if stream.receiver is target.process and not cut:
            stream.since = None
            return False
        now = world.schedule.now
        stream.since = now if stream.since is None else stream.since
        return now - stream.since >= SILENCE

    def _stream(self, source: Member, name: str, data: bytes) -> None:
        stream, process = self._streams.get((source.name, name)), _process(source)
        if stream is None or process is None:
            return
        if len(stream.waiting) >= QUEUE:
            self._world.log(source.name, "drops all that waits for", name)
            self._world.stats["overflows"] += 1
            stream.waiting.clear()
            process.replica.overflowed(name)
            return
        stream.waiting.append(data)
        if len(stream.waiting) == 1:
            self._next(source.name, name, stream)

    def _next(self, source: str, name: str, stream: Stream) -> None:
        schedule, rnd = self._world.schedule, self._world.rnd
        stream.free = max(schedule.now + rnd.randint(1, 30), stream.free + stream.gap)
        schedule.after(stream.free - schedule.now, partial(self._carry, source, name, stream))

    def _carry(self, source: str, name: str, stream: Stream) -> None:
        """Deliver what is first in a stream; what cannot get through now waits, as TCP does."""
        world = self._world
        target = world.members.get(name)
        if target is None or self._streams.get((source, name)) is not stream or not stream.waiting:
            return
        if (source, name) in self.blocked or target.paused:
            world.schedule.after(200, partial(self._carry, source, name, stream))
            return
        data = stream.waiting.popleft()
        if target.process is stream.receiver:
            self._deliver(source, target, data)
        if stream.waiting and self._streams.get((source, name)) is stream:
            self._next(source, name, stream)

    # -- packets

    def _packet(self, source: Member, name: str, data: bytes) -> None:
        world, rnd = self._world, self._world.rnd
        stream = self._streams.get((source.name, name))
        if stream is None or (source.name, name) in self.blocked or (world.faults and rnd.random() < world.plan.loss):
            return
        for _ in range(2 if world.faults and rnd.random() < 0.03 else 1):
            late = world.faults and rnd.random() < 0.03
            delay = rnd.randint(500, 6_000) if late else rnd.randint(3, 60)
            world.schedule.after(delay, partial(self._arrive, source.name, name, stream.receiver, data))

    def _arrive(self, source: str, name: str, receiver: MeshProcess, data: bytes) -> None:
        target = self._world.members.get(name)
        if target is not None and target.process is receiver and (source, name) not in self.blocked:
            self._deliver(source, target, data)

    def _deliver(self, source: str, target: Member, data: bytes) -> None:
        world = self._world
        if target.up is not None:
            message = decode_message(data)
            world.note(source, target.name, data, message)
            process = _process(target)
            if process is not None:
                process.receive(source, message)


def _process(member: Member) -> MeshProcess | None:
    """Return the process of a machine; in a mesh there are no others."""
    return member.process if isinstance(member.process, MeshProcess) else None
