"""Histories: what clients of a cluster did and saw, and what befell it, as JSON lines that can be judged again.

Each line is one of the events below, with ``kind`` saying which, and ``at`` in milliseconds of the monotonic clock,
which all processes of one machine share. An operation is two lines, `Invoked` and `Completed`, so that one that never
ended is known too; lines are written at once, in the order in which things happened to whoever writes.
Not here: who writes them (`artemis.testing.histories_clients`), and what is right (`artemis.testing.checker`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from types import TracebackType

Operation = Literal["register", "heartbeat", "unregister", "lookup"]

Outcome = Literal["ok", "unknown", "failed"]
"""Done; refused because the node knows no such instance; anything else, after which it may or may not be done."""

ENDS = ("killed", "stopped")
"""What befalls a node so that it loses what it has not passed on, and what it does not keep in a data directory."""


class Setting(msgspec.Struct, frozen=True, kw_only=True, tag="setting", tag_field="kind"):
    """The first line: URLs of the nodes, and the promises in milliseconds.

    ``ttl``: for so long a lease lives after its last heartbeat. ``settle``: so long after all faults are over all nodes
    show the same. ``expiry``: so long after the last heartbeat an instance is gone from all of them; 0: not judged.
    ``several``: nodes have several workers, each of which has a position of its own, and answers heartbeats without the
    others.
    """

    nodes: list[str]
    ttl: int
    settle: int
    expiry: int = 0
    several: bool = False


class Invoked(msgspec.Struct, frozen=True, kw_only=True, tag="invoked", tag_field="kind"):
    """A client begins an operation. ``node`` is empty where the client chooses; then ``sure`` says that it must not
    fail, whatever befalls single nodes. ``content`` is what a registered instance is to show.
    """

    id: int
    at: int
    client: str
    op: Operation
    service: str
    node: str = ""
    instance: str = ""
    content: str = ""
    sure: bool = False


class Completed(msgspec.Struct, frozen=True, kw_only=True, tag="completed", tag_field="kind"):
    """It ended. ``shown`` is what a lookup showed, instance to content; ``age`` how old it may be, in ms."""

    id: int
    at: int
    outcome: Outcome
    shown: dict[str, str] | None = None
    cursor: str | None = None
    age: int = 0
    why: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True, tag="told", tag_field="kind"):
    """A watch was told ``changes``: kind (``new``, ``change``, ``delete``, ``reload``), instance, content.

    ``full``: they are all there is. ``resumed``: the watch has gone on with its cursor after it was lost, perhaps at
    another node; then it may be told that an instance went which came and went meanwhile, and as new of one that it
    knows. ``last``: nothing came until now, and the watch ends here.
    """

    at: int
    watch: str
    service: str
    changes: list[tuple[str, str, str]]
    node: str = ""
    cursor: str | None = None
    full: bool = False
    resumed: bool = False
    last: bool = False


class Flagged(msgspec.Struct, frozen=True, kw_only=True, tag="flagged", tag_field="kind"):
    """A client has told who uses it that what it shows of a service went back to an older state."""

    at: int
    client: str
    service: str


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag="fault", tag_field="kind"):
    """Something befalls the cluster or, if there are any, these nodes; with ``over`` it ends.

    ``killed``, ``stopped`` and ``paused`` say what they say; any other word is a fault of links or machines.
    """

    at: int
    what: str
    nodes: list[str] = []
    over: bool = False


Event = Setting | Invoked | Completed | Told | Flagged | Fault

_ENCODE = msgspec.json.Encoder().encode
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class BadHistoryError(ValueError):
    """A file is no history; the text says which line and why."""


def now() -> int:
    """Return the monotonic clock in milliseconds."""
    return time.monotonic_ns() // 1_000_000


class History:
    """Writes a history; thread-safe. A context manager; several clients of one process share one."""

    def __init__(self, path: Path, setting: Setting) -> None:
        self.path = path
        self.setting = setting
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._file = path.open("wb", buffering=0)
        self.add(setting)

    def add(self, event: Event) -> None:
        """Write an event; what happens after the end is left out."""
        with self._lock:
            if not self._file.closed:
                self._file.write(_ENCODE(event) + b"\n")

    def begin(
        self, client: str, op: Operation, service: str, *, node: str = "", instance: str = "", content: str = "",
        sure: bool = False,
    ) -> int:  # fmt: skip
        """Write that an operation begins now, and return its id."""
        one = next(self._ids)
        self.add(
            Invoked(
                id=one, at=now(), client=client, op=op, service=service, node=node, instance=instance, content=content,
                sure=sure,
            )
        )  # fmt: skip
        return one

    def end(
        self, one: int, outcome: Outcome, *, shown: dict[str, str] | None = None, cursor: str | None = None,
        age: int = 0, why: str = "",
    ) -> None:  # fmt: skip
        """Write that an operation ends now."""
        self.add(Completed(id=one, at=now(), outcome=outcome, shown=shown, cursor=cursor, age=age, why=why))

    @contextmanager
    def fault(self, what: str, *nodes: str) -> Iterator[None]:
        """Write that something befalls these nodes during the block."""
        self.add(Fault(at=now(), what=what, nodes=list(nodes)))
        try:
            yield
        finally:
            self.add(Fault(at=now(), what=what, nodes=list(nodes), over=True))

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(path: Path) -> Sequence[Event]:
    """Read a history. Raises BadHistoryError if it is none, OSError if it cannot be read.

    A last line that was not written whole, as by a client that was killed, is left out.
    """
    *lines, rest = path.read_bytes().split(b"\n")
    events: list[Event] = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(_DECODER.decode(line))
        except msgspec.MsgspecError as error:
            raise BadHistoryError(f"{path}, line {number}: {error}") from error
    if not events or not isinstance(events[0], Setting):
        raise BadHistoryError(f"{path} does not begin with the setting{': ' + rest[:80].decode() if rest else ''}")
    return events
