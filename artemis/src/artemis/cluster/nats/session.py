"""One stretch of work with a bucket, from its opening until something ends it: commands are carried out, answers told.

Not here: when there is another one (`carrier`), and how a core makes use of answers.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.engine.port import AskLast, Core, Get, Purge, Put, Read, Scan
from artemis.cluster.nats.answers import Outcome, read_ack
from artemis.cluster.nats.consumer import Consumer, ConsumerTimings
from artemis.cluster.nats.doubting import Doubting
from artemis.cluster.nats.ending import end
from artemis.cluster.nats.names import is_key
from artemis.cluster.nats.numbering import Numbering
from artemis.cluster.nats.puts import Puts, PutTimings
from artemis.cluster.nats.scanning import Scanning
from artemis.cluster.nats.trouble import MAJORITY, EngineState, TroubleError

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from artemis.cluster.nats.bucket import Bucket
    from artemis.cluster.nats.connection import Connection

WAITING = 10_000
"""Purges and single reads that may wait; what comes then is dropped and counted."""
_HEADERS = 1_024
"""Bytes of a put beside its value, which count as its payload."""


class SessionTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. When no put was answered for `patience`, the bucket is taken for gone. It is looked at each
    `check`: whether new keys fit, and whether all that there is is brought."""

    patience: int = 8_000
    check: int = 5_000
    puts: PutTimings = PutTimings()
    consumer: ConsumerTimings = ConsumerTimings()


class Session:
    """Owned by the carrier: `start`, `carry` and `tick` while it lasts, then `close`. `ended` gets the trouble that
    ends it, `denied` that of puts which this node may not do, None while it is not known that it may not. `answers` is
    called when the first put is answered, `full` with whether new keys find room, when that changes, and `behind` with
    whether something of the bucket does not come here. `quiet` is set while no put waits or is under way. The core must
    not raise."""

    def __init__(
        self,
        connection: Connection,
        bucket: Bucket,
        core: Core,
        *,
        now: Callable[[], int],
        turn: Callable[[], None],
        answers: Callable[[], None],
        full: Callable[[bool, str], None],
        behind: Callable[[bool], None],
        timings: SessionTimings,
        counters: Counter[str],
    ) -> None:
        self.ended: asyncio.Future[TroubleError] = asyncio.get_running_loop().create_future()
        self.denied: TroubleError | None = None
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._connection, self._bucket, self._core = connection, bucket, core
        self._now, self._turn = now, turn
        self._told_answers, self._told_full, self._told_behind = answers, full, behind
        self._timings = timings
        self._counters = counters
        self._puts = Puts(timings=timings.puts)
        self._name = secrets.token_hex(4)
        self._inbox = connection.inbox()
        self._subject = bucket.names.prefix
        self._consumer: Consumer | None = None
        self._numbering, self._doubting = Numbering(), Doubting()
        self._reading: asyncio.Task[None] | None = None
        self._scan: Scanning | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._errands: deque[Purge | Get | AskLast] = deque()
        self._errand = asyncio.Event()
        self._answers = False
        self._full = False
        self._next_check = now() + timings.check
        self._checking = False

    async def start(self) -> None:
        """Begin to listen for answers. Raises TroubleError."""
        await self._connection.subscribe(f"{self._inbox}.*", self._answered)
        self._connection.slow = self._slow
        self._begin(self._run_errands())

    async def close(self) -> None:
        """End everything that is under way."""
        if self._consumer is not None:
            self._consumer.close()
        if self._scan is not None:
            self._scan.close()
        tasks = [*self._tasks] if self._reading is None else [*self._tasks, self._reading]
        await end(tasks)

    def clock(self, now: int) -> tuple[int, int]:
        """Return what the engine's clock shows at least, and by how much it may show more, in milliseconds."""
        return self._bucket.clock.at(now), self._bucket.doubt

    @property
    def under_way(self) -> int:
        """Return how many puts have no answer yet."""
        return self._puts.under_way + self._puts.waiting

    def carry(self, command: Read | Put | Get | Purge | AskLast | Scan) -> None:
        """Carry out a command; puts with the next `pump`."""
        if isinstance(command, Put):
            self._put(command)
        elif isinstance(command, Read):
            self._read(command.after)
        elif isinstance(command, Scan):
            self._begin_scan(command.number)
        elif len(self._errands) < WAITING:
            self._errands.append(command)
            self._errand.set()
        else:
            self._counters["errands_dropped"] += 1

    def pump(self) -> None:
        """Send what the window has room for."""
        for put in self._puts.take(self._now()):
            self._send(put)

    def tick(self) -> None:
        """Let time pass; some times a second."""
        now, puts = self._now(), self._puts
        if puts.unheard(now) >= self._timings.patience:
            self._end(self._unanswered())
            return
        for number in puts.forgotten(now):
            self._counters["unknown"] += 1
            self._core.unknown(number, now)
        for put in puts.again(now):
            self._counters["repeated"] += 1
            self._send(put)
        if self._consumer is not None:
            self._consumer.tick()
        if self._scan is not None:
            self._scan.tick()
        if now >= self._next_check and not self._checking:
            self._checking = True
            self._begin(self._check())

    def bar(self, why: str) -> None:
        """End it if the bucket is to be left alone, and why."""
        if why:
            self._end(TroubleError(EngineState.FOREIGN, why))

    # -- puts

    def _put(self, put: Put) -> None:
        why = ""
        if not put.value:
            why = "the engine takes no empty entry with a condition"
        elif not is_key(put.key):
            why = "the engine takes no such key"
        elif len(put.value) + _HEADERS > self._connection.max_payload:
            why = f"an entry of {len(put.value)} bytes is more than the engine takes ({self._connection.max_payload})"
        if why:
            self._counters["refused"] += 1
            self._core.refused(put.number, False, why, self._now())
        else:
            self._puts.add(put)
            self.quiet.clear()

    def _send(self, put: Put) -> None:
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(put.revision),
            "Nats-Msg-Id": f"{self._name}.{put.number}",
        }
        self._connection.send(self._subject + put.key, put.value, f"{self._inbox}.{put.number}", headers)

    def _unanswered(self) -> TroubleError:
        denied = self._connection.denial(self._subject, below=True)
        if denied:
            why = f"{self._connection.url}: this node may not put anything; permit {self._subject}>: {denied}"
            self.denied = TroubleError(EngineState.REFUSED, why)
            return self.denied
        return TroubleError(EngineState.NO_QUORUM, f"puts are not answered; {MAJORITY}")

    async def _answered(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        answer = read_ack(message.data, None if message.headers is None else message.headers.get("Status"))
        if answer.outcome is Outcome.ABSENT:
            why = answer.why or f"nobody keeps the bucket now; {MAJORITY}"
            self._end(TroubleError(EngineState.NO_QUORUM, why))
            return
        if not self._answers:
            self._answers = True
            self._connection.permitted(self._subject)
            self._told_answers()
        now = self._now()
        put = self._puts.answered(number, now)
        if not self.under_way:
            self.quiet.set()
        if put is None or self.ended.done():
            return
        core = self._core
        if answer.outcome is Outcome.STORED:
            self._counters["stored"] += 1
            core.stored(number, answer.sequence, now)
            self._compare(self._numbering.answered(number, answer.sequence))
        elif answer.outcome is Outcome.CONFLICTED:
            self._counters["conflicted"] += 1
            core.conflicted(number, now)
        else:
            full = answer.outcome is Outcome.FULL
            self._counters["full" if full else "refused"] += 1
            core.refused(number, full, answer.why, now)
            if full:
                self._be_full(answer.why)
        self._turn()

    # -- reading

    def _read(self, after: int) -> None:
        if self._consumer is not None:
            self._consumer.close()
        if self._reading is not None:
            self._reading.cancel()
            self._tasks.append(self._reading)
        core, now = self._core, self._now
        self._consumer = Consumer(
            self._connection,
            self._bucket,
            entry=lambda entry: core.entry(entry, now()),
            at=lambda sequence: core.at(sequence, now()),
            after=self._turn,
            now=now,
            timings=self._timings.consumer,
            counters=self._counters,
            named=self._read_named,
        )
        self._numbering = Numbering()
        self._reading = asyncio.get_running_loop().create_task(self._guarded(self._consumer.run(after)))

    def _read_named(self, name: str, sequence: int) -> None:
        """Something was read that was put with a name, perhaps by this session."""
        session, _, number = name.partition(".")
        if session == self._name and number.isdigit():
            self._compare(self._numbering.read(int(number), sequence))

    def _compare(self, same: bool | None) -> None:
        """An own put was read where it was answered to be, or elsewhere; None while that is not known."""
        if same:
            self._doubting.trust()
        elif same is not None:
            self._doubt("strays")

    def _doubt(self, why: str) -> None:
        """What the server brings is not what the one has that leads: read all of it anew, perhaps from another one."""
        self._counters[why] += 1
        if self._doubting.doubt(self._now()):
            if self._consumer is not None:
                self._consumer.doubt()
            self._core.doubted(self._now())
            self._turn()

    def _begin_scan(self, number: int) -> None:
        if self._scan is not None:
            self._scan.close()
        self._scan = Scanning(
            self._connection,
            self._bucket,
            self._core,
            number,
            now=self._now,
            turn=self._turn,
            timings=self._timings.consumer,
            counters=self._counters,
        )
        self._begin(self._scan.run())

    def _slow(self, subscription: Subscription) -> None:
        if self._consumer is not None:
            self._consumer.slow(subscription)
        if self._scan is not None:
            self._scan.slow(subscription)

    # -- errands: single questions, one after the other

    async def _run_errands(self) -> None:
        errands = self._errands
        while True:
            while errands:
                await self._run(errands.popleft())
            self._errand.clear()
            await self._errand.wait()

    async def _run(self, errand: Purge | Get | AskLast) -> None:
        bucket, core = self._bucket, self._core
        if isinstance(errand, AskLast):
            sequence = await bucket.last()
            core.last(sequence, self._now())
        elif not is_key(errand.key):
            self._counters["errands_failed"] += 1
            return
        elif isinstance(errand, Get):
            entry = await bucket.get(errand.key)
            core.got(errand.key, entry, self._now())
        else:
            try:
                await bucket.purge(errand.key, errand.revision)
            except TroubleError as trouble:
                if trouble.state is not EngineState.REFUSED:
                    raise
                self._counters["errands_failed"] += 1  # another node may be permitted to do it
                return
            self._counters["purged"] += 1
        self._turn()

    # -- looking after it

    async def _check(self) -> None:
        last, room = await self._bucket.look()
        self._checking = False
        if self._consumer is not None:
            brought = self._consumer.expect(last)
            if brought is False:
                self._doubt("lags")
            elif brought:
                self._doubting.wait(self._now())
            self._told_behind(self._doubting.lasting)
        if self._full and room:
            self._full = False
            self._told_full(False, "")
        self._next_check = self._now() + self._timings.check

    def _be_full(self, why: str) -> None:
        if not self._full:
            self._full = True
            self._told_full(True, why)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(asyncio.get_running_loop().create_task(self._guarded(work)))

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except TroubleError as trouble:
            self._end(trouble)

    def _end(self, trouble: TroubleError) -> None:
        if not self.ended.done():
            self.ended.set_result(trouble)
