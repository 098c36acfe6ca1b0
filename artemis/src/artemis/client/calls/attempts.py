"""The course of one call: after each attempt, deliver the answer, try again after a delay, or give up.

Pure: the outcome of each attempt comes in, a decision goes out, and who carries it out is `caller`.
It implements the classification of answers in the artemis spec, 1.2, and the repeats of 9.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from artemis.client.errors import Attempt, RefusedError, UnreachableError

if TYPE_CHECKING:
    from random import Random

    from artemis.client.nodes.nodes import Nodes
    from artemis.client.options import ClientOptions
    from artemis.model import ResponseStatus


TOO_LARGE: Final = frozenset({413, 414, 431})
"""Status codes of HTTP that are about the request alone: every node would say the same."""
NO_REFUSAL: Final = frozenset({404, 408, 429})
"""What another node, or the same one later, may answer: nothing there, too late, too many."""


class Verdict(Enum):
    """What an answer means for the call."""

    FINAL = "final"
    """The answer goes to the caller, be it yes or no."""
    RERUN = "rerun"
    """Ask again; the node is not to blame."""
    NODE_DOWN = "node down"
    """The node cannot serve: ask another one."""


def judge(status: ResponseStatus) -> Verdict:
    """Classify the status of an answer (spec 1.2)."""
    if status.status == "fail":
        if status.error_code in {"internal-service-error", "service-unavailable"}:
            return Verdict.NODE_DOWN
        if status.error_code in {"rate-limited", "unknown"}:
            return Verdict.RERUN
    return Verdict.FINAL


def refuses(status: int | None) -> bool:
    """Whether an HTTP status (None: there was none) is a refusal, and not what a node says that is down."""
    return status is not None and 400 <= status < 500 and status not in NO_REFUSAL


def advice(status: int) -> str:
    """Say what to do about a status for which `refuses` is true."""
    if status in TOO_LARGE:
        return "the request is too large; send less at a time, or raise the limit of the node and of proxies before it"
    if status in {401, 403, 407}:
        return "access is denied; a proxy may be before the node, or something else runs at its address"
    return "no registry node says that; check the address, and what is between"


@dataclass(frozen=True, slots=True)
class Deliver:
    """The call is over: hand the answer to the caller."""


@dataclass(frozen=True, slots=True)
class Again:
    """Wait ``delay`` seconds, then ask the node that is current at that time."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The call is over: raise ``error``. Unless ``silent`` that says nothing about the registry."""

    error: UnreachableError | RefusedError
    silent: bool = True


class Course:
    """The attempts of one call; make one per call, and tell it how each attempt ended.

    There are ``attempts`` of them; while no node answers the client only one at each node, so that callers are not kept
    waiting, and those who ask anyway, over and over, are no stampede on the day the registry comes back.
    """

    def __init__(self, operation: str, nodes: Nodes, options: ClientOptions, random: Random) -> None:
        self._operation = operation
        self._nodes = nodes
        self._options = options
        self._random = random
        self._tried: list[Attempt] = []
        self._refused: set[str] = set()
        self._limit = min(options.attempts, len(nodes.urls)) if nodes.all_failed else options.attempts

    def answered(self, node: str, status: ResponseStatus, now: float) -> Deliver | Again | GiveUp:
        """Decide after an answer of ``node``; a call that stays rate limited ends with that answer."""
        verdict = judge(status)
        if verdict is Verdict.NODE_DOWN:
            return self.failed(node, f"{status.error_code}: {status.message or ''}".rstrip(": "), now)
        self._nodes.answered(node)
        self._limit = self._options.attempts
        if verdict is Verdict.RERUN:
            self._tried.append(Attempt(node, status.error_code or "unknown"))
            if len(self._tried) < self._limit:
                return self._again()
        return Deliver()

    def failed(self, node: str, reason: str, now: float) -> Again | GiveUp:
        """Decide after an attempt without a usable answer: the client leaves the node, and tries again or gives up."""
        self._nodes.failed(node, now)
        self._tried.append(Attempt(node, reason))
        if len(self._tried) >= self._limit:
            return GiveUp(UnreachableError(self._operation, self._tried))
        return self._again()

    def refused(self, node: str, status: int, now: float) -> Again | GiveUp:
        """Decide after an HTTP status for which `refuses` is true.

        A request that is too large ends here, and nothing is held against the node. Otherwise it may be the fault of
        what stands at this one address, so the others are asked, once each; if all refuse, that is the answer.
        """
        error = RefusedError(node, self._operation, f"http-{status}", advice(status))
        if status in TOO_LARGE:
            return GiveUp(error, silent=False)
        self._refused.add(node)
        step = self.failed(node, f"HTTP {status}: {advice(status)}", now)
        if not self._refused.issuperset(attempt.node for attempt in self._tried):
            return step
        return GiveUp(error) if isinstance(step, GiveUp) or self._nodes.current in self._refused else step

    def _again(self) -> Again:
        ceiling = min(self._options.backoff_limit, self._options.backoff * 2 ** (len(self._tried) - 1))
        return Again(self._random.uniform(0.0, ceiling))
