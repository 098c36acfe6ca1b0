"""Packets that somebody else has encoded, on their way through a session: broadcasts, batches, what a reconnecting
client sends and takes back.

Not here: what users send with a session's own words (`session`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgtrans.closing import Closing
from msgtrans.codec import encode_fields
from msgtrans.commands import COMMAND, FLAGS_AT
from msgtrans.errors import BackpressureError, LocalProtocolError
from msgtrans.info import SessionState
from msgtrans.packet import ONE_WAY, Packet
from msgtrans.queueing import TYPE_AT

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN: Final = SessionState.OPEN


class Forwarding(Closing):
    """Base of `Session`, never used alone."""

    __slots__ = ("in_broadcasts",)

    in_broadcasts: bool

    def offer_frame(self, frame: bytes, *, later: bool = False) -> bool:
        """For broadcasts: queue an encoded packet; False when the session is not open or wants none, or the strategy
        drops or refuses it. later: leave writing it, unless it is a command, to `write_offered`.
        """
        if self._state is not _OPEN or not self.in_broadcasts:
            return False
        command = frame[FLAGS_AT] & COMMAND
        try:
            queued = self._may_command() if command else self._may_queue()
        except BackpressureError:
            return False
        if queued:
            if later and not command and not self._at_once:
                self._flush_scheduled = True
            self._append_answer(frame, command)
        return queued

    def write_offered(self) -> None:
        """For broadcasts: write what was left for later, and all else that waits, if that was not done meanwhile."""
        if self._flush_scheduled:
            self._flush()

    async def forward(self, frame: bytes, *, command: bool = False) -> None:
        """For endpoints: queue an encoded one-way message as `send` does, with the same errors.

        command: it is one, whether or not it carries the flag.
        """
        if self._state is not _OPEN:
            raise self._closed_error()
        most = self._config.codec.max_packet_size
        if most is not None and len(frame) > most:
            raise LocalProtocolError(f"a packet of {len(frame)} bytes exceeds max_packet_size, {most}")
        if command or frame[FLAGS_AT] & COMMAND:
            await self._command(frame)
        elif self._congested:
            await self._queue_slowly(frame)
        else:
            self._append(frame)

    def take_messages(self) -> list[bytes]:
        """For the endpoint, in `session_ending`: take out the one-way messages that were never given to the link."""
        taken = [frame for frame in self._queued() if frame[TYPE_AT] == ONE_WAY]
        if taken:
            self._keep_queued(lambda frame: frame[TYPE_AT] != ONE_WAY)
        return taken

    # For batches and pipelines

    def encode_message(self, packet: Packet) -> bytes:
        """The bytes of a one-way packet, within this session's limits; a message id of 0 becomes the next one.

        Raises LocalProtocolError, also for other packets: answers need their request, and requests somebody who waits;
        TypeError for what is none.
        """
        if not isinstance(packet, Packet):
            raise TypeError(f"a Packet is needed, not {type(packet).__name__}; use Packet(0, 0, payload)")
        if packet.packet_type != ONE_WAY:
            raise LocalProtocolError(
                f"a packet of type {packet.packet_type} cannot go in a batch; use Session.request and Context.respond"
            )
        return encode_fields(
            ONE_WAY,
            packet.message_id or self._pending.next_id(),
            packet.payload,
            packet.biz_type,
            packet.ext_header,
            packet.flags,
            packet.compression,
            self._config.codec,
        )

    def send_together(self, frames: Sequence[bytes]) -> bool:
        """Queue encoded one-way messages, and give them to the link in one write, if it is not behind: 64 KiB in each.

        False, and none of them is queued, while the peer takes less than we give it. Raises SessionClosedError.
        """
        if self._state is not _OPEN:
            raise self._closed_error()
        self._flush()
        if self._congested or self._commands_full:
            return False
        self._flush_scheduled = not self._at_once
        for frame in frames:
            self._append_answer(frame, frame[FLAGS_AT])
        if not self._write_paused and self._config.optimizations.batching:
            self._batch = max(self._batch, len(frames))
        self._flush()
        return True
