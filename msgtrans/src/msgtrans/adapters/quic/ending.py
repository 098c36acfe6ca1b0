"""The end of one QUIC connection: noticed, or made, and told to the session last and once.

A graceful end waits until the peer has acknowledged everything: what is under way at CONNECTION_CLOSE is lost.
Not here: what codes mean (`endings`).
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from msgtrans.adapters import sockets
from msgtrans.adapters.quic.arriving import Arriving
from msgtrans.adapters.quic.endings import NO_HELLO, Code, connect_failed, farewell, shortened, verdict
from msgtrans.adapters.quic.library import IDLE, closing, fault, in_flight, renew_id, round_trip
from msgtrans.adapters.quic.mapping import STREAM
from msgtrans.errors import TransportConnectionError, TransportTimeoutError

if TYPE_CHECKING:
    from msgtrans.adapters.quic.library import events
    from msgtrans.errors import TransportError


class Ending(Arriving):
    """Base of `QuicLink`, never used alone."""

    __slots__ = ()

    # What the carrier asks

    @property
    def established(self) -> bool:
        """Whether the handshake is done."""
        return self._established

    @property
    def heard(self) -> float:
        """When the latest datagram of the peer came, as of `time.monotonic`."""
        return self._heard

    @property
    def round_trip(self) -> float:
        """Seconds that a datagram and its answer need."""
        return round_trip(self._quic)

    # What the carrier calls

    def unreachable(self, error: OSError) -> None:
        """The system says that nobody is there: believed only until somebody has answered."""
        if not (self._established or self._done):
            self._done = True
            self._fail_connecting(sockets.connect_failed(self._uri, error, None))
            self._leave()

    def vanished(self) -> None:
        """The system says again and again that nobody is there, and nobody has answered."""
        if self._done:
            return
        self._done = True
        self._cancel_timers()
        session = self._session
        if session is not None:
            self._feed_rest(session)
        cause = ConnectionRefusedError("nothing listens there any more")
        failure = TransportConnectionError(f"the connection to {self.peer_address} broke: {cause}")
        failure.__cause__ = cause
        self._lose(failure)

    def moved(self) -> None:
        """Our own address is another one: the peer is told with the next datagram, under an id that nobody has seen."""
        if not self._done:
            renew_id(self._quic)
            self.probe()

    def refuse_unless_established(self) -> None:
        """Turn away a peer whose handshake is not done."""
        if not (self._done or self._established):
            self._say_goodbye(Code.FULL, "the server is stopping")

    # What the session calls

    def abort(self) -> None:
        """Close at once; what is under way is lost."""
        if not self._done:
            self._say_goodbye(*farewell(self._session))

    # By the peer, or by what was between

    def _stop_sending(self, stream_id: int) -> None:
        """Of the only stream: the peer is about to go."""
        session = self._session
        if session is None or self._done or not (stream_id == STREAM and self.mapping == "stream"):
            return
        self._feed_rest(session)
        if session.is_open and not session.peer_finished():
            self._say_goodbye(Code.NORMAL, "")

    def _look_for_end(self) -> None:
        end = closing(self._quic)
        if end is None:
            return
        if self._terms.server and not self._established and end.reason_phrase == NO_HELLO:
            self._begun_in_the_middle()
        else:
            self._ended_by_peer(end)

    def _begun_in_the_middle(self) -> None:
        """The client's first datagram was lost: nothing is answered or kept, and it will send that again."""
        self._done = True
        self._cancel_timers()
        self._finish_handshake()
        self._quic.datagrams_to_send(monotonic())  # the library would turn it away
        self._carrier.gone(self)
        self._terms.loop.call_soon(self.forget)

    def _ended_by_peer(self, end: events.ConnectionTerminated) -> None:
        why = (end.error_code, end.frame_type, end.reason_phrase)
        self._done = True
        self._cancel_timers()
        self._fail_connecting(connect_failed(self._uri, *why))
        session = self._session
        if session is not None:
            self._feed_rest(session)
            self._lose(verdict(*why))
            return
        if self._terms.server:
            self._terms.host.counters.handshake_failures += 1
        self._leave()

    def _terminated(self, event: events.ConnectionTerminated) -> None:
        if not self._done:
            if event.reason_phrase == IDLE and event.frame_type is not None:
                self._fell_silent()
            else:
                self._ended_by_peer(event)
        self.forget()
        self._carrier.gone(self)

    def _fell_silent(self) -> None:
        self._done = True
        self._cancel_timers()
        seconds = self._terms.config.max_idle_timeout
        self._fail_connecting(TransportTimeoutError(f"connecting to {self._uri}", seconds))
        session = self._session
        if session is None:
            self._leave()
            return
        self._feed_rest(session)
        session.time_out(TransportTimeoutError("waiting for a sign of life from the peer", seconds))
        self._lose(None)

    def _broken(self, error: BaseException) -> None:
        if self._done:
            return
        failure = TransportConnectionError(f"the connection to {self.peer_address} broke: {error}")
        failure.__cause__ = error
        self._fail_connecting(failure)
        if self._session is not None:
            self._session.dismiss(failure)
        if not self._done:
            self._say_goodbye(Code.PROTOCOL, shortened(error))

    # By us

    def _end_if_acknowledged(self) -> None:
        if not (self._done or self.buffered() or in_flight(self._quic)):
            self._say_goodbye(*farewell(self._session))

    def _say_goodbye(self, code: int, reason: str) -> None:
        """Send CONNECTION_CLOSE; the session hears of the end in the next turn."""
        self._done = True
        self._cancel_timers()
        now = monotonic()
        try:
            self._quic.close(error_code=code, reason_phrase=reason)
            datagrams = self._quic.datagrams_to_send(now)
        except BaseException as error:  # noqa: BLE001 - the connection is gone all the same, only without a word
            self._fail_connecting(TransportConnectionError(f"the connection broke: {fault(error)}"))
        else:
            self._carrier.send(datagrams)
            if not self._terms.server:
                self._carrier.send(datagrams[-1:])  # nobody stays to repeat it
            self._arm(now)
        self._fail_connecting(connect_failed(self._uri, code, None, reason))
        self._terms.loop.call_soon(self._lose, None)

    def _lose(self, error: TransportError | None) -> None:
        """Tell the session."""
        session, self._session = self._session, None
        if session is not None:
            if session.holding and session.is_open:
                session.peer_finished(error)
            self._keep_nothing(session)
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

    @property
    def _uri(self) -> str:
        return getattr(self._terms.config, "uri", f"quic://{self.peer_address}")
