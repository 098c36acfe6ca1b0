"""What stands before a session until its peer is known: messages are refused at it, or wait for a verdict in order.

Not here: who is to be known, how that is proved, and the deadline; `authentication` knows.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING

from msgtrans.errors import AuthenticationError

if TYPE_CHECKING:
    from msgtrans.handlers import Context


class Gate:
    """Owned by the middleware that set it up, for one session and at most one verdict; both may outlive their use.

    stranger: whether the peer was let in before. due: when it must be decided, by the clock of the loop.
    tried: a verdict was asked for. passed, failed: how it was decided; neither while it is not.
    waiting: messages on their way through.
    """

    __slots__ = ("_decided", "_verdict", "due", "failed", "passed", "stranger", "waiting")

    def __init__(self, due: float, *, stranger: bool) -> None:
        self.due = due
        self.stranger = stranger
        self.passed = False
        self.failed = False
        self.waiting = 0
        self._verdict: asyncio.Future[object | None] | None = None
        self._decided: asyncio.Event | None = None

    @property
    def tried(self) -> bool:
        """Whether a verdict was asked for, or is not wanted any more."""
        return self._verdict is not None or self.passed or self.failed

    def ask(self, verdict: Awaitable[object | None]) -> None:
        """Start waiting for a verdict. It is cancelled when the gate is shut first, unless it is a future or task:
        that may be somebody else's too.
        """
        self._verdict = asyncio.shield(verdict) if asyncio.isfuture(verdict) else asyncio.ensure_future(verdict)
        self._decided = asyncio.Event()

    async def verdict(self) -> object | None:
        """What was asked for. Raises AuthenticationError when the gate is shut meanwhile, and what it raises itself."""
        if self._verdict is None:
            raise AuthenticationError
        try:
            identity = await self._verdict
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is not None and me.cancelling():
                raise
            raise AuthenticationError from None  # it is the verdict that was cancelled, not who waits for it
        if self.failed:
            raise AuthenticationError
        return identity

    def open(self) -> None:
        """Let everything pass."""
        self.passed = True
        if self._decided is not None:
            self._decided.set()

    def shut(self) -> None:
        """Let nothing pass any more."""
        self.passed, self.failed = False, True
        if self._verdict is not None:
            self._verdict.cancel()
        if self._decided is not None:
            self._decided.set()

    def go_through(
        self, context: Context, call: Callable[[Context], object], left: Callable[[], None]
    ) -> Coroutine[None, None, object]:
        """Call when it is decided, after those that came before, and `left` after that; then wait for the answer.

        Raises AuthenticationError when it was decided otherwise.
        """
        self.waiting += 1  # before a task begins to: who comes behind must find it waiting
        return self._pass(context, call, left)

    async def _pass(self, context: Context, call: Callable[[Context], object], left: Callable[[], None]) -> object:
        try:
            if self._decided is not None:
                if self._decided.is_set():
                    await asyncio.sleep(0)  # behind those that were waiting: they go on in this turn of the loop
                await self._decided.wait()
            if not self.passed:
                raise AuthenticationError
            answer = call(context)
        finally:
            self.waiting -= 1
            left()
        return await answer if inspect.isawaitable(answer) else answer
