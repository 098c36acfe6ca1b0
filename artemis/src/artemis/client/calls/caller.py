"""Carries out calls: sends what `artemis.client.calls.attempts` decides, and tells the connection how it went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from artemis.client.calls.answers import AnswerT, RequestT, UnusableAnswer
from artemis.client.calls.attempts import Again, Course, Deliver, GiveUp
from artemis.client.calls.transport import TransportFailure
from artemis.client.errors import ClosedError, RefusedError, UnreachableError
from artemis.client.events import NodeSwitched
from artemis.model import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artemis.client.calls.answers import Endpoint
    from artemis.client.calls.transport import Transport
    from artemis.client.connection import Connection
    from artemis.client.events import EventFeed, StateChanged
    from artemis.client.nodes.nodes import Nodes
    from artemis.client.options import ClientOptions


@dataclass(frozen=True, slots=True)
class Answered(Generic[AnswerT]):
    """An answer that is not ``fail``, and the node that gave it."""

    node: str
    value: AnswerT


class Caller:
    """Makes calls to whichever node is current; may be used concurrently, and cancelled at any point."""

    def __init__(
        self,
        *,
        nodes: Nodes,
        transport: Transport,
        connection: Connection,
        feed: EventFeed,
        options: ClientOptions,
        random: Random,
        clock: Callable[[], float],
    ) -> None:
        self._nodes = nodes
        self._transport = transport
        self._connection = connection
        self._feed = feed
        self._options = options
        self._random = random
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._open = False

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._nodes.current

    def open(self) -> None:
        """Allow calls."""
        self._open = True

    async def close(self) -> None:
        """Refuse further calls and close the connections."""
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        await self._transport.close()

    async def call(self, endpoint: Endpoint[RequestT, AnswerT], request: RequestT) -> Answered[AnswerT]:
        """Ask the current node; on trouble wait, switch and repeat, as the spec says in 1.2 and 9.2.

        Raises ``UnreachableError`` after the last attempt, ``RefusedError`` for an answer with status ``fail``,
        ``ClosedError`` when the client is not open.
        """
        body = encode(request)
        course = Course(endpoint.path, self._nodes, self._options, self._random)
        while True:
            if not self._open:
                raise ClosedError
            node = self._nodes.current
            try:
                raw = await self._transport.call(node, endpoint.path, body, self._options.attempt_timeout)
                answer = endpoint.read(request, raw)
            except (TransportFailure, UnusableAnswer) as failure:
                reason = str(failure)
                step: Deliver | Again | GiveUp = course.failed(node, reason, self._clock())
            else:
                status = answer.response_status
                reason = status.message or status.error_code or ""
                step = course.answered(node, status, self._clock())
                if isinstance(step, Deliver):
                    self._heard()
                    if status.status == "fail":
                        raise RefusedError(node, endpoint.path, status.error_code or "unknown", status.message or "")
                    return Answered(node, answer)
            if self._nodes.current != node:
                self._feed.publish(NodeSwitched(node, self._nodes.current, reason))
            if isinstance(step, GiveUp):
                self._unheard(step.error)
                raise step.error
            if isinstance(step, Again):
                await asyncio.sleep(step.delay)

    def _heard(self) -> None:
        self._tell(self._connection.answered(self._clock()))

    def _unheard(self, error: UnreachableError) -> None:
        self._tell(self._connection.failed(str(error)))
        self._tick()

    def _tick(self) -> None:
        self._tell(self._connection.tick(self._clock()))
        if self._timer is not None:
            self._timer.cancel()
        due = self._connection.lost_at
        if due is not None and self._open:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, due - self._clock()), self._tick)

    def _tell(self, change: StateChanged | None) -> None:
        if change is not None:
            self._feed.publish(change)
