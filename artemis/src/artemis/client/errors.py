"""What can go wrong for a caller of the SDK, as one tree; what the background loops meet comes as events instead.

::

    ArtemisError
    ├── UnreachableError            no node gave a usable answer (retriable)
    ├── RefusedError                a node answered, and the answer is no
    │   └── RegistrationRefusedError    some of the instances were not accepted
    ├── NoInstancesError            nothing to choose from (retriable)
    ├── LimitError                  a bound of this client is reached
    └── ClosedError                 the client is not open

Foreign exceptions (sockets, HTTP, JSON) never come out of the SDK: they are the ``reason`` of an :class:`Attempt`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artemis.model import FailedInstance


LONGEST_WORDS: Final = 200
"""Characters that are passed on of what a node says."""


def printable(words: str) -> str:
    """Return what a node said as it may be shown: at most `LONGEST_WORDS` characters, all of them printable.

    Others, as line ends and control sequences, become a ``?``: they would forge lines of a log, or steer a terminal.
    """
    cut = words if len(words) <= LONGEST_WORDS else words[: LONGEST_WORDS - 1] + "…"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "?" for one in cut)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one call: the node's URL, and why it did not end the call, as `printable` shows it."""

    node: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", printable(self.reason))

    def __str__(self) -> str:
        return f"{self.node}: {self.reason}"


class ArtemisError(Exception):
    """Base of all errors of the SDK.

    ``retriable`` says whether the same call may succeed later without anybody changing it.
    """

    retriable = False


class UnreachableError(ArtemisError):
    """No node gave a usable answer within the attempts of one call.

    ``operation`` is the path of the operation, ``attempts`` lists every try in order.
    Check that a node runs at one of the addresses and that they are spelled as the node announces them.
    """

    retriable = True

    def __init__(self, operation: str, attempts: Sequence[Attempt]) -> None:
        self.operation = operation
        self.attempts = tuple(attempts)
        counted = Counter(str(attempt) for attempt in self.attempts)
        tried = "; ".join(text if count == 1 else f"{count} times {text}" for text, count in counted.items())
        super().__init__(f"no registry node answered {operation}: {tried}")


class RefusedError(ArtemisError):
    """A node answered and refused (artemis spec 1.2); trying another node would not help.

    ``node``, ``operation``, ``error_code`` and ``message`` say who refused what, and why; both texts as `printable`
    shows them. The code is that on the wire, or ``http-403`` for an HTTP status of 4xx: then there is no registry node,
    or something before it that does not let the request pass. ``retriable`` is true for ``rate-limited`` alone.
    """

    def __init__(self, node: str, operation: str, error_code: str, message: str) -> None:
        self.node = node
        self.operation = operation
        self.error_code = printable(error_code)
        self.message = printable(message)
        self.retriable = error_code == "rate-limited"
        super().__init__(f"{node} refused {operation}: {self.error_code}{': ' if message else ''}{self.message}")


class RegistrationRefusedError(RefusedError):
    """A node did not accept some of the instances; ``failed`` holds them with a code and a text each."""

    def __init__(self, node: str, operation: str, failed: Sequence[FailedInstance]) -> None:
        self.failed = tuple(failed)
        first = self.failed[0]
        more = f" (and {len(self.failed) - 1} more)" if len(self.failed) > 1 else ""
        words = printable(first.error_message or "")[: LONGEST_WORDS - len(more)]
        super().__init__(node, operation, first.error_code or "unknown", words + more)


class NoInstancesError(ArtemisError):
    """A balancer has nothing to choose from; ``service_id`` says of which service, the text says why."""

    retriable = True

    def __init__(self, service_id: str, why: str) -> None:
        self.service_id = service_id
        super().__init__(f"no instance of {service_id}: {why}")


class LimitError(ArtemisError):
    """A bound of this client is reached; ``limit`` is its value and the text names the option that sets it."""

    def __init__(self, limit: int, text: str) -> None:
        self.limit = limit
        super().__init__(text)


class ClosedError(ArtemisError):
    """The client is not open: use it inside ``async with ArtemisClient(...)``, or ``with``, for the one that blocks.

    ``forked`` says that it was open when the process forked, and that this is the child: make one after the fork.
    """

    def __init__(self, *, forked: bool = False) -> None:
        self.forked = forked
        super().__init__(
            "the client was opened before a fork and belongs to the parent; make a new one in the child"
            if forked
            else "the client is not open; use it inside `async with ArtemisClient(...) as client:` "
            "(or `with`, for artemis.sync)"
        )
