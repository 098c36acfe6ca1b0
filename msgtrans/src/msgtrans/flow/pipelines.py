"""One session, two pipelines (specification 5.4): commands in one, data in batches in the other.

    async with SessionPipelines(client.session) as pipelines:
        await pipelines.send(Packet(0, 0, b"data"))
        await pipelines.send_packet(Packet(0, 0, b"command"))
        print(await pipelines.get_stats())

The session does the work: it keeps commands ahead of data, gathers batches to one write, bounds what waits. This is
the original's actor around it: two bounded queues, a task for each, statistics and events.
Not here: batches without tasks (`flow.batching`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from copy import copy
from time import time
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import msgspec

from msgtrans.errors import BackpressureError, ConfigurationError, SessionClosedError, TransportError
from msgtrans.field_types import check_count, shown
from msgtrans.flow.inlets import Inlet
from msgtrans.pool.streams import PoolHub, PoolStream
from msgtrans.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from msgtrans.handlers import Context
    from msgtrans.packet import Packet

CAPACITY: Final = 1024  # commands, packets, and events of a stream that may wait


class Connected(msgspec.Struct, frozen=True):
    """The pipelines run."""

    session_id: int


class PacketSent(msgspec.Struct, frozen=True):
    """The session has taken a packet. size: bytes, header included."""

    packet_id: int
    size: int


class PacketReceived(msgspec.Struct, frozen=True):
    """`SessionPipelines.received` was told of a message. size: bytes of payload and ext header."""

    packet_id: int
    size: int


class BatchCompleted(msgspec.Struct, frozen=True):
    """The session has taken a batch of data."""

    packets: int


class Failed(msgspec.Struct, frozen=True):
    """A packet could not be sent; the specification's Error."""

    error: TransportError


class HealthCheck(msgspec.Struct, frozen=True):
    """The answer to `health_check`, and the event that it was asked for.

    healthy: the session is open, and its peer takes what it is sent. queued: packets of data that wait here.
    outbound_bytes: what waits in the session.
    """

    healthy: bool
    queued: int
    outbound_bytes: int


class Shutdown(msgspec.Struct, frozen=True):
    """Both pipelines have ended, and the session is closed if it was to be: the last event. dropped: packets that could
    not leave.
    """

    dropped: int


_Data: TypeAlias = tuple[int, bytes]  # an id, and an encoded packet
_Command: TypeAlias = "tuple[Callable[[], Awaitable[object]], asyncio.Future[None]]"
PipelineEvent: TypeAlias = Connected | PacketSent | PacketReceived | BatchCompleted | Failed | HealthCheck | Shutdown


class ActorStats(msgspec.Struct, kw_only=True):
    """What the pipelines of a session did (specification 4.4).

    packets_sent, bytes_sent: taken by the session, header included; commands too. packets_received, bytes_received:
    told to `received`. batch_operations: batches of data; total_batch_packets: packets in them. error_count: packets
    that could not be sent. started_at: seconds since 1970, 0 before the start.
    """

    packets_sent: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    batch_operations: int = 0
    total_batch_packets: int = 0
    error_count: int = 0
    started_at: float = 0.0

    @property
    def average_batch_size(self) -> float:
        """In packets; 0 before the first."""
        return self.total_batch_packets / self.batch_operations if self.batch_operations else 0.0

    def uptime_seconds(self, now: float) -> float:
        """Since the start, at `now` in seconds since 1970."""
        return now - self.started_at if self.started_at else 0.0


class SessionPipelines:
    """The command pipeline and the data pipeline of one session.

    `async with` runs them; leaving it sends what is queued, ends both, and leaves the session open, which belongs to
    whoever made it. `shutdown` closes it, too. session: open. max_batch_size: packets of data at once; default 32. Both
    queues hold 1024. They end with the session, whoever closes it; calls then raise SessionClosedError. All methods may
    be called concurrently from tasks of the session's loop, and cancelled.
    """

    def __init__(self, session: Session, max_batch_size: int = 32) -> None:
        if not isinstance(session, Session):
            raise ConfigurationError("session", f"is {shown('', session)}; use a Session, as client.session")
        check_count("max_batch_size", max_batch_size)
        self.session = session
        self.max_batch_size = max_batch_size
        self._stats = ActorStats()
        self._hub: PoolHub[PipelineEvent] = PoolHub(CAPACITY)
        self._data: Inlet[_Data] = Inlet(CAPACITY)
        self._commands: Inlet[_Command] = Inlet(CAPACITY)
        self._closing = False  # no more data is taken
        self._ended = False
        self._batch: deque[_Data] = deque()  # taken from the queue, and not sent yet
        self._let_go = asyncio.Event()  # of the session, which stays open
        self._runs: asyncio.Task[None] | None = None
        self._data_task: asyncio.Task[None] | None = None
        self._shuts_down: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.shutdown(close_session=False)

    def start(self) -> None:
        """Begin to run. Once; `async with` does it."""
        if self._runs is None:
            self._stats.started_at = time()
            self._runs = asyncio.get_running_loop().create_task(self._run())

    def events(self) -> PoolStream[PipelineEvent]:
        """A new stream of what happens from now on; one that is read too late misses the oldest, and counts them."""
        return self._hub.open()

    # Data

    async def send(self, packet: Packet) -> None:
        """Queue a one-way packet of data; waits while the queue is full. Cancelled while waiting, it is not sent.

        It is encoded here, so mistakes show here. Raises SessionClosedError, LocalProtocolError (limits, other
        packets), TypeError.
        """
        self._check_open(data=True)
        await self._data.put(self._encode(packet))

    def send_nowait(self, packet: Packet) -> None:
        """As `send`, without waiting. Raises BackpressureError when the queue is full."""
        self._check_open(data=True)
        if not self._data.put_nowait(self._encode(packet)):
            raise BackpressureError("packets in a data pipeline", len(self._data), CAPACITY)

    def received(self, context: Context) -> None:
        """Tell of a message, for statistics and events: a message handler, or called by one."""
        size = len(context.payload) + len(context.ext_header)
        self._stats.packets_received += 1
        self._stats.bytes_received += size
        if self._hub.streams:
            self._hub.emit(PacketReceived(context.message_id, size))

    # Commands

    async def send_packet(self, packet: Packet) -> None:
        """Send a one-way packet ahead of all data. Returns when the session has taken it.

        Raises SessionClosedError, LocalProtocolError, TypeError, BackpressureError under the strategy REJECT.
        """
        self._check_open()
        message = self._encode(packet)
        await self._command(lambda: self._send(message, command=True))

    async def get_stats(self) -> ActorStats:
        """The counters, once all commands before this one are done."""
        await self._command(_nothing)
        return copy(self._stats)

    async def health_check(self) -> HealthCheck:
        """How the session is, once all commands before this one are done."""
        health = HealthCheck(healthy=False, queued=0, outbound_bytes=0)

        async def check() -> None:
            nonlocal health
            session = self.session
            health = HealthCheck(
                healthy=session.is_open and not session.congested,
                queued=len(self._data),
                outbound_bytes=session.stats().outbound_bytes,
            )
            self._emit(health)

        await self._command(check)
        return health

    async def shutdown(self, *, close_session: bool = True) -> ActorStats:
        """Send what is queued, close the session gracefully, end both pipelines; returns the final counters.

        Commands that wait, and `send`s that wait for room, go before. What the session does not take within its
        `graceful_timeout` is dropped, and counted in the event Shutdown; who still waits gets SessionClosedError. May
        be called again, and cancelled, which does not stop it.
        close_session: off to leave the session open, as the end of `async with` does.
        """
        if self._runs is None:
            self._end()
        elif not self._ended:
            self._closing = True
            if self._shuts_down is None:
                self._shuts_down = asyncio.get_running_loop().create_task(self._shut_down(close_session=close_session))
            await asyncio.wait((self._runs, self._shuts_down))
        if self._runs is not None:
            await asyncio.wait((self._runs,))
        if close_session:
            await self.session.close()
        return copy(self._stats)

    # The pipelines

    async def _run(self) -> None:
        """Both pipelines, until the session is closed or let go."""
        loop = asyncio.get_running_loop()
        self._emit(Connected(self.session.id))
        self._data_task = loop.create_task(self._run_data())
        tasks = [self._data_task, loop.create_task(self._run_commands())]
        ends = [loop.create_task(self.session.wait_closed()), loop.create_task(self._let_go.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ended = True
            for task in (*tasks, *ends):
                task.cancel()
            await asyncio.gather(*tasks, *ends, return_exceptions=True)
            self._end()

    async def _run_data(self) -> None:
        """Until no more data will come."""
        batch = self._batch
        while await self._data.has_more():
            while len(batch) < self.max_batch_size and len(self._data):
                batch.append(self._data.take())
            sent = 0
            while batch:
                try:
                    await self._send(batch[0], command=False)
                except TransportError as error:
                    self._fail(error)
                else:
                    sent += 1
                batch.popleft()
            if sent:
                self._stats.batch_operations += 1
                self._stats.total_batch_packets += sent
                self._emit(BatchCompleted(sent))
            await asyncio.sleep(0)  # the batch leaves with this turn of the loop, and commands get theirs

    async def _run_commands(self) -> None:
        while await self._commands.has_more():
            work, answer = self._commands.take()
            try:
                await work()
            except asyncio.CancelledError:
                if not answer.done():
                    answer.set_exception(self._closed_error())
                raise
            except Exception as error:  # noqa: BLE001 - it is its caller's
                if isinstance(error, TransportError):
                    self._fail(error)
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(None)

    def _encode(self, packet: Packet) -> _Data:
        """What is queued: mistakes are those of the caller."""
        try:
            frame = self.session.encode_message(packet)
        except TransportError as error:
            self._fail(error)
            raise
        return packet.message_id, frame

    async def _send(self, message: _Data, *, command: bool) -> None:
        packet_id, frame = message
        await self.session.forward(frame, command=command)
        self._stats.packets_sent += 1
        self._stats.bytes_sent += len(frame)
        if self._hub.streams:
            self._hub.emit(PacketSent(packet_id, len(frame)))

    async def _shut_down(self, *, close_session: bool) -> None:
        self._data.finish()
        with suppress(TimeoutError, SessionClosedError):  # closed meanwhile, which comes to the same
            async with asyncio.timeout(self.session.config.graceful_timeout):
                await self._command(_nothing)
                if self._data_task is not None:
                    await asyncio.wait((self._data_task,))
        if close_session:
            await self.session.close()
        else:
            self._let_go.set()

    async def _command(self, work: Callable[[], Awaitable[object]]) -> None:
        self._check_open()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await self._commands.put((work, answer))
        await answer

    def _end(self) -> None:
        """Nothing goes on any more: all who wait learn of it, and what did not leave is counted."""
        self._closing = self._ended = True
        for _, answer in self._commands.end(self._closed_error):
            if not answer.done():
                answer.set_exception(self._closed_error())
        dropped = len(self._batch) + len(self._data.end(self._closed_error))
        self._batch.clear()
        self._emit(Shutdown(dropped))
        self._hub.end()

    def _check_open(self, *, data: bool = False) -> None:
        if self._ended or (data and self._closing):
            raise self._closed_error()

    def _closed_error(self) -> SessionClosedError:
        return SessionClosedError(f"the pipelines of session {self.session.id} have ended; make others for another")

    def _fail(self, error: TransportError) -> None:
        self._stats.error_count += 1
        self._emit(Failed(error))

    def _emit(self, event: PipelineEvent) -> None:
        if self._hub.streams:
            self._hub.emit(event)


async def _nothing() -> None:
    """A command of which only the turn matters."""
