"""Those who follow what changes: pollers that hand in their cursor, and watchers that hang on the change stream.

Whatever way it came by it: right after an answer, a subscriber must hold exactly what that node shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from artemis.model.changes import CHANGE, DELETE, NEW, RELOAD
from artemis.push import Dialect, Subscriber, read_cursor
from artemis.testing.simulation.process import Process
from artemis.testing.simulation.telling import record_at, told_record

if TYPE_CHECKING:
    from artemis.testing.simulation.world import World

View = dict[str, bytes]
"""Instance id in lower case to the JSON that callers see."""


PATIENCE = 3
"""How often a poller asks again when a node is behind what it knows."""


class Poller:
    """Asks one node after the other what it missed of a service since its cursor."""

    def __init__(self, world: World, service: str) -> None:
        self._world = world
        self._service = service
        self._node = world.rnd.choice(world.serving())
        self._cursor = ""
        self._waited = 0
        self._have: View = {}

    def poll(self) -> None:
        """Ask, and ask again later; sometimes much later, so that the cursor grows older than what nodes remember."""
        world, rnd = self._world, self._world.rnd
        asleep = world.faults and rnd.random() < 0.03
        world.schedule.after(
            rnd.randint(10_000, 45_000) if asleep else rnd.randint(400, 1_500) * (1 if world.faults else 3), self.poll
        )
        process = world.process(self._node)
        if process is None or not process.ready or (world.faults and rnd.random() < 0.1):
            self._node = rnd.choice(world.serving())
            return
        node = process.node
        cursor = read_cursor(self._cursor)
        if node.log.behind(cursor) and self._waited < PATIENCE:
            self._waited += 1
            world.stats["behind"] += 1
            return
        self._waited = 0
        missed = node.log.since(self._service, cursor)
        world.stats["full" if missed.full else "delta"] += 1
        if missed.full:
            self._have = {}
        for change in missed.changes:
            apply(self._have, _name(change.content), change.kind, change.content)
        self._cursor = node.cursor()
        if not missed.full and not read_cursor(self._cursor).dominates(cursor):
            world.judge.broke(6, f"the answer of {process.member.name} to {cursor} goes back to {self._cursor}")
        held(world, process, self._service, self._have, 6, "a poller")
        world.judge.answered(process, self._service)


class Watcher:
    """Is pushed the changes of a service; takes them when it likes, and goes on elsewhere from its last cursor."""

    def __init__(self, world: World, service: str, *, lazy: bool) -> None:
        self._world = world
        self._service = service
        self._lazy = lazy
        self._node = world.rnd.choice(world.serving())
        self._process: Process | None = None
        self._subscriber: Subscriber | None = None
        self._cursor = ""
        self._have: View = {}
        self._exact = False

    def watch(self) -> None:
        """Take what there is, or subscribe where it can; again later."""
        world, rnd = self._world, self._world.rnd
        world.schedule.after(
            rnd.randint(2_000, 20_000) if self._lazy or not world.faults else rnd.randint(20, 900), self.watch
        )
        process = world.process(self._node)
        if process is None or not process.ready or (world.faults and rnd.random() < 0.02):
            self._leave()
            self._node = rnd.choice(world.serving())
            return
        if process is not self._process:
            self._leave()
            self._join(process)
        self._take(process)

    def _join(self, process: Process) -> None:
        stream = process.node.stream
        self._process = process
        self._subscriber = Subscriber(Dialect.NATIVE, _noted)
        stream.attach(self._subscriber)
        refused = stream.subscribe(self._subscriber, self._service, read_cursor(self._cursor))
        assert refused is None, refused  # noqa: S101 - nothing is wrong with it
        self._exact = False

    def _leave(self) -> None:
        if self._process is not None and self._subscriber is not None:
            self._process.node.stream.detach(self._subscriber)
        self._process = self._subscriber = None

    def _take(self, process: Process) -> None:
        assert self._subscriber is not None  # noqa: S101 - it has joined
        world = self._world
        before = dict(self._have)
        for message in self._subscriber.take(1 << 20):
            told = _MESSAGE.decode(message)
            world.stats["pushes"] += 1
            if told.full_sync:
                self._have = {}
            for change in told.changes:
                if change.change_type == RELOAD:
                    self._have = shown(process, self._service)
                    continue
                name = _name(change.instance)
                self._check(process, name, change.change_type, full=told.full_sync)
                apply(self._have, name, change.change_type, bytes(change.instance))
            self._cursor = told.cursor
        if self._subscriber.current:
            self._exact = True
            held(world, process, self._service, self._have, 9, "a watcher")
        else:
            world.stats["pending"] += self._have != before

    def _check(self, process: Process, name: str, kind: str, *, full: bool) -> None:
        """Within one subscription no change is told twice, and none is missing before it."""
        known = name in self._have
        if self._exact and not full and known == (kind == NEW):
            self._world.judge.broke(9, f"{process.member.name} told {kind} of {name}, known: {known}")


def apply(view: View, name: str, kind: str, content: bytes) -> None:
    """Bring a view up to date with one change."""
    if kind == DELETE:
        view.pop(name, None)
    elif kind in (NEW, CHANGE):
        view[name] = content


def shown(process: Process, service: str) -> View:
    """Return what a node shows of a service."""
    return dict(process.node.catalog.instances(service))


def held(world: World, process: Process, service: str, have: View, law: int, who: str) -> None:
    """Judge that a subscriber holds exactly what the node shows."""
    view = shown(process, service)
    wrong = sorted(name for name in {*view, *have} if view.get(name) != have.get(name))
    if wrong:
        world.judge.broke(
            law,
            f"{who} at {process.member.name} is wrong: has {[(name, _meaning(have.get(name))) for name in wrong]}, "
            f"there {[told_record(record_at(process, (service, name))) for name in wrong]}",
        )


def _meaning(content: bytes | None) -> object:
    """What differs between the contents of an instance."""
    return None if content is None else _INSTANCE.decode(content).metadata


def _name(content: bytes | msgspec.Raw) -> str:
    return _INSTANCE.decode(content).instance_id.lower()


class _Instance(msgspec.Struct, rename="camel"):
    instance_id: str
    metadata: dict[str, str] | None


class _Change(msgspec.Struct, rename="camel"):
    change_type: str
    instance: msgspec.Raw


class _Message(msgspec.Struct, rename="camel"):
    cursor: str
    full_sync: bool
    changes: list[_Change]


_INSTANCE = msgspec.json.Decoder(_Instance)
_MESSAGE = msgspec.json.Decoder(_Message)


def _noted() -> None:
    """There is something to take; it is looked at anyhow."""
