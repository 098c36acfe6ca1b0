"""Carries out calls: sends what `artemis.client.calls.attempts` decides, and tells the contact how it went."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic

from artemis.client.calls.answers import AnswerT, RequestT, UnusableAnswer
from artemis.client.calls.attempts import Again, Course, Deliver, GiveUp, Verdict, advice, judge, refuses
from artemis.client.calls.transport import TransportFailure
from artemis.client.errors import Attempt, ClosedError, RefusedError, UnreachableError
from artemis.model import encode

if TYPE_CHECKING:
    from random import Random

    from artemis.client.calls.answers import Endpoint
    from artemis.client.calls.transport import Reply, Transport
    from artemis.client.nodes.contact import Contact
    from artemis.client.options import ClientOptions
    from artemis.client.telemetry.watching import WatchedCall, Watching


@dataclass(frozen=True, slots=True)
class Answered(Generic[AnswerT]):
    """An answer that is not ``fail``, the node that gave it, and which data it shows, as in `Reply`."""

    node: str
    value: AnswerT
    cursor: str | None = None
    age: float = 0.0
    missing: int = 0


class Caller:
    """Makes calls to whichever node is current. Owned by a client; may be used concurrently, and cancelled."""

    def __init__(
        self,
        *,
        contact: Contact,
        transport: Transport,
        options: ClientOptions,
        random: Random,
        watching: Watching | None = None,
    ) -> None:
        self._watching = watching
        self._contact = contact
        self._transport = transport
        self._options = options
        self._random = random
        self._open = False
        self._forked = False

    @property
    def server(self) -> str:
        """The URL of the node that the next call goes to."""
        return self._contact.node

    def others(self) -> list[str]:
        """Return the other nodes than the current one that do not rest."""
        nodes, now = self._contact.nodes, self._contact.clock()
        return [url for url in nodes.urls if url != nodes.current and not nodes.resting(url, now)]

    def another(self) -> str | None:
        """Return one of them, at random; None without one."""
        others = self.others()
        return self._random.choice(others) if others else None

    def open(self) -> None:
        """Allow calls."""
        self._open = True

    async def close(self) -> None:
        """Refuse further calls and close the connections."""
        self._open = False
        if not self._forked:
            await self._transport.close()

    def after_fork(self) -> None:
        """Refuse further calls; the connections are the parent's."""
        self._open, self._forked = False, True

    async def call(self, endpoint: Endpoint[RequestT, AnswerT], request: RequestT) -> Answered[AnswerT]:
        """Ask the current node; on trouble wait, switch and repeat, as the spec says in 1.2 and 9.2.

        Raises ``UnreachableError`` after the last attempt, ``RefusedError`` for an answer with status ``fail`` or where
        HTTP says 4xx, see `Course.refused`, ``ClosedError`` when the client is not open.
        """
        if self._watching is None:
            return await self._call(endpoint, request, None)
        with self._watching.call(endpoint.path) as watched:
            return await self._call(endpoint, request, watched)

    async def _call(
        self, endpoint: Endpoint[RequestT, AnswerT], request: RequestT, watched: WatchedCall | None
    ) -> Answered[AnswerT]:
        body = encode(request)
        course = Course(endpoint.path, self._contact.nodes, self._options, self._random)
        while True:
            if not self._open:
                raise ClosedError(forked=self._forked)
            node = self._contact.node
            turned_away = False
            try:
                answer, reply = await self._attempt(node, endpoint, request, body, watched)
            except (TransportFailure, UnusableAnswer) as failure:
                reason = str(failure)
                status = _refusal(failure)
                step: Deliver | Again | GiveUp = (
                    course.failed(node, reason, self._contact.clock())
                    if status is None
                    else course.refused(node, status, self._contact.clock())
                )
            else:
                said = answer.response_status
                turned_away = judge(said) is Verdict.NODE_DOWN
                reason = said.message or said.error_code or ""
                step = course.answered(node, said, self._contact.clock())
                if isinstance(step, Deliver):
                    self._contact.heard()
                    if said.status == "fail":
                        raise RefusedError(node, endpoint.path, said.error_code or "unknown", said.message or "")
                    return Answered(node, answer, reply.cursor, reply.age, reply.missing)
            self._contact.moved(reason)
            if turned_away:
                self._contact.refused(node)
            if isinstance(step, GiveUp):
                if step.silent:
                    self._contact.silent(str(step.error))
                raise step.error
            if isinstance(step, Again):
                await asyncio.sleep(step.delay)

    async def ask(self, node: str, endpoint: Endpoint[RequestT, AnswerT], request: RequestT) -> Answered[AnswerT]:
        """Ask this very node, once; how it ends is held against no node. Raises as `call` does."""
        if self._watching is None:
            return await self._ask(node, endpoint, request, None)
        with self._watching.call(endpoint.path) as watched:
            return await self._ask(node, endpoint, request, watched)

    async def _ask(
        self, node: str, endpoint: Endpoint[RequestT, AnswerT], request: RequestT, watched: WatchedCall | None
    ) -> Answered[AnswerT]:
        if not self._open:
            raise ClosedError(forked=self._forked)
        try:
            answer, reply = await self._attempt(node, endpoint, request, encode(request), watched)
        except (TransportFailure, UnusableAnswer) as failure:
            refusal = _refusal(failure)
            if refusal is not None:
                raise RefusedError(node, endpoint.path, f"http-{refusal}", advice(refusal)) from failure
            raise UnreachableError(endpoint.path, [Attempt(node, str(failure))]) from failure
        status = answer.response_status
        if status.status == "fail":
            raise RefusedError(node, endpoint.path, status.error_code or "unknown", status.message or "")
        return Answered(node, answer, reply.cursor, reply.age, reply.missing)

    async def _attempt(
        self,
        node: str,
        endpoint: Endpoint[RequestT, AnswerT],
        request: RequestT,
        body: bytes,
        watched: WatchedCall | None,
    ) -> tuple[AnswerT, Reply]:
        """Send one message to one node and read the answer; telemetry is told how long that took and how it ended."""
        if watched is None:
            reply = await self._transport.call(node, endpoint.path, body, self._options.attempt_timeout)
            return endpoint.read(request, reply.body), reply
        with watched.attempt(node) as attempt:
            reply = await self._transport.call(node, endpoint.path, body, self._options.attempt_timeout)
            answer = endpoint.read(request, reply.body)
            attempt.answered(answer.response_status)
            return answer, reply


def _refusal(failure: TransportFailure | UnusableAnswer) -> int | None:
    """Return the HTTP status of a failure that is a refusal."""
    status = failure.status if isinstance(failure, TransportFailure) else None
    return status if refuses(status) else None
