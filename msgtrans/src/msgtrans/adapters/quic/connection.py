"""One QUIC connection: the link of its session, over the library's state machine.

The library takes datagrams and gives datagrams, events and the time at which it wants to be called. Here these become
packets of a session, and what the session writes becomes bytes on streams (`mapping`).
The library credits what arrives to the peer at once, so a peer cannot be made to wait: what comes while the session
does not read is kept, up to `max_unread` bytes; at more, the connection is closed.
A graceful end waits until the peer has acknowledged everything: what is under way at CONNECTION_CLOSE is lost.
Not here: the UDP socket, and which connection a datagram belongs to (`endpoint`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from msgtrans.adapters.quic.endings import Code, connect_failed, farewell, shortened, verdict
from msgtrans.adapters.quic.library import IDLE, closing, events, in_flight
from msgtrans.adapters.quic.mapping import HELLO, STREAM, Mapping, StreamMapping, UniMapping, is_unidirectional
from msgtrans.errors import ConnectError, ResourceError, TransportConnectionError, TransportTimeoutError
from msgtrans.transport import Terms

if TYPE_CHECKING:
    from msgtrans.adapters.quic.library import QuicConnection
    from msgtrans.config import Address, QuicClientConfig, QuicServerConfig, SessionConfig
    from msgtrans.errors import TransportError
    from msgtrans.link import HttpRequest
    from msgtrans.packet import Packet
    from msgtrans.session import Session
    from msgtrans.transport import Host

TICK: Final = 0.001
"""Seconds: the least time that a timer is set for; event loops know no less."""
TURN: Final = 256 * 1024
"""Bytes of unread data that are taken up in one turn of the loop."""


class QuicTerms(Terms):
    """What all connections of one listener, or the one of a client, have in common.

    unfinished: handshakes under way.
    """

    __slots__ = ("config", "server", "unfinished")

    def __init__(self, host: Host, config: QuicServerConfig | QuicClientConfig, *, max_connections: int) -> None:
        super().__init__(host, config.session_config(host.config), "quic", max_connections=max_connections)
        self.config = config
        self.server = hasattr(config, "bind_address")
        self.unfinished = 0


class Carrier(Protocol):
    """What carries the datagrams of connections."""

    @property
    def local_address(self) -> Address | None:
        """Where its socket is."""
        ...

    @property
    def socket(self) -> object:
        """That socket."""
        ...

    def send(self, datagrams: list[tuple[bytes, tuple[str, int]]]) -> None:
        """Send them in this order, or lose them."""
        ...

    def issued(self, link: QuicLink, connection_id: bytes) -> None:
        """The peer may use that id for the connection from now on."""
        ...

    def retired(self, link: QuicLink, connection_id: bytes) -> None:
        """It will not use it any more."""
        ...

    def left(self, link: QuicLink) -> None:
        """The connection is over; the library still answers what was under way."""
        ...

    def gone(self, link: QuicLink) -> None:
        """Nothing of the connection can come any more."""
        ...


class QuicLink:
    """One connection, made by whoever listens or connects.

    peer_address: where the peer was when it connected; it may move, and the connection goes on.
    """

    __slots__ = (
        "_alive_timer",
        "_blocked",
        "_carrier",
        "_counted",
        "_done",
        "_early",
        "_early_bytes",
        "_ending",
        "_established",
        "_feeding",
        "_handshake_timer",
        "_heard",
        "_ids",
        "_kept",
        "_mapping",
        "_paused",
        "_quic",
        "_session",
        "_terms",
        "_timer",
        "_timer_at",
        "_unread",
        "_unread_bytes",
        "connected",
        "peer_address",
    )

    def __init__(self, terms: QuicTerms, quic: QuicConnection, carrier: Carrier, peer_address: Address) -> None:
        self._terms = terms
        self._quic = quic
        self._carrier = carrier
        self.peer_address: Address | None = peer_address
        self.connected: asyncio.Future[None] | None = None  # a client waits for the handshake with it
        self._session: Session | None = None
        self._mapping: Mapping | None = None
        self._early: list[bytes] = []  # packets written before the mapping was known
        self._early_bytes = 0
        self._unread: deque[tuple[int, bytes, bool]] = deque()
        self._unread_bytes = 0
        self._kept = 0  # bytes that the endpoint knows of
        self._paused = False  # the session wants no packets
        self._feeding = False  # there is more to feed, and it goes on in the next turn
        self._blocked = False  # the session has been told to wait
        self._ending = False  # close once everything is acknowledged
        self._done = False  # CONNECTION_CLOSE is sent or received, or the connection is gone otherwise
        self._established = False  # the handshake is done
        self._counted = False  # among the connections of its terms
        self._timer: asyncio.TimerHandle | None = None  # the library's
        self._timer_at = 0.0
        self._alive_timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        terms.unfinished += 1
        timeout = getattr(terms.config, "accept_timeout", None)
        self._handshake_timer = None if timeout is None else terms.loop.call_later(timeout, self._handshake_late)

    # What the carrier calls

    def connect(self, address: tuple[str, int]) -> None:
        """As a client: begin the handshake."""
        now = monotonic()
        self._quic.connect(address, now)
        self._transmit(now)

    def take_datagrams(self, datagrams: list[bytes], address: tuple[str, int]) -> None:
        """Handle what came together from one address."""
        now = self._heard = monotonic()
        try:
            self._quic.receive_many_datagrams(datagrams, address, now)
        except Exception as error:  # noqa: BLE001 - whatever a peer makes the library raise ends this connection only
            self._broken(error)
            return
        self._go_on(now)

    def unreachable(self, error: OSError) -> None:
        """The system says that nobody is there: believed only until somebody has answered."""
        if not self._established and not self._done:
            self._done = True
            self._fail_connecting(ConnectError(f"nothing listens there ({error.strerror or error})"))
            self._leave()

    def refuse_unless_established(self) -> None:
        """Turn away a peer whose handshake is not done."""
        if not (self._done or self._established):
            self._say_goodbye(Code.REFUSED, "the server is stopping")

    def forget(self) -> None:
        """The carrier ends: nothing is sent or received any more."""
        self._cancel_timers()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the session calls

    @property
    def protocol(self) -> str:
        """The transport's name."""
        return self._terms.protocol

    @property
    def config(self) -> SessionConfig:
        """What holds for the session."""
        return self._terms.session

    @property
    def http_request(self) -> HttpRequest | None:
        """None: there was none."""
        return None

    @property
    def local_address(self) -> Address | None:
        """Our own end."""
        return self._carrier.local_address

    @property
    def mapping(self) -> str | None:
        """How packets travel: "stream" or "uni"; None while that is not known."""
        return self._mapping.name if self._mapping is not None else None

    @property
    def inside_packet(self) -> bool:
        """Whether the peer owes the rest of a packet, or one before others."""
        mapping = self._mapping
        return mapping is not None and mapping.partial and not mapping.more and not self._unread

    @property
    def kept(self) -> int:
        """Bytes of incomplete packets, and of those not read yet."""
        return self._kept

    def get_extra_info(self, name: str) -> object:
        """What is known by that name: "ssl_object" is the library's TLS state, "socket" may be shared with others."""
        match name:
            case "ssl_object":
                return self._quic.tls
            case "socket":
                return self._carrier.socket
            case "peername":
                return self.peer_address
            case "sockname":
                return self.local_address
            case _:
                return None

    def write(self, packets: list[bytes]) -> None:
        """Send packets: on one stream in a single piece, or each on its own while the peer grants streams."""
        if self._done:
            return
        if self._mapping is None:
            self._early += packets
            self._early_bytes += sum(map(len, packets))
        else:
            size = self._mapping.write(packets)
            if self._session is not None:
                self._session.bytes_sent += size
            self._send()
            self._transmit(monotonic())
        if not self._blocked and self.buffered() and self._session is not None:
            self._blocked = True
            self._session.pause_writing()

    def buffered(self) -> int:
        """Bytes that have not left: they wait for streams, or for the network to take more."""
        mapping = self._mapping
        if mapping is None:
            return self._early_bytes
        return 0 if self._done else mapping.waiting + self._quic.get_send_buffer_size()

    def pause_reading(self) -> None:
        """Hand on no packets for now; what comes is kept."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hand on packets again."""
        if self._paused:
            self._paused = False
            if self._unread or (self._mapping is not None and self._mapping.more):
                self._feed_soon()

    def finish(self) -> None:
        """Close once everything is acknowledged: QUIC has no half of a connection that would be worth keeping."""
        self.close()

    def close(self) -> None:
        """Close once the peer has acknowledged everything."""
        if not self._done and not self._ending:
            self._ending = True
            self._end_if_acknowledged()

    def abort(self) -> None:
        """Close at once; what is under way is lost."""
        if not self._done:
            self._say_goodbye(*farewell(self._session))

    # Datagrams and time

    def _go_on(self, now: float) -> None:
        """Do what follows from datagrams or from time that has passed."""
        self._take_events()
        if not self._done:
            self._look_for_end()
        if self._mapping is not None and self._mapping.waiting:
            self._send()
        self._transmit(now)
        if self._blocked and not self.buffered() and self._session is not None:
            self._blocked = False
            self._session.resume_writing()
        if self._ending:
            self._end_if_acknowledged()

    def _transmit(self, now: float) -> None:
        """Send what is due, and be called when more is."""
        datagrams = self._quic.datagrams_to_send(now)
        if datagrams:
            self._carrier.send(datagrams)
        self._arm(now)

    def _arm(self, now: float) -> None:
        at = self._quic.get_timer()
        if at is None:
            return
        if self._timer is not None:
            if self._timer_at <= at:
                return  # it looks again then
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._terms.loop.call_later(max(at - now, TICK), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = monotonic()
        at = self._quic.get_timer()
        if at is None:
            return
        if at > now:
            self._arm(now)
            return
        try:
            self._quic.handle_timer(now)
        except Exception as error:  # noqa: BLE001 - as for datagrams
            self._broken(error)
            return
        self._go_on(now)

    def _take_events(self) -> None:
        quic = self._quic
        received: list[tuple[int, bytes, bool]] = []
        while (event := quic.next_event()) is not None:
            if isinstance(event, events.StreamDataReceived):
                received.append((event.stream_id, event.data, event.end_stream))
            elif isinstance(event, events.ConnectionIdIssued):
                self._carrier.issued(self, event.connection_id)
            elif isinstance(event, events.ConnectionIdRetired):
                self._carrier.retired(self, event.connection_id)
            elif isinstance(event, events.HandshakeCompleted):
                self._handshake_done()
            elif isinstance(event, events.StreamReset):
                self._deliver(received)
                received = []
                self._stream_reset(event.stream_id)
            elif isinstance(event, events.StopSendingReceived):
                self._deliver(received)
                received = []
                self._stop_sending(event.stream_id)
            elif isinstance(event, events.ConnectionTerminated):
                self._deliver(received)
                received = []
                self._terminated(event)
        if received:
            self._deliver(received)

    # The handshake

    def _handshake_done(self) -> None:
        self._finish_handshake()
        self._established = True
        terms = self._terms
        if self._done:
            return
        self._counted = terms.take()
        if self._counted:
            self._choose_mapping()
            self._session = terms.host.admit(self)
        if self._session is None:
            self._say_goodbye(*farewell(None))
            return
        if self.connected is not None and not self.connected.done():
            self.connected.set_result(None)
        interval = terms.config.keep_alive_interval
        if interval is not None and not self._done:
            self._alive_timer = terms.loop.call_later(interval, self._keep_alive, interval)

    def _finish_handshake(self) -> None:
        if not self._established:
            self._terms.unfinished -= 1
            self._established = True
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None

    def _handshake_late(self) -> None:
        self._handshake_timer = None
        self._terms.host.counters.handshake_failures += 1
        self._say_goodbye(Code.TIMED_OUT, "the handshake took too long")

    def _fail_connecting(self, error: TransportError) -> None:
        if self.connected is not None and not self.connected.done():
            self.connected.set_exception(error)

    # Mappings

    def _choose_mapping(self) -> None:
        """At once where that is known."""
        config = self._terms.config
        if config.mapping != "auto":
            self._map(config.mapping)
            if not self._terms.server and config.mapping == "stream":
                self._quic.send_stream_data(STREAM, HELLO)
            return
        after = getattr(config, "mapping_fallback_after", None)
        if after is not None:
            self._alive_timer = None
            self._handshake_timer = self._terms.loop.call_later(after, self._fall_back)

    def _map(self, name: str) -> None:
        terms, codec = self._terms, self._terms.session.codec
        if name == "stream":
            self._mapping = StreamMapping(codec, hello=not terms.server)
        else:
            self._mapping = UniMapping(codec, server=terms.server, max_waiting=terms.config.max_unread)
        early, self._early, self._early_bytes = self._early, [], 0
        if early:
            size = self._mapping.write(early)
            if self._session is not None:
                self._session.bytes_sent += size
            self._send()

    def _fall_back(self) -> None:
        self._handshake_timer = None
        if self._mapping is None and not self._done:
            self._map(getattr(self._terms.config, "mapping_fallback", "uni"))
            self._go_on(monotonic())

    def _send(self) -> None:
        """Give the library what can go on streams now."""
        mapping, quic = self._mapping, self._quic
        if mapping is None:
            return
        try:
            for stream_id, data, end in mapping.take(quic.max_concurrent_uni_streams):
                quic.send_stream_data(stream_id, data, end)
        except Exception as error:  # noqa: BLE001 - as for datagrams; on a stream that the peer has stopped, for example
            self._terms.loop.call_soon(self._broken, error)

    # In

    def _deliver(self, received: list[tuple[int, bytes, bool]]) -> None:
        """Hand on what came on streams, or keep it while the session does not read."""
        session = self._session
        if session is None or not received:
            return
        size = sum(len(data) for _, data, _ in received)
        session.bytes_received += size
        mapping = self._mapping
        if mapping is None:
            first = received[0][0]
            self._map("uni" if is_unidirectional(first) else "stream")
            mapping = self._mapping
        assert mapping is not None  # noqa: S101 - it was just made
        if self._paused or self._unread or mapping.more:
            self._unread.extend(received)
            self._unread_bytes += size
            if self._unread_bytes > self._terms.config.max_unread:
                self._overflow(session)
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
        if session is None or mapping is None or self._paused:
            return
        self._feed_some(session, mapping, TURN)
        self._tell_kept(session)
        if (self._unread or mapping.more) and not self._paused:
            self._feed_soon()

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

    def _overflow(self, session: Session) -> None:
        limit, size = self._terms.config.max_unread, self._unread_bytes
        self._terms.host.counters.overloads += 1
        self._unread.clear()
        self._unread_bytes = 0
        session.drop_incomplete(ResourceError("bytes of packets that came faster than they are read", size, limit))

    def _tell_kept(self, session: Session) -> None:
        kept = self._unread_bytes + (self._mapping.kept if self._mapping is not None else 0)
        if kept != self._kept:
            more, self._kept = kept - self._kept, kept
            session.count_kept(more)

    # Ends

    def _stream_reset(self, stream_id: int) -> None:
        mapping, session = self._mapping, self._session
        if mapping is None or session is None:
            return
        self._feed_rest(session)
        mapping.reset(stream_id)
        if mapping.halted:
            self._halted(session, mapping)

    def _stop_sending(self, stream_id: int) -> None:
        """The peer reads no more of a stream: of the only one, it is about to go."""
        session = self._session
        if session is None or self._done or not (stream_id == STREAM and self.mapping == "stream"):
            return
        self._feed_rest(session)
        if session.is_open and not session.peer_finished():
            self._say_goodbye(Code.NORMAL, "")

    def _look_for_end(self) -> None:
        """Notice the end that the peer, or the library, has made."""
        end = closing(self._quic)
        if end is not None:
            self._ended_by_peer(end.error_code, end.frame_type, end.reason_phrase)

    def _ended_by_peer(self, code: int, frame_type: int | None, reason: str) -> None:
        self._done = True
        self._cancel_timers()
        self._fail_connecting(connect_failed(self._uri, code, frame_type, reason))
        session = self._session
        if session is None:
            if self._terms.server:
                self._terms.host.counters.handshake_failures += 1
            self._leave()
            return
        self._feed_rest(session)
        self._lose(verdict(code, frame_type, reason))

    def _terminated(self, event: events.ConnectionTerminated) -> None:
        """The library is done with the connection."""
        if not self._done:
            session = self._session
            if event.reason_phrase == IDLE and event.frame_type is not None and session is not None:
                self._done = True
                self._cancel_timers()
                self._feed_rest(session)
                session.time_out(
                    TransportTimeoutError("waiting for a silent peer", self._terms.config.max_idle_timeout)
                )
                self._lose(None)
            elif event.reason_phrase == IDLE and event.frame_type is not None:
                self._done = True
                self._fail_connecting(
                    TransportTimeoutError(f"connecting to {self._uri}", self._terms.config.max_idle_timeout)
                )
                self._leave()
            else:
                self._ended_by_peer(event.error_code, event.frame_type, event.reason_phrase)
        self.forget()
        self._carrier.gone(self)

    def _broken(self, error: Exception) -> None:
        """The library could not go on."""
        if self._done:
            return
        failure = TransportConnectionError(f"the connection to {self.peer_address} broke: {error}")
        failure.__cause__ = error
        session = self._session
        if session is not None:
            session.dismiss(failure)
        self._fail_connecting(failure)
        self._say_goodbye(Code.PROTOCOL, shortened(error))

    def _end_if_acknowledged(self) -> None:
        if self._done:
            return
        uni = self.mapping == "uni"
        under_way = self._quic.open_outbound_streams if uni else in_flight(self._quic)
        if not (under_way or self.buffered()):
            self._say_goodbye(*farewell(self._session))

    def _say_goodbye(self, code: int, reason: str) -> None:
        """Send CONNECTION_CLOSE; the session hears of the end in the next turn."""
        self._done = True
        self._cancel_timers()
        try:
            self._quic.close(error_code=code, reason_phrase=reason)
            datagrams = self._quic.datagrams_to_send(monotonic())
            self._carrier.send(datagrams)
            if not self._terms.server:
                self._carrier.send(datagrams[-1:])  # nobody stays to repeat it
            self._arm(monotonic())
        except Exception as error:  # noqa: BLE001 - there is nobody to tell any more
            self._fail_connecting(TransportConnectionError(f"the connection broke: {error}"))
        self._fail_connecting(connect_failed(self._uri, code, None, reason))
        self._terms.loop.call_soon(self._lose, None)

    def _lose(self, error: TransportError | None) -> None:
        """Tell the session, last and once."""
        session, self._session = self._session, None
        if session is not None:
            if session.holding and session.is_open:
                session.peer_finished(error)
            self._unread.clear()
            self._unread_bytes = 0
            more, self._kept = -self._kept, 0
            session.count_kept(more)
            session.lost(error)
        self._leave()

    def _leave(self) -> None:
        """The connection counts no more; the library may still answer what is under way."""
        self._finish_handshake()
        if self._counted:
            self._counted = False
            self._terms.give_back()
        if closing(self._quic) is None or not self._terms.server:
            self.forget()
            self._carrier.gone(self)
        else:
            self._carrier.left(self)

    def _cancel_timers(self) -> None:
        for timer in (self._handshake_timer, self._alive_timer):
            if timer is not None:
                timer.cancel()
        self._handshake_timer = self._alive_timer = None

    # Keeping alive

    def _keep_alive(self, interval: float) -> None:
        now = monotonic()
        left = self._heard + interval - now
        if left <= TICK:
            self._quic.send_ping(0)
            self._transmit(now)
            left = interval
        self._alive_timer = self._terms.loop.call_later(left, self._keep_alive, interval)

    @property
    def _uri(self) -> str:
        return getattr(self._terms.config, "uri", f"quic://{self.peer_address}")
