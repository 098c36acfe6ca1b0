"""What carries out the commands of one node's core, as the real one does (`artemis.cluster.nats`), in virtual time.

A connection is to one server and may break unseen; over it the node hears the others, and has a session with the bucket
as long as that server answers for it. What is under way when a session ends may be done or not, also later.
Not here: what the servers are (`servers`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from artemis.cluster.engine.port import (
    AskLast,
    Command,
    Get,
    Opening,
    Purge,
    Put,
    Read,
    Scan,
    Tell,
    decode_told,
    encode_told,
)
from artemis.testing.simulation.bucket import Bucket
from artemis.testing.simulation.telling import told_marker

if TYPE_CHECKING:
    from artemis.testing.simulation.engine.process import EngineProcess
    from artemis.testing.simulation.engine.servers import Kind

SILENCE = 3_000
"""Milliseconds after which a connection that carries nothing is given up, or a bucket that does not answer."""

AT_ONCE = 20
"""Entries that come in one go at most."""


class Connection:
    """A connection of one life of a node to a server. `broken` since it carries nothing any more, seen or not."""

    __slots__ = ("broken", "broken_at", "epoch", "name", "server", "since")

    def __init__(self, name: str, epoch: int, server: int, now: int) -> None:
        self.name, self.epoch, self.server, self.since = name, epoch, server, now
        self.broken = False
        self.broken_at = 0


class Session:
    """A stretch of work with a bucket. `position` is how far it was brought, None before that is wanted."""

    __slots__ = ("bringing", "bucket", "free", "open", "position", "unanswered")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.open = True
        self.position: int | None = None
        self.bringing = False
        self.free = 0
        #: Since when the bucket does not answer.
        self.unanswered: int | None = None


class Carrier:
    """Owned by a process."""

    def __init__(self, process: EngineProcess) -> None:
        self.process = process
        self.name = process.member.name
        self.connection: Connection | None = None
        self.why = "no server was reached yet"
        self._servers = process.servers
        self._world = process.member.world
        self._session: Session | None = None
        self._opening = False
        self._try_at = self._world.schedule.now + self._world.rnd.randint(0, 200)
        self._waiting: deque[Callable[[], None]] = deque()
        self._ended = False
        self._servers.attach(self)
        position = process.replica.position
        # The bucket that was worked with last, and the highest number of it that was heard of.
        self._known = ("", 0) if position is None else (position.identity, position.sequence)

    @property
    def connected(self) -> bool:
        """Whether others are heard, as far as the node knows."""
        return self.connection is not None

    @property
    def connected_since(self) -> int | None:
        """Since when a connection has worked, None while none does."""
        return None if self.connection is None or self.connection.broken else self.connection.since

    @property
    def ready(self) -> bool:
        """Whether there is a bucket to work with, as far as the node knows."""
        return self._session is not None

    def end(self) -> None:
        """The process ends: nothing is told any more, and what is under way may still be done."""
        self._ended = True
        if self.connection is not None:
            self.connection.broken = True
        if self._session is not None:
            self._session.open = False
        self.connection = self._session = None

    # -- time

    def tick(self) -> None:
        """Let time pass."""
        self._drain()
        connection, now, rnd = self.connection, self._world.schedule.now, self._world.rnd
        if connection is None:
            if now >= self._try_at:
                self._try_at = now + rnd.randint(200, 1_000)
                self._connect()
            return
        works = connection.server in self._servers.reached(self.name)
        if connection.broken or not works:
            if not connection.broken:
                connection.broken = True
                connection.broken_at = now - (SILENCE if rnd.random() < 0.7 else 0)
            if now - connection.broken_at >= SILENCE:
                self._disconnect("the connection is lost")
            return
        session = self._session
        if session is None:
            if not self._opening and self._servers.keeps(connection.server):
                self._opening = True
                self._world.schedule.after(rnd.randint(5, 300), partial(self._find, connection))
            return
        if self._servers.keeps(connection.server) and session.bucket is self._servers.bucket:
            session.unanswered = None
            self._say_idle(session)
        elif session.unanswered is None:
            session.unanswered = now - (SILENCE if rnd.random() < 0.3 else 0)
        elif now - session.unanswered >= SILENCE:
            self._lose("puts are not answered")

    def cut(self) -> None:
        """The connection is reset at once."""
        if self.connection is not None:
            self.connection.broken = True
            self._disconnect("the connection was reset")

    def _connect(self) -> None:
        reached = self._servers.reached(self.name)
        if reached:
            now = self._world.schedule.now
            self.connection = Connection(self.name, self.process.epoch, self._world.rnd.choice(reached), now)
            self._world.log(self.name, "is connected to server", self.connection.server)

    def _disconnect(self, why: str) -> None:
        self._world.log(self.name, "is not connected:", why)
        self.connection, self._opening = None, False
        self._lose(why)
        self.why = why

    def _lose(self, why: str) -> None:
        session, self._session = self._session, None
        self.why = why
        if session is not None:
            session.open = False
            self._world.log(self.name, "has no bucket:", why)
            self.process.replica.lost(why, self.process.member.now)

    # -- the bucket

    def _find(self, connection: Connection) -> None:
        """Find the bucket, and then who is in it."""
        if self.connection is not connection or connection.broken or not self._servers.keeps(connection.server):
            self._opening = self._opening and self.connection is not connection
            return
        opening = self._servers.opening()
        delay = self._world.rnd.randint(1, 100)
        self._world.schedule.after(delay, partial(self._open, connection, opening, self._servers.bucket))

    def _open(self, connection: Connection, opening: Opening, bucket: Bucket) -> None:
        if self.connection is not connection:
            return
        self._opening = False
        if connection.broken or self._servers.bucket is not bucket:
            return
        if opening.identity == self._known[0] and opening.last < self._known[1]:
            self._world.log(self.name, "finds that the bucket was put back")
            self._servers.mark()
            return
        opening, spoil = replace(opening, members=self._servers.opening().members), self._world.spoil_engine
        opening = opening if spoil is None else spoil.opening(opening)
        self._session, self.why = Session(bucket), ""
        self._told(partial(self._opened, self._session, opening))

    def _opened(self, session: Session, opening: Opening) -> None:
        if session.open:
            self._world.log(self.name, "has", opening.identity, "up to", opening.last)
            self._known = (opening.identity, opening.last)
            self.process.replica.opened(opening, self.process.member.now)

    # -- commands

    def carry(self, command: Command) -> None:
        """Carry out a command, in a moment."""
        if isinstance(command, Tell):
            self._tell(command)
            return
        session = self._session
        if session is None:
            return
        if isinstance(command, Read):
            session.position = command.after
            self._bring_soon(session)
            return
        session.free = max(session.free, self._world.schedule.now + self._delay())
        self._world.schedule.after(session.free - self._world.schedule.now, partial(self._arrive, session, command))

    def _arrive(self, session: Session, command: Put | Get | Purge | AskLast | Scan) -> None:
        if isinstance(command, Put):
            self._put(session, command)
        else:
            self._errand(session, command)

    def say(self, data: bytes, node: str | None) -> None:
        """Say something of this node."""
        if self.connection is not None:
            self._servers.say(self.connection, node, "sign", data)

    def _tell(self, command: Tell) -> None:
        spoil, message = self._world.spoil_engine, command.message
        told = message if spoil is None else spoil.told(message)
        if self.connection is not None and told is not None:
            self._servers.say(self.connection, command.node, "told", encode_told(told))

    def _delay(self) -> int:
        return self._world.rnd.randint(1, 20) + self._servers.slow

    def _answers(self, session: Session) -> bool:
        """Whether what arrives over a session's connection is answered."""
        connection = self.connection
        return (
            session.open
            and connection is not None
            and not connection.broken
            and connection.server in self._servers.reached(self.name)
            and self._servers.keeps(connection.server)
        )

    def _put(self, session: Session, put: Put) -> None:
        world, rnd = self._world, self._world.rnd
        if not self._answers(session):
            if rnd.random() < 0.5:  # it waits somewhere, and is done when somebody leads again
                world.schedule.after(rnd.randint(100, 6_000), partial(self._late, put))
            self._give_up(session, put)
            return
        outcome = self._servers.put(put)
        if outcome is None:
            self._give_up(session, put)
            return
        if world.faults and rnd.random() < 0.02:
            if rnd.random() < 0.3:  # sent once more
                world.schedule.after(rnd.randint(100, 6_000), partial(self._late, put))
            self._give_up(session, put)
            return
        world.schedule.after(self._delay(), partial(self._answer, session, put.number, outcome))

    def _late(self, put: Put) -> None:
        if any(self._servers.keeps(server) for server in range(3)):
            self._servers.put(put)

    def _give_up(self, session: Session, put: Put) -> None:
        self._world.schedule.after(
            self._world.rnd.randint(500, 3_000), partial(self._answer, session, put.number, None)
        )

    def _answer(self, session: Session, number: int, outcome: int | str | None) -> None:
        self._told(partial(self._outcome, session, number, outcome))

    def _outcome(self, session: Session, number: int, outcome: int | str | None) -> None:
        if not session.open:
            return
        replica, now = self.process.replica, self.process.member.now
        if outcome is None:
            replica.unknown(number, now)
        elif isinstance(outcome, int):
            self._reach(outcome)
            replica.stored(number, outcome, now)
        elif outcome == "conflict":
            replica.conflicted(number, now)
        else:
            replica.refused(number, True, "maximum messages exceeded", now)

    def _errand(self, session: Session, command: Get | Purge | AskLast | Scan) -> None:
        world, servers, replica = self._world, self._servers, self.process.replica
        if not self._answers(session) or (world.faults and world.rnd.random() < 0.03):
            return
        member = self.process.member
        match command:
            case Purge():
                servers.purge(command)
            case Get(key):
                entry = servers.get(key)
                self._later(session, lambda: replica.got(key, entry, member.now))
            case AskLast() if servers.bucket is session.bucket:
                last = servers.bucket.last if world.spoil_engine is None else world.spoil_engine.last(servers.bucket)
                self._later(session, lambda: replica.last(last, member.now))
            case Scan(number):
                self._later(session, partial(self._scan, session, number))

    def _scan(self, session: Session, number: int) -> None:
        replica, now = self.process.replica, self.process.member.now
        for entry in session.bucket.entries():
            replica.scanned(number, replace(entry, lain=self._servers.clock - entry.at), now)
        replica.scan_over(number, session.bucket.last, now)

    def _later(self, session: Session, call: Callable[[], None]) -> None:
        def tell() -> None:
            if session.open:
                call()

        self._world.schedule.after(self._delay(), partial(self._told, tell))

    # -- reading

    def something(self) -> None:
        """There is a new entry."""
        if self._session is not None and self._session.position is not None:
            self._bring_soon(self._session)

    def _bring_soon(self, session: Session) -> None:
        if not session.bringing:
            session.bringing = True
            self._world.schedule.after(
                self._world.rnd.randint(1, 40) + self._servers.slow, partial(self._bring, session)
            )

    def _bring(self, session: Session) -> None:
        """Bring some of what there is behind what was brought."""
        session.bringing = False
        if not session.open or session.position is None or session.bucket is not self._servers.bucket:
            return
        if not self._answers(session) or self.process.member.paused or self._waiting:
            session.bringing = True
            self._world.schedule.after(200, partial(self._bring, session))
            return
        spoil, member = self._world.spoil_engine, self.process.member
        for _ in range(self._world.rnd.randint(1, AT_ONCE)):
            entry = self._servers.after(session.position)
            if entry is None:
                break
            session.position = entry.sequence
            self._reach(entry.sequence)
            self.process.replica.entry(entry if spoil is None else spoil.entry(entry), member.now)
        self.process.pump()
        if session.open and self._servers.after(session.position) is not None:
            self._bring_soon(session)

    def _reach(self, sequence: int) -> None:
        self._known = (self._known[0], max(sequence, self._known[1]))

    def _say_idle(self, session: Session) -> None:
        """Say now and then that there is nothing to bring."""
        position = session.position
        if position is not None and not session.bringing and self._world.rnd.random() < 0.4:
            self.process.replica.at(session.bucket.last, self.process.member.now)

    # -- what others say

    def hear(self, source: Connection, kind: Kind, data: bytes) -> None:
        """Take in what another node says."""
        self._told(partial(self._heard, source, kind, data))

    def _heard(self, source: Connection, kind: Kind, data: bytes) -> None:
        process = self.process
        if self.connection is None:
            return
        self._world.note(source.name, self.name, data, None)
        if kind == "sign":
            process.announced(source.name, source.epoch, data)
        elif process.announcing.admits(source.name):
            message = decode_told(data)
            said = told_marker(message) if self._world.traced else None
            if said is not None:
                self._world.log(source.name, ">", self.name, said)
            process.replica.receive(source.name, message, process.member.now)

    # -- turns

    def _told(self, call: Callable[[], None]) -> None:
        """Tell the node something, in order, unless it has ended; when it stands still, later."""
        if not self._ended:
            self._waiting.append(call)
            self._drain()

    def _drain(self) -> None:
        if self.process.member.paused or self._ended or not self._waiting:
            return
        while self._waiting:
            self._waiting.popleft()()
        self.process.pump()
