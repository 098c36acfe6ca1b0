"""What arrives on the streams of one QUIC connection, and how: the mapping, and what waits for a session to read.

While the session does not read, or has not read all of one turn, what comes stays in the library (`hold`): the peer's
credit ends, and it waits.
Not here: how streams become packets (`mapping`).
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final

from msgtrans.adapters.quic.driving import Carrier, Driving, QuicTerms
from msgtrans.adapters.quic.library import closing, fault
from msgtrans.adapters.quic.mapping import (
    HELLO,
    STREAM,
    Mapping,
    StreamMapping,
    UniMapping,
    is_unidirectional,
    probes,
)

if TYPE_CHECKING:
    from msgtrans.adapters.quic.library import HoldableConnection
    from msgtrans.config import Address
    from msgtrans.packet import Packet
    from msgtrans.session import Session

TURN: Final = 256 * 1024
"""Bytes of unread data that are taken up in one turn of the loop."""


class Arriving(Driving):
    """Base of `QuicLink`, never used alone."""

    __slots__ = (
        "_early",
        "_early_bytes",
        "_feeding",
        "_kept",
        "_mapping",
        "_paused",
        "_probed",
        "_unread",
        "_unread_bytes",
    )

    def __init__(self, terms: QuicTerms, quic: HoldableConnection, carrier: Carrier, peer_address: Address) -> None:
        super().__init__(terms, quic, carrier, peer_address)
        self._mapping: Mapping | None = None
        self._early: list[bytes] = []  # packets written before the mapping was known
        self._early_bytes = 0
        self._probed = False  # the first request went both ways
        self._unread: deque[tuple[int, bytes, bool]] = deque()
        self._unread_bytes = 0
        self._kept = 0  # bytes that the endpoint knows of
        self._paused = False  # the session wants no packets
        self._feeding = False  # there is more to feed, and it goes on in the next turn

    # Mappings

    @property
    def mapping(self) -> str | None:
        """How packets travel: "stream" or "uni"; None while that is not known."""
        return self._mapping.name if self._mapping is not None else None

    def _choose_mapping(self) -> None:
        """At once where that is known."""
        config = self._terms.config
        if config.mapping == "auto":
            after, fallback = config.mapping_fallback_after, config.mapping_fallback
            if after is not None:
                self._handshake_timer = self._terms.loop.call_later(after, self._fall_back, fallback)
        elif (mapping := config.chosen_mapping) != "probe":
            self._map(mapping)
            if not self._terms.server and mapping == "stream" and closing(self._quic) is None:
                self._quic.send_stream_data(STREAM, HELLO)

    def _map(self, name: str) -> None:
        """From now on, packets travel so; those that wait leave."""
        terms, codec = self._terms, self._terms.session.codec
        if name == "stream":
            self._mapping = StreamMapping(codec, hello=terms.config.chosen_mapping == "stream" and not terms.server)
        else:
            most = terms.config.max_unread
            self._mapping = UniMapping(codec, server=terms.server, max_waiting=most, sent=int(self._probed))
        early, self._early, self._early_bytes = self._early, [], 0
        if early:
            self._write(self._mapping, early)

    def _write(self, mapping: Mapping, packets: list[bytes]) -> None:
        size = mapping.write(packets)
        if self._session is not None:
            self._session.bytes_sent += size
        self._send(mapping)

    def _write_early(self, packets: list[bytes]) -> None:
        """Keep packets until the mapping is known; a client finds out with the first, if that can be done."""
        if self._terms.config.chosen_mapping == "probe" and not self._probed:
            probe = probes(packets[0])
            if not probe:
                self._map("stream")
                self._write(self._mapping, packets)  # type: ignore[arg-type]  # it was just made
                return
            self._probed = True
            for stream_id, data, end in probe:
                self._quic.send_stream_data(stream_id, data, end)
                if self._session is not None:
                    self._session.bytes_sent += len(data)
            packets = packets[1:]
        self._early += packets
        self._early_bytes += sum(map(len, packets))

    def _fall_back(self, fallback: str) -> None:
        self._handshake_timer = None
        if self._mapping is None and not self._done:
            self._map(fallback)
            self._go_on(monotonic())

    def _send(self, mapping: Mapping) -> None:
        """Give the library what can go on streams now."""
        quic = self._quic
        try:
            busy = mapping.name == "uni" and quic.open_outbound_streams > self._probed
            for stream_id, data, end in mapping.take(quic.max_concurrent_uni_streams, busy=busy):
                quic.send_stream_data(stream_id, data, end)
        except BaseException as error:  # noqa: BLE001 - as for datagrams; on a stream that the peer has stopped, for one
            self._terms.loop.call_soon(self._broken, fault(error))

    def _send_waiting(self) -> None:
        if self._mapping is not None and self._mapping.waiting and not self._done:
            self._send(self._mapping)

    # In

    def _deliver(self, received: list[tuple[int, bytes, bool]]) -> None:
        session = self._session
        if session is None or not received:
            return
        size = sum(len(data) for _, data, _ in received)
        session.bytes_received += size
        mapping = self._mapping
        if mapping is None:
            self._map("uni" if is_unidirectional(received[0][0]) else "stream")
            mapping = self._mapping
        assert mapping is not None  # noqa: S101 - it was just made
        if self._paused or self._unread or mapping.more or size > TURN:
            self._unread.extend(received)
            self._unread_bytes += size
            self._quic.hold()
            if not self._paused:
                self._feed_soon()
        else:
            self._feed(session, mapping, received)
        self._tell_kept(session)

    def _feed(self, session: Session, mapping: Mapping, received: list[tuple[int, bytes, bool]]) -> None:
        packets: list[Packet]
        if len(received) == 1:
            stream_id, data, end = received[0]
            packets = mapping.feed(stream_id, data, end=end)
        elif mapping.name == "stream":
            ours = [(data, end) for stream_id, data, end in received if stream_id == STREAM]
            packets = mapping.feed(STREAM, b"".join([data for data, _ in ours]), end=any(end for _, end in ours))
        else:
            packets = []
            for stream_id, data, end in received:
                packets += mapping.feed(stream_id, data, end=end)
        if packets:
            session.receive(packets)
        if mapping.halted:
            self._halted(session, mapping)

    def _halted(self, session: Session, mapping: Mapping) -> None:
        """The mapping did not go on as usual."""
        mapping.halted = mapping.more
        if mapping.bad_compression:
            session.count_bad_compression(mapping.bad_compression)
            mapping.bad_compression = 0
        if mapping.error is not None:
            session.fail(mapping.error)
        elif mapping.more:
            self._feed_soon()
        elif mapping.ended and not self._done and not session.peer_finished():
            self.close()

    def _feed_soon(self) -> None:
        if not self._feeding:
            self._feeding = True
            self._terms.loop.call_soon(self._feed_more)

    def _feed_more(self) -> None:
        self._feeding = False
        session, mapping = self._session, self._mapping
        if session is None or self._paused:
            return
        if mapping is not None and (self._unread or mapping.more):
            self._feed_some(session, mapping, TURN)
            self._tell_kept(session)
        self._read_on()

    def _read_on(self) -> None:
        """Go on in the next turn; once all is read take what the library has kept, and let the peer send more."""
        if self._paused:
            return
        if self._unread or (self._mapping is not None and self._mapping.more):
            self._feed_soon()
            return
        if not self._quic.held:
            return
        try:
            self._quic.let_go()
        except BaseException as error:  # noqa: BLE001 - as for datagrams
            self._broken(fault(error))
            return
        self._go_on(monotonic())

    def _feed_some(self, session: Session, mapping: Mapping, size: int) -> None:
        """Feed what the mapping has left, or about so many bytes of what was not read."""
        if mapping.more:
            packets = mapping.feed_more()
            if packets:
                session.receive(packets)
            if mapping.halted:
                self._halted(session, mapping)
            return
        some: list[tuple[int, bytes, bool]] = []
        while self._unread and size > 0:
            some.append(self._unread.popleft())
            size -= len(some[-1][1])
            self._unread_bytes -= len(some[-1][1])
        if some:
            self._feed(session, mapping, some)

    def _feed_rest(self, session: Session) -> None:
        """Nothing more comes: hand on everything."""
        mapping = self._mapping
        while mapping is not None and mapping.error is None and (self._unread or mapping.more):
            self._feed_some(session, mapping, self._unread_bytes + 1)

    def _stream_reset(self, stream_id: int) -> None:
        mapping, session = self._mapping, self._session
        if mapping is None or session is None:
            return
        self._feed_rest(session)
        mapping.reset(stream_id)
        if mapping.halted:
            self._halted(session, mapping)

    def _tell_kept(self, session: Session) -> None:
        """Count what is kept with that of all sessions."""
        kept = self._unread_bytes + (self._mapping.kept if self._mapping is not None else 0)
        if kept != self._kept:
            more, self._kept = kept - self._kept, kept
            session.count_kept(more)

    def _keep_nothing(self, session: Session) -> None:
        self._unread.clear()
        self._unread_bytes = 0
        more, self._kept = -self._kept, 0
        session.count_kept(more)

    def close(self) -> None:
        """Close once the peer has acknowledged everything."""
        if not self._done and not self._ending:
            self._ending = True
            self._end_if_acknowledged()
