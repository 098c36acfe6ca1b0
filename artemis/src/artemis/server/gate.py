"""The first question about every request, whichever door it came through: is it one too many? (spec 2.1 step 1, 11)

A refused request is answered, like every logical failure, by an answer with `responseStatus`. No I/O.
Not here: how requests are counted; see `rate_limit`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from artemis.model import ResponseStatus
from artemis.model.responses import RATE_LIMITED, failure
from artemis.server.operations import OPERATIONS, Limit, Operation
from artemis.server.rate_limit import Callers, RateLimits, Window

_REFUSED: ResponseStatus = failure(RATE_LIMITED, "Request is rate limited.")

CALLER = "caller"
"""Stands in the place of a limiter in the counters, for requests refused because of their caller."""


class Gate:
    """Refuses requests above the limits. Owned by the assembly, asked by all doors, from one event loop.

    `refused` counts refusals by limiter and identity, and by `caller` and the name of the operation. `per_caller` is
    what each caller is allowed; while it is 0, nobody needs to say who the caller is.
    """

    __slots__ = ("_bounds", "_limits", "_responses", "_windows", "callers", "per_caller", "refused")

    def __init__(self, limits: RateLimits | None = None, operations: Iterable[Operation] = OPERATIONS) -> None:
        self.refused: dict[str, Counter[str]] = {CALLER: Counter()}
        self.callers = Callers()
        self._responses: dict[str, msgspec.Struct] = {}
        self._limits: dict[str, Limit] = {o.name: o.limit for o in operations if o.limit is not None}
        # Heartbeats of different doors are one identity, so operations of one limit share a window.
        shared: dict[Limit, Window] = {}
        self._windows = {name: shared.setdefault(limit, Window(0)) for name, limit in self._limits.items()}
        self._bounds: dict[str, tuple[Window, int]] = {}
        self.per_caller = 0
        self.configure(limits or RateLimits())

    def configure(self, limits: RateLimits) -> None:
        """Let other limits hold from now on; what was counted stays counted."""
        allowed = {name: limits.of(*limit) for name, limit in self._limits.items()}
        self._bounds = {name: (self._windows[name], count) for name, count in allowed.items() if count}
        self.per_caller = limits.per_caller if limits.enabled else 0
        if not self.per_caller:
            self.callers.clear()

    def refuse(self, operation: Operation, caller: str, now: int) -> msgspec.Struct | None:
        """Count a request; None lets it pass, else the response is its answer, for the operation's encoders.

        `caller` is the address of the peer without its port, "" when unknown: such requests share one count. `now` is
        milliseconds of the node's monotonic clock.
        """
        name = operation.name
        if self.per_caller and not self.callers.take(caller, self.per_caller, now):
            self.refused[CALLER][name] += 1
            return self._answer(operation)
        bound = self._bounds.get(name)
        if bound is None or bound[0].take(bound[1], now):
            return None
        if self.per_caller:
            self.callers.give_back(caller)
        limiter, identity = self._limits[name]
        self.refused.setdefault(limiter, Counter())[identity] += 1
        return self._answer(operation)

    def crowded(self, name: str, caller: str, now: int) -> bool:
        """Count a request that has no row in the table of operations; True: it is one too many of its caller."""
        if not self.per_caller or self.callers.take(caller, self.per_caller, now):
            return False
        self.refused[CALLER][name] += 1
        return True

    def _answer(self, operation: Operation) -> msgspec.Struct:
        response = self._responses.get(operation.name)
        if response is None:
            response = self._responses[operation.name] = operation.response_type(response_status=_REFUSED)
        return response
