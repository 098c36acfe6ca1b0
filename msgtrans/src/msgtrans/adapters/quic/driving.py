"""What drives one QUIC connection: datagrams and time go into the library's state machine, datagrams come out.

Base of a connection's link. Not here: streams and packets (`arriving`), ends (`ending`), and the socket (`endpoint`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from msgtrans.adapters.quic.endings import Code
from msgtrans.adapters.quic.library import events, fault, unacknowledged
from msgtrans.errors import RemoteProtocolError, TransportTimeoutError
from msgtrans.transport import Terms

if TYPE_CHECKING:
    import asyncio

    from msgtrans.adapters.quic.library import HoldableConnection
    from msgtrans.config import Address, QuicClientConfig, QuicServerConfig
    from msgtrans.errors import TransportError
    from msgtrans.session import Session
    from msgtrans.transport import Host

TICK: Final = 0.001
"""Seconds: the least time that a timer is set for; event loops know no less."""
SMALL: Final = 64
"""Bytes of a datagram in which no data of streams can be worth mentioning: acknowledgements, answers to probes."""
FEW: Final = 2
"""Small datagrams that may leave together at any time: those that a peer needs are gathered."""
MANY: Final = 1000
"""Small datagrams that may leave beyond that in a second. The library answers each probe of a path in a datagram of
its own, whatever the network takes, and keeps it until it is acknowledged."""


class QuicTerms(Terms):
    """What all connections of one listener, or the one of a client, have in common.

    server: these are accepted. accept_timeout: seconds until a handshake is done, None where the caller looks after
    that. unfinished: handshakes under way.
    """

    __slots__ = ("accept_timeout", "config", "server", "unfinished")

    def __init__(
        self,
        host: Host,
        config: QuicServerConfig | QuicClientConfig,
        *,
        max_connections: int = 1,
        accept_timeout: float | None = None,
    ) -> None:
        super().__init__(host, config.session_config(host.config), "quic", max_connections=max_connections)
        self.config = config
        self.server = accept_timeout is not None
        self.accept_timeout = accept_timeout
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

    def issued(self, link: Driving, connection_id: bytes) -> None:
        """The peer may use that id for the connection from now on."""
        ...

    def retired(self, link: Driving, connection_id: bytes) -> None:
        """It will not use it any more."""
        ...

    def left(self, link: Driving) -> None:
        """The connection is over; the library still answers what was under way."""
        ...

    def gone(self, link: Driving) -> None:
        """Nothing of the connection can come any more."""
        ...


class Driving(ABC):
    """Base of `QuicLink`, never used alone."""

    __slots__ = (
        "_alive_timer",
        "_answers",
        "_answers_since",
        "_blocked",
        "_carrier",
        "_counted",
        "_done",
        "_ending",
        "_established",
        "_handshake_timer",
        "_heard",
        "_quic",
        "_session",
        "_terms",
        "_timer",
        "_timer_at",
        "_unacknowledged_since",
        "connected",
        "peer_address",
    )

    def __init__(self, terms: QuicTerms, quic: HoldableConnection, carrier: Carrier, peer_address: Address) -> None:
        self._terms = terms
        self._quic = quic
        self._carrier = carrier
        self.peer_address: Address | None = peer_address
        self.connected: asyncio.Future[None] | None = None  # a client waits for the handshake with it
        self._session: Session | None = None
        self._established = False  # the handshake is done
        self._counted = False  # among the connections of its terms
        self._blocked = False  # the session has been told to wait
        self._ending = False  # close once everything is acknowledged
        self._done = False  # CONNECTION_CLOSE is sent or received, or the connection is gone otherwise
        self._heard = 0.0
        self._answers = 0  # small datagrams that left in this second, beyond a few at a time
        self._answers_since = 0.0
        self._unacknowledged_since: float | None = None  # from when on what was sent had to be sent again
        self._timer: asyncio.TimerHandle | None = None  # the library's
        self._timer_at = 0.0
        self._alive_timer: asyncio.TimerHandle | None = None
        terms.unfinished += 1
        timeout = terms.accept_timeout
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
        except BaseException as error:  # noqa: BLE001 - whatever a peer makes the library raise ends this connection only
            self._broken(fault(error))
            return
        self._go_on(now)

    def forget(self) -> None:
        """The carrier ends: nothing is sent or received any more."""
        self._cancel_timers()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Datagrams and time

    def _go_on(self, now: float) -> None:
        """Do what follows from datagrams or from time that has passed."""
        self._take_events()
        if not self._done:
            self._look_for_end()
        self._send_waiting()
        self._transmit(now)
        if self._blocked and not self.buffered() and self._session is not None:
            self._blocked = False
            self._session.resume_writing()
        if self._ending:
            self._end_if_acknowledged()

    def _transmit(self, now: float) -> None:
        """Send what is due, and be called when more is."""
        try:
            datagrams = self._quic.datagrams_to_send(now)
        except BaseException as error:  # noqa: BLE001 - as for datagrams; maybe on the way of a write, so later
            self._terms.loop.call_soon(self._broken, fault(error))
            return
        if datagrams:
            self._carrier.send(datagrams)
            if len(datagrams) > FEW:
                self._count_answers(datagrams, now)
        self._arm(now)

    def _count_answers(self, datagrams: list[tuple[bytes, tuple[str, int]]], now: float) -> None:
        """End a connection whose peer makes us answer without end: that is no use, and takes memory."""
        small = sum(len(data) <= SMALL for data, _ in datagrams) - FEW
        if small <= 0:
            return
        if now - self._answers_since > 1:
            self._answers, self._answers_since = 0, now
        self._answers += small
        if self._answers > MANY:
            self._terms.loop.call_soon(self._reproach, RemoteProtocolError("the peer asks for answers without end"))

    def _reproach(self, error: TransportError) -> None:
        """The peer behaves as none should: end the session, or the handshake."""
        if self._session is not None:
            self._session.fail(error)
            self.abort()  # now: it may never acknowledge what is on its way
        else:
            self._broken(error)

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
        except BaseException as error:  # noqa: BLE001 - as for datagrams
            self._broken(fault(error))
            return
        self._go_on(now)
        self._look_for_acknowledgements(now)

    def _look_for_acknowledgements(self, now: float) -> None:
        """End a connection whose peer goes on sending, and acknowledges nothing: else it would be kept for ever."""
        if self._done or not unacknowledged(self._quic):
            self._unacknowledged_since = None
            return
        since, limit = self._unacknowledged_since, self._terms.config.max_idle_timeout
        if since is None:
            self._unacknowledged_since = now
        elif now - since > limit and self._heard > since and self._session is not None:
            self._session.time_out(TransportTimeoutError("waiting for the peer to acknowledge what was sent", limit))

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
            elif isinstance(event, events.StreamReset | events.StopSendingReceived | events.ConnectionTerminated):
                self._deliver(received)
                received = []
                if isinstance(event, events.StreamReset):
                    self._stream_reset(event.stream_id)
                elif isinstance(event, events.StopSendingReceived):
                    self._stop_sending(event.stream_id)
                else:
                    self._terminated(event)
        if received:
            self._deliver(received)

    # The handshake

    def _handshake_done(self) -> None:
        self._finish_handshake()
        if self._done:
            return
        terms = self._terms
        self._counted = terms.take()
        if self._counted:
            self._choose_mapping()
            self._session = terms.host.admit(self)  # type: ignore[arg-type]  # only QuicLink derives from this
        if self._session is None:
            self._say_goodbye(Code.FULL, "no session: the server is full or stopping")
            return
        if self.connected is not None and not self.connected.done():
            self.connected.set_result(None)
        interval = terms.config.keep_alive_interval
        if interval is not None and not self._done:
            self._alive_timer = terms.loop.call_later(interval, self._keep_alive, interval)

    def _finish_handshake(self) -> None:
        if not self._established:
            self._established = True
            self._terms.unfinished -= 1
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

    # Signs of life

    def probe(self) -> None:
        """Have the peer answer."""
        if not self._done:
            self._quic.send_ping(0)
            self._transmit(monotonic())

    def _keep_alive(self, interval: float) -> None:
        now = monotonic()
        left = self._heard + interval - now
        if left <= TICK:
            self.probe()
            left = interval
        self._alive_timer = self._terms.loop.call_later(left, self._keep_alive, interval)

    def _cancel_timers(self) -> None:
        for timer in (self._handshake_timer, self._alive_timer):
            if timer is not None:
                timer.cancel()
        self._handshake_timer = self._alive_timer = None

    # What the others add

    @abstractmethod
    def abort(self) -> None:
        """Close at once; what is under way is lost."""

    @abstractmethod
    def refuse_unless_established(self) -> None:
        """Turn away a peer whose handshake is not done."""

    @abstractmethod
    def buffered(self) -> int:
        """Bytes that have not left."""

    @abstractmethod
    def _send_waiting(self) -> None:
        """Give the library what can go on streams now."""

    @abstractmethod
    def _choose_mapping(self) -> None:
        """The handshake is done: how packets travel, if that is known."""

    @abstractmethod
    def _deliver(self, received: list[tuple[int, bytes, bool]]) -> None:
        """Hand on what came on streams: id, bytes, whether it ends with them."""

    @abstractmethod
    def _stream_reset(self, stream_id: int) -> None:
        """The peer gave up a stream."""

    @abstractmethod
    def _stop_sending(self, stream_id: int) -> None:
        """The peer reads no more of a stream."""

    @abstractmethod
    def _terminated(self, event: events.ConnectionTerminated) -> None:
        """The library is done with the connection."""

    @abstractmethod
    def _look_for_end(self) -> None:
        """Notice an end that the peer, or the library, has made."""

    @abstractmethod
    def _broken(self, error: BaseException) -> None:
        """The library could not go on."""

    @abstractmethod
    def _end_if_acknowledged(self) -> None:
        """Close, if nothing is under way any more."""

    @abstractmethod
    def _say_goodbye(self, code: int, reason: str) -> None:
        """Close at once."""
