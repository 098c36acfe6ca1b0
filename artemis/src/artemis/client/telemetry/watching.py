"""Tells telemetry what happens in a client: times calls and attempts, and keeps what telemetry raises out of them.

Not here: what is made of it (`contract` says what there is to be told).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Self, TypeVar

from artemis.client.calls.answers import UnusableAnswer
from artemis.client.calls.passage import PASSAGE, Passage
from artemis.client.calls.transport import TransportFailure
from artemis.client.errors import RefusedError, UnreachableError, printable
from artemis.client.telemetry.contract import AttemptEnded, CallEnded, CallTelemetry, Telemetry
from artemis.client.telemetry.logs import fields

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

    from artemis.client.events import ClientEvent
    from artemis.client.telemetry.contract import AttemptOutcome, CallOutcome
    from artemis.client.telemetry.readings import Readings
    from artemis.model import ResponseStatus

logger = logging.getLogger("artemis.client")

T = TypeVar("T")


def operation_of(path: str) -> str:
    """Return the name of an operation by its HTTP path: ``discovery/lookup.json`` is ``discovery.lookup``."""
    name = path.removesuffix(".json").replace("/", ".")
    return f"query.{name.removeprefix('v1.')}" if name.startswith("v1.") else name


class Watching:
    """All telemetry of one client. Owned by the client; `clock` gives monotonic seconds."""

    def __init__(self, telemetry: Iterable[Telemetry], clock: Callable[[], float]) -> None:
        self.clock = clock
        self._telemetry = tuple(telemetry)
        self._failed: set[str] = set()

    def opened(self, client: Readings) -> None:
        """See `Telemetry.opened`."""
        for each in self._telemetry:
            self.safely(each.opened, client)

    def closed(self) -> None:
        """See `Telemetry.closed`."""
        for each in self._telemetry:
            self.safely(each.closed)

    def event(self, event: ClientEvent) -> None:
        """See `Telemetry.event`."""
        for each in self._telemetry:
            self.safely(each.event, event)

    def call(self, path: str) -> WatchedCall:
        """Begin a call of the operation with this HTTP path; use it as a context around the whole call."""
        operation = operation_of(path)
        told = (self.safely(each.call, operation) for each in self._telemetry)
        return WatchedCall(self, operation, [each for each in told if each is not None])

    def safely(self, hook: Callable[..., T], *arguments: object) -> T | None:
        """Call telemetry; the first failure of each kind of it is logged, and none goes any further."""
        try:
            return hook(*arguments)
        except Exception:
            kind = type(getattr(hook, "__self__", hook)).__qualname__
            if kind not in self._failed:
                self._failed.add(kind)
                logger.exception(
                    "telemetry failed, and is not spoken of again: %s", kind, extra=fields("telemetry-failed")
                )
            return None


class WatchedCall:
    """One call, from its beginning to its end."""

    def __init__(self, watching: Watching, operation: str, told: list[CallTelemetry]) -> None:
        self._watching = watching
        self._operation = operation
        self._told = told
        self._attempts = 0
        self._since = watching.clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = self._watching.clock() - self._since
        ended = CallEnded(self._operation, _call_outcome(error), seconds, self._attempts, error)
        for each in self._told:
            self._watching.safely(each.ended, ended)

    def attempt(self, node: str) -> WatchedAttempt:
        """Begin an attempt; use it as a context around sending and reading."""
        self._attempts += 1
        headers: dict[str, str] = {}
        for each in self._told:
            carried: Mapping[str, str] | None = self._watching.safely(each.attempt, node)
            headers.update(carried or {})
        return WatchedAttempt(self, node, Passage(headers), self._watching.clock())

    def attempted(self, attempt: AttemptEnded) -> None:
        """An attempt has ended."""
        for each in self._told:
            self._watching.safely(each.attempted, attempt)

    def now(self) -> float:
        """Return monotonic seconds."""
        return self._watching.clock()


class WatchedAttempt:
    """One attempt, from before it is sent until its answer is read."""

    def __init__(self, call: WatchedCall, node: str, passage: Passage, since: float) -> None:
        self._call = call
        self._node = node
        self._passage = passage
        self._since = since
        self._status: ResponseStatus | None = None
        self._token: Token[Passage | None] | None = None

    def __enter__(self) -> Self:
        self._token = PASSAGE.set(self._passage)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            PASSAGE.reset(self._token)
        status = self._status
        refused = error is None and status is not None and status.status == "fail"
        if refused and status is not None:
            reason, error_code = printable(status.message or ""), printable(status.error_code or "unknown")
        else:
            reason, error_code = ("" if error is None else str(error) or type(error).__name__), ""
        outcome: AttemptOutcome = "refused" if refused else _attempt_outcome(error)
        seconds = self._call.now() - self._since
        self._call.attempted(AttemptEnded(self._node, self._passage.via, outcome, seconds, reason, error_code))

    def answered(self, status: ResponseStatus) -> None:
        """Note what the node answered."""
        self._status = status


def _attempt_outcome(error: BaseException | None) -> AttemptOutcome:
    match error:
        case None:
            return "ok"
        case TransportFailure() | UnusableAnswer():
            return "unanswered"
        case asyncio.CancelledError():
            return "cancelled"
        case _:
            return "failed"


def _call_outcome(error: BaseException | None) -> CallOutcome:
    match error:
        case None:
            return "ok"
        case RefusedError():
            return "refused"
        case UnreachableError():
            return "unreachable"
        case asyncio.CancelledError():
            return "cancelled"
        case _:
            return "failed"
