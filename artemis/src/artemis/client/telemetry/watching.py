"""Tells telemetry what happens in a client: times calls and attempts, and keeps what telemetry raises out of them.

Not here: what is made of it (`contract` says what there is to be told).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
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

MAX_CARRIED = 8192
"""Characters of names and values that may go with a request; servers refuse requests whose headers are much larger."""

_HOOKS = ("opened", "closed", "call", "event")
_CALL_HOOKS = ("attempt", "attempted", "ended")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t -~]*")
_OURS = frozenset({"accept", "authorization", "connection", "expect", "host", "te", "trailer", "upgrade"})
"""Headers that say how a request is to be read; so do all of ``content-*`` and ``transfer-*``."""


def operation_of(path: str) -> str:
    """Return the name of an operation by its HTTP path: ``discovery/lookup.json`` is ``discovery.lookup``."""
    name = path.removesuffix(".json").replace("/", ".")
    return f"query.{name.removeprefix('v1.')}" if name.startswith("v1.") else name


class Watching:
    """All telemetry of one client. Owned by the client; `clock` gives monotonic seconds."""

    def __init__(self, telemetry: Iterable[Telemetry], clock: Callable[[], float]) -> None:
        self.clock = clock
        self._telemetry = tuple(telemetry)
        for each in self._telemetry:
            if isinstance(each, type):
                raise TypeError(f"telemetry is an object, not a class: {each.__qualname__}")
            if missing := _missing(each, _HOOKS):
                raise TypeError(f"no telemetry: {type(each).__qualname__} has no method {' and no '.join(missing)}")
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
        told = (self._begun(each, operation) for each in self._telemetry)
        return WatchedCall(self, operation, [each for each in told if each is not None])

    def _begun(self, each: Telemetry, operation: str) -> CallTelemetry | None:
        call = self.safely(each.call, operation)
        if call is not None and (missing := _missing(call, _CALL_HOOKS)):
            self._refuse(each, f"what its `call` returned has no method {' and no '.join(missing)}")
            return None
        return call

    def carried(self, each: CallTelemetry, node: str) -> dict[str, str]:
        """Return what telemetry gives an attempt to carry, without what could not travel or would harm the request."""
        given: object = self.safely(each.attempt, node)
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            self._refuse(each, f"its `attempt` returned no mapping but {type(given).__qualname__}")
            return {}
        pairs: dict[str, str] = self.safely(dict, given) or {}
        kept = {name: value for name, value in pairs.items() if _may_travel(name, value)}
        if sum(len(name) + len(value) for name, value in kept.items()) > MAX_CARRIED:
            kept = {}
        if len(kept) != len(pairs):
            self._refuse(each, "its `attempt` returned what cannot go with a request")
        return kept

    def safely(self, hook: Callable[..., T], *arguments: object) -> T | None:
        """Call telemetry; the first failure of each kind of it is logged, and none goes any further."""
        whose = getattr(hook, "__self__", hook)
        try:
            found = hook(*arguments)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - logged; a cancellation is its own
            self._failed_once(whose, error)
            return None
        if inspect.iscoroutine(found):
            found.close()
            self._refuse(whose, "its methods are coroutines; telemetry is called, not awaited")
            return None
        return found

    def _refuse(self, whose: object, reason: str) -> None:
        self._failed_once(whose, TypeError(reason))

    def _failed_once(self, whose: object, error: BaseException) -> None:
        kind = type(whose).__qualname__
        if kind not in self._failed:
            self._failed.add(kind)
            extra = fields("telemetry-failed", error=error)
            logger.error("telemetry failed, and is not spoken of again: %s", kind, exc_info=error, extra=extra)


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
            headers.update(self._watching.carried(each, node))
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


def _missing(one: object, hooks: Iterable[str]) -> list[str]:
    return [name for name in hooks if not callable(getattr(one, name, None))]


def _may_travel(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    ours = name in _OURS or name.startswith(("content-", "transfer-"))
    return not ours and _NAME.fullmatch(name) is not None and _VALUE.fullmatch(value) is not None


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
