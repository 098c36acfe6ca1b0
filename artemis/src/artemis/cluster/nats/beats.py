"""What nodes say to each other without the bucket: renewals, markers, and what each says of itself (design 4.1).

It goes to all nodes of the cluster or to one, and may be lost: all of it is said again, or made up by what is said
later. Not here: what it means.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from artemis.cluster.engine.port import MAX_TOLD, Told, decode_told, encode_told
from artemis.cluster.mesh.intake import Intake
from artemis.cluster.messages import BadMessage, Name, Number
from artemis.cluster.nats.denials import Use

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from artemis.cluster.nats.connection import Connection
    from artemis.cluster.nats.names import Names

_HEAD = 4 * 1024


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who says something, in which life, and what: something for the core (`told`), or of itself (`beat`)."""

    node: Name
    epoch: Number
    kind: Literal["told", "beat"]
    body: bytes


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODER: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(Envelope)


def read_envelope(data: bytes) -> Envelope:
    """Read what a node says. Raises BadMessage, and nothing else."""
    if len(data) > MAX_TOLD + _HEAD:
        raise BadMessage(f"a message has {MAX_TOLD} bytes at most, not {len(data)}")
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadMessage(f"a message cannot be read: {error}") from error


class Beats:
    """The subjects of one node on one connection. Owned by the carrier. `told` and `beat` get what others say, with
    their id, a beat with their epoch as well; `after` is called at the end of a turn in which they did, `tried` with
    each subject that is used. `counters` only grow: `received`, `sent`, `own` (another process has our id), `strange`,
    `oversized`, `late` (waited for a turn)."""

    def __init__(
        self,
        connection: Connection,
        names: Names,
        node: str,
        epoch: int,
        *,
        told: Callable[[str, Told], None],
        beat: Callable[[str, int, bytes], None],
        after: Callable[[], None],
        tried: Callable[[Use, str], None],
        counters: Counter[str],
    ) -> None:
        self._connection, self._names = connection, names
        self._tried = tried
        self._subscriptions: dict[str, Subscription] = {}
        self._node, self._epoch = node, epoch
        self._told, self._beat = told, beat
        self._counters = counters
        self._intake: Intake[None] = Intake(self._handle, after, asyncio.get_running_loop().time)

    async def start(self) -> None:
        """Listen. Raises TroubleError."""
        for subject in (self._names.beats, self._names.to(self._node)):
            await self.listen(subject)

    async def listen(self, subject: str) -> None:
        """Listen to a subject, also once more. Raises TroubleError."""
        before = self._subscriptions.pop(subject, None)
        if before is not None:
            await self._connection.unsubscribe(before)
        self._tried(Use.HEAR, subject)
        self._subscriptions[subject] = await self._connection.subscribe(subject, self._received)

    def close(self) -> None:
        """Hear nothing any more."""
        self._intake.close()

    def tell(self, node: str | None, message: Told) -> None:
        """Say something to the core of a node, or to all."""
        self._send(self._names.beats if node is None else self._names.to(node), "told", encode_told(message))

    def say(self, beat: bytes, node: str | None = None) -> None:
        """Say something of this node to all, or to a node."""
        self._send(self._names.beats if node is None else self._names.to(node), "beat", beat)

    # -- its own

    def _send(self, subject: str, kind: Literal["told", "beat"], body: bytes) -> None:
        data = _ENCODE(Envelope(self._node, self._epoch, kind, body))
        if len(body) > MAX_TOLD or len(data) > self._connection.max_payload:
            self._counters["oversized"] += 1
        elif self._connection.send(subject, data):
            self._counters["sent"] += 1
            self._tried(Use.SAY, subject)

    async def _received(self, message: Msg) -> None:
        room = self._intake.take(None, message.data)
        if room is not None:
            self._counters["late"] += 1
            await room

    def _handle(self, _: None, data: bytes) -> None:
        try:
            envelope = read_envelope(data)
            told = decode_told(envelope.body) if envelope.kind == "told" else None
        except BadMessage:
            self._counters["strange"] += 1
            return
        self._counters["received"] += 1
        if envelope.node == self._node:
            self._counters["own"] += 1
        if told is None:
            self._beat(envelope.node, envelope.epoch, envelope.body)
        elif envelope.node != self._node:
            self._told(envelope.node, told)
