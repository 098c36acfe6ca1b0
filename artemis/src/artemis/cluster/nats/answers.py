"""What the engine answers, read strictly: outcomes of puts, errors, and where in its stream a message lies.

Pure. Not here: what to do then (`puts`, `following`, `carrier`).
"""

from __future__ import annotations

from enum import Enum

import msgspec

from artemis.cluster.nats.trouble import EngineState, TroubleError

NO_RESPONDERS = "503"
_CONFLICT = 10071
_NOT_FOUND = 10059
_IN_USE = 10058
_OVERLAP = 10065
_LONE = 10074
_FEW = 10005
_UNAVAILABLE = frozenset({10008, 10009})
_FULL = frozenset({10002, 10023, 10028, 10047, 10077})
_NONE_HERE = frozenset({10039, 10076})
_NO_FILES = "no such file"
"""Told of a store that cannot be written, which else has no room."""


class Fault(msgspec.Struct, frozen=True):
    """An error of the engine; `err_code` tells which."""

    code: int = 0
    err_code: int = 0
    description: str = ""

    @property
    def missing(self) -> bool:
        """Whether there is no such stream."""
        return self.err_code == _NOT_FOUND

    @property
    def exists(self) -> bool:
        """Whether a stream of that name is there, created by somebody else."""
        return self.err_code == _IN_USE

    @property
    def lone(self) -> bool:
        """Whether a server that is in no cluster was to keep several copies."""
        return self.err_code == _LONE

    def trouble(self, what: str) -> TroubleError:
        """Return what an answer like this means for `what`, the beginning of a sentence."""
        told = f"{self.description} ({self.err_code})"
        if self.err_code in _NONE_HERE:
            return TroubleError(EngineState.REFUSED, f"{what}: no JetStream for this user; enable it: {told}")
        if self.err_code in _FULL:
            return TroubleError(EngineState.REFUSED, f"{what}: the account or the server has too little room: {told}")
        if self.err_code == _OVERLAP:
            return TroubleError(EngineState.FOREIGN, f"{what}: another stream has its subjects: {told}")
        if self.err_code == _FEW:
            return TroubleError(
                EngineState.NO_QUORUM,
                f"{what}: too few servers for as many copies; start them, or set --cluster-replicas: {told}",
            )
        if self.err_code in _UNAVAILABLE or self.code == 503:
            return TroubleError(EngineState.NO_QUORUM, f"{what}: {told}")
        return TroubleError(EngineState.REFUSED, f"{what}: {told}")


class Outcome(Enum):
    """What became of a put. `ABSENT`: nobody keeps the stream now, or there is none."""

    STORED = "stored"
    CONFLICTED = "conflicted"
    FULL = "full"
    REFUSED = "refused"
    ABSENT = "absent"


class Answer(msgspec.Struct, frozen=True):
    """An outcome, with the sequence number of what was stored, or why it was not."""

    outcome: Outcome
    sequence: int = 0
    why: str = ""


class _Ack(msgspec.Struct):
    seq: int = 0
    error: Fault | None = None


_ACK = msgspec.json.Decoder(_Ack)


def read_ack(data: bytes, status: str | None) -> Answer:
    """Read the answer to a put; `status` is that of a message without content."""
    if status == NO_RESPONDERS:
        return Answer(Outcome.ABSENT)
    try:
        ack = _ACK.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        return Answer(Outcome.REFUSED, why=f"an answer to a put cannot be read: {error}")
    fault = ack.error
    if fault is None:
        return Answer(Outcome.STORED, ack.seq)
    why = f"{fault.description} ({fault.err_code})"
    if fault.err_code == _CONFLICT:
        return Answer(Outcome.CONFLICTED)
    if fault.err_code in _FULL and _NO_FILES in fault.description:
        return Answer(
            Outcome.ABSENT,
            why=f"the server has lost the files of the bucket; delete it, and the nodes fill a new one: {why}",
        )
    if fault.err_code in _FULL:
        return Answer(Outcome.FULL, why=why)
    if fault.err_code in _UNAVAILABLE or (fault.code == 503 and fault.err_code not in _NONE_HERE):
        return Answer(Outcome.ABSENT, why=why)
    return Answer(Outcome.REFUSED, why=why)


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a message lies: its number in the stream, in what its consumer has sent, and its stamp in ms; `left` more
    are to follow, as far as its server knows."""

    sequence: int
    order: int
    stamp: int
    left: int


def read_place(reply: str) -> Place | None:
    """Read the reply subject of a message that a consumer sent; None when it is none.

    It is `$JS.ACK` and seven parts, or with later servers two more before and one behind these.
    """
    parts = reply.split(".")
    if len(parts) >= 11:
        del parts[2:4]
    if len(parts) < 9 or parts[0] != "$JS" or parts[1] != "ACK":
        return None
    try:
        return Place(int(parts[5]), int(parts[6]), int(parts[7]) // 1_000_000, int(parts[8]))
    except ValueError:
        return None
