"""What happens to packets that nobody has room for, or that come too fast: they are held, or a strategy acts.

Packets are held with all requests and messages behind them, and reading pauses while any is held. Responses are never
held: while answers to requests of ours are awaited, as by handlers that ask their peer back, reading goes on, and holds
what comes before them up to `max_inbound` bytes. At that bound it pauses all the same; then the timeouts of these
requests are what lets the session go on. While messages wait of which the oldest may be dropped, reading goes on too.
Before Python 3.12 a task begins in the next turn of the loop. A packet for a plain handler that came behind one whose
handler has not begun is held until then, with all behind it; that is over too soon to pause reading for.
Not here: who has room (`room`), who takes the packets, and what a rate limit allows.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final

from msgtrans.config import Backpressure
from msgtrans.given import cost
from msgtrans.info import SessionState
from msgtrans.packet import ONE_WAY, REQUEST, RESPONSE, Packet
from msgtrans.room import Room
from msgtrans.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from msgtrans.endpoint import Endpoint
    from msgtrans.errors import TransportError
    from msgtrans.link import Link

_OPEN: Final = SessionState.OPEN
RELEASE: Final = 1024  # held packets handled in one turn of the loop


class Fate(Enum):
    """What becomes of a packet: somebody takes it, the session does without it, or it waits."""

    TAKE = "take"
    LEAVE = "leave"
    WAIT = "wait"


class Holding(Room):
    """Base of `Inbound`, never used alone."""

    __slots__ = (
        "_awaits_begin",
        "_dropped_inbound",
        "_held_bytes",
        "_reading_paused",
        "_replaceable",
        "_state",
        "_throttle",
    )

    def __init__(self, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int) -> None:
        super().__init__(link, endpoint, loop, first_message_id)
        config = self._config
        self._state = _OPEN
        self._awaits_begin = False  # what is held waits for that, and goes on by itself
        self._held_bytes = 0
        self._replaceable = False  # what is held waits under DROP_OLDEST
        self._reading_paused = False
        self._dropped_inbound = 0
        limit, shared = config.rate_limit, endpoint.throttle
        limited = limit is not None or shared is not None
        self._throttle: Throttle | None = Throttle(limit, shared, self._active_at) if limited else None

    def _no_room(self, packet: Packet, rest: Iterator[Packet]) -> bool:
        """Nobody has room for a packet that just came. Returns whether the rest is dealt with too."""
        if not self._takes:
            self._endpoint.counters.discarded += 1
            return False
        match self._without_room(packet):
            case Fate.TAKE:
                self._dispatch(iter((packet,)))
            case Fate.LEAVE:
                self._endpoint.counters.discarded += not self._takes
            case Fate.WAIT:
                self._held = deque((packet,))
                self._held_bytes = cost(packet)
                self._endpoint.paused.add(self)  # type: ignore[arg-type]  # only Session derives from this
                self._hold_behind(self._held, rest)
                return True
        return False

    # Strategies

    def _fate(self, packet: Packet) -> Fate:
        """What becomes of the first of the packets held."""
        if self._must_wait(packet.packet_type, packet.flags):
            fate = self._without_room(packet)
            if fate is not Fate.TAKE:
                return fate
        return Fate.TAKE if self._throttle is None else self._in_time(packet, self._throttle)

    def _without_room(self, packet: Packet) -> Fate:
        """What the strategy says to a packet that nobody has room for."""
        if self._overtakes(packet.packet_type):
            self._replaceable = False  # whatever the strategy: this is a matter of moments
            self._go_on_behind_tasks()
            return Fate.WAIT
        strategy = self._config.inbound_strategy
        if strategy is Backpressure.REJECT:
            self._endpoint.counters.overloads += 1
            self.dismiss(self._out_of_room())
            return Fate.LEAVE
        self._replaceable = strategy is Backpressure.DROP_OLDEST
        if strategy is Backpressure.BLOCK or packet.packet_type == REQUEST:
            return Fate.WAIT
        if strategy is Backpressure.DROP_NEWEST:
            self.count_dropped()
            return Fate.LEAVE
        endpoint = self._endpoint
        if endpoint.message_handler is None and endpoint.hub.full:
            for context in endpoint.hub.displace():
                context.session.count_dropped()
            return self._after_displacing()
        return Fate.WAIT

    def _after_displacing(self) -> Fate:
        if self._endpoint.hub.full:  # of requests
            self.count_dropped()
            return Fate.LEAVE
        return Fate.WAIT if self._must_wait(ONE_WAY, 0) else Fate.TAKE

    def _in_time(self, packet: Packet, throttle: Throttle) -> Fate:
        """Whether the rate limits let a packet pass, and what becomes of it if not."""
        strategy = throttle.stops(self._loop.time())
        if strategy is None:
            return Fate.TAKE
        request = packet.packet_type == REQUEST
        if strategy is Backpressure.REJECT or (strategy is Backpressure.DROP_NEWEST and not request):
            self._endpoint.counters.rate_limited += 1
            if request:
                self._refuse(packet, throttle.error)
            else:
                self.count_dropped()
            return Fate.LEAVE
        self._replaceable = strategy is Backpressure.DROP_OLDEST
        self._endpoint.counters.rate_waits += throttle.wait(self, self._loop)  # type: ignore[arg-type]  # as above
        return Fate.WAIT

    def count_dropped(self, messages: int = 1) -> None:
        """Inbound one-way messages are lost to a strategy."""
        self._dropped_inbound += messages
        self._endpoint.counters.dropped_inbound += messages

    # Holding

    def _receive_throttled(self, packets: list[Packet]) -> None:
        """Take the packets of one read, under a rate limit: all of them go through the queue of those held."""
        held = self._held = deque[Packet]()
        self._replaceable = False
        for packet in packets:
            if packet.packet_type == RESPONSE:
                self._dispatch(iter((packet,)))
            else:
                held.append(packet)
                self._held_bytes += cost(packet)
        if held and self._held is held:
            self._endpoint.paused.add(self)  # type: ignore[arg-type]  # as above
            self.go_on()
        elif self._held is held:
            self._held = None

    def _hold_behind(self, held: deque[Packet], packets: Iterable[Packet]) -> None:
        for packet in packets:
            if packet.packet_type == RESPONSE:
                self._dispatch(iter((packet,)))
            else:
                held.append(packet)
                self._held_bytes += cost(packet)
        if self._replaceable:
            self._drop_oldest_held(held)
        self._balance_reading()

    def _drop_oldest_held(self, held: deque[Packet]) -> None:
        """Messages at the front make way, beyond the bounds on what waits."""
        config, dropped = self._config, 0
        while (
            held
            and held[0].packet_type == ONE_WAY
            and (len(held) > config.event_queue_size or self._held_bytes > config.max_inbound)
        ):
            self._held_bytes -= cost(held.popleft())
            dropped += 1
        if dropped:
            self.count_dropped(dropped)
            self._loop.call_soon(self.go_on)  # a request that is first now may have room

    def _balance_reading(self) -> None:
        """While packets are held, read on only for answers that are awaited, or for the moment until handlers begin,
        and only up to `max_inbound`; or to replace what is held.
        """
        limit, held = self._config.max_inbound, self._held
        reads_on = self._awaits_begin or len(self._pending) > 0
        replacing = self._replaceable and bool(held) and held is not None and held[0].packet_type == ONE_WAY
        if self._reading_paused:
            if not held or replacing or (reads_on and self._held_bytes <= limit // 2):
                self._reading_paused = False
                self._link.resume_reading()
        elif held and not replacing and (not reads_on or self._held_bytes >= limit):
            self._reading_paused = True
            self._endpoint.counters.read_pauses += 1
            self._link.pause_reading()

    def go_on(self, turn: int = RELEASE) -> None:
        """Go on with what is held, `turn` packets at most, as far as there is room now."""
        held = self._held
        if held is None or not self._takes:
            return
        self._flush_scheduled = not self._at_once
        while held and self._held is held:
            if not turn:
                self._go_on_later()
                break
            turn -= 1
            packet = held[0]
            fate = self._fate(packet)
            if fate is Fate.WAIT:
                break
            held.popleft()
            self._held_bytes -= cost(packet)
            if fate is Fate.TAKE:
                self._dispatch(iter((packet,)))
        if self._replaceable and self._held is held:
            self._drop_oldest_held(held)
        if not held and self._held is held:
            self._held = None
            self._endpoint.paused.discard(self)
        self._balance_reading()
        self._flush()
        if self._held is None and self._takes:
            self._emptied()

    def _go_on_later(self) -> None:
        if self._throttle is None:
            self._loop.call_soon(self.go_on)
        else:
            self._throttle.wait(self, self._loop)  # type: ignore[arg-type]  # as above

    def _go_on_behind_tasks(self) -> None:
        """Go on when all tasks that were started have begun: they are ahead of us in the queue of the loop."""
        if not self._awaits_begin:
            self._awaits_begin = True
            self._loop.call_soon(self._tasks_began, self._started)

    def _tasks_began(self, last: int) -> None:
        self._awaits_begin = False
        self._begun = max(self._begun, last)  # one that was cancelled before it began never will
        self.go_on()

    def _catch_up(self) -> None:
        """The session ends: handle what only waits for tasks to begin, ahead of these, rather than not at all."""
        while self._awaits_begin and self._held:
            self._awaits_begin = False
            self._begun = self._started
            self.go_on(len(self._held))

    def make_room(self) -> None:
        """For the endpoint: an event stream has room again."""
        self._loop.call_soon(self.go_on)

    def _eased(self) -> None:
        if self._held:
            self._loop.call_soon(self.go_on)

    def _hold_no_more(self) -> None:
        """The session ends: what is held is discarded."""
        if self._held:
            self._endpoint.counters.discarded += len(self._held)
            self._endpoint.paused.discard(self)
        self._held = self._given = None
        self._takes = False
        self._reading_paused = False
        if self._throttle is not None:
            self._throttle.forget(self)  # type: ignore[arg-type]  # as above

    # What the session adds

    @abstractmethod
    def _dispatch(self, packets: Iterator[Packet]) -> None:
        """Hand packets to whom they are for."""

    @abstractmethod
    def _refuse(self, packet: Packet, error: TransportError) -> None:
        """Turn a request away."""

    @abstractmethod
    def _emptied(self) -> None:
        """Nothing is held any more."""

    @abstractmethod
    def dismiss(self, error: TransportError) -> None:
        """End the session with this error."""
