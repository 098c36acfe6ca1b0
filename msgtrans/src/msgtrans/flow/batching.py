"""Packets of a session in batches, without waiting (specification 5.5, 5.6): as many as are here, to the first failure.

    batches = PacketBatches(client.session, inlet=client.events())
    batches.send_nowait(Packet(0, 0, b"one"))
    sent = batches.process_batch()
    here = batches.batch_read()

A session gathers what one turn of the loop sends by itself; this is for those who want to say when, and how much.
Not here: waiting for room (`Session.send`), and a task that does all this (`flow.pipelines`).
"""

from __future__ import annotations

from collections import deque
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

import msgspec

from msgtrans.errors import BackpressureError, ConfigurationError, TransportError
from msgtrans.events import EventStream, MessageReceived, RequestReceived
from msgtrans.field_types import check_callable, check_count, shown
from msgtrans.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from msgtrans.handlers import Context
    from msgtrans.packet import Packet

BATCH: Final = 32  # packets


class ProtocolStats(msgspec.Struct, kw_only=True):
    """What went through batches (specification 4.4). `copy.copy` makes a snapshot.

    packets_* and bytes_*: sent and received, without what the transport adds. send_errors: packets refused: queue
    full, session closed, beyond a limit. batch_operations: batches that had packets; total_batch_size, max_batch_size:
    packets in them. total_latency_ns: between `send_nowait` and the session taking it, over operation_count packets.
    The specification's cache_hits are those of `BufferPool`; receive_errors end a session, and count there.
    """

    packets_sent: int = 0
    bytes_sent: int = 0
    send_errors: int = 0
    packets_received: int = 0
    bytes_received: int = 0
    batch_operations: int = 0
    total_batch_size: int = 0
    max_batch_size: int = 0
    total_latency_ns: int = 0
    operation_count: int = 0

    @property
    def average_latency_ns(self) -> float:
        """Of a packet; 0 before the first."""
        return self.total_latency_ns / self.operation_count if self.operation_count else 0.0

    @property
    def average_batch_size(self) -> float:
        """In packets; 0 before the first."""
        return self.total_batch_size / self.batch_operations if self.batch_operations else 0.0

    @property
    def error_rate(self) -> float:
        """Of the packets that were to be sent, the share that was refused: 0 to 1."""
        tried = self.packets_sent + self.send_errors
        return self.send_errors / tried if tried else 0.0

    def throughput_pps(self, seconds: float) -> float:
        """Packets per second, both directions, if all this took `seconds`."""
        return (self.packets_sent + self.packets_received) / seconds

    def bandwidth_bps(self, seconds: float) -> float:
        """Bits per second, both directions, if all this took `seconds`."""
        return (self.bytes_sent + self.bytes_received) * 8 / seconds


class PacketBatches:
    """A bounded queue in front of a session, and an inlet behind it. For one-way packets; made and owned by its user.

    session: where packets go. capacity: packets that may be queued; default 1024. inlet: a stream of the session's
    endpoint, `endpoint.events()`, for `batch_read`; on a server it has what all sessions receive. clock: nanoseconds.
    All methods return at once, and belong to the session's loop.
    """

    def __init__(
        self,
        session: Session,
        *,
        capacity: int = 1024,
        inlet: EventStream | None = None,
        clock: Callable[[], int] = perf_counter_ns,
    ) -> None:
        if not isinstance(session, Session):
            raise ConfigurationError("session", f"is {shown('', session)}; use a Session, as client.session")
        if not (inlet is None or isinstance(inlet, EventStream)):
            raise ConfigurationError("inlet", f"is {shown('', inlet)}; use a stream, endpoint.events(), or None")
        check_count("capacity", capacity)
        check_callable("clock", clock)
        self.session = session
        self.capacity = capacity
        self.stats = ProtocolStats()
        self._inlet = inlet
        self._clock = clock
        self._queue: deque[tuple[Packet, bytes, int]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def send_nowait(self, packet: Packet) -> None:
        """Queue a one-way packet for the next `process_batch`; a message id of 0 becomes the session's next one.

        Raises BackpressureError when the queue is full, LocalProtocolError for other packets and beyond the limits.
        """
        try:
            if len(self._queue) >= self.capacity:
                raise BackpressureError("packets in a batch queue", len(self._queue), self.capacity)
            frame = self.session.encode_message(packet)
        except TransportError:
            self.stats.send_errors += 1
            raise
        self._queue.append((packet, frame, self._clock()))

    def batch_write(self, packets: Iterable[Packet]) -> int:
        """Queue packets up to the first that cannot be; returns how many were."""
        written = 0
        for packet in packets:
            try:
                self.send_nowait(packet)
            except TransportError:
                break
            written += 1
        return written

    def process_batch(self, max_packets: int = BATCH) -> list[Packet]:
        """Send up to `max_packets` of the queue, in order, in one write if they have no more than 64 KiB.

        Returns them; none while the peer takes less than it is sent: then they stay queued. Raises SessionClosedError,
        and ConfigurationError for another number than 1 or more.
        """
        check_count("max_packets", max_packets)
        queue = self._queue
        batch = [queue[at] for at in range(min(max_packets, len(queue)))]
        if not batch or not self.session.send_together([frame for _, frame, _ in batch]):
            return []
        now, stats = self._clock(), self.stats
        for _, frame, queued_at in batch:
            queue.popleft()
            stats.bytes_sent += len(frame)
            stats.total_latency_ns += now - queued_at
        stats.packets_sent += len(batch)
        stats.operation_count += len(batch)
        self._count_batch(len(batch))
        return [packet for packet, _, _ in batch]

    def batch_read(self, max_reads: int = BATCH) -> list[Context]:
        """Up to `max_reads` messages and requests that are here already; stops at the first moment there is none.

        For messages of which no handler takes any. Raises ConfigurationError without an inlet, and for another number
        than 1 or more.
        """
        check_count("max_reads", max_reads)
        if self._inlet is None:
            raise ConfigurationError("inlet", "is missing; give PacketBatches a stream, endpoint.events()")
        here: list[Context] = []
        while len(here) < max_reads and (event := self._inlet.next_nowait()) is not None:
            if isinstance(event, MessageReceived | RequestReceived):
                here.append(event.context)
        if here:
            self.stats.packets_received += len(here)
            self.stats.bytes_received += sum(len(one.payload) + len(one.ext_header) for one in here)
            self._count_batch(len(here))
        return here

    def _count_batch(self, packets: int) -> None:
        stats = self.stats
        stats.batch_operations += 1
        stats.total_batch_size += packets
        stats.max_batch_size = max(stats.max_batch_size, packets)
