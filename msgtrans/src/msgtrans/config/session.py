"""What holds for each session, whatever carries it. Not here: the limits of the codec (`codec`)."""

from __future__ import annotations

from typing import Self

import msgspec
from msgspec.structs import replace

from msgtrans.config.checks import positive, whole
from msgtrans.config.codec import CodecOptions
from msgtrans.config.limits import Backpressure, RateLimit
from msgtrans.config.optimizations import Optimizations
from msgtrans.config.pacing import Pacing
from msgtrans.errors import ConfigurationError
from msgtrans.field_types import check_types


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for each session, whatever carries it.

    codec: limits and policies of packets.
    request_timeout: seconds a request waits for its answer unless the call says otherwise; default 10.
    graceful_timeout: seconds a graceful close may take to finish handlers and write what is queued; default 5.
    write_timeout: seconds without any progress in writing after which a peer that does not read is dropped; default 30.
    idle_timeout: seconds without any packet in either direction after which a session is closed; default None: what the
        listener says, 300 by default, and never on a client. Time in which this process stood still does not count.
    packet_timeout: seconds in which a packet that has begun must arrive in full or grow by 64 KiB, else the session is
        closed; default 30, None for never. Seen up to half of it late. Time in which we do not read does not count.
    high_water: bytes of outbound data above which `send` waits until the system has taken them; default 256 KiB.
    max_outbound: bytes of outbound data above which `send_nowait` raises, default 16 MiB.
        A session that only answers stops taking requests at high_water already.
    command_high_water: bytes of outbound commands (packets with `Flag.HIGH_PRIORITY`, and answers to requests with it)
        above which sending more of them waits, or does as the strategy says; `send_nowait` raises; default 64 KiB.
    batch_size: packets that leave in one write, 64 KiB at most, when the link has fallen behind: what a command that
        comes then may have ahead of it. Up to 32 times as many while the link takes them whole; default 32.
    max_pending_requests: requests of ours that may wait for answers at once; default 65 536.
    max_inbound: bytes of messages that coroutine handlers may work on at once, and of requests that were given out and
        are not answered yet; default 16 MiB; above it reading pauses.
        For one-way messages it is high_water while the peer does not take what we send. Also bytes of messages held
        while we read on for answers to requests of ours. A message counts with 160 bytes more than payload and ext
        header.
    max_concurrent_handlers: coroutine handlers that may run at once, and requests that were given out and are not
        answered yet (`Context.respond`), not counting one that nobody refers to any more; above it requests wait, and
        reading pauses; default 1024. Where event streams take the requests, what these hold comes on top.
    event_queue_size: messages an event stream holds for its consumer; above it reading pauses; default 1024.
    outbound_strategy: what happens to one-way messages above high_water. BLOCK, the default: as said there.
        DROP_NEWEST: they are dropped. DROP_OLDEST: the oldest that are queued make way. REJECT: sends and requests
        raise BackpressureError. Requests wait under all others; requests and responses are never dropped.
    inbound_strategy: what happens to what nobody has room for: a full event stream, handlers at their bounds. BLOCK,
        the default: it is held, and reading pauses. DROP_NEWEST: messages are dropped. DROP_OLDEST: the oldest message
        in the stream, or of those that wait for handlers, makes way; up to event_queue_size packets and max_inbound
        bytes wait. Requests are held under both. REJECT: the session is closed with a ResourceError.
    rate_limit: how many requests and messages may come; default None, no limit.
    max_unanswered: requests of ours that may be at the peer at once; more wait, within their timeouts, for an answer to
        one of them; answers and one-way messages do not. Default None, no limit but max_pending_requests.
    pacing: write packet by packet, with pauses, as some peers need it; default None. Of TCP, WebSocket and QUIC.
    optimizations: which short ways it takes; default all.
    """

    codec: CodecOptions = CodecOptions()
    request_timeout: float = 10.0
    graceful_timeout: float = 5.0
    write_timeout: float = 30.0
    idle_timeout: float | None = None
    packet_timeout: float | None = 30.0
    high_water: int = 256 * 1024
    max_outbound: int = 16 * 1024 * 1024
    command_high_water: int = 64 * 1024
    batch_size: int = 32
    max_inbound: int = 16 * 1024 * 1024
    max_pending_requests: int = 65_536
    max_concurrent_handlers: int = 1024
    event_queue_size: int = 1024
    outbound_strategy: Backpressure = Backpressure.BLOCK
    inbound_strategy: Backpressure = Backpressure.BLOCK
    rate_limit: RateLimit | None = None
    max_unanswered: int | None = None
    pacing: Pacing | None = None
    optimizations: Optimizations = Optimizations()

    def __post_init__(self) -> None:
        """Refuse values that cannot work with ConfigurationError."""
        check_types(self)
        positive(self, "request_timeout", "graceful_timeout", "write_timeout")
        positive(self, "idle_timeout", "packet_timeout", none=True)
        whole(self, "high_water", "max_inbound", "max_outbound", "command_high_water", "batch_size")
        whole(self, "max_pending_requests", "max_concurrent_handlers", "event_queue_size")
        whole(self, "max_unanswered", none=True)
        if self.max_outbound < self.high_water:
            raise ConfigurationError("max_outbound", f"must be at least high_water, {self.high_water} bytes")

    def replace(self, **changes: object) -> Self:
        """A copy with other values, validated again."""
        return replace(self, **changes)

    def with_buffer(self, write_buffer_size: int | None) -> Self:
        """A copy whose sends wait above `write_buffer_size` bytes; itself for None."""
        if write_buffer_size is None:
            return self
        return self.replace(high_water=write_buffer_size, max_outbound=max(self.max_outbound, write_buffer_size))
