"""What the log says of links: what becomes of each, the first few times, then now and then while it comes and goes.

Not here: what is thought of the nodes behind them. Time comes in as monotonic milliseconds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from artemis.cluster.mesh.wire import Code

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from artemis.cluster.mesh.wire import Refusal

NOT_LINKED = "peer not linked"
TURNED_AWAY = "peer turned away"

BURST = 6
"""Lines that a peer has at once: two links and their ends."""

REFILL = 30_000
"""Milliseconds until a peer has one more."""

REPEAT = 300_000
"""Milliseconds after which it is said again why there is no link, while that lasts."""

_MOST = 1_000
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class LinkLog:
    """Owned by the mesh. What is said too often is said where everything is logged (debug)."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._quiet = Quiet()
        self._said: dict[tuple[str, str], tuple[tuple[str, str], int]] = {}

    def tell(self, level: Literal["info", "warning"], event: str, now: int, *, node: str, **words: object) -> None:
        """Say what became of a link with a node."""
        self._log.log(_LEVELS[level if self._quiet.may_say(node, now) else "debug"], event, node=node, **words)

    def linked(self, url: str) -> None:
        """Forget what stood against a link."""
        self._said.pop((NOT_LINKED, url), None)

    def refused(self, event: str, where: str, refusal: Refusal, now: int) -> bool:
        """Say why there is no link, now and then until the reason is another one; tells whether it is."""
        # What systems say of peers that cannot be reached may be other words each time, and a skew another number.
        said = (refusal.code, "" if refusal.code in (Code.UNREACHABLE, Code.CLOCK) else refusal.text)
        before, at = self._said.get((event, where), (None, now))
        if before == said and now - at < REPEAT:
            return False
        if len(self._said) >= _MOST:
            del self._said[next(iter(self._said))]
        self._said[event, where] = said, now
        level = "warning" if self._quiet.may_say(where, now) else "debug"
        self._log.log(_LEVELS[level], event, url=where, code=str(refusal.code), reason=refusal.text)
        return before != said


class Quiet:
    """A measure of lines for each peer. `may_say` takes one."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Count the peers that are remembered."""
        return len(self._left)

    def may_say(self, peer: str, now: int) -> bool:
        """Tell whether a line about a peer may be written, and count it."""
        left, since = self._left.pop(peer, (BURST, now))
        refilled = (now - since) // REFILL
        left, since = (BURST, now) if left + refilled >= BURST else (left + refilled, since + refilled * REFILL)
        if len(self._left) >= _MOST:
            del self._left[next(iter(self._left))]
        self._left[peer] = max(0, left - 1), since
        return left > 0
