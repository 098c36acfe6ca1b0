"""What the WebSocket connections of one node share: endpoints, sessions, bounds, clocks, numbers (spec 3).

Not here: sockets of one connection (`upgrade`, `connection`), and listening, which is `UnifiedPort`'s.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from artemis.server.websocket.connection import Phase
from artemis.server.websocket.endings import Endings
from artemis.server.websocket.endpoints import (
    AllChangesConduct,
    ChangesConduct,
    HeartbeatConduct,
    NativeConduct,
)
from artemis.server.websocket.native import NativeMessages
from artemis.server.websocket.sessions import Endpoint, Refusal, Sessions, endpoint_paths
from artemis.server.websocket.upgrade import Upgrade
from msgtrans.adapters.websocket import frames
from msgtrans.adapters.websocket.frames import ReaderPool, text_frame
from msgtrans.adapters.websocket.pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable

    from artemis.push import ChangeStream
    from artemis.server.websocket.connection import WebSocketConnection
    from artemis.server.websocket.endpoints import Conduct
    from artemis.server.websocket.heartbeats import Heartbeats
    from artemis.server.websocket.limits import WebSocketLimits
    from artemis.server.websocket.sessions import SessionPolicy

#: Seconds between two steps of a spread goodbye.
_STEP: Final = 0.1
_LEAST_PER_STEP: Final = 50
#: Seconds of telling connections of changes in one turn of the loop; the last one may take a few milliseconds more.
_TELLING: Final = 0.004
#: The same for messages of connections that have sent many, or such as make much work.
_WORKING: Final = 0.004
#: The same for forgetting connections that are gone.
_FORGETTING: Final = 0.004
#: The same for answering goodbyes; reading those of thousands takes as long again.
_LEAVING: Final = 0.002


#: Complaints about peers that are logged in a minute.
_COMPLAINTS: Final = 10

logger = logging.getLogger(__name__)


class WebSocketStats(msgspec.Struct):
    """Numbers of all WebSocket sessions since the start: messages of peers, and to them."""

    messages_in: int = 0
    messages_out: int = 0


class WebSocketDoor:
    """A protocol factory for connections that ask for WebSocket. Owned by the node's server, which calls `tick` once a
    second; used on one event loop.

    `stream` tells of changes, `now` gives the node's monotonic milliseconds, `age` those that its data may be old and
    how many missing nodes that leaves out, None while it does not serve; `msgtrans` makes the protocol of a connection
    that is MsgTrans over WebSocket; `region` is that of the node, `copied` says which others it has a copy of, of which
    nobody is told here; `prefix` is a path that all others may stand below;
    `report` is told of exceptions that nobody expected, as (what failed, traceback text); `counters` counts refused
    handshakes and bad messages by reason. `chance` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        stream: ChangeStream,
        policy: SessionPolicy,
        limits: WebSocketLimits,
        *,
        now: Callable[[], int],
        age: Callable[[], tuple[int, int] | None],
        region: str,
        msgtrans: Callable[[], asyncio.Protocol],
        report: Callable[[str, str], None],
        counters: Counter[str],
        loop: asyncio.AbstractEventLoop,
        prefix: str = "",
        copied: Callable[[str | None], bool] = lambda _: False,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.limits = limits
        self.counters = counters
        self.loop = loop
        self.msgtrans = msgtrans
        self.paths = endpoint_paths(prefix)
        self.msgtrans_paths = {"/msgtrans", f"{prefix}/msgtrans"}
        self.sessions: Sessions[WebSocketConnection] = Sessions(policy)
        self.stats = WebSocketStats()
        #: Sessions that ended, by reason.
        self.closes: Counter[str] = Counter()
        #: Connections whose peers do not take what they get, and since when.
        self.blocked: dict[WebSocketConnection, float] = {}
        size = limits.subscription_size
        rest = (stream, self.awaken, ReaderPool(size, masked=True), size, counters)
        self.conducts: dict[Endpoint, Conduct] = {
            Endpoint.HEARTBEAT: HeartbeatConduct(
                heartbeats, ReaderPool(limits.message_size, masked=True), limits.message_size
            ),
            Endpoint.CHANGES: ChangesConduct(*rest, copied),
            Endpoint.ALL_CHANGES: AllChangesConduct(*rest),
            Endpoint.NATIVE: NativeConduct(NativeMessages(stream, counters, age, region), *rest),
        }
        self._complaints: deque[float] = deque(maxlen=_COMPLAINTS)
        self._busy: deque[WebSocketConnection] = deque()  # they have messages that wait for their turn
        self._working = False
        self._awake: deque[WebSocketConnection] = deque()  # there is something for them
        self._telling = False
        self._lost: deque[WebSocketConnection] = deque()  # gone, but not forgotten yet
        self._now = now
        self._report = report
        self._chance = chance
        self._pulse = Pulse(loop, limits.ping_interval, limits.pong_timeout)
        self._connections: set[WebSocketConnection] = set()
        self._endings: Endings[WebSocketConnection] = Endings(
            limits.close_timeout, limits.close_stall, limits.close_longest
        )
        self._leaving: deque[WebSocketConnection] = deque()  # their peers have said goodbye
        self._partial: dict[WebSocketConnection, float] = {}  # messages that are not whole, and until when they must be
        self._kept = 0
        self._draining = False
        #: No further sessions are to begin, though those that there are go on.
        self.refusing = False
        self._farewells: list[WebSocketConnection] = []
        self._all_closed: asyncio.Future[None] | None = None
        self._last: tuple[bytes, bytes] = (b"", b"")  # a message, and its frame

    def __call__(self) -> Upgrade:
        """A protocol for a connection that asks for WebSocket."""
        return Upgrade(self)

    # Numbers

    @property
    def open_connections(self) -> int:
        """How many WebSocket connections there are now, those that are being closed included."""
        return len(self._connections)

    @property
    def kept(self) -> int:
        """Bytes of messages that are not whole or not handled yet."""
        return self._kept

    def events(self) -> dict[str, int]:
        """What happened on sessions since the start; every number only grows."""
        return {
            **msgspec.structs.asdict(self.stats),
            **{f"opened_{name}": count for name, count in self.sessions.opened.items()},
            **{f"refused_{reason}": count for reason, count in self.sessions.refused.items()},
            **{f"closed_{reason}": count for reason, count in self.closes.items()},
        }

    # For upgrades and connections

    def judge(self, endpoint: Endpoint, address: str) -> Refusal | None:
        """Why a session may not begin; None when it may."""
        if self._draining or self.refusing:
            return Refusal(503, "This node is stopping; use another one.")
        return self.sessions.judge(endpoint, address)

    def opened(self, connection: WebSocketConnection) -> None:
        """A session begins."""
        self._connections.add(connection)
        self.sessions.begin(connection.endpoint, connection, self._now(), self._chance())
        self._pulse.watch(connection)

    def ending(self, connection: WebSocketConnection) -> None:
        """A session is over; its connection has a little time to end."""
        self.sessions.end(connection.endpoint, connection)
        self._partial.pop(connection, None)
        self._endings.begin(connection, self.loop.time())
        connection.conduct.closed(connection)

    def hurry(self, connection: WebSocketConnection) -> None:
        """The peer has said goodbye: what it is still to get must leave in time."""
        self._endings.hurry(connection, self.loop.time() + self.limits.write_deadline)

    def leave(self, connection: WebSocketConnection) -> None:
        """Answer the peer's goodbye soon; of thousands that leave at once a part per turn of the loop."""
        if not self._leaving:
            self.loop.call_soon(self._bid_farewell)
        self._leaving.append(connection)

    def _bid_farewell(self) -> None:
        leaving, until = self._leaving, self.loop.time() + _LEAVING
        while leaving:
            leaving.popleft().bid_farewell()
            if self.loop.time() > until:
                break
        if leaving:
            self.loop.call_soon(self._bid_farewell)

    def lost(self, connection: WebSocketConnection) -> None:
        """A connection is gone: forget it soon, of thousands that go at once a part per turn of the loop."""
        if not self._lost:
            self.loop.call_soon(self._forget_lost)
        self._lost.append(connection)

    def _forget_lost(self) -> None:
        lost, until = self._lost, self.loop.time() + _FORGETTING
        while lost:
            self._forget(lost.popleft())
            if self.loop.time() > until:
                break
        if lost:
            self.loop.call_soon(self._forget_lost)

    def _forget(self, connection: WebSocketConnection) -> None:
        self._connections.discard(connection)
        if self.sessions.end(connection.endpoint, connection):
            connection.conduct.closed(connection)
        self._endings.forget(connection)
        self._partial.pop(connection, None)
        self.blocked.pop(connection, None)
        self._pulse.forget(connection)
        if not self._connections and self._all_closed is not None and not self._all_closed.done():
            self._all_closed.set_result(None)

    def count_kept(self, connection: WebSocketConnection, more: int, *, partial: bool) -> bool:
        """Count bytes of messages that are not whole or not handled; False when they are too many for the node."""
        self._kept += more
        if not partial:
            self._partial.pop(connection, None)
        elif connection not in self._partial:
            self._partial[connection] = self.loop.time() + self.limits.message_deadline
        return more <= 0 or self._kept <= self.limits.kept

    def framed(self, message: bytes) -> bytes:
        """The frame of a message; one that goes to many is made once."""
        if message is not self._last[0]:
            self._last = message, text_frame(message)
        return self._last[1]

    def complain(self, connection: WebSocketConnection, what: str) -> None:
        """Log what a peer does that it cannot be told, ten times a minute at most."""
        now = self.loop.time()
        if len(self._complaints) == _COMPLAINTS and self._complaints[0] > now - 60:
            return
        self._complaints.append(now)
        logger.warning("%s: endpoint=%s address=%s", what, connection.endpoint.value, connection.address)

    # Pushes

    @property
    def telling(self) -> bool:
        """Whether there are connections that are still to be told of something."""
        return self._telling

    def awaken(self, connection: WebSocketConnection) -> None:
        """There is something for a connection: tell it soon, with all others, a part of them per turn of the loop."""
        self._awake.append(connection)
        if not self._telling:
            self._telling = True
            self.loop.call_soon(self._tell)

    def tell(self, connection: WebSocketConnection) -> None:
        """Tell a connection what there is for it, as far as there is room."""
        if connection.phase is not Phase.OPEN:
            return
        try:
            connection.conduct.writable(connection)
        except Exception:  # noqa: BLE001 - whatever goes wrong for one session, the others are told
            self.counters["internal_error"] += 1
            self._report("push", traceback.format_exc())
            connection.close(frames.OUR_FAULT, "the server failed; connect again", "internal_error")

    def _tell(self) -> None:
        awake, until = self._awake, self.loop.time() + _TELLING
        while awake:
            self.tell(awake.popleft())
            if self.loop.time() > until:
                break
        self._telling = bool(awake)
        if self._telling:
            self.loop.call_soon(self._tell)

    # Work that messages make

    def work(self, connection: WebSocketConnection) -> None:
        """A connection has more to do than it may at once: it goes on soon, with all others in turn."""
        self._busy.append(connection)
        if not self._working:
            self._working = True
            self.loop.call_soon(self._work)

    def _work(self) -> None:
        busy, until = self._busy, self.loop.time() + _WORKING
        try:
            for _ in range(len(busy)):  # once each, so that what they read meanwhile is not late
                busy.popleft().turn()
                if self.loop.time() > until:
                    break
        finally:
            self._working = bool(busy)
            if busy:
                self.loop.call_soon(self._work)

    # Clocks

    def tick(self) -> None:
        """Once a second: end what has lived long enough, and what its peer lets wait too long."""
        now = self.loop.time()
        for session in self.sessions.expired(self._now()):
            session.close(frames.NORMAL, "the session has lived its time; connect again", "expired")
        for connection in [c for c, deadline in self._partial.items() if deadline < now]:
            connection.close(frames.POLICY, "a message took too long to arrive", "slow_message")
        for connection, since in list(self.blocked.items()):
            late = connection.phase is Phase.OPEN and connection.conduct.stalled(connection, self._now())
            if since + self.limits.write_deadline < now:
                late = late or connection.stuck()
                self.blocked[connection] = now
            if late:
                connection.close(frames.TRY_LATER, "too much was waiting to be read; connect again", "slow_consumer")
        for connection in self._endings.overdue(now):
            connection.abort()

    # The end

    def send_away(self, most: int) -> int:
        """Say goodbye to some sessions; return how many are left."""
        for session in list(islice(self.sessions, most)):
            session.close(frames.GOING_AWAY, "this node is taken out of service; connect to another", "drain")
        return len(self.sessions)

    def drain(self) -> None:
        """Shutdown: say goodbye to every session, not to all at once."""
        self._draining = True
        self._farewells = list(self.sessions)
        self._farewells.reverse()
        self._say_goodbye(max(_LEAST_PER_STEP, round(len(self._farewells) * _STEP / self.limits.drain)))

    def _say_goodbye(self, most: int) -> None:
        for _ in range(min(most, len(self._farewells))):
            self._farewells.pop().close(frames.GOING_AWAY, "this node is stopping; connect to another", "drain")
        now = self.loop.time()
        for connection in self._endings.overdue(now, patient=False):
            connection.abort()
        if self._connections:
            self.loop.call_later(_STEP, self._say_goodbye, most)

    async def wait_closed(self) -> None:
        """Wait until there is no connection; called once, after `drain`."""
        if self._connections:
            self._all_closed = self.loop.create_future()
            await self._all_closed

    def abort(self) -> None:
        """Shutdown, out of time: cut what is left."""
        self._farewells = []
        for connection in list(self._connections):
            connection.abort()
