"""The seam between the SDK and what measures it: calls, their attempts, events, and numbers that are read on demand.

Every method here does nothing, so override what you care about. Not here: who calls them (`watching`), and what is
measured (the modules beside this one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from artemis.client.events import ClientEvent
    from artemis.client.telemetry.readings import Readings

CallOutcome = Literal["ok", "refused", "unreachable", "cancelled", "failed"]
"""How a call ended: with an answer; with a no (`RefusedError`); without any answer (`UnreachableError`); cancelled by
whoever made it; in another error."""

AttemptOutcome = Literal["ok", "refused", "unanswered", "cancelled", "failed"]
"""How one attempt ended: the same, but ``unanswered`` is without a usable answer of this one node."""

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One request to one node. ``via`` is what carried it: ``http``, or the value of a `LinkKind`.

    ``reason`` says in words why it was not ok, else it is empty; ``error_code`` is that of a refusal (spec 1.2).
    """

    node: str
    via: str
    outcome: AttemptOutcome
    seconds: float
    reason: str = ""
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class CallEnded:
    """One call with all its attempts and the pauses between them; ``error`` is what it raised, if it did."""

    operation: str
    outcome: CallOutcome
    seconds: float
    attempts: int
    error: BaseException | None = None


class CallTelemetry:
    """Told of one call, which runs once; made by `Telemetry.call`."""

    def attempt(self, node: str) -> Mapping[str, str]:
        """An attempt begins, at the node with this URL. Return what travels with it, names in lower case to values.

        It is sent as HTTP headers, over MsgTrans as options of the ext header; keep it to what tracing needs. Left out
        is what cannot travel (other than printable ASCII, more than 8192 characters), and what says how a request is
        read, as ``content-length``.
        """
        _ = node
        return NOTHING

    def attempted(self, attempt: AttemptEnded) -> None:
        """The attempt that was begun last has ended."""

    def ended(self, call: CallEnded) -> None:
        """The call has ended."""


class Telemetry:
    """Told of what one client does; give it as ``ArtemisClient(telemetry=...)``, one or several.

    The methods are called from the client's loop, in between everything else, so they must not wait. What one raises is
    logged once and dropped. One object per client; that of a client which goes on in the child of a fork, as those of
    `artemis.sync` do, is opened there once more.
    """

    def opened(self, client: Readings) -> None:
        """The client was entered; ``client`` can be asked for its numbers from any thread until `closed`."""

    def closed(self) -> None:
        """The client was left; nothing else comes."""

    def call(self, operation: str) -> CallTelemetry | None:
        """A call begins, as ``registry.heartbeat`` (the names of docs/protocol.md); None: do not tell of this one."""
        _ = operation
        return None

    def event(self, event: ClientEvent) -> None:
        """Something happened to the client, see `artemis.client.events`."""
