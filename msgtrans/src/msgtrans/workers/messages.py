"""What a supervisor and its workers tell each other, as bytes on a socket pair: length, then JSON.

File descriptors travel beside the bytes; a message says how many are its own.
Not here: sending and receiving (`supervisor`, `link`).
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

LENGTH: Final = 4
MAX_SIZE: Final = 16 * 1024 * 1024  # of one message; a peer that says more is no peer of ours
MAX_FILES: Final = 64  # beside one message


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process as its supervisor knows it. index: its place, from 0; ready: whether it listens.

    uptime: seconds since its process started. reported: seconds since its last report. counters, states: as of that
    report; states are numbers that are true of this worker now, by name, from its monitor if it has one.
    """

    index: int
    pid: int
    ready: bool
    uptime: float
    reported: float
    counters: dict[str, int]
    states: dict[str, float] = {}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """All workers of a supervisor at one moment, and those that have ended.

    uptime: seconds since the supervisor started. started_at: when that was, Unix seconds. restarts: how often a worker
    that failed was started again. total: the sum of all counters, ended workers included; it never gets less, but for
    what `gauges` names. sums: the same of what the monitors of the workers add up.
    """

    uptime: float
    started_at: float
    restarts: int
    total: dict[str, int]
    workers: list[WorkerState]
    sums: dict[str, float] = {}


class _Message(msgspec.Struct, frozen=True, tag=True):
    pass


# From a supervisor


class Begin(_Message, frozen=True):
    """The first message to a worker: who it is, and what it needs to know.

    entry, arguments: of a new interpreter: what to call, and with what.
    """

    index: int
    count: int
    life: int
    report_interval: float
    graceful_timeout: float
    entry: str = ""
    arguments: tuple[str, ...] = ()


class Rest(_Message, frozen=True):
    """Accept no more; your sessions go on. Say so when whatever was accepted has become a session."""


class End(_Message, frozen=True):
    """End gracefully. word: what the worker said that wanted all to end, if it was one."""

    word: str = ""


class Bound(_Message, frozen=True):
    """The answer to Listen: `files` sockets come beside it, or error and number say why not."""

    request: int
    files: int = 0
    error: str = ""
    number: int | None = None


class AskReport(_Message, frozen=True):
    """Report now."""


class Grouped(_Message, frozen=True):
    """The answer to AskGroup."""

    request: int
    group: Group


# From a worker


class Ready(_Message, frozen=True):
    """It listens there. rests: whether it does what Rest asks."""

    uris: list[str]
    rests: bool = False


class Rested(_Message, frozen=True):
    """It accepts no more."""


class Report(_Message, frozen=True):
    """Its loop turns, and these are its counters; what its monitor sees, if any, as `WorkerLink.figures` tells it."""

    counters: dict[str, int]
    sums: dict[str, float] = {}
    states: dict[str, float] = {}


class Failing(_Message, frozen=True):
    """It is about to end. hopeless: another one would, too."""

    why: str
    hopeless: bool


class Enough(_Message, frozen=True):
    """All workers are to end. word: what they are told then; failure: why none may go on, empty where it is meant so;
    together: only when a worker of every place has said the same.
    """

    word: str = ""
    failure: str = ""
    together: bool = False


class Listen(_Message, frozen=True):
    """Give me sockets that listen on one port of all these addresses. ordinal: the how many-th listener of mine."""

    request: int
    ordinal: int
    hosts: tuple[str, ...]
    port: int
    backlog: int
    reuse_address: bool


class AskGroup(_Message, frozen=True):
    """What do you know of all of us?"""

    request: int


ToWorker: TypeAlias = Begin | Rest | End | Bound | AskReport | Grouped
FromWorker: TypeAlias = Ready | Rested | Report | Failing | Enough | Listen | AskGroup

_encoder: Final = msgspec.json.Encoder()
to_worker: Final[msgspec.json.Decoder[ToWorker]] = msgspec.json.Decoder(ToWorker)
from_worker: Final[msgspec.json.Decoder[FromWorker]] = msgspec.json.Decoder(FromWorker)


def frame(message: ToWorker | FromWorker) -> bytes:
    """The bytes of one message."""
    body = _encoder.encode(message)
    return len(body).to_bytes(LENGTH, "big") + body


class Frames:
    """Cuts what was received into the bodies of messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes. Raises ValueError when it is nothing that `frame` made."""
        self._data += data
        bodies = []
        while len(self._data) >= LENGTH:
            size = int.from_bytes(self._data[:LENGTH], "big")
            if size > MAX_SIZE:
                raise ValueError(f"a message of {size} bytes; {MAX_SIZE} are the most")
            if len(self._data) < LENGTH + size:
                break
            bodies.append(bytes(self._data[LENGTH : LENGTH + size]))
            del self._data[: LENGTH + size]
        return bodies
