"""Every entry of a bucket from a sequence number on, in order and for ever, whatever becomes of single consumers.

The engine pushes without being told of each message that it came; it asks now and then whether to go on, and is
answered when all before that was handled, so what is under way is bounded. When something was lost, or nothing is heard
any more, a new consumer goes on behind what was handled last. What comes is handled for as long as a turn of the loop
may take, and the rest in the next (`mesh.intake`). Not here: what entries mean.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from artemis.cluster.engine.port import Entry
from artemis.cluster.mesh.intake import Intake
from artemis.cluster.nats.answers import Place, read_place
from artemis.cluster.nats.following import Following, Verdict
from artemis.cluster.nats.trouble import EngineState, TroubleError

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from artemis.cluster.nats.bucket import Bucket
    from artemis.cluster.nats.connection import Connection

#: Whose message it is, where it lies (None: a heartbeat), its key, or how much a heartbeat says was sent and read, and
#: the name that it was put with.
_Source = tuple["_Stretch", Place | None, str, tuple[int, int], str]


class ConsumerTimings(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. A consumer with nothing to send says so each `heartbeat`, and one that is silent for `silence` is
    replaced."""

    heartbeat: int = 1_000
    silence: int = 3_500


class _Stretch:
    """What one consumer brings."""

    def __init__(self, following: Following) -> None:
        self.following = following
        self.sure = asyncio.Event()
        self.broken = asyncio.Event()
        self.subscription: Subscription | None = None
        self.why = ""
        # Whether its server said that there is no more.
        self.all = False

    def end(self, why: str) -> None:
        self.why = self.why or why
        self.broken.set()


class Consumer:
    """Owned by the carrier, for one opening of a bucket. `entry` and `at` get what comes, `named` before that the name
    and the number of what was put with one, `after` is called at the end of a turn in which they were. `counters` only
    grow: `entries`, `gaps`, `silences`, `late` (waited for a turn)."""

    def __init__(
        self,
        connection: Connection,
        bucket: Bucket,
        *,
        entry: Callable[[Entry], None],
        at: Callable[[int], None],
        after: Callable[[], None],
        now: Callable[[], int],
        timings: ConsumerTimings,
        counters: Counter[str],
        named: Callable[[str, int], None] = lambda *_: None,
    ) -> None:
        self._connection, self._bucket = connection, bucket
        self._entry, self._at, self._named, self._now = entry, at, named, now
        self._timings = timings
        self._counters = counters
        self._intake: Intake[_Source] = Intake(self._handle, after, asyncio.get_running_loop().time)
        self._stretch: _Stretch | None = None
        self._position = 0
        self._closed = False
        # What the bucket had when it was asked last, and where this was then.
        self._expected, self._then = 0, -1

    async def run(self, after: int) -> None:
        """Bring everything behind `after`, until `close`. Raises TroubleError."""
        self._position = after
        try:
            while not self._closed:
                await self._read()
        finally:
            self._intake.close()
            self._stretch = None

    def close(self) -> None:
        """Bring nothing any more, from this moment on."""
        self._closed = True
        if self._stretch is not None:
            self._stretch.end("it is closed")

    def tick(self) -> None:
        """Notice that nothing is heard any more; called some times a second."""
        stretch = self._stretch
        if stretch is None or not stretch.sure.is_set():
            return
        now = self._now()
        if len(self._intake):
            stretch.following.busy(now)
        elif stretch.following.silent(now):
            self._counters["silences"] += 1
            stretch.end("nothing was heard")

    def expect(self, last: int) -> bool | None:
        """Take note of how far the bucket reaches; called each few seconds. Return whether what it had the last time
        was brought, None while that goes on: a server that has no more to bring keeps less than the others, and does
        not know it (seen with nats-server 2.9.10)."""
        stretch, position = self._stretch, self._position
        expected, then = self._expected, self._then
        self._expected, self._then = last, position
        if position >= expected:
            return True
        if stretch is None or not stretch.sure.is_set() or len(self._intake):
            return None
        return False if stretch.all or position == then else None

    def doubt(self) -> None:
        """Bring nothing more from this server."""
        if self._stretch is not None:
            self._stretch.end("it is in doubt")

    def slow(self, subscription: Subscription) -> None:
        """This node was too slow for what came, and some of it was dropped."""
        stretch = self._stretch
        if stretch is not None and stretch.subscription is subscription:
            stretch.end("this node was too slow")

    # -- its own

    async def _read(self) -> None:
        """Have one consumer for as long as it works."""
        connection, bucket, timings = self._connection, self._bucket, self._timings
        stretch = self._stretch = _Stretch(Following(self._position, self._now(), timings.silence))

        async def received(message: Msg) -> None:
            await self._received(stretch, message)

        inbox = connection.inbox()
        stretch.subscription = await connection.subscribe(inbox, received)
        name = ""
        try:
            name = await bucket.consume(
                {
                    "deliver_subject": inbox,
                    "deliver_policy": "by_start_sequence",
                    "opt_start_seq": self._position + 1,
                    "ack_policy": "none",
                    "flow_control": True,
                    "idle_heartbeat": timings.heartbeat * 1_000_000,
                    "inactive_threshold": 5_000_000_000,
                    "num_replicas": 1,
                    "max_deliver": 1,
                }
            )
            await bucket.last()  # it is still the same, or what the consumer brings is not handled
            stretch.following.busy(self._now())
            stretch.sure.set()
            await stretch.broken.wait()
        finally:
            stretch.end("it was ended")
            stretch.sure.set()
            await connection.unsubscribe(stretch.subscription)
        try:
            await bucket.leave(name)
        except TroubleError as trouble:
            if trouble.state is not EngineState.REFUSED:  # that one is gone already, or will be after some seconds
                raise

    async def _received(self, stretch: _Stretch, message: Msg) -> None:
        if not stretch.sure.is_set():
            await stretch.sure.wait()
        if stretch.broken.is_set():
            return
        headers = message.headers
        status = None if headers is None else headers.get("Status")
        if status is None:
            place = read_place(message.reply)
            if place is None:
                return
            if place.stamp:
                self._bucket.clock.seen(place.stamp, self._now())
            name = "" if headers is None else headers.get("Nats-Msg-Id", "")
            room = self._intake.take((stretch, place, message.subject, (0, 0), name), message.data)
        elif headers is not None and status == "100" and message.reply:
            # A question whether to go on: all before it has been handled.
            self._connection.send(message.reply, b"")
            return
        elif headers is not None and status == "100":
            if stalled := headers.get("Nats-Consumer-Stalled"):
                self._connection.send(stalled, b"")
            room = self._intake.take((stretch, None, "", _beat(headers), ""), b"")
        else:
            stretch.end(f"the consumer has ended: {status}")
            return
        if room is not None:
            await room

    def _handle(self, source: _Source, data: bytes) -> None:
        stretch, place, subject, (order, sequence), name = source
        if stretch.broken.is_set():
            return
        now = self._now()
        following = stretch.following
        if place is None:
            verdict = following.idle(order, sequence, now)
            if verdict is Verdict.NEXT:
                stretch.all = True
                self._position = following.sequence
                self._at(following.sequence)
        else:
            verdict = following.delivered(place, now)
            if verdict is Verdict.NEXT:
                self._counters["entries"] += 1
                stretch.all = not place.left
                key = subject.removeprefix(self._bucket.names.prefix)
                if name:
                    self._named(name, place.sequence)
                if stretch.broken.is_set():
                    return
                self._position = place.sequence
                lain = self._bucket.clock.lain(place.stamp, now)
                self._entry(Entry(key, bytes(data), place.sequence, place.stamp, lain))
        if verdict is Verdict.GAP:
            self._counters["gaps"] += 1
            stretch.end("something was lost")


def _beat(headers: dict[str, str]) -> tuple[int, int]:
    try:
        return int(headers.get("Nats-Last-Consumer", "0")), int(headers.get("Nats-Last-Stream", "0"))
    except ValueError:
        return 0, 0
