"""Those whose cursor cannot be answered yet: changes that it names are on their way to this node, or a large service
has to be gone through first (design 4.1 "behind").

They are looked at together, once a tick and after what may have brought the changes; nobody has a timer. Who has waited
for `patience` is called all the same, and told everything: never less than he knows without saying so.
Not here: what is told then; see `log` and `telling`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from artemis.push.limits import PushCounters
from artemis.push.log import ChangeLog

if TYPE_CHECKING:
    from artemis.model.cursors import Cursor

logger = logging.getLogger(__name__)

_CURSORS = 64
"""Different cursors that are looked at in a turn of the loop in which changes came; more wait for the next tick."""

_HELD = 2_000
"""Different cursors that are waited with, a few milliseconds for each look. Others are told everything at once."""

_CALLED = 500
"""Those who are called in one turn of the loop, about 2 ms."""


class Wait:
    """One who waits; `cancel` when he does no longer, as often as you like."""

    __slots__ = ("callback", "cursor", "due", "service")

    def __init__(self, service: str, cursor: Cursor, callback: Callable[[], None]) -> None:
        self.service = service
        self.cursor = cursor
        self.callback: Callable[[], None] | None = callback
        self.due: int | None = None

    def cancel(self) -> None:
        """Be called no more."""
        self.callback = None


class CatchingUp:
    """Those who wait at one node. Owned by its change stream.

    `patience` is for how many milliseconds changes are waited for: 0 on a node alone, whom nobody brings any. `later`
    calls something in a later turn of the loop; without it everything is done at once.
    """

    def __init__(self, log: ChangeLog, counters: PushCounters) -> None:
        self.patience = 0
        self.later: Callable[[Callable[[], None]], object] | None = None
        self._log = log
        self._counters = counters
        self._waiting: dict[int, list[Wait]] = {}  # by the identity of the cursor, which its waits keep alive
        self._ready: deque[Wait] = deque()
        self._working: dict[tuple[str, int], list[Wait]] = {}
        self._scheduled = False

    def __len__(self) -> int:
        """Count the different cursors that are waited with."""
        return len(self._waiting) + len(self._working)

    def lacks(self, cursor: Cursor) -> bool:
        """Tell whether changes that a cursor names may come: some are missing, and there are others to bring them."""
        return self.patience > 0 and self._log.behind(cursor)

    def _has_room(self, cursor: Cursor) -> bool:
        return len(self._waiting) < _HELD or id(cursor) in self._waiting

    def needed(self, service: str, cursor: Cursor) -> bool:
        """Tell whether a cursor cannot be answered at once."""
        return (self.lacks(cursor) and self._has_room(cursor)) or self._log.work(service, cursor) is not None

    def wait(self, service: str, cursor: Cursor, callback: Callable[[], None]) -> Wait | None:
        """Call `callback` once when a cursor can be answered; None when it can be now. `service` as for the log.

        The callback may only note that or schedule something, and has to look again: it is called with time, too.
        """
        if self.lacks(cursor) and self._has_room(cursor):
            wait = Wait(service, cursor, callback)
            self._waiting.setdefault(id(cursor), []).append(wait)
            self._counters.awaited += 1
            return wait
        steps = self._log.work(service, cursor)
        if steps is None:
            return None
        wait = Wait(service, cursor, callback)
        self._work(wait, steps)
        return None if wait.callback is None else wait

    def tick(self, now: int) -> None:
        """Call those whose changes have come, or who have waited long enough; milliseconds of a monotonic clock."""
        for key, waits in list(self._waiting.items()):
            if not self._look(key, waits):
                left = []
                for wait in waits:
                    if wait.due is None:
                        wait.due = now + self.patience
                    if wait.callback is None:
                        continue
                    if now < wait.due:
                        left.append(wait)
                    else:
                        self._counters.awaited_in_vain += 1
                        self._ready.append(wait)
                self._keep(key, left)
        self._call()

    def changed(self) -> None:
        """Changes have come in: look soon whether they are those that somebody waits for."""
        if self._waiting and not self._scheduled and self.later is not None:
            self._scheduled = True
            self.later(self._look_at_some)

    def _look_at_some(self) -> None:
        self._scheduled = False
        if len(self._waiting) <= _CURSORS:
            for key, waits in list(self._waiting.items()):
                self._look(key, waits)
        self._call()

    def _look(self, key: int, waits: list[Wait]) -> bool:
        """See whether this node has caught up with a cursor."""
        if self._log.behind(waits[0].cursor):
            return False
        del self._waiting[key]
        self._ready.extend(waits)
        return True

    def _keep(self, key: int, left: list[Wait]) -> None:
        if left:
            self._waiting[key] = left
        else:
            del self._waiting[key]

    def _call(self) -> None:
        """Call some of those who are ready; the others follow in the next turn."""
        for _ in range(_CALLED if self.later is not None else len(self._ready)):
            if not self._ready:
                return
            wait = self._ready.popleft()
            steps = None if wait.callback is None else self._log.work(wait.service, wait.cursor)
            if steps is None:
                _answer(wait)
            else:
                self._work(wait, steps)
        if self._ready and self.later is not None:
            self.later(self._call)

    def _work(self, wait: Wait, steps: Iterator[None]) -> None:
        """Let a search go on in the next turns; all who come for the same wait for it."""
        key = wait.service, id(wait.cursor)
        waits = self._working.get(key)
        if waits is not None:
            waits.append(wait)
            return
        self._working[key] = [wait]
        self._step(key, steps)

    def _step(self, key: tuple[str, int], steps: Iterator[None]) -> None:
        for _ in steps:
            if self.later is not None:
                self.later(lambda: self._step(key, steps))
                return
        for wait in self._working.pop(key):
            _answer(wait)


def _answer(wait: Wait) -> None:
    callback, wait.callback = wait.callback, None
    if callback is not None:
        try:
            callback()
        except Exception:
            logger.exception("a door failed to take note that its cursor can be answered")
