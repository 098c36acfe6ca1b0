"""The bucket of a cluster: found or created, made sure that it is ours, and asked for single things.

All are requests with answers. Not here: puts (`puts`, `carrier`), and reading it all (`consumer`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar

import msgspec
from nats.aio.msg import Msg

from artemis.cluster.engine.port import Entry, Opening
from artemis.cluster.nats.answers import NO_RESPONDERS, Fault
from artemis.cluster.nats.clock import EngineClock, stamp_of
from artemis.cluster.nats.connection import Connection
from artemis.cluster.nats.identity import FORMAT, Identity, Stream, config_of, incarnation, objection
from artemis.cluster.nats.names import Names, is_key
from artemis.cluster.nats.trouble import EngineState, TroubleError

AnswerT = TypeVar("AnswerT")

_COPIES = 3
"""Copies of a bucket where there is more than one server."""
_AT_ONCE = 64
"""Entries that are asked for at the same time."""
_SURE = 1.0
"""Seconds after which it is asked again whether numbers have gone back, as one who leads since just now may lag, or
whether a bucket is gone, as its server may be deleting it still."""
_BACK = "the bucket was put back to an earlier state"
_AGAIN = (
    "the bucket has lower numbers than it had, once more: its servers may not keep the same, as after one was"
    " killed; delete it, and the nodes fill a new one"
)


class BucketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Whose bucket it is and, for who creates it, how many entries it takes and how many servers keep it (None: three,
    and one where there is only one server)."""

    cluster: str
    region: str
    max_entries: int
    replicas: int | None = None


class _Error(msgspec.Struct):
    error: Fault | None = None


class _Consumer(msgspec.Struct):
    name: str
    created: str


class _Raw(msgspec.Struct):
    config: dict[str, object]


class _Done(msgspec.Struct):
    success: bool = False


class Bucket:
    """A bucket as it was when it was opened: `incarnation` names it, `clock` is that of the engine, which may show
    up to `doubt` milliseconds more. Owned by the carrier, for one connection at most.

    `known` tells of the bucket that this node worked with last its incarnation and the highest number of it that was
    heard of. One that was put back to an earlier state is given another incarnation, so that all nodes find that it is
    another one, however many entries were put since, as far as `marks` lets it: servers that do not keep the same let
    one fall back again and again. `unmarked` is why that could not be done, else empty.

    Everything that asks raises TroubleError.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        options: BucketOptions,
        clock: EngineClock,
        now: Callable[[], int],
        known: Callable[[], tuple[str, int]],
        marks: Callable[[], bool],
    ) -> None:
        self.names = names
        self.incarnation = ""
        self.clock = clock
        self.doubt = 0
        self.unmarked = ""
        self._connection, self._options, self._now, self._known, self._marks = connection, options, now, known, marks

    async def open(self) -> Opening:
        """Find the bucket or create it, and see that it can be worked with."""
        stream = await self._find() or await self._gone() or await self._create()
        self._check(stream)
        self.incarnation = incarnation(stream)
        # A consumer is answered by those who keep the bucket, and only if they are enough; it also has their time.
        await self.start_clock()
        last = await self._reaches()
        return Opening(self.incarnation, last, self.clock.at(self._now()), await self._members())

    async def last(self) -> int:
        """Return the last sequence number of the same bucket, or say that it is another one."""
        return (await self._same()).state.last_seq

    async def look(self) -> tuple[int, bool]:
        """Return the last sequence number as `last`, and whether new keys fit."""
        stream = await self._same()
        return stream.state.last_seq, not 0 <= stream.config.max_msgs <= stream.state.messages

    async def get(self, key: str) -> Entry | None:
        """Return the present entry of a key."""
        answer = await self._connection.request(f"$JS.API.DIRECT.GET.{self.names.stream}.{self.names.prefix}{key}")
        headers = answer.headers or {}
        status = headers.get("Status")
        if status == "404":
            return None
        try:
            sequence, stamp = int(headers["Nats-Sequence"]), stamp_of(headers["Nats-Time-Stamp"])
        except (KeyError, ValueError) as error:
            raise TroubleError(EngineState.NO_QUORUM, f"{key} cannot be read: {status or error!r}") from error
        return Entry(key, bytes(answer.data), sequence, stamp, self.clock.lain(stamp, self._now()))

    async def purge(self, key: str, revision: int) -> None:
        """Let an entry disappear if it is of this revision or an earlier one."""
        if not is_key(key):
            raise ValueError(f"{key!r} is no key")
        body = msgspec.json.encode({"filter": f"{self.names.prefix}{key}", "seq": revision + 1})
        await self._ask("STREAM.PURGE", self.names.stream, body, _Done)

    async def start_clock(self) -> None:
        """Learn what the engine's clock shows."""
        config = {"ack_policy": "none", "deliver_policy": "new", "inactive_threshold": 5_000_000_000, "num_replicas": 1}
        asked = self._now()
        name = await self.consume(config)
        self.doubt = self._now() - asked
        await self.leave(name)

    async def consume(self, config: dict[str, object]) -> str:
        """Create a consumer and return its name; the clock begins with the time that it was created at."""
        body = msgspec.json.encode(
            {"stream_name": self.names.stream, "config": {**config, "mem_storage": True, "replay_policy": "instant"}}
        )
        made = await self._ask("CONSUMER.CREATE", self.names.stream, body, _Consumer)
        self.clock.start(_stamp(made.created), self._now())
        return made.name

    async def leave(self, consumer: str) -> None:
        """Delete a consumer."""
        await self._ask("CONSUMER.DELETE", f"{self.names.stream}.{consumer}", b"", _Done)

    # -- its own

    async def _find(self) -> Stream | None:
        answer = await self._request("STREAM.INFO", self.names.stream)
        fault = _fault(answer)
        if fault is None:
            return _read(answer, Stream, "the bucket")
        if fault.missing:
            return None
        raise fault.trouble("the bucket")

    async def _gone(self) -> Stream | None:
        """Wait before a bucket is created in place of one that was there, and return what is there then.

        A server that is still deleting the files of one deletes those of the next one as well, for good (seen with
        nats-server 2.9.10).
        """
        if not self._known()[0]:
            return None
        await asyncio.sleep(_SURE)
        return await self._find()

    async def _create(self) -> Stream:
        options = self._options
        identity = Identity(format=FORMAT, cluster=options.cluster, region=options.region, id=secrets.token_hex(8))
        fault = await self._try(identity, options.replicas or _COPIES)
        if fault is not None and fault.lone and options.replicas is None:
            fault = await self._try(identity, 1)
        if fault is not None and not fault.exists:
            raise fault.trouble("the bucket cannot be created")
        stream = await self._find()
        if stream is None:
            raise TroubleError(EngineState.NO_QUORUM, "the bucket was created and is not there")
        return stream

    async def _try(self, identity: Identity, replicas: int) -> Fault | None:
        names = self.names
        config = config_of(
            names.stream, names.prefix, identity, max_entries=self._options.max_entries, replicas=replicas
        )
        return _fault(await self._request("STREAM.CREATE", names.stream, msgspec.json.encode(config)))

    async def _reaches(self) -> int:
        """Return the last sequence number; where that is lower than it was, the bucket becomes another one."""
        stream = await self._present()
        if not self._is_back(stream, *self._known()):
            return stream.state.last_seq
        await asyncio.sleep(_SURE)
        stream = await self._present()
        if not self._is_back(stream, *self._known()):
            return stream.state.last_seq
        if not self._marks():
            raise TroubleError(EngineState.CONNECTING, _AGAIN)
        try:
            await self._mark_anew()
        except TroubleError as trouble:
            self.unmarked = str(trouble)
            return stream.state.last_seq
        raise TroubleError(EngineState.CONNECTING, _BACK)

    async def _mark_anew(self) -> None:
        """Give the bucket another identity, and leave all else of it as it is."""
        fields = _read(await self._request("STREAM.INFO", self.names.stream), _Raw, "the bucket").config
        options = self._options
        identity = Identity(format=FORMAT, cluster=options.cluster, region=options.region, id=secrets.token_hex(8))
        config = msgspec.json.encode({**fields, "description": msgspec.json.encode(identity).decode()})
        await self._ask("STREAM.UPDATE", self.names.stream, config, Stream)

    def _is_back(self, stream: Stream, identity: str, reached: int) -> bool:
        return self.incarnation == identity and stream.state.last_seq < reached

    async def _same(self, body: bytes = b"") -> Stream:
        known = self._known()
        stream = await self._present(body)
        if self._is_back(stream, *known):
            raise TroubleError(EngineState.CONNECTING, _BACK)
        return stream

    async def _present(self, body: bytes = b"") -> Stream:
        stream = await self._ask("STREAM.INFO", self.names.stream, body, Stream)
        self._check(stream)
        if incarnation(stream) != self.incarnation:
            raise TroubleError(EngineState.CONNECTING, "the bucket was made anew")
        return stream

    def _check(self, stream: Stream) -> None:
        text = objection(stream, self.names.prefix, self._options.cluster, self._options.region)
        if text:
            raise TroubleError(EngineState.FOREIGN, text)

    async def _members(self) -> list[Entry]:
        prefix = self.names.prefix
        stream = await self._same(msgspec.json.encode({"subjects_filter": f"{prefix}m.>"}))
        keys = [subject.removeprefix(prefix) for subject in stream.state.subjects or ()]
        found: list[Entry | None] = []
        for begin in range(0, len(keys), _AT_ONCE):
            found += await asyncio.gather(*(self.get(key) for key in keys[begin : begin + _AT_ONCE] if is_key(key)))
        return [each for each in found if each is not None]

    async def _request(self, verb: str, what: str, body: bytes = b"") -> Msg:
        answer = await self._connection.request(f"$JS.API.{verb}.{what}", body)
        if (answer.headers or {}).get("Status") == NO_RESPONDERS:
            raise TroubleError(EngineState.REFUSED, "the servers have no JetStream; enable it")
        return answer

    async def _ask(self, verb: str, what: str, body: bytes, kind: type[AnswerT]) -> AnswerT:
        answer = await self._request(verb, what, body)
        fault = _fault(answer)
        if fault is not None:
            if fault.missing:
                raise TroubleError(EngineState.CONNECTING, "the bucket is gone")
            raise fault.trouble(f"{verb.lower()} of the bucket")
        return _read(answer, kind, verb.lower())


def _fault(answer: Msg) -> Fault | None:
    return _read(answer, _Error, "an answer").error


def _read(answer: Msg, kind: type[AnswerT], what: str) -> AnswerT:
    try:
        return msgspec.json.decode(answer.data, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise TroubleError(EngineState.NO_QUORUM, f"{what} cannot be read: {error}") from error


def _stamp(text: str) -> int:
    try:
        return stamp_of(text)
    except ValueError as error:
        raise TroubleError(EngineState.NO_QUORUM, str(error)) from error
