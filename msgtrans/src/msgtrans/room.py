"""Whether there is room for one more packet: what handlers that run, answers that are owed and data that waits say.

Not here: what becomes of a packet without room (`holding`).
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from msgtrans.commands import COMMAND, Commanding
from msgtrans.errors import ResourceError
from msgtrans.given import GivenOut, cost
from msgtrans.packet import REQUEST, Packet
from msgtrans.requests import PendingRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgtrans.endpoint import Endpoint
    from msgtrans.handlers import Context
    from msgtrans.link import Link


class Room(Commanding):
    """Base of `Holding`, never used alone."""

    __slots__ = (
        "_begun",
        "_given",
        "_held",
        "_pending",
        "_running_bytes",
        "_started",
        "_takes",
        "_tasks",
        "_working",
    )

    def __init__(self, link: Link, endpoint: Endpoint, loop: asyncio.AbstractEventLoop, first_message_id: int) -> None:
        super().__init__(link, endpoint, loop)
        config = self._config
        self._takes = True  # hands on what comes
        self._pending: PendingRequests[asyncio.Future[Packet]] = PendingRequests(
            first_message_id, config.request_timeout, config.max_pending_requests
        )
        self._tasks: dict[asyncio.Task[None], int] | None = None  # and what their messages take, in bytes
        self._running_bytes = 0  # the sum of these
        self._started = 0  # tasks of handlers, numbered from 1
        self._begun = 0  # the last of them that runs, or did; they begin in their order
        self._given: GivenOut | None = None  # requests that are answered later
        self._working = False  # there may be any of either
        self._held: deque[Packet] | None = None  # what waits for room

    def time_requests(
        self, timed: Callable[[PendingRequests[asyncio.Future[Packet]]], PendingRequests[asyncio.Future[Packet]]]
    ) -> None:
        """For a monitor: let what `timed` makes of the requests that wait keep them from now on."""
        self._pending = timed(self._pending)

    def _must_wait(self, kind: int, flags: int) -> bool:
        """Whether there is none for a packet of that kind with these flags."""
        endpoint = self._endpoint
        self._working = bool(self._tasks or self._given)
        if self._tasks:
            if self._begun != self._started and self._overtakes(kind):
                return True
            config = self._config
            if len(self._tasks) >= config.max_concurrent_handlers or self._running_bytes >= config.max_inbound:
                return True
            # Handlers of messages may be waiting to send: what they hold counts as what the peer does not take.
            if self._congested and kind != REQUEST and self._running_bytes >= self._high:
                return True
        if kind == REQUEST:
            if self._given and self._gave_enough(self._given):
                return True
            # A session with sends of its own goes on answering for longer: its peer may be waiting in the same way.
            if flags and flags & COMMAND:
                if self._commands_full and (not self._sends_itself() or self._outbound() > self._config.max_outbound):
                    return True
            elif self._congested and (
                self._outbound() > (self._config.max_outbound if self._sends_itself() else self._high)
            ):
                return True
            return endpoint.request_handler is None and endpoint.hub.full
        return endpoint.message_handler is None and endpoint.hub.full

    def _gave_enough(self, given: GivenOut) -> bool:
        """Whether as many requests are being handled and given out as may be; what streams hold is given out, too."""
        config = self._config
        most = config.max_concurrent_handlers
        if self._endpoint.request_handler is None:
            most += config.event_queue_size
        return len(given) + len(self._tasks or ()) >= most or given.bytes + self._running_bytes >= config.max_inbound

    def _give_out(self, context: Context) -> None:
        """A request will be answered later, or never."""
        if self._takes:
            if self._given is None:
                self._given = GivenOut(self._forgotten)
            self._given.add(context, cost(context))
            self._working = True

    def _forgotten(self) -> None:
        """Nobody can answer one of these any more; told in any thread."""
        if self._held:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.go_on)

    def _sends_itself(self) -> bool:
        return self._line_bytes > 0 or len(self._pending) > 0

    def _overtakes(self, kind: int) -> bool:
        """Whether the handler of such a packet would begin before that of one which came first."""
        endpoint = self._endpoint
        begins_later = endpoint.request_in_task if kind == REQUEST else endpoint.message_in_task
        return self._begun != self._started and not begins_later

    def _out_of_room(self) -> ResourceError:
        """What there is too much of."""
        config, running = self._config, len(self._tasks or ())
        if running >= config.max_concurrent_handlers:
            error = ResourceError("running handlers", running, config.max_concurrent_handlers)
        elif self._tasks and self._running_bytes >= config.max_inbound:
            error = ResourceError("bytes of messages being handled", self._running_bytes, config.max_inbound)
        elif self._given and self._gave_enough(self._given):
            error = ResourceError("requests not answered yet", len(self._given), config.max_concurrent_handlers)
        elif self._congested or self._commands_full:
            error = ResourceError("outbound bytes", self._outbound(), self._high)
        else:
            error = ResourceError("messages in an event stream", config.event_queue_size, config.event_queue_size)
        return error

    @abstractmethod
    def go_on(self) -> None:
        """There may be room for what waits."""
