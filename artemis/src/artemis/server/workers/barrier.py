"""Read your writes on a machine with several workers: an answer waits until its siblings show what it is about.

Whoever wrote may read at another worker next, as a new connection comes to any of them. So the answer of what changed
something is held until every sibling that serves has acknowledged the change, and for a bounded time.
Not here: the acknowledgements (`artemis.cluster.acknowledging`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artemis.cluster.acknowledging import Acknowledging
    from artemis.registry import Registry

_BEATS = 2.5
"""Beats of silence after which nobody waits for a sibling: it is about to be taken for dead."""


class _Held(NamedTuple):
    seq: int
    until: float
    done: Callable[[], None]


class Barrier:
    """Owned by the cluster's side of a worker, used from its event loop. `heard` says when something of each sibling
    came last, in milliseconds, `beat` is seconds between signs of life, `patience` those that an answer waits at most.

    `counters`: `waited` answers, and of those the ones that waited `in_vain`.
    """

    def __init__(
        self,
        registry: Registry,
        heard: Mapping[str, int],
        acknowledging: Acknowledging,
        *,
        beat: float,
        patience: float,
        now: Callable[[], int],
    ) -> None:
        self.counters: Counter[str] = Counter({"waited": 0, "in_vain": 0})
        self._registry = registry
        self._heard = heard
        self._acknowledging = acknowledging
        self._silence = round(beat * _BEATS * 1000)
        self._patience = patience
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._held: deque[_Held] = deque()
        self._releasing: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._acknowledging.heard = self._soon

    def mark(self) -> int:
        """Return where the changes of this worker are, for `behind`."""
        return self._registry.vector[self._registry.origin]

    def behind(self, mark: int) -> bool:
        """Tell whether there are changes since `mark` that siblings still lack."""
        reached = self.mark()
        return reached != mark and self._lacking(reached)

    def hold(self, done: Callable[[], None]) -> None:
        """Call `done`, which must not raise, once siblings have all changes up to now, or have taken too long."""
        self.counters["waited"] += 1
        self._held.append(_Held(self.mark(), self._loop.time() + self._patience, done))
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._overdue)

    async def wait(self) -> None:
        """The same for who can wait."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.hold(lambda: None if future.done() else future.set_result(None))
        await future

    def close(self) -> None:
        """Let everything go."""
        for handle in (self._timer, self._releasing):
            if handle is not None:
                handle.cancel()
        self._timer = self._releasing = None
        while self._held:
            self._held.popleft().done()

    def _lacking(self, seq: int) -> bool:
        registry = self._registry
        if registry.pending and registry.position()[0].get(registry.origin, 0) < seq:
            return True
        lacking = self._acknowledging.lacking(seq)
        if not lacking:
            return False
        since = self._now() - self._silence
        return any(self._heard.get(sibling, since) > since for sibling in lacking)

    def _soon(self) -> None:
        """Look again in the next turn: acknowledgements come while messages are handled."""
        if self._held and self._releasing is None:
            self._releasing = self._loop.call_soon(self._release)

    def _release(self) -> None:
        self._releasing = None
        held = self._held
        while held and not self._lacking(held[0].seq):
            held.popleft().done()

    def _overdue(self) -> None:
        self._timer = None
        held, now = self._held, self._loop.time()
        while held and held[0].until <= now + 0.001:
            self.counters["in_vain"] += 1
            held.popleft().done()
        if held:
            self._timer = self._loop.call_at(held[0].until, self._overdue)
